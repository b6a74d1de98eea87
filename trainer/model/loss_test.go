package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// ladderExamples have sessions of exposures, clicks and purchases in all mixtures, with those of one kind alone among them.
func ladderExamples(rng *rand.Rand) []Example {
	actions := []schema.Action{schema.ActionExposure, schema.ActionClick, schema.ActionCart, schema.ActionPurchase}
	mixtures := [][]int{{0}, {1}, {3}, {0, 1}, {1, 3}, {0, 3}, {0, 0, 1, 2, 3}, {3, 3, 1}, {2, 0, 2}}
	var out []Example
	for u := range 5 {
		e := Example{At: 1_700_000_900_000, Scene: []string{"home", "shop"}[u%2], User: fmt.Sprint("user ", u)}
		draw := func() (events []Event) {
			rows := rng.Perm(tinyItems)
			for j, a := range mixtures[rng.IntN(len(mixtures))] {
				events = append(events, Event{Row(rows[j]), actions[a]})
			}
			return events
		}
		for s := range 3 {
			e.Past = append(e.Past, Session{At: schema.EventTime(1_700_000_000_000 + 60_000*s), Scene: "home", Events: draw()})
		}
		for _, of := range draw() {
			e.Targets, e.Actions = append(e.Targets, of.Row), append(e.Actions, of.Action)
		}
		e.Learn = 2
		out = append(out, e)
	}
	return out
}

// TestLossByItsDefinition computes the loss of a batch by the formula, in float64, from the query vectors, the items and the examples:
//
//	Σ over queries of g^m·( nce + w_c·click + w_p·pay ) / requests
//	nce     mean over the items i of the session:           -log( e^s_i / (e^s_i + Σ_j e^s_j) ), j over all items but the session's
//	click   mean over what was clicked or more, against what was shown only;   pay    over what was bought, against what was clicked only
//
// with the terms in the scores of the request, and where click and pay are of the session that comes, and left out where one side is missing.
func TestLossByItsDefinition(t *testing.T) {
	for _, cosine := range []bool{false, true} {
		cfg := tiny()
		cfg.Horizon, cfg.HorizonDecay, cfg.Exposures, cfg.ClickWeight, cfg.PayWeight, cfg.Cosine, cfg.Temperature, cfg.Loss = 3, 0.3, true, 0.7, 0.4, cosine, 0.5, full
		rng := rand.New(rand.NewPCG(12, 12))
		batch := ladderExamples(rng)
		for i := range batch {
			batch[i].Marks = randomMarks(rng, tinyItems)
		}
		n := newNetwork(cfg, rng, tinyItems, batch)
		live := randomLive(rng, tinyItems)
		n.terms.live = live
		m := filled(t, cfg, tinyItems)
		m.net.lay(batch)
		n.forward(batch)
		got := n.learn(m.sample(), false, 0)

		items, biases := make([][]float64, tinyItems), make([]float64, tinyItems)
		for r := range items {
			items[r] = make([]float64, cfg.Dim)
			biases[r] = n.items.sum(items[r], Row(r))
			if cosine {
				items[r] = naiveUnit(items[r])
			}
		}
		clicks, pays := 0, 0
		want := 0.
		for i, q := range n.groups[0].layout.queries {
			e := &batch[q.example]
			place := int(q.session)
			var events []Event
			if place < 0 {
				place = len(e.Past)
				for j, r := range e.Targets {
					events = append(events, Event{r, e.Actions[j]})
				}
			} else {
				events = e.Past[place].Events
			}
			if place == int(q.ahead) {
				continue // the first context token has no history
			}
			z := n.groups[0].pass.z[i*cfg.Dim:][:cfg.Dim]
			score := func(r Row) float64 {
				s := 0.
				for j, v := range items[r] {
					s += z[j] * v
				}
				if cosine {
					s /= cfg.Temperature
				}
				s += biases[r]
				if q.session < 0 && q.ahead == 0 {
					s += termsByDefinition(n.w, cfg.specs(), live, *e, r)
				}
				return s
			}
			mean := func(positive, negative func(r Row, strength uint8) bool) (loss float64, both bool) {
				strength := map[Row]uint8{}
				for _, of := range events {
					strength[of.Row] = 1 + actionIndex(of.Action) // 0 is not of the session
				}
				below, count := 0., 0.
				for r := range Row(tinyItems) {
					if negative(r, strength[r]) {
						below += math.Exp(score(r))
					}
				}
				for r := range Row(tinyItems) {
					if positive(r, strength[r]) {
						loss -= math.Log(math.Exp(score(r)) / (math.Exp(score(r)) + below))
						count++
					}
				}
				if count == 0 || below == 0 {
					return 0, false
				}
				return loss / count, true
			}
			loss, _ := mean(func(_ Row, s uint8) bool { return s > 0 }, func(_ Row, s uint8) bool { return s == 0 })
			if q.ahead == 0 {
				click, ok := mean(func(_ Row, s uint8) bool { return s >= 2 }, func(_ Row, s uint8) bool { return s == 1 })
				if ok {
					clicks++
				}
				pay, ok := mean(func(_ Row, s uint8) bool { return s == 4 }, func(_ Row, s uint8) bool { return s == 2 || s == 3 })
				if ok {
					pays++
				}
				loss += cfg.ClickWeight*click + cfg.PayWeight*pay
			}
			want += math.Pow(cfg.HorizonDecay, float64(q.ahead)) * loss / 15 // three requests with history of five users
		}
		if math.Abs(got-want) > 1e-12*want || clicks == 0 || pays == 0 {
			t.Errorf("cosine %v: loss %.15g, by the definition %.15g; %d sessions tell clicked from shown, %d bought from clicked", cosine, got, want, clicks, pays)
		}
	}
}

// TestHorizonAsksForTheSessionAhead: the query m ahead at the context token of session k is for the items of session k+m, and it sees nothing from session k on.
func TestHorizonAsksForTheSessionAhead(t *testing.T) {
	cfg := tiny()
	cfg.Horizon, cfg.MaxSessions, cfg.MaxTokens = 3, 6, 40
	rng := rand.New(rand.NewPCG(13, 13))
	for learn := range 7 {
		e := whole(rng, 1, 6)[0]
		e.Learn = learn
		n := newNetwork(cfg, rng, tinyItems, []Example{e})
		n.forward(n.examples)
		l := &n.groups[0].layout
		var context, sessionOf []int
		for k := range len(e.Past) + 1 {
			context = append(context, len(sessionOf))
			sessionOf = append(sessionOf, k)
			if k < len(e.Past) {
				for range e.Past[k].Events {
					sessionOf = append(sessionOf, k)
				}
			}
		}
		seen := map[[2]int]bool{}
		for _, q := range l.queries {
			token := int(l.asked[q.ask])
			k := sessionOf[token]
			if context[k] != token {
				t.Fatalf("learn %d: token %d asks, which is no context token", learn, token)
			}
			seen[[2]int{k, int(q.ahead)}] = true
			want := e.Targets
			if of := k + int(q.ahead); of < len(e.Past) {
				want = nil
				for _, event := range e.Past[of].Events {
					want = append(want, event.Row)
				}
			}
			if got := l.targets[q.from:q.to]; !slices.Equal(got, want) {
				t.Errorf("learn %d: the query %d ahead of session %d is for %v, want %v", learn, q.ahead, k, got, want)
			}
			for r := range int(l.sees[token]) {
				if sessionOf[r] >= k {
					t.Errorf("learn %d: the context token of session %d sees token %d of session %d", learn, k, r, sessionOf[r])
				}
			}
		}
		count := 0
		for of := len(e.Past) - learn; of <= len(e.Past); of++ {
			for ahead := range min(cfg.Horizon, of+1) {
				count++
				if !seen[[2]int{of - ahead, ahead}] {
					t.Errorf("learn %d: nothing asks for session %d from %d ahead", learn, of, ahead)
				}
			}
		}
		if count != len(l.queries) {
			t.Errorf("learn %d: %d queries, want %d", learn, len(l.queries), count)
		}
	}
}

// TestScenesWeighTheSame: a scene with 1 request in 40 has in the long run the weight of the other one; without the switch it has a fortieth.
func TestScenesWeighTheSame(t *testing.T) {
	for _, norm := range []bool{true, false} {
		cfg := tiny()
		cfg.SceneNorm = norm
		m := filled(t, cfg, 3)
		big, small := sceneBucket("home", cfg.Scenes), sceneBucket("shop", cfg.Scenes)
		if big == small {
			t.Fatal("the two scenes share a row")
		}
		var batch []Example
		for range 20 {
			batch = append(batch, Example{Past: []Session{{Events: []Event{{1, schema.ActionClick}}}}, Scene: "home", Targets: []Row{2}})
		}
		weight, largest := map[uint16]float64{}, 0.
		const steps, settled = 6000, 3000
		for step := range steps {
			batch[0].Scene = []string{"home", "shop"}[step%2]
			m.net.lay(batch)
			weigh := m.weights()
			queries := m.net.groups[0].layout.queries
			for i := range queries {
				if step >= settled {
					weight[queries[i].scene] += weigh(&queries[i])
				}
				largest = max(largest, weigh(&queries[i]))
			}
		}
		share := weight[small] / (weight[small] + weight[big])
		want := 1. / 40
		if norm {
			want = 1. / 2
		}
		if math.Abs(share-want) > 0.001 {
			t.Errorf("scene_norm %v: the small scene has %.4f of the weight, want %.4f", norm, share, want)
		}
		if mean := (weight[small] + weight[big]) / (steps - settled) / 20; math.Abs(mean-1) > 0.01 || largest > 21 {
			t.Errorf("scene_norm %v: the mean weight is %.3f, want 1; the largest is %.1f", norm, mean, largest)
		}
	}
}

// TestDropoutIsOfTrainingAlone: queries and ranks do not know of it, and a step is a function of its seed.
func TestDropoutIsOfTrainingAlone(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		cfg.Dropout = 0.4
		rng := rand.New(rand.NewPCG(14, 14))
		batch := whole(rng, 4, 3)
		n := newNetwork(cfg, rng, tinyItems, batch)
		n.aim(rng, tinyItems)
		with := askings(n.net, batch)
		learn := func(seed uint64) (float64, []float64) {
			n.lay(batch)
			return n.learn(&n.task, true, seed), allGradients(n.net)
		}
		loss, grad := learn(1)
		if again, same := learn(1); again != loss || !slices.Equal(same, grad) {
			t.Error("the same seed gives another step")
		}
		if other, different := learn(2); other == loss || slices.Equal(different, grad) {
			t.Error("another seed gives the same step")
		}
		n.cfg.Dropout = 0
		for i, a := range askings(n.net, batch) {
			if !slices.Equal(a.z, with[i].z) {
				t.Fatalf("query %d depends on dropout outside of training", i)
			}
		}
		if without := n.loss(); without == loss {
			t.Error("the loss with dropout is that without")
		}

		cfg.Dropout, cfg.Lanes = 0.4, 2
		twice := newNetwork(cfg, rng, tinyItems, []Example{batch[0], batch[0]})
		twice.groupTokens = 1
		twice.aim(rng, tinyItems)
		twice.learn(&twice.task, true, 1)
		if a, b := twice.groups[0].pass, twice.groups[1].pass; a == b || slices.Equal(a.z, b.z) {
			t.Error("two groups draw the same")
		}

		a := filled(t, cfg, tinyItems)
		cfg.Dropout = 0
		b := filled(t, cfg, tinyItems)
		a.Forward(batch)
		b.Forward(batch)
		want := b.Ranks(tinyItems)
		for i, ranks := range a.Ranks(tinyItems) {
			if !slices.Equal(ranks, want[i]) {
				t.Errorf("example %d: ranks %v with dropout, %v without", i, ranks, want[i])
			}
		}
	})
}

// TestDropoutDrawsApart: what one site, group or step drops says nothing of what another does. Of 40,000 numbers of two sites, both keep .49 ± .0025 at a rate of .3.
func TestDropoutDrawsApart(t *testing.T) {
	cfg := tiny()
	p := newPass[float32](&cfg)
	p.rate = 0.3
	draw := func(seed uint64, group, site int) []float32 {
		x := make([]float32, 40_000)
		for i := range x {
			x[i] = 1
		}
		p.seed = seed + uint64(group)<<40 // as net.learn
		p.drop(x, site)
		return x
	}
	base := draw(7, 0, 0)
	mean := nn.Sum(base) / float32(len(base))
	if math.Abs(float64(mean)-1) > 0.012 {
		t.Errorf("ones have the mean %v after dropout", mean)
	}
	for _, other := range [][]float32{draw(8, 0, 0), draw(7, 1, 0), draw(7, 0, 1), draw(7, 0, 2), draw(7, 0, 5), draw(7, 3, 3)} {
		both := 0.
		for i := range base {
			if base[i] > 0 && other[i] > 0 {
				both++
			}
		}
		if share := both / float64(len(base)); math.Abs(share-0.49) > 0.0125 {
			t.Errorf("two draws both keep %.4f of the numbers, want .49", share)
		}
	}
}
