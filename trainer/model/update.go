package model

import (
	"math"
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// rowState is what the optimiser keeps of the items, in chunks of rows: Adagrad's accumulators, one number for a vector and one for a bias, or
// Adam's moments, two numbers for each of theirs.
type rowState struct {
	full          bool // Adam
	acc, accBias  [][]float32
	forgets       bool        // Config.RowMemory
	steps         [][]uint64  // of each row: AdamW's step when it was moved last
	first, second [][]float32 // (chunkRows, dim)
	biasMoments   [][]float32 // (chunkRows, 2)
}

// grow makes room for row n.
func (s *rowState) grow(n, dim int) {
	if n%chunkRows != 0 {
		return
	}
	if s.full {
		s.first, s.second = append(s.first, make([]float32, chunkRows*dim)), append(s.second, make([]float32, chunkRows*dim))
		s.biasMoments = append(s.biasMoments, make([]float32, 2*chunkRows))
		return
	}
	s.acc, s.accBias = append(s.acc, make([]float32, chunkRows)), append(s.accBias, make([]float32, chunkRows))
	if s.forgets {
		s.steps = append(s.steps, make([]uint64, chunkRows))
	}
}

// clear forgets what is kept of a row.
func (s *rowState) clear(r Row, dim int) {
	chunk, place := int(r)/chunkRows, int(r)%chunkRows
	if s.full {
		first, second := s.adamOf(r, dim)
		clear(first)
		clear(second)
		clear(s.biasMoments[chunk][2*place:][:2])
		return
	}
	s.acc[chunk][place], s.accBias[chunk][place] = 0, 0
	if s.forgets {
		s.steps[chunk][place] = 0
	}
}

// forget makes the accumulators of a row what they are after the steps since it was moved last: half for each half-life.
func (s *rowState) forget(r Row, step uint64, halfLife float64) {
	chunk, place := int(r)/chunkRows, int(r)%chunkRows
	keep := float32(math.Exp2(-float64(step-s.steps[chunk][place]) / halfLife))
	s.acc[chunk][place] *= keep
	s.accBias[chunk][place] *= keep
	s.steps[chunk][place] = step
}

// adamOf are the two moments of a row's vector.
func (s *rowState) adamOf(r Row, dim int) (first, second []float32) {
	at := int(r) % chunkRows * dim
	return s.first[int(r)/chunkRows][at : at+dim], s.second[int(r)/chunkRows][at : at+dim]
}

// Pace multiplies the rates of the steps from now on: where a bounded training slows down towards its end, or a stream has drifted. It is not in a checkpoint: who gives it
// gives it again.
func (m *Model) Pace(factor float64) { m.pace = factor }

// update moves everything that the last batch gave a gradient.
func (m *Model) update(norm float64) {
	m.step++
	scale := 1.0
	if m.cfg.Clip > 0 && norm > m.cfg.Clip {
		scale = m.cfg.Clip / norm
	}
	adam := nn.AdamW{Rate: m.pace * m.cfg.DenseRate, Beta1: m.cfg.Beta1, Beta2: m.cfg.Beta2, Eps: 1e-8, Decay: m.cfg.WeightDecay}
	at := 0
	for i := range m.specs {
		if m.specs[i].terms {
			break
		}
		n := len(m.w.views[i])
		adam.Step(m.w.views[i], m.net.lanes[0].dw.views[i], m.first[at:at+n], m.second[at:at+n], scale, m.step, m.specs[i].decay)
		at += n
	}
	if slices.ContainsFunc(m.batch, func(e Example) bool { return len(e.Targets) > 0 }) {
		m.updateTerms() // without a request they have no gradient, and AdamW would go on in the direction of the last ones
	}
	m.updateRows()
	adagrad := nn.Adagrad{Rate: m.pace * m.cfg.SideRate, Eps: 1e-10}
	side, d := &m.net.side, m.cfg.Dim
	for s, r := range side.rows {
		adagrad.Step(m.items.side.vector(r), side.grad[s*d:][:d], &m.sideAcc[r-1])
		if m.cfg.ItemBias {
			adagrad.Step(m.items.side.biasOf(r), side.dBias[s:s+1], &m.sideAccBias[r-1])
		}
	}
}

// updateTerms moves the terms' weights, with a rate of their own. They stay out of the clip: what a term is worth is in units of its own, and the gradient of one
// that is large would hold back the network, while AdamW's own step is the same however large it is.
func (m *Model) updateTerms() {
	adam := nn.AdamW{Rate: m.pace * m.cfg.TermRate, Beta1: m.cfg.Beta1, Beta2: m.cfg.Beta2, Eps: 1e-8}
	from := m.w.dense
	adam.Step(m.w.arena[from:], m.net.lanes[0].dw.arena[from:], m.first[from:], m.second[from:], 1, m.step, false)
}

// updateRows moves the items' rows, each lane a part of them: they do not depend on each other.
func (m *Model) updateRows() {
	rows := &m.net.rows
	for _, r := range rows.rows {
		m.touch(r)
		if m.rowState.forgets {
			m.rowState.forget(r, m.step, m.cfg.RowMemory)
		}
	}
	if m.cfg.Plasticity > 0 {
		m.plasticity.follow(m.cfg.Plasticity, rows)
	}
	d, lanes := m.cfg.Dim, len(m.net.lanes)
	m.net.each(func(number int, _ *lane[float32]) {
		from, to := len(rows.rows)*number/lanes, len(rows.rows)*(number+1)/lanes
		for s := from; s < to; s++ {
			m.updateRow(rows.rows[s], rows.grad[s*d:][:d], rows.dBias[s:s+1])
		}
	})
}

func (m *Model) updateRow(r Row, grad, dBias []float32) {
	vector, bias := m.items.vector(r), m.items.biasOf(r)
	chunk, place := int(r)/chunkRows, int(r)%chunkRows
	if m.rowState.full {
		adam := nn.AdamW{Rate: m.pace * m.cfg.RowRate, Beta1: m.cfg.Beta1, Beta2: m.cfg.Beta2, Eps: 1e-8}
		first, second := m.rowState.adamOf(r, m.cfg.Dim)
		adam.Step(vector, grad, first, second, 1, m.step, false)
		if m.cfg.ItemBias {
			of := m.rowState.biasMoments[chunk][2*place:][:2]
			adam.Step(bias, dBias, of[:1], of[1:], 1, m.step, false)
		}
		return
	}
	adagrad := nn.Adagrad{Rate: m.pace * m.plasticity.rate * m.cfg.RowRate, Eps: 1e-10}
	adagrad.Step(vector, grad, &m.rowState.acc[chunk][place])
	if m.cfg.ItemBias {
		adagrad.Step(bias, dBias, &m.rowState.accBias[chunk][place])
	}
}
