package model

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// moved are the bytes of all that a step moves: weights, rows, side rows and the optimiser's state, also where they are not numbers.
func moved(tb testing.TB, m *Model) []byte {
	tb.Helper()
	tables, err := m.Tables()
	if err != nil {
		tb.Fatal(err)
	}
	var all []byte
	for _, n := range tables {
		if slices.Contains([]string{tableItems, tableParams, tableSides, tableMoments}, n.Name) {
			b, err := n.Table.Bytes()
			if err != nil {
				tb.Fatal(err)
			}
			all = append(all, b...)
		}
	}
	return all
}

// TestNotFiniteMovesNothing puts one NaN, or one infinity, into each tensor and row in turn, where the batch's gradient is largest, and demands that the step is
// skipped, says where, and moves nothing; and that with the number back in its place the next step is taken.
func TestNotFiniteMovesNothing(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		m := filled(t, cfg, tinyItems)
		rng := rand.New(rand.NewPCG(11, 11))
		batch := whole(rng, 4, 3)
		terms := rand.New(rand.NewPCG(12, 12))
		m.Attach(randomLive(terms, tinyItems))
		for i := range batch {
			batch[i].Marks = randomMarks(terms, tinyItems)
		}
		for range 3 {
			m.Learn(batch)
		}
		var before []byte
		damage := func(what string, of, grad []float32, value float32) {
			t.Helper()
			i := 0
			for j, g := range grad {
				if math.Abs(float64(g)) > math.Abs(float64(grad[i])) {
					i = j
				}
			}
			saved := of[i]
			of[i] = value
			step := m.step
			s := m.Learn(batch)
			of[i] = saved
			if !s.Skipped || s.Where == "" {
				t.Errorf("a %v in %s: the step was not skipped: %+v", value, what, s)
			}
			if !bytes.Equal(before, moved(t, m)) || m.step != step {
				t.Errorf("a %v in %s: the step, %+v, moved something", value, what, s)
			}
		}
		take := func() { // gradients of every tensor
			if s := m.Learn(batch); s.Skipped {
				t.Fatalf("a step on sound numbers was skipped: %+v", s)
			}
			before = moved(t, m)
		}
		nan := float32(math.NaN())
		take()
		grads := slices.Clone(m.net.lanes[0].dw.arena)
		for i, s := range m.specs {
			damage(s.name, m.w.views[i], grads[:s.size()], nan)
			grads = grads[s.size():]
		}
		take()
		rows, side := m.net.rows, m.net.side
		for _, r := range slices.Clone(rows.rows[:4]) {
			damage("an item's vector", m.items.vector(r), nil, nan)
			damage("an item's bias", m.items.biasOf(r), nil, nan)
			damage("an item's vector", m.items.vector(r), nil, float32(math.Inf(1)))
		}
		for _, s := range slices.Clone(side.rows) {
			damage("a side row", m.items.side.vector(s), nil, nan)
			damage("a side row's bias", m.items.side.biasOf(s), nil, nan)
		}
		take()
	})
}

// TestNotFiniteGradientNamesTheTensor puts a NaN into each gradient in turn.
func TestNotFiniteGradientNamesTheTensor(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		m := filled(t, cfg, tinyItems)
		m.Learn(whole(rand.New(rand.NewPCG(11, 11)), 4, 3))
		dw := m.net.lanes[0].dw
		clear(dw.arena)
		for i, s := range m.specs {
			dw.views[i][0] = float32(math.NaN())
			if where := m.notFinite(math.NaN()); where != s.name {
				t.Errorf("a gradient of %s that is not a number is reported as %q", s.name, where)
			}
			dw.views[i][0] = 0
		}
		for where, grad := range map[string][]float32{
			"item vectors": m.net.rows.grad, "item biases": m.net.rows.dBias, "side information": m.net.side.grad,
		} {
			saved := grad[0]
			grad[0] = float32(math.Inf(-1))
			if got := m.notFinite(1); got != where {
				t.Errorf("a gradient of %s that is not finite is reported as %q", where, got)
			}
			grad[0] = saved
		}
		if where := m.notFinite(1); where != "" {
			t.Errorf("finite gradients are reported as %q", where)
		}
	})
}
