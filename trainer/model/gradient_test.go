package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

// tiny is a network that fits into a test in float64, with odd sizes.
func tiny() Config {
	c := DefaultConfig()
	c.Dim, c.Blocks, c.Heads, c.MaxTokens, c.MaxSessions, c.Scenes = 12, 2, 3, 14, 4, 3
	c.InitStd = 0.3 // away from zero, where SiLU and products would be all but linear
	return c
}

// network is what is differentiated: shared weights and rows, in float64.
type network struct {
	cfg      Config
	w, dw    *weights[float64]
	items    catalogue[float64]
	rows     rowGradients[float64]
	side     rowGradients[float64]
	pass     *pass[float64]
	examples []Example
	task     task
}

func newNetwork(cfg Config, rng *rand.Rand, items int, examples []Example) *network {
	n := &network{cfg: cfg, w: newWeights[float64](&cfg), dw: newWeights[float64](&cfg), examples: examples}
	n.pass = newPass[float64](&n.cfg)
	n.w.fill(&cfg)
	for i := range n.w.arena { // also what starts at zero
		n.w.arena[i] += 0.1 * rng.NormFloat64()
	}
	n.items, n.rows.dim, n.side.dim = newCatalogue[float64](cfg.Dim), cfg.Dim, cfg.Dim
	const values = 3 // of each field; the last row belongs to no item
	for range values*len(sideFields) + 1 {
		vector, bias := n.items.side.grow()
		for j := range vector {
			vector[j] = rng.NormFloat64()
		}
		bias[0] = rng.NormFloat64()
	}
	for i := range items {
		vector, bias := n.items.grow()
		for f := range sideFields { // one item in four has none of a field
			if i%4 != f {
				n.items.sidesOf(Row(i))[f] = int32(1 + values*f + rng.IntN(values))
			}
		}
		for j := range vector {
			vector[j] = rng.NormFloat64()
		}
		bias[0] = rng.NormFloat64()
	}
	return n
}

func (n *network) forward() float64 {
	n.pass.layout.reset()
	for i := range n.examples {
		e := &n.examples[i]
		n.pass.layout.add(&n.cfg, e.Past, e.At, e.Scene)
	}
	n.pass.forward(n.w, &n.items)
	n.rows.reset(n.items.n)
	loss, dz := n.pass.loss(&n.items, &n.rows, &n.task)
	clear(n.dw.arena)
	n.pass.backward(n.w, n.dw, &n.rows, dz)
	n.items.spread(&n.side, &n.rows)
	return loss
}

func randomExamples(rng *rand.Rand, items, count int, sessions, events int) []Example {
	var out []Example
	actions := []schema.Action{schema.ActionClick, schema.ActionCart, schema.ActionPurchase}
	for range count {
		at := schema.EventTime(1_700_000_000_000 + rng.Int64N(1e9))
		e := Example{Scene: []string{"", "home", "shop"}[rng.IntN(3)]}
		past := rng.IntN(sessions + 1)
		if len(out) == 0 {
			past = sessions // at least one example has all of them
		}
		for range past {
			s := Session{At: at, Scene: "home"}
			for _, r := range rng.Perm(items)[:1+rng.IntN(events)] {
				s.Events = append(s.Events, Event{Row(r), actions[rng.IntN(3)]})
			}
			e.Past = append(e.Past, s)
			at += schema.EventTime(rng.Int64N(5_000_000))
		}
		e.At = at
		for _, r := range rng.Perm(items)[:1+rng.IntN(3)] {
			e.Targets = append(e.Targets, Row(r))
		}
		out = append(out, e)
	}
	return out
}

// TestLossGradient compares the analytic gradient of the whole loss with central differences, along random directions through each tensor.
// h = 1e-5: the truncation is about h² = 1e-10, the rounding about 1e-16/h = 1e-11, both far below the bound.
func TestLossGradient(t *testing.T) {
	for _, shape := range []struct{ batch, sessions, events, blocks int }{{1, 0, 1, 2}, {1, 1, 1, 1}, {3, 3, 4, 2}, {5, 6, 7, 3}} {
		t.Run(fmt.Sprint(shape), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(shape.batch)))
			cfg := tiny()
			cfg.Blocks = shape.blocks
			const items = 11
			n := newNetwork(cfg, rng, items, randomExamples(rng, items, shape.batch, shape.sessions, shape.events))
			n.task = task{candidates: []Row{0, 1, 2, 3, 5, 6, 8, 10}, logQ: make([]float64, 8)}
			for j := range n.task.logQ {
				n.task.logQ[j] = -rng.Float64()
			}
			for i := range shape.batch {
				n.task.targets = append(n.task.targets, []int32{int32(i % 3), int32(3 + i%3)}[:1+(i+1)%2])
				n.task.excluded = append(n.task.excluded, []int32{7}[:i%2])
			}
			n.forward()

			check := func(name string, values, grad []float64, mayBeZero bool) {
				t.Helper()
				direction := make([]float64, len(values))
				want := 0.0
				for i := range direction {
					direction[i] = rng.NormFloat64()
					want += direction[i] * grad[i]
				}
				const h = 1e-5
				at := func(step float64) float64 {
					saved := append([]float64{}, values...)
					for i := range values {
						values[i] += step * direction[i]
					}
					loss := n.forward()
					copy(values, saved)
					return loss
				}
				got := (at(h) - at(-h)) / (2 * h)
				if diff := math.Abs(got-want) / max(1, math.Abs(got)+math.Abs(want)); diff > 1e-6 {
					t.Errorf("%s: analytic %.10g, numeric %.10g", name, want, got)
				}
				if want == 0 && !mayBeZero {
					t.Errorf("%s: the gradient is zero: nothing was checked", name)
				}
			}
			alone := shape.sessions == 0 // a request without a past has no item tokens
			rows, dense := slices.Clone(n.rows.rows), slices.Clone(n.dw.arena)
			vectors, biases := slices.Clone(n.rows.grad), slices.Clone(n.rows.dBias)
			sideRows, sideVectors, sideBiases := slices.Clone(n.side.rows), slices.Clone(n.side.grad), slices.Clone(n.side.dBias)
			if len(sideRows) < 2 || slices.Contains(sideRows, 0) || slices.Contains(sideRows, Row(n.items.side.n-1)) {
				t.Fatalf("gradients of the side rows %v: want some, but none of row 0 nor of a row that no item has", sideRows)
			}
			for i, s := range cfg.specs() {
				size := s.size()
				check(s.name, n.w.views[i], dense[:size], alone && s.name == "action")
				dense = dense[size:]
			}
			for s, r := range rows {
				check(fmt.Sprintf("vector of row %d", r), n.items.vector(r), vectors[s*cfg.Dim:][:cfg.Dim], true)
				check(fmt.Sprintf("bias of row %d", r), n.items.biasOf(r), biases[s:s+1], true)
			}
			for s, r := range sideRows {
				check(fmt.Sprintf("vector of side row %d", r), n.items.side.vector(r), sideVectors[s*cfg.Dim:][:cfg.Dim], false)
				check(fmt.Sprintf("bias of side row %d", r), n.items.side.biasOf(r), sideBiases[s:s+1], false)
			}
		})
	}
}
