package model

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// TestTermsThatAreNotThere: without a table and without marks, every bit is that of a model without terms.
func TestTermsThatAreNotThere(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		var models [2]*Model
		for k := range models {
			cfg.Terms = k == 1
			m := filled(t, cfg, tinyItems)
			rng := rand.New(rand.NewPCG(20, 20))
			for range 10 {
				if s := m.Learn(whole(rng, 6, 3)); s.Skipped || s.Examples == 0 {
					t.Fatalf("%+v", s)
				}
			}
			models[k] = m
		}
		a, b := models[0], models[1]
		if n := len(a.w.arena); n != a.w.dense || n != b.w.dense || !slices.Equal(a.w.arena, b.w.arena[:n]) {
			t.Error("the shared weights differ")
		}
		if !slices.Equal(a.items.vectors[0], b.items.vectors[0]) || !slices.Equal(a.items.bias[0], b.items.bias[0]) || !slices.Equal(a.items.side.vectors[0], b.items.side.vectors[0]) {
			t.Error("the items differ")
		}
		fresh := filled(t, cfg, 0)
		if !slices.Equal(fresh.w.arena[fresh.w.dense:], b.w.arena[b.w.dense:]) {
			t.Error("the terms' weights moved without terms")
		}
		batch := whole(rand.New(rand.NewPCG(21, 21)), 6, 3)
		a.Forward(batch)
		b.Forward(batch)
		want := a.Ranks(tinyItems)
		for i, ranks := range b.Ranks(tinyItems) {
			if !slices.Equal(ranks, want[i]) {
				t.Errorf("example %d: ranks %v, without terms %v", i, ranks, want[i])
			}
		}
	})
}

// TestStepTermsMovesTheTermsAlone: with the loss of a step, and by the same gradient.
func TestStepTermsMovesTheTermsAlone(t *testing.T) {
	for _, per := range []string{batch, grouped} {
		cfg := small()
		cfg.NegativesPer = per
		m, _, rng := termedModel(t, cfg, 60, 3)
		other, _, _ := termedModel(t, cfg, 60, 3)
		m.net.groupTokens, other.net.groupTokens = 30, 30 // several groups, on two lanes
		m.Snapshot(true, nil)
		examples := termedExamples(rng, 60, 12, 4, 3)
		examples[1].Learn = len(examples[1].Past)
		before := slices.Clone(m.w.arena)
		vectors, bias, side := slices.Clone(m.items.vectors[0]), slices.Clone(m.items.bias[0]), slices.Clone(m.items.side.vectors[0])
		m.Forward(examples)
		got := m.StepTerms()
		other.Forward(examples)
		want := other.Step()
		if got.Loss != want.Loss || got.Examples != want.Examples || got.Candidates != want.Candidates || got.Skipped {
			t.Errorf("%s: %+v, a whole step %+v", per, got, want)
		}
		n := m.w.dense
		if !slices.Equal(m.w.arena[:n], before[:n]) || !slices.Equal(m.items.vectors[0], vectors) || !slices.Equal(m.items.bias[0], bias) || !slices.Equal(m.items.side.vectors[0], side) {
			t.Errorf("%s: more than the terms' weights moved", per)
		}
		if slices.Equal(m.w.arena[n:], before[n:]) || !slices.Equal(m.w.arena[n:], other.w.arena[n:]) {
			t.Errorf("%s: the terms' weights are not those of a whole step", per)
		}
		if len(m.unpublished.rows) > 0 || !slices.Equal(m.ring, other.ring) {
			t.Errorf("%s: rows were touched, or the targets are not remembered", per)
		}
		if s := m.StepTerms(); s != (StepStats{}) {
			t.Errorf("%s: a second step on the same batch: %+v", per, s)
		}
	}
}

// TestTermsStayWithoutARequest: a step on histories alone has no gradient for the terms, and so does not move their weights, however fast they went before.
func TestTermsStayWithoutARequest(t *testing.T) {
	m, _, rng := termedModel(t, small(), 60, 3)
	for range 5 {
		m.Forward(termedExamples(rng, 60, 12, 4, 3))
		m.Step()
	}
	before := slices.Clone(m.w.arena)
	examples := termedExamples(rng, 60, 12, 4, 3)
	for i := range examples {
		examples[i].Targets, examples[i].Actions, examples[i].Marks, examples[i].Learn = nil, nil, nil, len(examples[i].Past)
	}
	if s := m.Learn(examples); s.Examples == 0 || s.Skipped {
		t.Fatalf("%+v", s)
	}
	n := m.w.dense
	if !slices.Equal(m.w.arena[n:], before[n:]) {
		t.Error("the terms' weights moved without a request")
	}
	if slices.Equal(m.w.arena[:n], before[:n]) {
		t.Error("the network did not learn")
	}
}

// TestRequestsWeigh: a weight of 2 is the request twice, against a mean over as many; weights leave inner queries alone.
func TestRequestsWeigh(t *testing.T) {
	cfg := tiny()
	m := filled(t, cfg, tinyItems)
	batch := whole(rand.New(rand.NewPCG(22, 22)), 3, 3)
	m.net.lay(batch)
	plain := slices.Clone(m.sample().queries)
	batch[0].Weight, batch[1].Weight, batch[2].Weight = 0, 1, 2.5
	m.net.lay(batch)
	requests := 0
	for i, a := range m.sample().queries {
		q, want := &m.net.groups[0].layout.queries[i], plain[i].weight
		if q.session < 0 && q.example == 2 {
			want *= 2.5
			requests++
		}
		if a.weight != want {
			t.Errorf("query %d of example %d weighs %v, want %v", i, q.example, a.weight, want)
		}
	}
	if requests != 1 {
		t.Errorf("%d requests weigh more", requests)
	}
}

// TestInnerQueriesHaveNoTerms: of a history that is learned from, marks and tables move the request alone.
func TestInnerQueriesHaveNoTerms(t *testing.T) {
	cfg := tiny()
	cfg.Horizon = 2
	rng := rand.New(rand.NewPCG(23, 23))
	batch := whole(rng, 4, 3)
	n := newNetwork(cfg, rng, tinyItems, batch)
	n.aim(rng, tinyItems)
	at := 0
	for i := range n.groups[0].layout.queries {
		if q := &n.groups[0].layout.queries[i]; q.session < 0 && q.ahead == 0 {
			n.task.queries[i].weight = 0
			at++
		}
	}
	with := n.loss()
	dTerms := slices.Clone(n.lanes[0].dw.arena[n.w.dense:])
	n.terms.live = nil
	for i := range batch {
		batch[i].Marks = randomMarks(rng, tinyItems)
	}
	if without := n.loss(); without != with || at != len(batch) {
		t.Errorf("loss %v with tables, %v with other marks and none; %d requests", with, without, at)
	}
	for _, v := range dTerms {
		if v != 0 {
			t.Fatal("the terms' weights learn from inner queries")
		}
	}
}

// TestTermsRestoreAndRepeat: with tables and marks, a model that was restored goes on in the same bits, on one core or two (I3, I4).
func TestTermsRestoreAndRepeat(t *testing.T) {
	cfg := small()
	cfg.Lanes = 3
	straight, live, _ := termedModel(t, cfg, 60, 2)
	broken, _, _ := termedModel(t, cfg, 60, 2)
	for i := range 12 {
		tables, _ := saved(t, broken)
		var err error
		if broken, err = Restore(cfg, tables); err != nil {
			t.Fatal(err)
		}
		broken.Attach(live)
		var stats [2]StepStats
		for k, m := range []*Model{straight, broken} {
			m.net.groupTokens = 30
			m.Forward(termedExamples(rand.New(rand.NewPCG(24, uint64(i))), 60, 12, 5, 4))
			if i%3 == 2 {
				stats[k] = m.StepTerms()
			} else {
				stats[k] = m.Step()
			}
		}
		if stats[0] != stats[1] || stats[0].Skipped {
			t.Fatalf("step %d: %+v, and after a restore %+v", i, stats[0], stats[1])
		}
	}
	_, want := saved(t, straight)
	if _, got := saved(t, broken); !bytes.Equal(got, want) {
		t.Error("the bytes of the two models differ")
	}
}

// TestTermsThatAreNoNumbers move nothing, and the step says so.
func TestTermsThatAreNoNumbers(t *testing.T) {
	for name, damage := range map[string]func(live listed, e *Example){
		"an item's": func(live listed, _ *Example) {
			for i := range live {
				live[i] = float32(math.Inf(1))
			}
		},
		"a mark": func(_ listed, e *Example) { e.Marks = []Mark{{e.Targets[0], MarkAgain, float32(math.NaN())}} },
	} {
		m, live, rng := termedModel(t, small(), 60, 2)
		batch := termedExamples(rng, 60, 6, 3, 3)
		damage(live, &batch[0])
		for _, step := range []func() StepStats{m.Step, m.StepTerms} {
			before := slices.Clone(m.w.arena)
			m.Forward(batch)
			if s := step(); !s.Skipped || s.Where == "" || !slices.Equal(m.w.arena, before) {
				t.Errorf("%s: %+v", name, s)
			}
		}
	}
}

// TestTermsAreLearned: a mark that every target has, and nothing else, is what the model goes by.
func TestTermsAreLearned(t *testing.T) {
	cfg := small()
	cfg.TermRate = 0.03
	m := filled(t, cfg, 60)
	rng := rand.New(rand.NewPCG(25, 25))
	for range 60 {
		m.Forward(marked(rng))
		m.Step()
	}
	examples := marked(rng)
	m.Forward(examples)
	first := 0
	for i, ranks := range m.Ranks(60) {
		if len(examples[i].Past) == 0 || ranks[0] <= int32(len(examples[i].Targets)) {
			first++
		}
	}
	if first < 38 {
		t.Errorf("%d of 40 targets that alone are marked come first; weights %v", first, m.w.markTerms[:MarkTerms])
	}
}

func marked(rng *rand.Rand) []Example {
	batch := randomExamples(rng, 60, 40, 3, 3)
	for i := range batch {
		e := &batch[i]
		slices.Sort(e.Targets)
		for _, r := range e.Targets {
			e.Marks = append(e.Marks, Mark{r, MarkAgainEarlier, 1})
		}
	}
	return batch
}

// TestCandidatesHaveTheTerms of their own draw, whether all is one or each group has one.
func TestCandidatesHaveTheTerms(t *testing.T) {
	for _, per := range []string{batch, grouped} {
		cfg := small()
		cfg.NegativesPer = per
		m, live, rng := termedModel(t, cfg, 90, 2)
		m.net.groupTokens = 30
		examples := termedExamples(rng, 90, 20, 4, 3)
		examples[0].Learn = 2
		m.Forward(examples)
		task := m.sample()
		m.net.compare(task)
		if groups := len(m.net.groups); groups < 3 || (len(task.draws) == groups) != (per == grouped) {
			t.Fatalf("%s: %d draws for %d groups", per, len(task.draws), groups)
		}
		inner := 0
		for g := range m.net.groups {
			of := task.drawOf(g)
			for i := range m.net.groups[g].layout.queries {
				q, l, s := &m.net.groups[g].layout.queries[i], &m.net.lanes[0], make([]float32, of.to-of.from)
				m.net.addTerms(l, task, of, q, s)
				if q.session >= 0 {
					inner++
				}
				for j, r := range task.candidates[of.from:of.to] {
					want := 0.
					if q.session < 0 {
						want = termsByDefinition(m.w, m.specs, live, examples[q.example], r)
					}
					if alone := m.net.term(l, r); math.Abs(float64(s[j])-want) > 1e-5 || math.Abs(float64(alone)-want) > 1e-5 {
						t.Fatalf("%s: candidate %d of example %d has %v, alone %v, want %v", per, r, q.example, s[j], alone, want)
					}
				}
			}
		}
		if inner != 2 {
			t.Errorf("%s: %d inner queries", per, inner)
		}
	}
}

// TestTermsStayOutOfTheClip: with terms of thousands, whose gradient is far beyond the clip, the network moves as without one.
func TestTermsStayOutOfTheClip(t *testing.T) {
	var models [2]*Model
	for k := range models {
		cfg := small()
		cfg.Clip = []float64{0, 50}[k]
		m, live, rng := termedModel(t, cfg, 60, 0)
		for i := range live {
			live[i] *= 1000
		}
		m.Forward(termedExamples(rng, 60, 12, 4, 3))
		s := m.Step()
		dw := m.net.lanes[0].dw
		if terms := math.Sqrt(nn.SumSquares(dw.arena[dw.dense:])); s.Skipped || s.GradNorm > 50 || terms < 50 {
			t.Fatalf("%+v; the terms' gradient is %v long", s, terms)
		}
		models[k] = m
	}
	if !slices.Equal(models[0].w.arena, models[1].w.arena) {
		t.Error("the network is held back")
	}
}
