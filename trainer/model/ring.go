package model

import "github.com/freshet-ml/freshet/trainer/nn"

// ring holds the last targets: it is the running estimate of how often an item is a target, and the pool of recent negatives.
// Its fields are in Model: frequency, ring, ringNext.

// remember puts the targets of the batch into the ring.
func (m *Model) remember() {
	for g := range m.net.groups {
		l := &m.net.groups[g].layout
		for i := range l.queries {
			if q := &l.queries[i]; q.ahead == 0 {
				for _, r := range l.targets[q.from:q.to] {
					m.count(r)
				}
			}
		}
	}
}

func (m *Model) count(r Row) {
	m.frequency[r]++
	if len(m.ring) < m.cfg.RecentWindow {
		m.ring = append(m.ring, r)
		return
	}
	m.frequency[m.ring[m.ringNext]]--
	m.ring[m.ringNext] = r
	m.ringNext = (m.ringNext + 1) % len(m.ring)
}

// recent returns the i-th target of the ring, oldest first: where the ring happens to start must not matter to what is drawn.
func (m *Model) recent(i int) Row { return m.ring[(m.ringNext+i)%len(m.ring)] }

// logQ appends the correction of each candidate.
func (m *Model) logQ(to []float64, candidates []Row, uniform, recent, inBatch int) []float64 {
	for _, r := range candidates {
		frequency := float64(m.frequency[r]) / float64(max(1, len(m.ring)))
		to = append(to, nn.LogQ(uniform, m.Live(), recent, inBatch, frequency))
	}
	return to
}
