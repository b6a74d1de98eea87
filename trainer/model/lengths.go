package model

import (
	"math"
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// lengths are what a chunk's products are divided by under Config.Cosine, and what is then added. They are of the items' sums, so they are made anew where the side
// table changed.
type lengths struct {
	inv  [chunkRows]float32 // 1/(|v|·Temperature)
	bias [chunkRows]float32
}

// measure makes the lengths of the chunks that are not as in the version before.
func (s *Served) measure(before *Served, touched map[int]bool) {
	same := sameTable(&s.items.side, &before.items.side)
	v := make([]float32, s.cfg.Dim)
	for from := 0; from < s.items.n; from += chunkRows {
		chunk := from / chunkRows
		if chunk == len(s.lengths) {
			s.lengths = append(s.lengths, nil)
		} else if same && !touched[chunk] {
			continue
		}
		l := &lengths{}
		for j := range min(chunkRows, s.items.n-from) {
			l.bias[j] = s.items.sum(v, Row(from+j))
			l.inv[j] = float32(1 / (math.Sqrt(nn.SumSquares(v)+1e-12) * s.cfg.Temperature))
		}
		s.lengths[chunk] = l
	}
}

func sameTable(a, b *table[float32]) bool {
	if a.n != b.n {
		return false
	}
	for chunk := range a.vectors {
		if !slices.Equal(a.vectors[chunk], b.vectors[chunk]) || !slices.Equal(a.bias[chunk], b.bias[chunk]) {
			return false
		}
	}
	return true
}
