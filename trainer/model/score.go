package model

import (
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// An item's score for a request is put together from
//
//	its vector · z  +  side[its category] + side[its price band]  +  base  +  its marks
//
// side is computed once a request (scoreSides), base once a version and gap bucket (baseOf). To hold the sums of an item's vector and its side information would save two
// additions an item, but side information changes with every version: each delta would write the whole table anew, where now it shares most of it.

// scoreSides sets c.side, c.mostSide and c.sided.
func (s *Served) scoreSides(c *scan) {
	t := &s.items.side
	c.side = sized(c.side, t.n)
	for from := 0; from < t.n; from += chunkRows {
		rows, chunk := min(chunkRows, t.n-from), from/chunkRows
		nn.Gemv(c.side[from:][:rows], nn.Block[float32]{Data: t.vectors[chunk], Rows: rows, Cols: t.dim, Stride: t.dim}, c.z)
		if !s.cfg.Cosine {
			nn.Add(c.side[from:][:rows], t.bias[chunk][:rows])
		}
	}
	nn.Scale(c.side, float32(sideShare))
	if c.mostSide, c.sided = 0, len(c.side) > 1 && !s.cfg.Cosine; c.sided {
		c.mostSide = float32(len(sideFields)) * slices.Max(c.side) // not below 0: the first is none
	}
}

// score sets scores to those of a chunk's rows, without marks.
func (s *Served) score(c *scan, scores []float32, chunk int) {
	base := s.baseOf(c, chunk)[:len(scores)]
	s.items.products(scores, c.z, chunk)
	if s.cfg.Cosine {
		s.addSides(c, scores, chunk)
		nn.Mul(scores, scores, s.lengths[chunk].inv[:len(scores)])
		nn.Add(scores, base)
	} else {
		nn.Add(scores, base)
	}
}

// scoreCodes is score by codes.
func (s *Served) scoreCodes(c *scan, scores []float32, chunk int) {
	codes, base := s.codes[chunk], s.baseOf(c, chunk)
	padded := scores[:(len(scores)+nn.TileRows-1)/nn.TileRows*nn.TileRows]
	var soon nn.Soon
	if next := chunk + 1; next < len(s.codes) {
		soon = nn.Soon{Tiles: s.codes[next].tiles, Scale: s.codes[next].scale, Base: s.baseOf(c, next)}
	}
	if s.cfg.Cosine {
		codes.score(padded, 0, c, c.zeros[:], soon)
		s.addSides(c, scores, chunk)
		nn.Mul(scores, scores, s.lengths[chunk].inv[:len(scores)])
		nn.Add(scores, base[:len(scores)])
	} else {
		codes.score(padded, 0, c, base, soon)
	}
}

// sidesOf adds side information to the scores of rows; nil where nothing is to be added.
func (c *scan) sidesOf(of []sides) func(j int, score float32) float32 {
	if !c.sided {
		return nil
	}
	return func(j int, score float32) float32 { return score + c.side[of[j][0]] + c.side[of[j][1]] }
}

// addSides goes through two fields without a loop, which takes half the time.
func (s *Served) addSides(c *scan, scores []float32, chunk int) {
	if len(c.side) == 1 {
		return // a stream without side information
	}
	addSides(scores, c.side, s.items.of[chunk][:len(scores)])
}

func addSides(scores, side []float32, of []sides) {
	of = of[:len(scores)]
	for j, x := range scores {
		scores[j] = x + side[of[j][0]] + side[of[j][1]]
	}
}

var _ [2]struct{} = [len(sideFields)]struct{}{} // a third field needs a third term in addSides

// scoreRow is the score of one row, marks included.
func (s *Served) scoreRow(c *scan, r Row) float32 {
	chunk, at := int(r)/chunkRows, int(r)%chunkRows
	score, base := nn.Dot(s.items.vector(r), c.z), s.baseOf(c, chunk)[at]
	if !s.cfg.Cosine {
		score += base
	}
	for _, row := range s.items.of[chunk][at] {
		score += c.side[row]
	}
	if s.cfg.Cosine {
		score = score*s.lengths[chunk].inv[at] + base
	}
	return score + c.effect.of(r)
}
