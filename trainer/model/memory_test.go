package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"pgregory.net/rapid"
)

// servedOf is a version of random weights, also where training starts with zeros.
func servedOf(tb testing.TB, cfg Config, items int) *Served {
	tb.Helper()
	m := filled(tb, cfg, items)
	rng := rand.New(rand.NewPCG(3, 3))
	for i := range m.w.arena {
		m.w.arena[i] += 0.1 * float32(rng.NormFloat64())
	}
	for s := 1; s < m.items.side.n; s++ {
		for j := range m.items.side.vector(Row(s)) {
			m.items.side.vector(Row(s))[j] = 0.3 * float32(rng.NormFloat64())
		}
		m.items.side.biasOf(Row(s))[0] = 0.3 * float32(rng.NormFloat64())
	}
	for r := range items {
		m.items.biasOf(Row(r))[0] = 0.3 * float32(rng.NormFloat64())
	}
	return load(tb, m.Snapshot(true, nil))
}

// randomPast is a past of some sessions, some of them empty and some of unknown items.
func randomPast(rng *rand.Rand, items, sessions, events int) []ServedSession {
	at := schema.EventTime(1_700_000_000_000)
	var past []ServedSession
	for range sessions {
		s := ServedSession{At: at, Scene: []string{"", "home", "shop"}[rng.IntN(3)]}
		for range rng.IntN(events + 1) {
			id := fmt.Sprintf("item-%d", rng.IntN(items))
			if rng.IntN(10) == 0 {
				id = "unknown"
			}
			s.Events = append(s.Events, ServedEvent{id, []schema.Action{schema.ActionClick, schema.ActionCart, schema.ActionPurchase}[rng.IntN(3)]})
		}
		past = append(past, s)
		if rng.IntN(4) > 0 { // some at the same moment
			at += schema.EventTime(rng.Int64N(50_000_000))
		}
	}
	return past
}

// memoryTolerance bounds how far a query vector from a memory is from that of the whole network, relative to its longest number: an engine may sum products of another shape in another order, and
// the norm after pointwise attention makes small differences of small numbers larger.
const memoryTolerance = 2e-5

func askWhole(s *Served, q Query) ([]float32, bool) {
	a := s.lend()
	defer s.pools.answers.Put(a)
	a.name(s, q.Past)
	if len(a.past) == 0 {
		return nil, false
	}
	return slices.Clone(a.whole(s, Example{Past: a.past, At: q.At, Scene: q.Scene, User: q.User})), true
}

func (m *Memory) asked(q Query) ([]float32, bool) {
	a := m.s.lend()
	defer m.s.pools.answers.Put(a)
	z, ok := m.ask(a, q)
	return slices.Clone(z), ok
}

func distance(a, b []float32) float64 {
	var most, far float64
	for i := range b {
		most, far = max(most, math.Abs(float64(b[i]))), max(far, math.Abs(float64(a[i])-float64(b[i])))
	}
	return far / most
}

// TestMemoryIsTheWholeNetwork cuts a history anywhere: into what is extended by, together or one after the other, and what comes with the request.
func TestMemoryIsTheWholeNetwork(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			cfg := tiny()
			v.set(&cfg)
			roomy := cfg
			roomy.MaxTokens, roomy.MaxSessions = 120, 30 // past what is quicker to read again
			versions := []*Served{servedOf(t, cfg, 40), servedOf(t, roomy, 40)}
			cuts, asks, far := 0, 0, 0.
			rapid.Check(t, func(t *rapid.T) {
				served := versions[rapid.IntRange(0, 1).Draw(t, "roomy")]
				rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
				past := randomPast(rng, 40, rapid.IntRange(0, 25).Draw(t, "sessions"), rapid.IntRange(1, 8).Draw(t, "events"))
				m := served.Remember("user 3")
				defer m.Forget()
				at := 0
				for {
					late := rapid.IntRange(at, len(past)).Draw(t, "late") // what comes with the request
					q := Query{Past: past[at:late], At: past2(past, late) + schema.EventTime(rng.Int64N(1e8)), Scene: "home", User: "user 3"}
					got, ok := m.asked(q)
					again, _ := m.asked(q)
					if !slices.Equal(got, again) {
						t.Fatal("the same request again has another answer: something was kept")
					}
					q.Past = past[:late]
					want, known := askWhole(served, q)
					if ok != known {
						t.Fatalf("ok %v, the whole network says %v", ok, known)
					}
					if ok {
						asks++
						far = max(far, distance(got, want))
						if d := distance(got, want); !(d < memoryTolerance) {
							t.Fatalf("after %d sessions and %d with the request: %v from the whole network's", at, late-at, d)
						}
					}
					if at == len(past) {
						return
					}
					next := rapid.IntRange(at+1, len(past)).Draw(t, "next")
					cut := m.Extend(past[at:next]...)
					at = next
					if cut {
						cuts++
					}
					if all := tokensOf(served, past[:at]); cut && all <= served.cfg.MaxTokens && at <= served.cfg.MaxSessions {
						t.Fatalf("cut at %d of %d tokens", all, served.cfg.MaxTokens)
					} else if m.Tokens() > served.cfg.MaxTokens {
						t.Fatalf("%d tokens are kept, at most %d are read", m.Tokens(), served.cfg.MaxTokens)
					}
				}
			})
			if cuts < 20 || asks < 100 {
				t.Errorf("%d cuts, %d answers: too few to say anything", cuts, asks)
			}
			t.Logf("%d answers, %d cuts, at most %.1e from the whole network's", asks, cuts, far)
		})
	}
}

func past2(past []ServedSession, n int) schema.EventTime {
	if n == 0 {
		return 1_700_000_000_000
	}
	return past[n-1].At
}

// tokensOf counts the tokens of a past and the request.
func tokensOf(s *Served, past []ServedSession) int {
	n := 1
	for _, p := range past {
		n += 1 + len(p.Events)
	}
	return n
}

// TestMemorySaysWhenItCuts: exactly when a session does not fit beside the others.
func TestMemorySaysWhenItCuts(t *testing.T) {
	cfg := tiny() // 14 tokens, 4 sessions
	served := servedOf(t, cfg, 40)
	session := func(events int) ServedSession {
		s := ServedSession{At: 1000}
		for i := range events {
			s.Events = append(s.Events, ServedEvent{fmt.Sprint("item-", i), schema.ActionClick})
		}
		return s
	}
	f := func(tokens int, cut bool, past ...ServedSession) {
		t.Helper()
		m := served.Remember("")
		defer m.Forget()
		got := false
		for _, s := range past {
			got = m.Extend(s)
		}
		if got != cut || m.Tokens() != tokens {
			t.Errorf("the last of %d sessions: cut %v with %d tokens, want %v with %d", len(past), got, m.Tokens(), cut, tokens)
		}
	}
	f(0, false)
	f(0, false, session(0))
	f(13, false, session(12))
	f(13, true, session(13))
	f(13, false, session(5), session(6))
	f(13, true, session(6), session(6))
	f(13, true, session(6), session(12))
	f(8, false, session(1), session(1), session(1), session(1))
	f(8, true, session(1), session(1), session(1), session(1), session(1))
	f(8, false, session(1), session(1), session(1), session(1), session(0))
}

// TestMemoriesAtOnce: many of one version, each in a goroutine of its own.
func TestMemoriesAtOnce(t *testing.T) {
	served := servedOf(t, small(), 300)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range 30 {
				past := randomPast(rng, 300, 9, 3)
				m := served.Remember("")
				for i := range past {
					m.Extend(past[i])
					q := Query{At: past[i].At + 1000}
					got, ok := m.asked(q)
					q.Past = past[:i+1]
					if want, known := askWhole(served, q); ok != known || ok && !(distance(got, want) < memoryTolerance) {
						t.Errorf("goroutine %d, session %d: another answer than the whole network's", g, i)
					}
				}
				m.Forget()
			}
		})
	}
	wg.Wait()
}
