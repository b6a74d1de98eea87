package model

import (
	"math"
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// ranker is the memory of a look at all rows.
type ranker struct {
	z, scores []float32
	since     []uint8   // gap bucket of each example
	terms     []float32 // of all rows (known, ItemTerms)
	weights   []float32 // of the examples at hand (group, ItemTerms)
	effect    effect[float32]
	top       top
	work      nn.Workspace[float32]
}

// maxScores bounds the scores that are held at a time: 32 MiB.
const maxScores = 8 << 20

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

// RanksAmong is Ranks without the rows that seen returns for example i, each of them once: they are no candidates for it. Targets always are.
func (m *Model) RanksAmong(known int, seen func(i int) []Row) [][]int32 {
	ranks, _ := m.judgeWithin(min(known, m.items.n), 0, len(m.batch), seen, maxScores)
	return ranks
}

// judgeWithin holds at most bound scores at a time, but all of one example: every example over a small table, some of them over a large one.
func (m *Model) judgeWithin(known, k, n int, seen func(i int) []Row, bound int) (ranks [][]int32, tops [][]ScoredRow) {
	b, d := min(n, len(m.batch)), m.cfg.Dim
	k = max(0, min(k, known))
	ranks, tops = make([][]int32, b), make([][]ScoredRow, b)
	if b == 0 {
		return ranks, tops // the terms of all rows would be asked for in vain
	}
	best := make([]ScoredRow, 0, b*k)
	group := max(1, min(b, bound/max(1, known)))
	m.ranks.scores = sized(m.ranks.scores, group*known)
	z := m.queries()
	m.fetchTerms(known)
	for from := 0; from < b; from += group {
		rows := min(group, b-from)
		out := nn.Block[float32]{Data: m.ranks.scores, Rows: rows, Cols: known, Stride: known}
		if known > 0 {
			m.ranks.work.Reset()
			m.items.compare(&m.cfg, out, nn.Whole(z, d).Slice(from, from+rows), known, &m.ranks.work)
			m.addTerms(out, from)
			m.hide(out)
		}
		for i := from; i < from+rows; i++ {
			scores := m.ranks.scores[(i-from)*known:][:known]
			ranks[i] = m.ranksOf(scores, m.batch[i].Targets)
			if seen != nil {
				for j, r := range m.batch[i].Targets {
					if ranks[i][j] > 0 {
						ranks[i][j] -= ahead(scores, seen(i), r, m.batch[i].Targets)
					}
				}
			}
			if k > 0 {
				m.ranks.top.reset(k, known)
				m.ranks.top.show(0, scores, func(j int) bool { return !math.IsInf(float64(scores[j]), -1) }) // hidden
				at := len(best)
				best = append(best, m.ranks.top.sorted()...)
				tops[i] = best[at:len(best):len(best)]
			}
		}
	}
	return ranks, tops
}

// ranksOf are the ranks of targets among scores, 0 of those that are not there.
func (m *Model) ranksOf(scores []float32, targets []Row) []int32 {
	ranks := make([]int32, len(targets))
	for j, r := range targets {
		if int(r) < len(scores) && !m.Given(r) {
			ranks[j] = rankOf(scores, int(r))
		}
	}
	return ranks
}

// fetchTerms asks for the terms of the first rows: once, however many examples there are.
func (m *Model) fetchTerms(known int) {
	live := m.net.terms.live
	if !m.cfg.Terms || live == nil {
		return
	}
	m.ranks.terms = sized(m.ranks.terms, known*ItemTerms)
	for from := 0; from < known; from += chunkRows {
		live.ItemTerms(m.ranks.terms[from*ItemTerms:min(from+chunkRows, known)*ItemTerms], Row(from))
	}
}

// addTerms adds the terms of items and marks to the scores of the examples from number from on.   out (R,known)
func (m *Model) addTerms(out nn.Block[float32], from int) {
	if !m.cfg.Terms {
		return
	}
	m.ranks.weights = sized(m.ranks.weights, out.Rows*ItemTerms)
	e := &m.ranks.effect
	for i := range out.Rows {
		e.set(m.w, m.ranks.since[from+i], m.batch[from+i].Marks)
		copy(m.ranks.weights[i*ItemTerms:], e.items[:])
	}
	if m.net.terms.live != nil {
		nn.Gemm(out, nn.Plain, nn.Transposed, 1, nn.Whole(m.ranks.weights, ItemTerms), nn.Whole(m.ranks.terms, ItemTerms), 1)
	}
	for i := range out.Rows {
		e.set(m.w, m.ranks.since[from+i], m.batch[from+i].Marks)
		scores := out.Data[i*out.Stride:][:out.Cols]
		for _, mark := range e.marks {
			if int(mark.Row) < len(scores) {
				scores[mark.Row] += e.kinds[mark.Of] * mark.Value
			}
		}
	}
}

// ahead counts the rows of seen that stand before target and are no targets.
func ahead(scores []float32, seen []Row, target Row, targets []Row) (n int32) {
	for _, r := range seen {
		if int(r) < len(scores) && scores[r] >= scores[target] && !slices.Contains(targets, r) {
			n++
		}
	}
	return n
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
