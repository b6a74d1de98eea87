package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func (s *Served) bestWith(z []float32, since uint8, marks []Mark, k int, f Filter) []Scored {
	a := s.lend()
	defer s.pools.answers.Put(a)
	a.since = since
	return s.best(a, z, &Query{Marks: marks, Filter: f}, k)
}

// TestServedHasTheTrainersTerms compares whole rankings with those of the trainer, for what is read at once and for a memory, with tables that know fewer items than the
// version and with none.
func TestServedHasTheTrainersTerms(t *testing.T) {
	const items = 1500 // two chunks
	for _, set := range []func(c *Config){func(*Config) {}, func(c *Config) { c.Cosine = true }, func(c *Config) { c.Tokens = item }, func(c *Config) { c.Terms = false }} {
		cfg := small()
		set(&cfg)
		m := filled(t, cfg, items)
		rng := rand.New(rand.NewPCG(30, 30))
		live := randomLive(rng, items-100)
		for i := range m.w.arena {
			m.w.arena[i] += 0.1 * float32(rng.NormFloat64())
		}
		served := load(t, m.Snapshot(true, nil))
		batch := termedExamples(rng, items, 24, 7, 5)
		for _, l := range []Live{live, nil} {
			m.Attach(l)
			m.Forward(batch)
			_, tops := m.Judge(items, items, 1<<20)
			with := served.With(l)
			asked := 0
			for i, e := range batch {
				q := queryOf(m, e)
				q.Marks = e.Marks
				for j, r := range e.Past {
					if len(r.Events) == 0 {
						t.Fatalf("session %d is empty", j)
					}
				}
				memory := served.Remember("") // before the other way, whose gap an answer may still hold
				cut := 0
				if len(q.Past) > 0 {
					cut = rng.IntN(len(q.Past))
				}
				memory.Extend(q.Past[:cut]...)
				if !memory.Follow(with) {
					t.Fatal("a memory does not take the tables of its own version")
				}
				remembered, _ := memory.Recommend(Query{Past: q.Past[cut:], At: q.At, Scene: q.Scene, Marks: q.Marks}, items)
				memory.Forget()
				got, ok := with.Recommend(q, items)
				if ok != (len(e.Past) > 0) {
					t.Fatalf("example %d with %d sessions: ok %v", i, len(e.Past), ok)
				} else if !ok {
					continue
				}
				asked++
				same := func(how string, got []Scored) {
					t.Helper()
					if len(got) != items {
						t.Fatalf("%s, example %d: %d items, want %d", how, i, len(got), items)
					}
					want := make([]float32, items)
					for _, of := range tops[i] {
						want[of.Row] = of.Score
					}
					for j, s := range got {
						r, _ := with.Row(s.ItemID)
						if math.Abs(float64(s.Score-want[r])) > 1e-4 || math.Abs(float64(s.Score-tops[i][j].Score)) > 1e-4 {
							t.Fatalf("%s, example %d, place %d: row %d with %v, which the trainer gives %v, and the place %v", how, i, j, r, s.Score, want[r], tops[i][j])
						}
					}
				}
				same("at once", got)
				same("from a memory", remembered)
			}
			if asked < 10 {
				t.Errorf("%d requests only", asked)
			}
		}
		other := load(t, m.Snapshot(true, nil))
		if memory := other.Remember(""); memory.Follow(served) {
			t.Error("a memory follows another version")
		}
	}
}

// TestBestHasTheTerms on small whole numbers, whose sums are exact: by float32, the best with terms and marks are those of scoring all rows and sorting them, the same items
// in the same order with the same scores; by bytes as long as all rows are candidates.
func TestBestHasTheTerms(t *testing.T) {
	cfg := small()
	cfg.Dim, cfg.Heads = 4, 1
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		m, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.SampledFrom([]int{0, 1, 5, 150, chunkRows - 1, chunkRows, 2*chunkRows + 100}).Draw(t, "items")
		whole := func(x []float32, most int) {
			for j := range x {
				x[j] = float32(rng.IntN(2*most+1) - most)
			}
		}
		for i := range n {
			r, _ := m.Admit(fmt.Sprint("item-", i), infoOf(i), 0)
			whole(m.items.vector(r), 1)
			whole(m.items.biasOf(r), 1)
		}
		whole(m.w.arena[m.w.dense:], 2)
		live := make(listed, rapid.SampledFrom([]int{0, n / 2, n, n + 5}).Draw(t, "rows of the table")*ItemTerms)
		whole(live, 1)
		z := make([]float32, 4)
		whole(z, 2)
		at := schema.EventTime(1_700_000_000_000)
		e := Example{At: at, Past: []Session{{At: at - schema.EventTime(1000*math.Exp(14*rng.Float64())), Events: []Event{{}}}}}
		for range rapid.IntRange(0, 300).Draw(t, "marks") { // also of rows that the version does not know
			e.Marks = append(e.Marks, Mark{Row(rng.IntN(n + n/10 + 2)), uint8(rng.IntN(MarkTerms)), float32(rng.IntN(9) - 4)})
		}
		slices.SortFunc(e.Marks, func(a, b Mark) int { return 16*int(a.Row-b.Row) + int(a.Of) - int(b.Of) })
		e.Marks = slices.CompactFunc(e.Marks, func(a, b Mark) bool { return a.Row == b.Row && a.Of == b.Of })
		var f Filter
		if rapid.Bool().Draw(t, "filter") {
			f = Filter{Categories: []string{"0", "2", "4", "6", "8"}}
		}
		k := rapid.SampledFrom([]int{0, 1, 2, 10, 100, n, n + 7}).Draw(t, "k")
		since := gapBucket(e.Past[0].At, e.At)
		for _, p := range precisions {
			o := m.Snapshot(true, nil).Objects()
			s, err := Serving{Precision: p}.Load(o[0].Table, o[1].Table)
			if err != nil {
				t.Fatal(err)
			}
			s = s.With(live)
			scores := scoredNaively(s, z)
			for r := range scores {
				scores[r] += termsByDefinition(s.w, cfg.specs(), live, e, Row(r))
			}
			got, want := s.bestWith(z, since, e.Marks, k, f), naiveBest(s, scores, k, keepsNaively(&f))
			if p == Float32 || p.candidates(k) >= n {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("precision %s (-want +got):\n%s", p, diff)
				}
			}
			for _, g := range got {
				if r, _ := s.Row(g.ItemID); float64(g.Score) != scores[r] {
					t.Fatalf("precision %s: item %s scores %v, want %v", p, g.ItemID, g.Score, scores[r])
				}
			}
		}
	})
}

// TestCodesRecallTheExactWithTerms: the terms are exact by any precision, and so are the marks, so that codes find what they find without.
func TestCodesRecallTheExactWithTerms(t *testing.T) {
	const items = 20_000
	m := filled(t, DefaultConfig(), items)
	rng := rand.New(rand.NewPCG(1, 1))
	query := clustered(m, rng)
	live := randomLive(rng, items)
	exact := serve(t, m, Float32).With(live)
	for _, p := range []Precision{Int8, Int4} {
		codes, sum, least := serve(t, m, p).With(live), 0., 1.
		for range 100 {
			z, marks, since := query(), manyMarks(rng, items, 200), uint8(rng.IntN(gaps))
			want := map[string]bool{}
			for _, b := range exact.bestWith(z, since, marks, 100, Filter{}) {
				want[b.ItemID] = true
			}
			hit := 0.
			for _, b := range codes.bestWith(z, since, marks, 100, Filter{}) {
				if want[b.ItemID] {
					hit++
				}
			}
			sum, least = sum+hit/100, min(least, hit/100)
		}
		if t.Logf("%s: mean recall %.4f, at least %.2f", p, sum/100, least); sum/100 < 0.999 || least < 0.99 {
			t.Errorf("%s: mean recall %.4f, at least %.2f: want .999 and .99", p, sum/100, least)
		}
	}
}

// TestApplyKeepsTheTables: the version after a delta has the tables of the one before, over its new rows too; the one before stays as it was, and With changes neither.
func TestApplyKeepsTheTables(t *testing.T) {
	m := filled(t, small(), chunkRows-5)
	rng := rand.New(rand.NewPCG(31, 31))
	live, newer := randomLive(rng, chunkRows+50), randomLive(rng, chunkRows+50)
	plain := load(t, m.Snapshot(true, nil))
	z := make([]float32, m.cfg.Dim)
	z[1] = 1
	without := plain.bestOf(z, 20, Filter{})
	first := plain.With(live)
	want := first.bestOf(z, 20, Filter{})
	for i := range 30 {
		m.Admit(fmt.Sprint("new-", i), infoOf(i), 0)
	}
	o := m.Snapshot(false, nil).Objects()
	second, err := first.Apply(o[0].Table, o[1].Table)
	if err != nil {
		t.Fatal(err)
	}
	all := load(t, m.Snapshot(true, nil))
	for _, c := range []struct {
		name      string
		got, want []Scored
	}{
		{"after a delta", second.bestOf(z, 60, Filter{}), all.With(live).bestOf(z, 60, Filter{})},
		{"newer tables", second.With(newer).bestOf(z, 60, Filter{}), all.With(newer).bestOf(z, 60, Filter{})},
		{"none again", second.With(nil).bestOf(z, 60, Filter{}), all.bestOf(z, 60, Filter{})},
		{"the version before", first.bestOf(z, 20, Filter{}), want},
		{"the one without tables", plain.bestOf(z, 20, Filter{}), without},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	if slices.Equal(want, without) || slices.Equal(second.bestOf(z, 60, Filter{}), all.bestOf(z, 60, Filter{})) {
		t.Error("the tables make no difference")
	}
	if second.live.chunks[0].Load() != first.live.chunks[0].Load() {
		t.Error("a chunk was asked for again")
	}
}

// TestTablesAtOnce: many goroutines ask a version whose tables nobody has looked at yet.
func TestTablesAtOnce(t *testing.T) {
	m, live, rng := termedModel(t, small(), 1500, 2)
	served := load(t, m.Snapshot(true, nil))
	e := termedExamples(rng, 1500, 1, 5, 5)[0]
	q := queryOf(m, e)
	q.Marks = randomMarks(rng, 1500)
	want, ok := served.With(live).Recommend(q, 20)
	if !ok {
		t.Fatal("no answer")
	}
	for range 10 {
		fresh := served.With(live)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if got, _ := fresh.Recommend(q, 20); !slices.Equal(got, want) {
					t.Errorf("%v, alone it was %v", got, want)
				}
			})
		}
		wg.Wait()
	}
}
