package model

import (
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// ranker is the memory of Ranks.
type ranker struct {
	z, scores []float32
	work      nn.Workspace[float32]
}

// maxScores bounds the memory of Ranks: 32 MiB.
const maxScores = 8 << 20

// Ranks returns, for each example and each of its targets, the target's rank by score among the rows below known: 1 is best, ties count
// against the target, a target that is not below known has rank 0, and one whose score is not a number comes last.
func (m *Model) Ranks(known int) [][]int32 { return m.RanksAmong(known, nil) }

// RanksAmong is Ranks without the rows that seen returns for example i, each of them once: they are no candidates for it. Targets always are.
func (m *Model) RanksAmong(known int, seen func(i int) []Row) [][]int32 {
	return m.ranksWithin(min(known, m.items.n), seen, maxScores)
}

// ranksWithin holds at most bound scores at a time, but all of one example: every example over a small table, some of them over a large one.
func (m *Model) ranksWithin(known int, seen func(i int) []Row, bound int) [][]int32 {
	b, d := len(m.batch), m.cfg.Dim
	ranks := make([][]int32, b)
	group := max(1, min(b, bound/max(1, known)))
	m.ranks.scores = sized(m.ranks.scores, group*known)
	z := m.queries()
	for from := 0; from < b; from += group {
		rows := min(group, b-from)
		out := nn.Block[float32]{Data: m.ranks.scores, Rows: rows, Cols: known, Stride: known}
		if known > 0 {
			m.ranks.work.Reset()
			m.items.compare(&m.cfg, out, nn.Whole(z, d).Slice(from, from+rows), known, &m.ranks.work)
		}
		for i := from; i < from+rows; i++ {
			targets := m.batch[i].Targets
			ranks[i] = make([]int32, len(targets))
			if known == 0 {
				continue
			}
			scores := m.ranks.scores[(i-from)*known:][:known]
			for j, r := range targets {
				if int(r) < known {
					ranks[i][j] = rankOf(scores, int(r))
					if seen != nil {
						ranks[i][j] -= ahead(scores, seen(i), r, targets)
					}
				}
			}
		}
	}
	return ranks
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

// queries returns the query vectors of the batch, one a request; zeros where there was nothing to ask.   (B,D)
func (m *Model) queries() []float32 {
	d := m.cfg.Dim
	m.ranks.z = sized(m.ranks.z, len(m.batch)*d)
	at := 0
	for g := range m.net.groups {
		of := &m.net.groups[g]
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
