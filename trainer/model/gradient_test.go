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
	*net[float64]
	cfg      Config
	examples []Example
	task     task
}

func newNetwork(cfg Config, rng *rand.Rand, items int, examples []Example) *network {
	n := &network{cfg: cfg, examples: examples}
	w, catalogue := newWeights[float64](&n.cfg), newCatalogue[float64](cfg.Dim)
	w.fill(&cfg)
	for i := range w.arena { // also what starts at zero
		w.arena[i] += 0.1 * rng.NormFloat64()
	}
	const values = 3 // of each field; the last row belongs to no item
	for range values*len(sideFields) + 1 {
		vector, bias := catalogue.side.grow()
		for j := range vector {
			vector[j] = rng.NormFloat64()
		}
		bias[0] = rng.NormFloat64()
	}
	for i := range items {
		vector, bias := catalogue.grow()
		for f := range sideFields { // one item in four has none of a field
			if i%4 != f {
				catalogue.sidesOf(Row(i))[f] = int32(1 + values*f + rng.IntN(values))
			}
		}
		for j := range vector {
			vector[j] = rng.NormFloat64()
		}
		bias[0] = rng.NormFloat64()
	}
	n.net = newNet(&n.cfg, w, &catalogue)
	n.terms.live = randomLive(rand.New(rand.NewPCG(15, 15)), items)
	return n
}

func (n *network) loss() float64 {
	n.forward(n.examples)
	n.draw()
	loss := n.learn(&n.task, n.cfg.Dropout > 0, 99)
	return loss + n.distance
}

// draw gives each group its own copy of the candidates, where the config wants one.
func (n *network) draw() {
	t := &n.task
	if n.cfg.NegativesPer != grouped {
		return
	}
	c := len(t.candidates)
	if len(t.draws) > 0 {
		c = t.draws[0].to
	}
	t.draws = t.draws[:0]
	t.candidates, t.logQ = t.candidates[:c], t.logQ[:c]
	for g := range n.groups {
		if g > 0 {
			t.candidates, t.logQ = append(t.candidates, t.candidates[:c]...), append(t.logQ, t.logQ[:c]...)
		}
		t.draws = append(t.draws, span{g * c, (g + 1) * c})
	}
}

// aim gives every query some positives, excluded items and ladders, with weights of its own.
func (n *network) aim(rng *rand.Rand, items int) {
	n.lay(n.examples)
	n.task = task{candidates: []Row{0, 1, 2, 3, 5, 6, 8, 10}, logQ: make([]float64, 8), sampledToo: true}
	for j := range n.task.logQ {
		n.task.logQ[j] = -rng.Float64()
	}
	for g := range n.groups {
		for range n.groups[g].layout.queries {
			t := &n.task
			a := aim{weight: 0.5 + rng.Float64(), from: int32(len(t.positives)), exFrom: int32(len(t.excluded)), ladder: int32(len(t.ladders))}
			if rng.IntN(5) == 0 {
				a.weight = 0
			}
			order := rng.Perm(items)
			for _, r := range order[:1+rng.IntN(2)] {
				t.positives = append(t.positives, Row(r))
			}
			if rng.IntN(2) == 0 {
				t.excluded = append(t.excluded, Row(order[3]))
			}
			if rng.IntN(2) == 0 {
				t.ladders = append(t.ladders, ladder{positives: []Row{Row(order[4]), Row(order[5])}, negatives: []Row{Row(order[6])}, weight: 0.7})
			}
			a.to, a.exTo, a.rungTo = int32(len(t.positives)), int32(len(t.excluded)), int32(len(t.ladders))
			t.queries = append(t.queries, a)
		}
	}
	n.task.queries[0].weight = 1
	n.task.queries[n.groups[0].layout.request[0]].weight = 1 // of the queries, the one with terms
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

// variants are the switches, each alone and some together: every test of the numerics runs over them.
var variants = []struct {
	name string
	set  func(c *Config)
}{
	{"default", func(c *Config) {}},
	{"one block", func(c *Config) { c.Blocks = 1 }},
	{"causal mask", func(c *Config) { c.Mask = causal }},
	{"rotary by token", func(c *Config) { c.Rotary = token }},
	{"no positions", func(c *Config) { c.Rotary, c.TimeBias = none, false }},
	{"scaled input", func(c *Config) { c.ScaledInput = true }},
	{"places", func(c *Config) { c.Absolute = true }},
	{"distances", func(c *Config) { c.Distance = true }},
	{"distances without time", func(c *Config) { c.Distance, c.TimeBias = true, false }},
	{"users", func(c *Config) { c.UserRows = 5 }},
	{"softmax", func(c *Config) { c.Attention = softmax }},
	{"softmax, no bias", func(c *Config) { c.Attention, c.TimeBias, c.FFN = softmax, false, 17 }},
	{"own network", func(c *Config) { c.FFN = 17 }},
	{"experts", func(c *Config) { c.Experts, c.ExpertWidth = 5, 7 }},
	{"token networks", func(c *Config) { c.TokenNetworks = true }},
	{"token networks, one block", func(c *Config) { c.TokenNetworks, c.Blocks = true, 1 }},
	{"horizon", func(c *Config) { c.Horizon = 3 }},
	{"no terms", func(c *Config) { c.Terms = false }},
	{"cosine", func(c *Config) { c.Cosine, c.Temperature = true, 0.5 }},
	{"dropout", func(c *Config) { c.Dropout = 0.3 }},
	{"dropout, softmax", func(c *Config) { c.Dropout, c.Attention, c.FFN, c.Experts = 0.3, softmax, 9, 3 }},
	{"negatives by group", func(c *Config) { c.NegativesPer = grouped }},
	{"one lane", func(c *Config) { c.Lanes = 1 }},
	{"TBGRecall", func(c *Config) {
		c.TokenNetworks, c.Horizon, c.Experts, c.ExpertWidth, c.Cosine, c.Temperature, c.Blocks = true, 2, 4, 6, true, 0.5, 3
	}},
	{"HSTU", func(c *Config) { c.Tokens, c.Rotary, c.Absolute, c.Distance = item, none, true, true }},
	{"SASRec", func(c *Config) {
		c.Tokens, c.Rotary, c.Absolute, c.TimeBias, c.Attention, c.FFN, c.Cosine, c.Temperature = item, none, true, false, softmax, 12, true, 0.5
	}},
}

// TestLossGradient compares the analytic gradient of the whole loss with central differences, along random directions through each tensor.
// h = 1e-5: the truncation is about h² = 1e-10, the rounding about 1e-16/h = 1e-11, both far below the bound.
func TestLossGradient(t *testing.T) {
	shapes := []struct{ batch, sessions, events, learn int }{{1, 1, 1, 0}, {3, 3, 4, 1}, {5, 6, 7, 5}}
	for _, v := range variants {
		for _, shape := range shapes {
			t.Run(fmt.Sprint(v.name, shape), func(t *testing.T) {
				cfg := tiny()
				v.set(&cfg)
				if err := cfg.Validate(); err != nil {
					t.Fatal(err)
				}
				checkLossGradient(t, cfg, shape.batch, shape.sessions, shape.events, shape.learn, false)
			})
		}
	}
}

func checkLossGradient(t *testing.T, cfg Config, batch, sessions, events, learn int, distilled bool) {
	const items = 11
	rng, marks := rand.New(rand.NewPCG(1, uint64(batch))), rand.New(rand.NewPCG(16, 16))
	examples := randomExamples(rng, items, batch, sessions, events)
	for i := range examples {
		examples[i].Learn, examples[i].User = min(learn, len(examples[i].Past)), fmt.Sprint("user ", i)
		examples[i].Marks = randomMarks(marks, items)
	}
	n := newNetwork(cfg, rng, items, examples)
	n.aim(rng, items)
	if distilled {
		n.teacher = randomTeacher(rng, n)
	}
	n.loss()
	if distilled && !(n.distance > 0) {
		t.Fatalf("the distance to the teacher is %v", n.distance)
	}
	moved := 0
	check := func(name string, values, grad []float64) {
		t.Helper()
		direction := make([]float64, len(values))
		want := 0.0
		for i := range direction {
			direction[i] = rng.NormFloat64()
			want += direction[i] * grad[i]
		}
		h := 1e-5
		if cfg.FFN > 0 { // ReLU has a kink: a step must not reach over it
			h = 1e-7
		}
		at := func(step float64) float64 {
			saved := slices.Clone(values)
			for i := range values {
				values[i] += step * direction[i]
			}
			loss := n.loss()
			copy(values, saved)
			return loss
		}
		got := (at(h) - at(-h)) / (2 * h)
		if diff := math.Abs(got-want) / max(1, math.Abs(got)+math.Abs(want)); diff > 1e-6 {
			t.Errorf("%s: analytic %.10g, numeric %.10g", name, want, got)
		}
		if want != 0 {
			moved++
		}
	}
	for i := range n.lanes[0].dw.blocks { // counts, not gradients
		clear(n.lanes[0].dw.blocks[i].balance)
	}
	rows, dense := slices.Clone(n.rows.rows), slices.Clone(n.lanes[0].dw.arena)
	vectors, biases := slices.Clone(n.rows.grad), slices.Clone(n.rows.dBias)
	sideRows, sideVectors, sideBiases := slices.Clone(n.side.rows), slices.Clone(n.side.grad), slices.Clone(n.side.dBias)
	if len(sideRows) < 2 || slices.Contains(sideRows, 0) || slices.Contains(sideRows, Row(n.items.side.n-1)) {
		t.Fatalf("gradients of the side rows %v: want some, but none of row 0 nor of a row that no item has", sideRows)
	}
	specs := cfg.specs()
	for i, s := range specs {
		size := s.size()
		check(s.name, n.w.views[i], dense[:size])
		dense = dense[size:]
	}
	balances := 0
	if cfg.Experts > 0 {
		balances = cfg.Blocks // have none
	}
	if batch > 1 && moved < len(specs)-balances {
		t.Errorf("%d of %d tensors have a gradient: the others were not checked", moved, len(specs))
	}
	for s, r := range rows {
		check(fmt.Sprintf("vector of row %d", r), n.items.vector(r), vectors[s*cfg.Dim:][:cfg.Dim])
		check(fmt.Sprintf("bias of row %d", r), n.items.biasOf(r), biases[s:s+1])
	}
	for s, r := range sideRows {
		check(fmt.Sprintf("vector of side row %d", r), n.items.side.vector(r), sideVectors[s*cfg.Dim:][:cfg.Dim])
		check(fmt.Sprintf("bias of side row %d", r), n.items.side.biasOf(r), sideBiases[s:s+1])
	}
}
