package model

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

func small() Config {
	c := DefaultConfig()
	c.Dim, c.MaxTokens, c.MaxSessions, c.RecentWindow = 16, 24, 6, 50
	c.NegativesUniform, c.NegativesRecent = 20, 20
	return c
}

// trained returns a model that has taken some steps on random sessions.
func trained(tb testing.TB, cfg Config, items, steps int) (*Model, *rand.Rand) {
	tb.Helper()
	m := filled(tb, cfg, items)
	rng := rand.New(rand.NewPCG(7, 7))
	for range steps {
		m.Forward(randomExamples(rng, items, 8, 5, 4))
		if s := m.Step(); s.Skipped {
			tb.Fatalf("step skipped: %+v", s)
		}
	}
	return m, rng
}

// asked returns the query vectors of a batch.
func (m *Model) asked(batch []Example) []float32 {
	m.Forward(batch)
	return slices.Clone(m.queries())
}

func near(t *testing.T, what string, got, want []float32, bound float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Abs(float64(got[i])-float64(want[i])) > bound {
			t.Fatalf("%s: number %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// TestItemsOfASessionHaveNoOrder permutes the items of every session and demands the same query.
func TestItemsOfASessionHaveNoOrder(t *testing.T) {
	m, rng := trained(t, small(), 30, 5)
	batch := randomExamples(rng, 30, 6, 4, 4)
	before := m.asked(batch)
	for i := range batch {
		for k := range batch[i].Past {
			e := batch[i].Past[k].Events
			rng.Shuffle(len(e), func(a, b int) { e[a], e[b] = e[b], e[a] })
		}
	}
	near(t, "shuffled within sessions", m.asked(batch), before, 1e-5)
	changed := false
	for i := range batch {
		if p := batch[i].Past; len(p) > 1 {
			p[0].Events, p[1].Events = p[1].Events, p[0].Events
			changed = true
		}
	}
	if after := m.asked(batch); !changed || slices.Equal(after, before) {
		t.Error("the order of sessions makes no difference")
	}
}

// TestLossAtTheStart is ln of the number of candidates, because an untrained model knows nothing; and that also with the correction, because before any
// target was seen all items are equally likely to be drawn.
func TestLossAtTheStart(t *testing.T) {
	cfg := DefaultConfig()
	m := filled(t, cfg, 900) // fewer than the draws: the softmax is full
	m.Forward(randomExamples(rand.New(rand.NewPCG(1, 1)), 900, 64, 5, 4))
	s := m.Step()
	if s.Candidates != 900 || math.Abs(s.Loss-math.Log(900)) > 0.1 {
		t.Errorf("first loss over %d items = %.3f, want about ln 900 = %.3f", s.Candidates, s.Loss, math.Log(900))
	}
	m = filled(t, cfg, 20_000)
	m.Forward(randomExamples(rand.New(rand.NewPCG(1, 1)), 20_000, 64, 5, 4))
	if s := m.Step(); s.Candidates > 1300 || math.Abs(s.Loss-math.Log(float64(s.Candidates))) > 0.1 {
		t.Errorf("first loss over %d of 20,000 items = %.3f, want about ln %[1]d = %.3f", s.Candidates, s.Loss, math.Log(float64(s.Candidates)))
	}
}

// TestOverfitsOneBatch trains each variant on one batch until it knows it: what was asked has rank 1, and the loss, without dropout, is next to nothing.
func TestOverfitsOneBatch(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			cfg := small()
			v.set(&cfg)
			if cfg.Cosine {
				cfg.Temperature = 0.05 // or the loss has a floor: products of unit vectors are at most one
			}
			m := filled(t, cfg, 200)
			batch := randomExamples(rand.New(rand.NewPCG(2, 2)), 200, 10, 4, 3)
			for i := range batch {
				batch[i].Targets = batch[i].Targets[:1]
			}
			first := m.Learn(batch).Loss
			for range 100 {
				m.Learn(batch)
			}
			m.Forward(batch)
			for i, ranks := range m.Ranks(m.Items()) {
				if len(batch[i].Past) > 0 && ranks[0] != 1 {
					t.Errorf("after 100 steps on one batch, the target of example %d has rank %d", i, ranks[0])
				}
			}
			m.cfg.Dropout = 0
			if s := m.Learn(batch); s.Loss > first/50 {
				t.Errorf("loss fell from %.3f to %.3f only", first, s.Loss)
			}
		})
	}
}

// TestRanks compares with counting, in float64, and with equal rows for ties.
func TestRanks(t *testing.T) {
	m, rng := trained(t, small(), 60, 5)
	clear(m.items.vector(7)) // scores that are equal in every bit, whatever the order of summation
	clear(m.items.vector(8))
	m.items.biasOf(7)[0] = m.items.biasOf(8)[0]
	*m.items.sidesOf(7) = *m.items.sidesOf(8)
	batch := randomExamples(rng, 60, 12, 4, 3)
	batch[0].Targets, batch[1].Targets, batch[2].Targets = []Row{7, 8, 59}, nil, []Row{0}
	m.Forward(batch)
	z := slices.Clone(m.queries())
	const known = 50
	got := m.Ranks(known)
	d := m.cfg.Dim
	for i, e := range batch {
		if len(got[i]) != len(e.Targets) {
			t.Fatalf("example %d: %d ranks for %d targets", i, len(got[i]), len(e.Targets))
		}
		score := func(r Row) float64 { return m.naiveScore(z[i*d:][:d], r) }
		for j, target := range e.Targets {
			want := int32(0)
			if target < known {
				for r := range Row(known) {
					if score(r) >= score(target) {
						want++
					}
				}
			}
			if got[i][j] != want {
				t.Errorf("example %d, target %d: rank %d, want %d", i, target, got[i][j], want)
			}
		}
	}
	if got[0][0] != got[0][1] || got[0][2] != 0 {
		t.Errorf("equal items have ranks %d and %d, an item that is not known has %d", got[0][0], got[0][1], got[0][2])
	}
	m.items.biasOf(0)[0] = float32(math.NaN())
	if last := m.Ranks(known)[2][0]; last != known {
		t.Errorf("a score that is not a number has rank %d, want the last, %d", last, known)
	}
	if none := m.Ranks(0); none[0][0] != 0 || len(none) != len(batch) {
		t.Errorf("with nothing known, ranks are %v", none)
	}
}

func TestLossWithoutHistoryIsAnOption(t *testing.T) {
	for _, with := range []bool{false, true} {
		cfg := small()
		cfg.LossWithoutHistory = with
		m := filled(t, cfg, 60)
		before := slices.Clone(m.w.arena)
		m.Forward([]Example{{At: 1000, Targets: []Row{4}}})
		s := m.Step()
		if moved := !slices.Equal(before, m.w.arena); moved != with || (s.Examples == 1) != with {
			t.Errorf("loss without history %v: weights moved %v, examples %d", with, moved, s.Examples)
		}
		if m.frequency[4] != 1 {
			t.Errorf("loss without history %v: the target was not counted", with)
		}
	}
}

func TestSessionOf(t *testing.T) {
	click := func(item string, action schema.Action, at schema.EventTime) schema.Click {
		return schema.Click{UserID: "u", ItemID: item, Action: action, EventTime: at, Scene: "home", Item: schema.ItemInfo{Category: "of " + item}}
	}
	m := filled(t, small(), 0)
	clicks := []schema.Click{
		click("seen", schema.ActionExposure, 5), click("b", schema.ActionClick, 10), click("a", "wishlist", 20),
		click("b", schema.ActionPurchase, 30), click("b", schema.ActionCart, 40),
	}
	if s := m.SessionOf(clicks); s.At != 5 || s.Scene != "home" || len(s.Events) != 0 || m.Items() != 0 {
		t.Errorf("session %+v of a model without items, which has %d of them then", s, m.Items())
	}
	for _, id := range []string{"b", "seen", "a"} {
		m.Admit(id, schema.ItemInfo{}, 0)
	}
	want := []Event{{0, schema.ActionPurchase}, {2, "wishlist"}} // what was only shown is no input
	if s := m.SessionOf(clicks); !slices.Equal(s.Events, want) {
		t.Errorf("session %+v, want events %v", s, want)
	}
}

// TestFreshRowsDependOnSeedAndRow: admitting needs no random state, so it may happen at any time without disturbing the samples.
func TestFreshRowsDependOnSeedAndRow(t *testing.T) {
	a, b := filled(t, small(), 3), filled(t, small(), 3)
	a.Forward(randomExamples(rand.New(rand.NewPCG(1, 1)), 3, 4, 2, 2))
	a.Step()
	a.Admit("new", schema.ItemInfo{}, 0)
	b.Admit("new", schema.ItemInfo{}, 0)
	if !slices.Equal(a.items.vector(3), b.items.vector(3)) {
		t.Error("a fresh row depends on what was trained before")
	}
	other := small()
	other.Seed++
	if c := filled(t, other, 1); slices.Equal(a.items.vector(0), c.items.vector(0)) || slices.Equal(a.w.arena, c.w.arena) {
		t.Error("another seed gives the same weights")
	}
}

func TestConfigValidateJoinsAllFaults(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
	c := DefaultConfig()
	c.Dim, c.Heads, c.DenseRate, c.NegativesUniform = 63, 2, math.NaN(), 0
	err := c.Validate()
	for _, part := range []string{"heads", "dense_rate", "negatives_uniform"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not name %s", err, part)
		}
	}
	if _, err := New(c); err == nil {
		t.Error("New takes a config that is not valid")
	}
	keys := map[string]bool{}
	for f := range reflect.TypeFor[Config]().Fields() {
		keys[f.Tag.Get("koanf")] = true
	}
	large := DefaultConfig()
	large.Dim, large.Blocks, large.Experts, large.ExpertWidth = maxDim, maxBlocks, maxExperts, maxDim
	alone := Config{Tokens: item, TokenNetworks: true, UserRows: 1, Horizon: 2, Experts: 1, ClickWeight: 1}
	for _, c := range []Config{{}, c, large, alone} {
		faults := c.Faults()
		if len(faults) == 0 {
			t.Errorf("%+v has no fault", c)
		}
		for _, f := range faults {
			if !keys[f.Key] || f.Problem == "" || f.Next == "" {
				t.Errorf("%+v: its key is none, or it does not say what to do", f)
			}
		}
	}
}

func TestDigestIsOfTheShape(t *testing.T) {
	a, b := DefaultConfig(), DefaultConfig()
	b.Seed, b.DenseRate, b.NegativesUniform, b.Clip = 9, 0.1, 7, 0
	if a.Digest() != b.Digest() {
		t.Error("the digest depends on how the model is trained")
	}
	seen := map[string]bool{a.Digest(): true}
	for _, change := range []func(*Config){
		func(c *Config) { c.Dim = 32 }, func(c *Config) { c.Blocks = 1 }, func(c *Config) { c.Heads = 4 },
		func(c *Config) { c.MaxSessions = 5 }, func(c *Config) { c.MaxTokens = 64 }, func(c *Config) { c.Scenes = 4 },
	} {
		c := DefaultConfig()
		change(&c)
		if seen[c.Digest()] {
			t.Errorf("%+v has the digest of another shape", c)
		}
		seen[c.Digest()] = true
	}
}
