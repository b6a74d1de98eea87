package model

import (
	"math"
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// rowGradients collects the gradients of the rows a step touches. Slots are given in the order of asking, so that nothing depends
// on the order of a map.
type rowGradients[F nn.Float] struct {
	dim   int
	slot  []int32 // of each row of the table, -1 for none
	rows  []Row   // of each slot
	grad  []F     // (slots, dim)
	dBias []F     // (slots)
}

// reset forgets all slots; rows is the size of the table.
func (g *rowGradients[F]) reset(rows int) {
	for _, r := range g.rows {
		g.slot[r] = -1
	}
	for len(g.slot) < rows {
		g.slot = append(g.slot, -1)
	}
	g.rows, g.grad, g.dBias = g.rows[:0], g.grad[:0], g.dBias[:0]
}

// touch returns the slot of r, with a zero gradient if it is new. Slices got from vector before are void.
func (g *rowGradients[F]) touch(r Row) int {
	if s := g.slot[r]; s >= 0 {
		return int(s)
	}
	s := len(g.rows)
	g.slot[r] = int32(s)
	g.rows, g.dBias = append(g.rows, r), append(g.dBias, 0)
	g.grad = slices.Grow(g.grad, g.dim)[:len(g.grad)+g.dim]
	clear(g.grad[s*g.dim:])
	return s
}

func (g *rowGradients[F]) vector(r Row) []F { return g.grad[g.touch(r)*g.dim:][:g.dim] }

// task is what a batch is to be judged by.
type task struct {
	candidates []Row     // rising, distinct: targets and negatives of all examples
	logQ       []float64 // of each candidate; nil when the candidates are all rows
	targets    [][]int32 // of each example, places among the candidates; none where the example is not learned from
	excluded   [][]int32 // of each example, places of its further targets, which are no negatives for it
}

// learned counts the examples that are learned from.
func (t *task) learned() int {
	n := 0
	for _, places := range t.targets {
		if len(places) > 0 {
			n++
		}
	}
	return n
}

// loss returns the mean loss over the examples that are learned from, and its gradient by the query vectors. It puts the candidates into the
// first slots of rows, with the gradients of their sums.
func (p *pass[F]) loss(items *catalogue[F], rows *rowGradients[F], t *task) (loss float64, dz []F) {
	b, d, n := p.layout.sequences(), p.cfg.Dim, len(t.candidates)
	for _, r := range t.candidates {
		rows.touch(r)
	}
	vectors, shift := p.work.Take(n*d), p.work.Take(n)
	for j, r := range t.candidates {
		shift[j] = items.sum(vectors[j*d:][:d], r)
		if t.logQ != nil {
			shift[j] -= F(t.logQ[j])
		}
	}
	s, ds := p.work.Take(b*n), p.work.Take(b*n)
	scores, e := nn.Block[F]{Data: s, Rows: b, Cols: n, Stride: n}, nn.Whole(vectors, d)
	nn.Gemm(scores, nn.Plain, nn.Transposed, 1, p.z.Block, e, 0)
	nn.AddBias(s, shift)
	weight := 1 / float64(max(1, t.learned()))
	for i := range b {
		grad := ds[i*n:][:n]
		if len(t.targets[i]) == 0 {
			clear(grad)
			continue
		}
		loss += nn.SampledSoftmax(grad, s[i*n:][:n], t.targets[i], t.excluded[i], weight)
	}
	gradient := nn.Block[F]{Data: ds, Rows: b, Cols: n, Stride: n}
	dz = p.work.Take(b * d)
	nn.Gemm(nn.Block[F]{Data: dz, Rows: b, Cols: d, Stride: d}, nn.Plain, nn.Plain, 1, gradient, e, 0)
	nn.Gemm(nn.Whole(rows.grad[:n*d], d), nn.Transposed, nn.Plain, 1, gradient, p.z.Block, 1)
	nn.AddBiasBackward(rows.dBias[:n], ds)
	return loss * weight, dz
}

// ranks returns the 1-based rank of each target among the rows below known. A tie counts against the target. A target that is not below known
// has rank 0; one whose score is not a number comes last.
// At most bound scores are held at a time, but all of one example: every example over a small table, some of them over a large one.
func (p *pass[F]) ranks(items *catalogue[F], targets [][]Row, known int, scratch []F, bound int) (ranks [][]int32, _ []F) {
	b, d := p.layout.sequences(), p.cfg.Dim
	ranks = make([][]int32, b)
	group := max(1, min(b, bound/max(1, known)))
	if need := group * known; len(scratch) < need {
		scratch = make([]F, need+need/4)
	}
	for from := 0; from < b; from += group {
		rows := min(group, b-from)
		out := nn.Block[F]{Data: scratch, Rows: rows, Cols: known, Stride: known}
		if known > 0 {
			items.scores(out, nn.Whole(p.z.Data, d).Slice(from, from+rows), known, &p.work)
		}
		for i := from; i < from+rows; i++ {
			ranks[i] = make([]int32, len(targets[i]))
			if known == 0 {
				continue
			}
			scores := scratch[(i-from)*known:][:known]
			for j, r := range targets[i] {
				if int(r) < known {
					ranks[i][j] = rankOf(scores, int(r))
				}
			}
		}
	}
	return ranks, scratch
}

func rankOf[F nn.Float](scores []F, target int) int32 {
	of := scores[target]
	if math.IsNaN(float64(of)) {
		return int32(len(scores))
	}
	var a, b int32
	for len(scores) >= 2 { // two counters, and no branch that the processor would have to guess
		var x, y int32
		if scores[0] >= of {
			x = 1
		}
		if scores[1] >= of {
			y = 1
		}
		a, b = a+x, b+y
		scores = scores[2:]
	}
	if len(scores) > 0 && scores[0] >= of {
		a++
	}
	return a + b
}
