package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

const tinyItems = 11

func eachVariant(t *testing.T, f func(t *testing.T, cfg Config)) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			cfg := tiny()
			v.set(&cfg)
			f(t, cfg)
		})
	}
}

// whole are examples that fit and are learned from in full: so many sessions of one or two items, with the time, the scene and the user of each.
func whole(rng *rand.Rand, count, sessions int) []Example {
	out := randomExamples(rng, tinyItems, count, sessions, 2)
	for i := range out {
		for len(out[i].Past) < sessions {
			out[i].Past = append(out[i].Past, Session{At: out[i].At, Scene: "shop", Events: []Event{{Row(i % tinyItems), schema.ActionCart}}})
			out[i].At += 9_000
		}
		out[i].Learn, out[i].User = sessions, fmt.Sprint("user ", i)
	}
	return out
}

// single is the network in float32.
func single(n *network) *net[float32] {
	w, c := newWeights[float32](&n.cfg), newCatalogue[float32](n.cfg.Dim)
	narrow(w.arena, n.w.arena)
	for s := Row(1); int(s) < n.items.side.n; s++ {
		vector, bias := c.side.grow()
		narrow(vector, n.items.side.vector(s))
		narrow(bias, n.items.side.biasOf(s))
	}
	for r := range Row(n.items.n) {
		vector, bias := c.grow()
		narrow(vector, n.items.vector(r))
		narrow(bias, n.items.biasOf(r))
		*c.sidesOf(r) = *n.items.sidesOf(r)
	}
	f := newNet(&n.cfg, w, &c)
	f.terms.live = n.terms.live
	return f
}

// asking is a query with its answer.
type asking[F nn.Float] struct {
	example, at int // the asking token's place in its sequence
	z           []F
}

func askings[F nn.Float](n *net[F], batch []Example) (out []asking[F]) {
	n.forward(batch)
	for g := range n.groups {
		l, z := &n.groups[g].layout, n.groups[g].pass.z
		for i, q := range l.queries {
			out = append(out, asking[F]{int(q.example), int(l.at[l.asked[q.ask]]), slices.Clone(z[i*n.cfg.Dim:][:n.cfg.Dim])})
		}
	}
	return out
}

// allGradients are those gradients of the last learn, one behind the other.
func allGradients[F nn.Float](n *net[F]) (out []float64) {
	names, of := gradients(n, n.cfg.specs(), n.items.n)
	for _, name := range names {
		for _, v := range of[name] {
			out = append(out, float64(v))
		}
	}
	return out
}

// apart is how far two vectors are apart, of the length of the second.
func apart(a, b []float64) float64 {
	d := slices.Clone(a)
	for i := range d {
		d[i] -= b[i]
	}
	return math.Sqrt(nn.SumSquares(d) / nn.SumSquares(b))
}

// TestNothingLooksAhead changes one session after the other and demands that every query that was asked before, and those of all other users, keep their bits; in one
// group on one lane, and in a group each on two. Experts get as many tokens as choose them, and products of other shapes may round in another way: hence a bound there.
func TestNothingLooksAhead(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		for cfg.Lanes = 1; cfg.Lanes <= 2; cfg.Lanes++ {
			rng := rand.New(rand.NewPCG(3, 3))
			batch := whole(rng, 3, 4)
			n := single(newNetwork(cfg, rng, tinyItems, batch))
			if cfg.Lanes == 2 {
				n.groupTokens = 1
			}
			before := askings(n, batch)
			if cfg.Lanes > 1 && len(n.lanes[1].groups) == 0 {
				t.Fatal("the second lane has nothing to do")
			}
			differs := func(what string, example, from int) {
				t.Helper()
				changed := false
				for i, a := range askings(n, batch) {
					b := before[i]
					same := slices.Equal(a.z, b.z)
					if a.example == example && a.at >= from {
						changed = changed || !same
					} else if !same && (cfg.Experts == 0 || !closeTo(a.z, b.z, 1e-5)) {
						t.Errorf("lanes %d: %s from token %d of example %d on: the query of token %d of example %d has changed", cfg.Lanes, what, from, example, a.at, a.example)
					}
				}
				if !changed {
					t.Errorf("lanes %d: %s from token %d of example %d on: no query has changed", cfg.Lanes, what, from, example)
				}
			}
			for i := range batch {
				from := 0
				for k := range batch[i].Past {
					s := &batch[i].Past[k]
					saved, events := *s, slices.Clone(s.Events)
					if cfg.Tokens == session {
						s.At, s.Scene = s.At+777_000, "elsewhere"
						differs("time and scene", i, from)
						from++
						*s = saved
					}
					for j := range events {
						s.Events[j] = Event{(events[j].Row + 5) % tinyItems, schema.ActionPurchase}
					}
					differs("items", i, from)
					copy(s.Events, events)
					from += len(events)
				}
			}
		}
	})
}

func closeTo[F nn.Float](a, b []F, bound float64) bool {
	for i := range a {
		if !(math.Abs(float64(a[i]-b[i])) <= bound) {
			return false
		}
	}
	return true
}

// TestTokensSeeWhatTheMaskSays looks at what every token holds before the last block: it must not depend on later sessions, nor on siblings but under the causal
// mask. In bits, but where there are experts (TestNothingLooksAhead).
func TestTokensSeeWhatTheMaskSays(t *testing.T) {
	past := []Session{
		{At: 1000, Events: []Event{{1, schema.ActionClick}, {2, schema.ActionCart}}},
		{At: 60_000, Events: []Event{{3, schema.ActionClick}, {4, schema.ActionClick}, {5, schema.ActionClick}}},
		{At: 90_000, Events: []Event{{6, schema.ActionClick}}},
	}
	type place struct {
		session int
		event   int // -1 for a context token
	}
	eachVariant(t, func(t *testing.T, cfg Config) {
		var tokens []place
		for s := range past {
			if cfg.Tokens == session {
				tokens = append(tokens, place{s, -1})
			}
			for e := range past[s].Events {
				tokens = append(tokens, place{s, e})
			}
		}
		if cfg.Tokens == session {
			tokens = append(tokens, place{len(past), -1})
		}
		rng := rand.New(rand.NewPCG(4, 4))
		batch := []Example{{Past: past, At: 100_000, User: "u"}}
		n := single(newNetwork(cfg, rng, tinyItems, batch))
		run := func() (out [][]float32) {
			n.forward(batch)
			norm := n.groups[0].pass.blocks[cfg.Blocks-1].norm
			if norm.Rows != len(tokens) {
				t.Fatalf("%d tokens, want %d", norm.Rows, len(tokens))
			}
			for i := range tokens {
				out = append(out, slices.Clone(norm.Data[i*cfg.Dim:][:cfg.Dim]))
			}
			return out
		}
		before := run()
		for r, of := range tokens {
			if of.event < 0 {
				continue
			}
			event := &past[of.session].Events[of.event]
			saved := *event
			event.Row = 9
			after := run()
			*event = saved
			for i, token := range tokens {
				sees := i == r
				if cfg.Blocks > 1 {
					sees = sees || token.session > of.session || (cfg.Mask == causal || cfg.Tokens == item) && i > r
				}
				same := slices.Equal(before[i], after[i])
				if same == sees && (sees || cfg.Experts == 0 || !closeTo(before[i], after[i], 1e-5)) {
					t.Errorf("token %d %+v changed with token %d %+v: %v, want %v", i, token, r, of, !same, sees)
				}
			}
		}
	})
}

// TestBatchIsItsSequences runs sequences together, in another order and alone. In float32, products of other shapes may sum in another order, which shows in the
// last digit or two: hence a bound and not equal bits (which these small ones happen to have). In float64, the gradients of a batch are the sum of its sequences'.
func TestBatchIsItsSequences(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		cfg.Dropout = 0 // its draws depend on the place in the batch
		rng := rand.New(rand.NewPCG(5, 5))
		batch := randomExamples(rng, tinyItems, 7, 5, 4)
		for i := range batch {
			batch[i].Learn, batch[i].Marks = len(batch[i].Past)/2, randomMarks(rand.New(rand.NewPCG(5, uint64(i))), tinyItems)
		}
		n := newNetwork(cfg, rng, tinyItems, batch)
		f := single(n)
		together := askings(f, batch)
		byExample := func(all []asking[float32], example int) (out [][]float32) {
			for _, a := range all {
				if a.example == example {
					out = append(out, a.z)
				}
			}
			return out
		}
		compare := func(how string, got, want [][]float32) {
			t.Helper()
			if len(got) != len(want) {
				t.Fatalf("%s: %d queries, want %d", how, len(got), len(want))
			}
			for i := range got {
				if !closeTo(got[i], want[i], 1e-5) {
					t.Errorf("%s: query %v, want %v", how, got[i], want[i])
				}
			}
		}
		order := rng.Perm(len(batch))
		var shuffled []Example
		for _, i := range order {
			shuffled = append(shuffled, batch[i])
		}
		other := askings(f, shuffled)
		for j, i := range order {
			compare("in another order", byExample(other, j), byExample(together, i))
			compare("alone", byExample(askings(f, batch[i:i+1]), 0), byExample(together, i))
		}

		n.aim(rng, tinyItems)
		all := n.task
		loss := n.loss()
		want := allGradients(n.net)
		got, total, at := make([]float64, len(want)), 0., 0
		for i := range batch {
			n.examples = batch[i : i+1]
			n.lay(n.examples)
			queries := len(n.groups[0].layout.queries)
			n.task.queries = all.queries[at:][:queries]
			at += queries
			total += n.loss()
			nn.Add(got, allGradients(n.net))
		}
		if math.Abs(total-loss) > 1e-12*loss || apart(got, want) > 1e-12 {
			t.Errorf("the loss of the batch is %v and the sum of its sequences' is %v; the gradients are %.2g apart", loss, total, apart(got, want))
		}
	})
}

// TestGroupsAndLanes: how a batch is cut, and on how many lanes it runs, changes nothing but rounding: each term is the same, and sums of some hundred terms in another order are
// good to 1e-14 (measured: 1e-15). Dropout is left out, because a group has draws of its own.
func TestGroupsAndLanes(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		cfg.Dropout, cfg.Lanes = 0, 1
		rng := rand.New(rand.NewPCG(6, 6))
		batch := whole(rng, 9, 4)
		for i := range batch {
			batch[i].Marks = randomMarks(rand.New(rand.NewPCG(6, uint64(i))), tinyItems)
		}
		n := newNetwork(cfg, rng, tinyItems, batch)
		n.aim(rng, tinyItems)
		loss := n.loss()
		want := allGradients(n.net)
		for _, c := range []struct{ tokens, lanes, groups int }{{1, 1, 9}, {30, 1, 0}, {groupTokens, 2, 1}, {1, 2, 9}, {1, 3, 9}, {1, 20, 9}, {30, 3, 0}} {
			lanes := n.lanes
			n.lanes, n.groupTokens = make([]lane[float64], c.lanes), c.tokens
			got := n.loss()
			if math.Abs(got-loss) > 1e-12*loss || apart(allGradients(n.net), want) > 1e-12 {
				t.Errorf("%d tokens a group, %d lanes: loss %v, want %v; the gradients are %.2g apart", c.tokens, c.lanes, got, loss, apart(allGradients(n.net), want))
			}
			if c.groups > 0 && len(n.groups) != c.groups {
				t.Errorf("%d tokens a group: %d groups, want %d", c.tokens, len(n.groups), c.groups)
			}
			n.lanes = lanes
		}
	})
}

// TestCoresDoNotMatter: with the same lanes, the bits of twenty steps are the same on one core and on two (I4).
func TestCoresDoNotMatter(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	eachVariant(t, func(t *testing.T, cfg Config) {
		cfg.Lanes = max(cfg.Lanes, 3)
		var models [2]*Model
		for k := range models {
			runtime.GOMAXPROCS(1 + k)
			m := filled(t, cfg, tinyItems)
			m.net.groupTokens = 15
			m.Attach(randomLive(rand.New(rand.NewPCG(7, 7)), tinyItems))
			rng := rand.New(rand.NewPCG(7, 7))
			for range 20 {
				batch := whole(rng, 6, 3)
				for i := range batch {
					batch[i].Marks = randomMarks(rng, tinyItems)
				}
				if s := m.Learn(batch); s.Skipped || s.Examples == 0 {
					t.Fatalf("%+v", s)
				}
			}
			models[k] = m
		}
		a, b := models[0], models[1]
		if !slices.Equal(a.w.arena, b.w.arena) || !slices.Equal(a.items.vectors[0], b.items.vectors[0]) || !slices.Equal(a.items.side.vectors[0], b.items.side.vectors[0]) {
			t.Error("the weights after 20 steps depend on the number of cores")
		}
	})
}

// TestSingleAndDouble compares float32 with float64. A loss is off by up to 1e-7 of itself. A gradient passes through twenty operations forward and as many backward, each good
// to 6e-8, and some of them subtract what is nearly equal: together they are off by up to 4e-6 of their length.
func TestSingleAndDouble(t *testing.T) {
	eachVariant(t, func(t *testing.T, cfg Config) {
		rng := rand.New(rand.NewPCG(8, 8))
		batch := whole(rng, 5, 4)
		n := newNetwork(cfg, rng, tinyItems, batch)
		for i := range batch {
			batch[i].Marks = randomMarks(rng, tinyItems)
		}
		n.aim(rng, tinyItems)
		loss := n.loss()
		f := single(n)
		f.forward(batch)
		got := f.learn(&n.task, cfg.Dropout > 0, 99)
		off, gradient := math.Abs(got-loss)/loss, apart(allGradients(f), allGradients(n.net))
		if off > 1e-6 || gradient > 1e-5 {
			t.Errorf("loss %v, in float64 %v, off by %.2g; the gradients are %.2g apart", got, loss, off, gradient)
		}
		if gradient == 0 {
			t.Error("the two are the same in every bit: nothing was compared")
		}
	})
}
