package model

import (
	"math"
	"slices"
	"sync/atomic"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// listBases are the bases of a gap bucket in the order of an index's lists.
type listBases struct {
	base [][]float32 // of each list, with room as its codes have
	inv  [][]float32 // what a product is divided by under Config.Cosine
	most []float32   // of each list, the highest base, side information's included
}

// rankedBases are those of the gap buckets that were asked for.
type rankedBases [gaps]atomic.Pointer[listBases]

// listBases returns those for the gap bucket of c.effect. Two goroutines may make the same: they get the same numbers.
func (s *Served) listBases(c *scan) *listBases {
	at := &s.ranked[max(0, c.effect.row-1)]
	if b := at.Load(); b != nil {
		return b
	}
	x, side := s.index, &s.items.side
	b := &listBases{make([][]float32, len(x.lists)), make([][]float32, len(x.lists)), make([]float32, len(x.lists))}
	for i, l := range x.lists {
		base, most := make([]float32, len(l.codes.scale)), float32(math.Inf(-1))
		for j, r := range l.rows {
			base[j] = s.baseOf(c, int(r)/chunkRows)[int(r)%chunkRows]
			sum := base[j]
			for _, of := range l.sides[j] {
				if of != 0 && !s.cfg.Cosine {
					sum += float32(sideShare) * side.biasOf(Row(of))[0]
				}
			}
			most = max(most, sum)
		}
		b.base[i], b.most[i] = base, most
		if s.cfg.Cosine {
			b.inv[i] = make([]float32, len(l.rows))
			for j, r := range l.rows {
				b.inv[i][j] = s.lengths[int(r)/chunkRows].inv[int(r)%chunkRows]
			}
		}
	}
	at.Store(b)
	return b
}

// probe returns rows, rising, that hold the k best with the recall that was measured: those that score highest by codes in the most promising lists, and all that have marks. Where a
// filter leaves too few, it looks on, in the end into all lists.
func (s *Served) probe(c *scan, k int) []Row {
	x, bases := s.index, s.listBases(c)
	c.top.reset(s.how.Precision.candidates(k), s.items.n)
	c.order = sized(c.order, x.cells.fine.n())
	nn.Gemv(c.order, x.cells.fine.block(0, len(c.order)), c.z)
	nn.Add(c.order, bases.most[1:])
	for from, to := 0, s.probes; from < len(c.order); from, to = to, 4*to {
		c.lists.reset(to, len(c.order))
		c.lists.show(0, c.order, nil, 0, nil)
		lists := c.lists.sorted()
		for _, l := range lists[min(from, len(lists)):] {
			s.lookInto(c, bases, 1+int(l.Row))
		}
		if from == 0 {
			s.lookInto(c, bases, 0)
		}
		if len(c.top.heap) == c.top.k {
			break
		}
	}
	c.rows = c.rows[:0]
	for _, found := range c.top.heap {
		c.rows = append(c.rows, x.row(found.Row))
	}
	for _, m := range c.effect.marks {
		if int(m.Row) < s.items.n {
			c.rows = append(c.rows, m.Row)
		}
	}
	slices.Sort(c.rows)
	c.rows = slices.Compact(c.rows)
	return c.rows
}

// lookInto shows c.top the rows of a list, by their places.
func (s *Served) lookInto(c *scan, bases *listBases, i int) {
	all := c.filter.all() // a list has no free rows: no name needs to be read
	l, base, of := s.index.lists[i], bases.base[i], s.index.starts[i]
	if len(c.lanes) == 0 {
		c.lanes = append(c.lanes, lookLane{})
	}
	c.lanes[0].scores = sized(c.lanes[0].scores, chunkRows)
	for from := 0; from < len(l.rows); from += chunkRows {
		n := min(chunkRows, len(l.rows)-from)
		scores := c.lanes[0].scores[:n]
		padded := scores[:(n+nn.TileRows-1)/nn.TileRows*nn.TileRows]
		if s.cfg.Cosine {
			l.codes.score(padded, from, c, c.zeros[:], nn.Soon{})
		} else {
			l.codes.score(padded, from, c, base[from:], nn.Soon{})
		}
		if s.cfg.Cosine {
			if len(c.side) > 1 {
				addSides(scores, c.side, l.sides[from:])
			}
			nn.Mul(scores, scores, bases.inv[i][from:][:n])
			nn.Add(scores, base[from:][:n])
		}
		c.top.show(Row(int(of)+from), scores, c.sidesOf(l.sides[from:]), c.mostSide, func(j int) bool {
			r := l.rows[from+j]
			return (all || c.filter.keeps(s, r)) && len(c.effect.marksOf(r)) == 0
		})
	}
}
