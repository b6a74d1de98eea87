package model

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// ranker is the memory of a look at all rows.
type ranker struct {
	z       []float32
	since   []uint8   // gap bucket of each example
	scores  []float32 // of a block of rows, by example (B, block)
	weights []float32 // of the terms of items, by example (B, ItemTerms)
	side    []float32 // scores of the side rows, by example (B, side rows); none without side information
	examples
	lanes []rankLane
	work  nn.Workspace[float32] // of side
}

// examples is what a look has found so far, by example.
type examples struct {
	effects []effect[float32]
	of      [][]float32 // scores of the targets
	ranks   [][]int32   // how many score at least as high
	tops    []top
	seen    [][]Row // that are no candidates
}

// rankLane is the memory of one of the goroutines that look.
type rankLane struct {
	work  nn.Workspace[float32]
	terms []float32 // of a chunk of rows (chunkRows, ItemTerms)
}

// maxScores bounds the scores that are held at a time: 4 MiB, which is behind the second cache, but nearer than the vectors.
const maxScores = 1 << 20

// Ranks returns, for each example and each of its targets, the target's rank by score among the rows below known: 1 is best, ties count
// against the target, a target that is not below known, or whose row was Given, has rank 0, and one whose score is not a number comes last.
func (m *Model) Ranks(known int) [][]int32 {
	ranks, _ := m.Judge(known, 0, len(m.batch))
	return ranks
}

// Judge returns the Ranks of the last Forward's batch and, from the same scores, for each example the k best rows below known: best first, equal scores by row,
// none whose score is not a number. It looks at the first n examples: a look at all rows costs more than a step where the catalogue is large.
func (m *Model) Judge(known, k, n int) (ranks [][]int32, tops [][]ScoredRow) {
	return m.judgeWithin(min(known, m.items.n), k, n, nil, maxScores)
}

// RanksAmong is Ranks without the rows that seen returns for example i, each of them once, which are to stay as they are until it returns: they are no candidates for it. Targets always are.
func (m *Model) RanksAmong(known int, seen func(i int) []Row) [][]int32 {
	ranks, _ := m.judgeWithin(min(known, m.items.n), 0, len(m.batch), seen, maxScores)
	return ranks
}

// judgeWithin holds at most bound scores at a time, but those of a chunk of rows by all examples. It goes through the rows once, all examples together, in blocks of whole
// chunks: what a large table costs is to be read. A rank needs the target's score before the first block, so where there are several the chunks of the targets are
// computed twice: by the same product of the same shape, to the same bits.
func (m *Model) judgeWithin(known, k, n int, seen func(i int) []Row, bound int) (ranks [][]int32, tops [][]ScoredRow) {
	b := min(n, len(m.batch))
	if b == 0 {
		return [][]int32{}, [][]ScoredRow{} // all that a look begins with would be in vain
	}
	m.beginLook(b, max(0, min(k, known)), known, seen)
	block := max(1, bound/b/chunkRows) * chunkRows
	if known > block {
		m.aimAhead(known)
	}
	for from := 0; from < known; from += block {
		m.lookAt(from, min(from+block, known), known <= block)
	}
	return m.endLook(b, known)
}

// beginLook makes everything ready for b examples.
func (m *Model) beginLook(b, k, known int, seen func(i int) []Row) {
	x, d := &m.ranks, m.cfg.Dim
	m.queries()
	x.effects, x.of, x.ranks, x.tops, x.seen = sized(x.effects, b), sized(x.of, b), make([][]int32, b), sized(x.tops, b), sized(x.seen, b)
	x.weights = sized(x.weights, b*ItemTerms)
	for i := range b {
		targets := m.batch[i].Targets
		x.of[i], x.ranks[i] = sized(x.of[i], len(targets)), make([]int32, len(targets))
		x.tops[i].reset(k, known)
		x.seen[i] = nil
		if seen != nil {
			x.seen[i] = seen(i)
		}
		if m.cfg.Terms {
			x.effects[i].set(m.w, x.since[i], m.batch[i].Marks)
			copy(x.weights[i*ItemTerms:], x.effects[i].items[:])
		}
	}
	if len(x.lanes) == 0 {
		x.lanes = make([]rankLane, m.cfg.Lanes)
	}
	x.work.Reset()
	x.side = m.items.sideScores(&m.cfg, nn.Whole(x.z[:b*d], d), &x.work)
}

// aimAhead computes the scores of the targets.
func (m *Model) aimAhead(known int) {
	x := &m.ranks
	var chunks []int
	for i := range x.of {
		for _, r := range m.batch[i].Targets {
			if int(r) < known {
				chunks = append(chunks, int(r)/chunkRows)
			}
		}
	}
	slices.Sort(chunks)
	for _, c := range slices.Compact(chunks) {
		from, to := c*chunkRows, min((c+1)*chunkRows, known)
		out := m.blockOf(from, to)
		m.scoreChunk(&x.lanes[0], out, from, to)
		for i := range x.of {
			m.addMarks(i, out, from, to)
			m.aim(i, out, from, to)
		}
	}
}

// aim keeps the scores of example i's targets that are in a block.
func (m *Model) aim(i int, out nn.Block[float32], from, to int) {
	for j, r := range m.batch[i].Targets {
		if int(r) >= from && int(r) < to {
			m.ranks.of[i][j] = out.Data[i*out.Stride+int(r)-from]
		}
	}
}

// blockOf is the memory of the scores of the rows from from to to.
func (m *Model) blockOf(from, to int) nn.Block[float32] {
	x := &m.ranks
	b, rows := len(x.of), to-from
	x.scores = sized(x.scores, b*rows)
	return nn.Block[float32]{Data: x.scores, Rows: b, Cols: rows, Stride: rows}
}

// lookAt scores a block of rows, chunk by chunk, and shows each example its scores: lanes take an equal part of either. Under all there is no other block.
func (m *Model) lookAt(from, to int, all bool) {
	out := m.blockOf(from, to)
	m.parts((to-from+chunkRows-1)/chunkRows, func(l *rankLane, first, last int) {
		for c := first; c < last; c++ {
			at := from + c*chunkRows
			end := min(at+chunkRows, to)
			m.scoreChunk(l, out.Columns(at-from, end-from), at, end)
		}
	})
	m.parts(out.Rows, func(_ *rankLane, first, last int) {
		for i := first; i < last; i++ {
			m.addMarks(i, out, from, to)
			if all {
				m.aim(i, out, from, to)
			}
			m.show(i, out.Data[i*out.Stride:][:out.Cols], from)
		}
	})
}

// parts deals n pieces of work to the lanes, at the same time. What a piece gives does not depend on who does it.
func (m *Model) parts(n int, f func(l *rankLane, first, last int)) {
	lanes := m.ranks.lanes
	var wg sync.WaitGroup
	for i := 1; i < len(lanes); i++ {
		if first, last := n*i/len(lanes), n*(i+1)/len(lanes); first < last {
			wg.Go(func() { f(&lanes[i], first, last) })
		}
	}
	f(&lanes[0], 0, n/len(lanes))
	wg.Wait()
}

// scoreChunk sets out to the scores of the rows from from to to, which are one chunk or its beginning, without marks.   out (B, to-from)
func (m *Model) scoreChunk(l *rankLane, out nn.Block[float32], from, to int) {
	x, d, rows := &m.ranks, m.cfg.Dim, to-from
	l.work.Reset()
	m.items.compareChunk(&m.cfg, out, nn.Whole(x.z[:out.Rows*d], d), x.side, from/chunkRows, rows, &l.work)
	if live := m.net.terms.live; m.cfg.Terms && live != nil {
		l.terms = sized(l.terms, chunkRows*ItemTerms)
		terms := l.terms[:rows*ItemTerms]
		live.ItemTerms(terms, Row(from))
		nn.Gemm(out, nn.Plain, nn.Transposed, 1, nn.Whole(x.weights[:out.Rows*ItemTerms], ItemTerms), nn.Whole(terms, ItemTerms), 1)
	}
}

// addMarks adds what example i's marks say of the rows of a block, and hides those that are no candidates.
func (m *Model) addMarks(i int, out nn.Block[float32], from, to int) {
	scores := out.Data[i*out.Stride:][:out.Cols]
	if m.cfg.Terms {
		e := &m.ranks.effects[i]
		for _, mark := range e.marks {
			if r := int(mark.Row); r >= from && r < to {
				scores[r-from] += e.kinds[mark.Of] * mark.Value
			}
		}
	}
	m.hide(scores, from)
}

// show counts the scores that are in the way of example i's targets, and keeps the best.
func (m *Model) show(i int, scores []float32, from int) {
	x := &m.ranks
	for j, of := range x.of[i] {
		x.ranks[i][j] += int32(nn.CountAtLeast(scores, of)) - ahead(scores, from, x.seen[i], of, m.batch[i].Targets)
	}
	x.tops[i].show(Row(from), scores, nil, 0, func(j int) bool { return !math.IsInf(float64(scores[j]), -1) }) // hidden
}

// ahead counts the rows of seen that score at least as high as a target and are no targets.
func ahead(scores []float32, from int, seen []Row, of float32, targets []Row) (n int32) {
	for _, r := range seen {
		if at := int(r) - from; at >= 0 && at < len(scores) && scores[at] >= of && !slices.Contains(targets, r) {
			n++
		}
	}
	return n
}

// endLook returns what was found.
func (m *Model) endLook(b, known int) (ranks [][]int32, tops [][]ScoredRow) {
	x := &m.ranks
	ranks, tops = x.ranks, make([][]ScoredRow, b)
	x.ranks = nil
	for i := range b {
		for j, r := range m.batch[i].Targets {
			switch of := x.of[i][j]; {
			case int(r) >= known || m.Given(r):
				ranks[i][j] = 0
			case of != of: // not a number
				ranks[i][j] = int32(known)
			}
		}
		tops[i] = slices.Clone(x.tops[i].sorted())
		x.seen[i] = nil
	}
	return ranks, tops
}

// hide keeps the rows that are no candidates out of the scores of the rows from from on.
func (m *Model) hide(scores []float32, from int) {
	none := float32(math.Inf(-1))
	to := Row(from + len(scores))
	falling := func(r, of Row) int { return cmp.Compare(of, r) }
	first, _ := slices.BinarySearchFunc(m.lives.free, to-1, falling)
	for _, r := range m.lives.free[first:] {
		if int(r) < from {
			break
		}
		scores[int(r)-from] = none
	}
	first, _ = slices.BinarySearch(m.lives.given, Row(from))
	for _, r := range m.lives.given[first:] {
		if r >= to {
			break
		}
		scores[int(r)-from] = none
	}
}

// queries returns the query vectors of the batch, one a request; zeros where there was nothing to ask. It leaves the time since the newest session of each in
// m.ranks.since.   (B,D)
func (m *Model) queries() []float32 {
	d := m.cfg.Dim
	m.ranks.z, m.ranks.since = sized(m.ranks.z, len(m.batch)*d), m.ranks.since[:0]
	at := 0
	for g := range m.net.groups {
		of := &m.net.groups[g]
		m.ranks.since = append(m.ranks.since, of.layout.since...)
		for _, q := range of.layout.request {
			to := m.ranks.z[at*d:][:d]
			at++
			if q < 0 {
				clear(to)
				continue
			}
			copy(to, of.pass.z[int(q)*d:][:d])
		}
	}
	return m.ranks.z
}
