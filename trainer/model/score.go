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
// additions an item, but side information changes with every version: each delta would write the whole table anew, where now it copies the chunks it touches.

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
	c.mostSide = float32(len(sideFields)) * slices.Max(c.side) // not below 0: the first is none
	c.sided = len(c.side) > 1 && !s.cfg.Cosine
}

// score sets scores to those of a chunk's rows, without marks.
func (s *Served) score(c *scan, scores []float32, chunk int) {
	d, base := s.cfg.Dim, s.baseOf(c, chunk)[:len(scores)]
	nn.Gemv(scores, nn.Block[float32]{Data: s.items.vectors[chunk], Rows: len(scores), Cols: d, Stride: d}, c.z)
	if s.cfg.Cosine {
		s.addSides(c, scores, chunk)
		nn.Mul(scores, scores, s.lengths[chunk].inv[:len(scores)])
		nn.Add(scores, base)
	} else {
		nn.Add(scores, base)
	}
}

// scoreCodes is score by bytes.
func (s *Served) scoreCodes(c *scan, scores []float32, chunk int) {
	codes, base := s.codes[chunk], s.baseOf(c, chunk)
	padded := scores[:(len(scores)+nn.TileRows-1)/nn.TileRows*nn.TileRows]
	if s.cfg.Cosine {
		codes.score(padded, 0, c, c.zeros[:])
		s.addSides(c, scores, chunk)
		nn.Mul(scores, scores, s.lengths[chunk].inv[:len(scores)])
		nn.Add(scores, base[:len(scores)])
	} else {
		codes.score(padded, 0, c, base)
	}
}

// addSidesAbove adds side information to the scores that it may bring above a bound, and to those behind them: after the first few thousand rows those are few, and the others need
// not be looked up. One that it leaves as it is stays at or below the bound, too.
func (c *scan) addSidesAbove(scores []float32, bound float32, of []sides) {
	const together = 32 // so that many good ones cost little more than to add to all
	least := bound - c.mostSide
	least -= 1e-5 * max(least, -least, c.mostSide) // sums are rounded
	for j := nn.FirstAbove(scores, 0, least); j < len(scores); {
		to := min(j+together, len(scores))
		addSides(scores[j:to], c.side, of[j:to])
		j = nn.FirstAbove(scores, to, least)
	}
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
