package model

import "slices"

// task is what a batch is to be judged by: the candidates that all its queries share, or those of a group, and for each query its own.
type task struct {
	candidates []Row     // rising, distinct, of one draw behind the other
	logQ       []float64 // of each candidate; nil for no correction
	draws      []span    // of each group of sequences, in candidates; none where all is one draw
	sampledToo bool      // positives are candidates as well, and are corrected as such
	queries    []aim     // of each query of each group of sequences, in order
	learned    int       // examples that are learned from
	positives  []Row     // of all queries
	excluded   []Row     // of all queries
	ladders    []ladder
}

// span is a part of a list.
type span struct{ from, to int }

// drawOf returns the candidates of a group.
func (t *task) drawOf(group int) span {
	if len(t.draws) == 0 {
		return span{0, len(t.candidates)}
	}
	return t.draws[group]
}

// aim is what one query is learned from.
type aim struct {
	weight         float64 // 0: nothing is learned
	from, to       int32   // its positives
	exFrom, exTo   int32   // its further targets, which are no negatives for it
	ladder, rungTo int32   // its ladders
}

// ladder is one comparison within a session: what was clicked against what was only shown, or what was bought against what was only clicked.
type ladder struct {
	positives, negatives []Row
	weight               float64
}

// sample draws what the batch of the last layout is judged by. When there are no more items than draws, all are candidates and nothing needs
// correction.
func (m *Model) sample() *task {
	t := &m.task
	t.candidates, t.logQ, t.draws, t.queries, t.learned = t.candidates[:0], nil, t.draws[:0], t.queries[:0], 0
	t.positives, t.excluded, t.ladders, t.sampledToo = t.positives[:0], t.excluded[:0], t.ladders[:0], false
	weigh := m.weights()
	var own []span // positives of each group
	for g := range m.net.groups {
		first := len(t.positives)
		l := &m.net.groups[g].layout
		for i := range l.queries {
			q := &l.queries[i]
			a := aim{from: int32(len(t.positives)), exFrom: int32(len(t.excluded)), ladder: int32(len(t.ladders))}
			targets := l.targets[q.from:q.to]
			if len(targets) > 0 && (q.history || m.cfg.LossWithoutHistory) {
				a.weight = weigh(q)
				switch e := &m.net.batch[q.example]; {
				case q.session >= 0 && e.Weights != nil:
					a.weight *= e.Weights[q.session]
				case q.session < 0 && e.Weight != 0:
					a.weight *= e.Weight
				}
				if q.ahead == 0 {
					t.learned++
				}
				m.choose(t, targets)
				if q.ahead == 0 && m.cfg.ClickWeight+m.cfg.PayWeight > 0 {
					m.climb(t, targets, l.actions[q.from:q.to])
				}
			}
			a.to, a.exTo, a.rungTo = int32(len(t.positives)), int32(len(t.excluded)), int32(len(t.ladders))
			t.queries = append(t.queries, a)
		}
		own = append(own, span{first, len(t.positives)})
	}
	if len(t.positives) == 0 {
		return t
	}
	for i := range t.queries {
		t.queries[i].weight /= float64(max(1, t.learned))
	}
	if m.cfg.NegativesPer == batch || m.cfg.Loss == full {
		m.draw(t, t.positives)
		return t
	}
	for _, s := range own {
		from := len(t.candidates)
		m.draw(t, t.positives[s.from:s.to])
		t.draws = append(t.draws, span{from, len(t.candidates)})
	}
	return t
}

// draw adds candidates for queries with these positives.
func (m *Model) draw(t *task, positives []Row) {
	uniform, recent := m.cfg.NegativesUniform, m.cfg.NegativesRecent
	if m.cfg.Loss == full || m.cfg.LogQ && m.Live() <= uniform+recent {
		for r, id := range m.ids {
			if id != "" {
				t.candidates = append(t.candidates, Row(r))
			}
		}
		return
	}
	inBatch, from := 0, len(t.candidates)
	if m.cfg.NegativesInBatch {
		t.candidates, inBatch, t.sampledToo = append(t.candidates, positives...), len(positives), true
	}
	for range uniform {
		t.candidates = append(t.candidates, m.drawLive())
	}
	if len(m.ring) == 0 {
		recent = 0
	}
	for range recent {
		t.candidates = append(t.candidates, m.recent(m.rng.IntN(len(m.ring))))
	}
	drawn := t.candidates[from:]
	slices.Sort(drawn)
	t.candidates = t.candidates[:from+len(slices.Compact(drawn))]
	if m.cfg.LogQ {
		t.logQ = m.logQ(t.logQ, t.candidates[from:], uniform, recent, inBatch)
	}
}

// choose adds the targets of a query to its positives, or MaxTargets of them drawn at random and the others to what is excluded.
func (m *Model) choose(t *task, targets []Row) {
	from := len(t.positives)
	t.positives = append(t.positives, targets...)
	if len(targets) <= m.cfg.MaxTargets {
		return
	}
	rows := t.positives[from:]
	for i := range m.cfg.MaxTargets {
		j := i + m.rng.IntN(len(rows)-i)
		rows[i], rows[j] = rows[j], rows[i]
	}
	t.excluded = append(t.excluded, rows[m.cfg.MaxTargets:]...)
	t.positives = t.positives[:from+m.cfg.MaxTargets]
}

// climb adds the ladders of a session: clicked over shown, bought over clicked (TBGRecall's L_click and L_pay). One whose sides are not both
// there says nothing.
func (m *Model) climb(t *task, targets []Row, actions []uint8) {
	split := func(high, low uint8, weight float64) {
		if weight == 0 {
			return
		}
		var of ladder
		for i, a := range actions {
			switch {
			case a >= high:
				of.positives = append(of.positives, targets[i])
			case a >= low:
				of.negatives = append(of.negatives, targets[i])
			}
		}
		if len(of.positives) > 0 && len(of.negatives) > 0 {
			of.weight = weight
			t.ladders = append(t.ladders, of)
		}
	}
	split(actionClick, actionExposure, m.cfg.ClickWeight)
	split(actionPurchase, actionClick, m.cfg.PayWeight)
}

// weights returns how much a query weighs, before the division by the number of examples: HorizonDecay^ahead, and under Config.SceneNorm
// the inverse of its scene's share of the requests so far, so that the scenes weigh the same. Shares of the batch alone would let a scene of one request explode.
func (m *Model) weights() func(q *query) float64 {
	decay := make([]float64, m.cfg.Horizon)
	for i := range decay {
		decay[i] = 1
		if i > 0 {
			decay[i] = decay[i-1] * m.cfg.HorizonDecay
		}
	}
	if !m.cfg.SceneNorm {
		return func(q *query) float64 { return decay[q.ahead] }
	}
	m.countScenes()
	scenes, total := 0., 0.
	for _, seen := range m.scenes {
		total += seen
		if seen > 0 {
			scenes++
		}
	}
	return func(q *query) float64 { return decay[q.ahead] * total / (scenes * m.scenes[q.scene]) }
}

// sceneMemory is how much of the counts of scenes a step keeps: about the last thousand steps speak.
const sceneMemory = 0.999

func (m *Model) countScenes() {
	for i := range m.scenes {
		m.scenes[i] *= sceneMemory
	}
	for g := range m.net.groups {
		for i := range m.net.groups[g].layout.queries {
			if q := &m.net.groups[g].layout.queries[i]; q.ahead == 0 && q.to > q.from {
				m.scenes[q.scene]++
			}
		}
	}
}
