package model

import (
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// sample draws the candidates that all examples of the batch share: their targets, draws from all rows, and draws from the recent targets. When
// there are no more rows than draws, all rows are candidates and nothing needs correction.
func (m *Model) sample() task {
	t := task{targets: make([][]int32, len(m.batch)), excluded: make([][]int32, len(m.batch))}
	n, uniform, recent := m.items.n, m.cfg.NegativesUniform, m.cfg.NegativesRecent
	chosen := make([][]Row, len(m.batch))
	inBatch := 0
	for i := range m.batch {
		e := &m.batch[i]
		if len(m.pass.layout.past) != len(m.batch) || (!m.pass.layout.past[i] && !m.cfg.LossWithoutHistory) {
			continue
		}
		chosen[i] = m.choose(e.Targets)
		inBatch += len(chosen[i])
	}
	if inBatch == 0 {
		return t
	}
	if n <= uniform+recent {
		for r := range n {
			t.candidates = append(t.candidates, Row(r))
		}
	} else {
		for _, rows := range chosen {
			t.candidates = append(t.candidates, rows...)
		}
		for range uniform {
			t.candidates = append(t.candidates, Row(m.rng.IntN(n)))
		}
		if len(m.ring) == 0 {
			recent = 0
		}
		for range recent {
			t.candidates = append(t.candidates, m.recent(m.rng.IntN(len(m.ring))))
		}
		slices.Sort(t.candidates)
		t.candidates = slices.Compact(t.candidates)
		t.logQ = make([]float64, len(t.candidates))
		for j, r := range t.candidates {
			frequency := float64(m.frequency[r]) / float64(max(1, len(m.ring)))
			t.logQ[j] = nn.LogQ(uniform, n, recent, inBatch, frequency)
		}
	}
	for i := range m.batch {
		for _, r := range chosen[i] {
			j, _ := slices.BinarySearch(t.candidates, r)
			t.targets[i] = append(t.targets[i], int32(j))
		}
		if len(chosen[i]) == len(m.batch[i].Targets) {
			continue
		}
		for _, r := range m.batch[i].Targets {
			if j, ok := slices.BinarySearch(t.candidates, r); ok && len(chosen[i]) > 0 && !slices.Contains(chosen[i], r) {
				t.excluded[i] = append(t.excluded[i], int32(j))
			}
		}
	}
	return t
}

// choose returns the targets, or MaxTargets of them drawn at random.
func (m *Model) choose(targets []Row) []Row {
	if len(targets) <= m.cfg.MaxTargets {
		return targets
	}
	rows := slices.Clone(targets)
	for i := range m.cfg.MaxTargets {
		j := i + m.rng.IntN(len(rows)-i)
		rows[i], rows[j] = rows[j], rows[i]
	}
	return rows[:m.cfg.MaxTargets]
}

// remember puts the batch's targets into the ring: it is the running estimate of how often an item is a target, and the pool of recent
// negatives.
func (m *Model) remember() {
	for i := range m.batch {
		for _, r := range m.batch[i].Targets {
			m.frequency[r]++
			if len(m.ring) < m.cfg.RecentWindow {
				m.ring = append(m.ring, r)
				continue
			}
			m.frequency[m.ring[m.ringNext]]--
			m.ring[m.ringNext] = r
			m.ringNext = (m.ringNext + 1) % len(m.ring)
		}
	}
	m.batch = nil
}

// recent returns the i-th target of the ring, oldest first: where the ring happens to start must not matter to what is drawn.
func (m *Model) recent(i int) Row { return m.ring[(m.ringNext+i)%len(m.ring)] }
