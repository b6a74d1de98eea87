package model

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func load(tb testing.TB, s Snapshot) *Served {
	tb.Helper()
	o := s.Objects()
	served, err := LoadServed(o[0].Table, o[1].Table)
	if err != nil {
		tb.Fatal(err)
	}
	return served
}

func queryOf(m *Model, e Example) Query {
	q := Query{At: e.At, Scene: e.Scene}
	for _, s := range e.Past {
		p := ServedSession{At: s.At, Scene: s.Scene}
		for _, v := range s.Events {
			p.Events = append(p.Events, ServedEvent{m.ID(v.Row), v.Action})
		}
		q.Past = append(q.Past, p)
	}
	return q
}

// TestServedScoresAsTheTrainerDoes compares the whole ranking.
func TestServedScoresAsTheTrainerDoes(t *testing.T) {
	const items = 1500 // two chunks
	m, rng := trained(t, small(), items, 5)
	served := load(t, m.Snapshot(true, nil))
	if served.Items() != items || served.Digest() != m.cfg.Digest() || !served.Has("item-1499") || served.Has("none") {
		t.Errorf("%d items, digest %s", served.Items(), served.Digest())
	}
	batch := randomExamples(rng, items, 12, 7, 5)
	z := m.asked(batch)
	d := m.cfg.Dim
	for i, e := range batch {
		got, ok := served.Recommend(queryOf(m, e), items)
		if ok != (len(e.Past) > 0) {
			t.Fatalf("example %d with %d sessions: ok %v", i, len(e.Past), ok)
		}
		if !ok {
			continue
		}
		if len(got) != items {
			t.Fatalf("%d items, want all %d", len(got), items)
		}
		for j, s := range got {
			r, _ := m.Row(s.ItemID)
			want := m.naiveScore(z[i*d:][:d], r)
			if math.Abs(float64(s.Score)-want) > 1e-5 {
				t.Fatalf("example %d, item %s: score %v, the trainer's %v", i, s.ItemID, s.Score, want)
			}
			if j > 0 && s.Score > got[j-1].Score {
				t.Fatalf("example %d: place %d scores more than the one before", i, j)
			}
		}
		first, _ := served.Recommend(queryOf(m, e), 10)
		if diff := cmp.Diff(got[:10], first); diff != "" {
			t.Fatalf("the first 10 of all differ from the first 10 (-all +10):\n%s", diff)
		}
		q := queryOf(m, e)
		q.Filter.Categories = []string{"1"}
		odd, _ := served.Recommend(q, 10)
		var want []Scored
		for _, s := range got {
			r, _ := m.Row(s.ItemID)
			if m.categories[r] == "1" && len(want) < 10 {
				want = append(want, s)
			}
		}
		if diff := cmp.Diff(want, odd); diff != "" {
			t.Fatalf("filtered (-want +got):\n%s", diff)
		}
	}
}

func TestUnknownItemsAreLeftOut(t *testing.T) {
	m, _ := trained(t, small(), 40, 3)
	served := load(t, m.Snapshot(true, nil))
	known := ServedSession{At: 1000, Events: []ServedEvent{{"item-3", schema.ActionClick}}}
	with := ServedSession{At: 1000, Events: []ServedEvent{{"new-1", schema.ActionClick}, {"item-3", schema.ActionClick}}}
	only := ServedSession{At: 500, Events: []ServedEvent{{"new-2", schema.ActionClick}}}
	a, ok := served.Recommend(Query{Past: []ServedSession{known}, At: 5000}, 5)
	b, ok2 := served.Recommend(Query{Past: []ServedSession{only, with}, At: 5000}, 5)
	if diff := cmp.Diff(a, b); diff != "" || !ok || !ok2 {
		t.Errorf("unknown items changed the answer:\n%s", diff)
	}
	if got, ok := served.Recommend(Query{Past: []ServedSession{only}, At: 5000}, 5); ok || got != nil {
		t.Errorf("a past of unknown items alone gives %v, %v", got, ok)
	}
	for _, k := range []int{-1, 0} {
		if got, _ := served.Recommend(Query{Past: []ServedSession{known}}, k); len(got) != 0 {
			t.Errorf("k=%d gives %v", k, got)
		}
	}
}

func TestPopular(t *testing.T) {
	m, _ := trained(t, small(), 40, 0)
	served := load(t, m.Snapshot(true, func(r Row) float32 { return float32(r % 10) }))
	got := served.Popular(5, Filter{Deny: []string{"item-9"}})
	want := []Scored{{"item-19", 9}, {"item-29", 9}, {"item-39", 9}, {"item-8", 8}, {"item-18", 8}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("popular (-want +got):\n%s", diff)
	}
}

// TestPopularFilterIsTheNaiveOne: what a filter leaves of the most popular items is what it keeps of all of them by definition, in the same order.
func TestPopularFilterIsTheNaiveOne(t *testing.T) {
	m := filled(t, small(), 2*chunkRows+100)
	served := load(t, m.Snapshot(true, func(r Row) float32 { return float32(r % 100) }))
	all := served.Popular(m.items.n, Filter{})
	if len(all) != m.items.n {
		t.Fatalf("%d of %d items", len(all), m.items.n)
	}
	for _, f := range []Filter{
		{Categories: []string{"1", "3", "none"}},
		{Deny: []string{all[0].ItemID, all[7].ItemID, "nobody"}},
		{Allow: []string{"item-5", "item-2100", "item-1030", "item-1", "item-99", "nobody"}},
		{Allow: []string{"item-5", "item-13", "item-1030", "item-2100"}, Deny: []string{"item-13"}, Categories: []string{"0", "3", "5"}},
		{Allow: []string{}},
	} {
		for _, k := range []int{1, 3, 50} {
			want := []Scored{}
			for _, s := range all {
				r, _ := m.Row(s.ItemID)
				if len(want) < k && keepsNaively(&f)(s.ItemID, m.categories[r]) {
					want = append(want, s)
				}
			}
			if diff := cmp.Diff(want, served.Popular(k, f)); diff != "" {
				t.Errorf("%+v, %d (-want +got):\n%s", f, k, diff)
			}
		}
	}
}

// TestDeltasAddUpToTheWhole applies a delta after every few steps and compares with a version loaded whole. Versions of before stay as they were.
func TestDeltasAddUpToTheWhole(t *testing.T) {
	cfg := small()
	cfg.NegativesUniform = 3
	rapid.Check(t, func(t *rapid.T) {
		cfg.MaxItems = rapid.SampledFrom([]int{0, 40, 900}).Draw(t, "max_items")
		seed := rapid.Uint64().Draw(t, "seed")
		rng := rand.New(rand.NewPCG(seed, 1))
		m, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		names := 0
		admit := func(n int) {
			for i := range n {
				if i%16 == 0 { // items lose their rows, come again, and get the rows of others
					m.Admit("item-0", schema.ItemInfo{}, schema.EventTime(names))
					m.Sweep(schema.EventTime(names))
					m.Admit(fmt.Sprintf("item-%d", rng.IntN(1+names)), infoOf(rng.IntN(40)), schema.EventTime(rng.IntN(1+names)))
				}
				m.Admit(fmt.Sprintf("item-%d", names), infoOf(rng.IntN(40)), schema.EventTime(names))
				names++
			}
		}
		admit(1 + rng.IntN(1100))
		popularity := func(r Row) float32 { return float32(int(r) * 7919 % 101) }
		o := m.Snapshot(true, popularity).Objects()
		served, err := LoadServed(o[0].Table, o[1].Table)
		if err != nil {
			t.Fatal(err)
		}
		type version struct {
			s    *Served
			want []Scored
		}
		var versions []version
		q := Query{Past: []ServedSession{{At: 1000, Events: []ServedEvent{{"item-0", schema.ActionClick}}}}, At: 60_000}
		for range rapid.IntRange(1, 5).Draw(t, "deltas") {
			want, _ := served.Recommend(q, 50)
			versions = append(versions, version{served, want})
			admit(rng.IntN(600))
			for range rng.IntN(3) {
				m.Forward(liveExamples(m, rng, 3, 3, 1))
				m.Step()
			}
			o := m.Snapshot(false, popularity).Objects()
			if served, err = served.Apply(o[0].Table, o[1].Table); err != nil {
				t.Fatal(err)
			}
			whole := *m
			whole.unpublished.rows = nil
			full := whole.Snapshot(true, popularity).Objects()
			fresh, err := LoadServed(full[0].Table, full[1].Table)
			if err != nil {
				t.Fatal(err)
			}
			a, _ := served.Recommend(q, fresh.Items())
			b, _ := fresh.Recommend(q, fresh.Items())
			if diff := cmp.Diff(b, a); diff != "" {
				t.Fatalf("after the delta (-whole +delta):\n%s", diff)
			}
			if diff := cmp.Diff(fresh.Popular(20, Filter{}), served.Popular(20, Filter{})); diff != "" {
				t.Fatalf("popular after the delta (-whole +delta):\n%s", diff)
			}
			if n := len(served.Popular(served.Items(), Filter{})); n != m.Live() {
				t.Fatalf("%d items are served, %d have a row", n, m.Live())
			}
			for i := range names {
				id := fmt.Sprintf("item-%d", i)
				if r, ok := m.Row(id); served.Has(id) != ok || ok && served.id(r) != id {
					t.Fatalf("%s has a row: %v, served: %v", id, ok, served.Has(id))
				}
			}
		}
		for i, v := range versions {
			if got, _ := v.s.Recommend(q, 50); !slices.Equal(got, v.want) {
				t.Fatalf("version %d changed after later deltas", i)
			}
		}
	})
}

// TestSmallDeltaSharesChunks: a delta of one row copies one chunk.
func TestSmallDeltaSharesChunks(t *testing.T) {
	m := filled(t, small(), 3*chunkRows)
	served := load(t, m.Snapshot(true, nil))
	m.Admit("item-2000", schema.ItemInfo{Category: "new"}, 0)
	o := m.Snapshot(false, nil).Objects()
	next, err := served.Apply(o[0].Table, o[1].Table)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := range 3 {
		shared := &next.items.vectors[chunk][0] == &served.items.vectors[chunk][0] && &next.popularity[chunk][0] == &served.popularity[chunk][0] && next.names[chunk] == served.names[chunk]
		if shared != (chunk != 2000/chunkRows) {
			t.Errorf("chunk %d is shared: %v", chunk, shared)
		}
	}
	if next.names[1].categories[2000%chunkRows] != "new" || served.names[1].categories[2000%chunkRows] == "new" {
		t.Error("the new category is not in the new version alone")
	}
}

func TestApplyRefusesWhatDoesNotFollow(t *testing.T) {
	m := filled(t, small(), 50)
	base := load(t, m.Snapshot(true, nil))
	m.Admit("item-50", schema.ItemInfo{}, 0)
	first := m.Snapshot(false, nil).Objects()
	m.Admit("item-51", schema.ItemInfo{}, 0)
	second := m.Snapshot(false, nil).Objects()
	if _, err := base.Apply(second[0].Table, second[1].Table); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("a delta that skips one: %v", err)
	}
	next, err := base.Apply(first[0].Table, first[1].Table)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next.Apply(second[0].Table, second[1].Table); err != nil {
		t.Error(err)
	}
	if _, err := base.Apply(first[0].Table, second[1].Table); err != nil {
		t.Errorf("newer params on the same rows: %v", err) // allowed: the manifest, not the tables, ties the two
	}
	other := filled(t, small(), 0)
	for i := range 51 {
		other.Admit(fmt.Sprintf("other-%d", i), schema.ItemInfo{}, 0)
	}
	o := other.Snapshot(false, nil).Objects()
	if _, err := base.Apply(o[0].Table, o[1].Table); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("a delta of another model: %v", err)
	}
	wide := small()
	wide.Blocks++
	o = filled(t, wide, 50).Snapshot(true, nil).Objects()
	if _, err := base.Apply(o[0].Table, o[1].Table); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("another shape: %v", err)
	}
	if _, err := LoadServed(first[0].Table, first[1].Table); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("a delta loaded as a base: %v", err)
	}
}

func TestServedIsSafeForManyGoroutines(t *testing.T) {
	m, rng := trained(t, small(), 300, 3)
	served := load(t, m.Snapshot(true, nil))
	var queries []Query
	var want [][]Scored
	for _, e := range randomExamples(rng, 300, 8, 5, 5) {
		q := queryOf(m, e)
		best, _ := served.Recommend(q, 10)
		queries, want = append(queries, q), append(want, best)
	}
	m.Admit("item-7", schema.ItemInfo{Category: "x"}, 0)
	o := m.Snapshot(false, nil).Objects()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 40 {
				j := (i + g) % len(queries)
				if got, _ := served.Recommend(queries[j], 10); !slices.Equal(got, want[j]) {
					t.Errorf("query %d: %v, alone it was %v", j, got, want[j])
				}
				if g == 0 && i%10 == 0 {
					if _, err := served.Apply(o[0].Table, o[1].Table); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// FuzzLoadServed feeds whatever an Arrow file can say to the loader: it must answer, or say ErrCorrupt.
func FuzzLoadServed(t *testing.F) {
	f := fuzz.Of(t)
	cfg := small()
	cfg.Dim, cfg.Heads = 4, 1
	m := filled(f, cfg, 3)
	o := m.Snapshot(true, nil).Objects()
	items, err := o[0].Table.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	params, err := o[1].Table.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(items, params)
	f.Add(params, items)
	f.Add(items[:len(items)/2], params)
	f.Fuzz(func(t *testing.T, items, params []byte) {
		a, err := schema.DecodeTable(items)
		if err != nil {
			return
		}
		b, err := schema.DecodeTable(params)
		if err != nil {
			return
		}
		s, err := LoadServed(a, b)
		if err != nil {
			if !errors.Is(err, schema.ErrCorrupt) {
				t.Fatalf("fault is not ErrCorrupt: %v", err)
			}
			return
		}
		s.Popular(3, Filter{})
		s.Recommend(Query{Past: []ServedSession{{Events: []ServedEvent{{"item-0", schema.ActionClick}}}}}, 3)
	})
}

func TestTopKeepsTheBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scores := rapid.SliceOf(rapid.SampledFrom([]float32{-1, 0, 0.5, 2, 7, float32(math.NaN()), float32(math.Inf(-1))})).Draw(t, "scores")
		k := rapid.IntRange(0, 8).Draw(t, "k")
		var best top
		best.reset(k, len(scores))
		var want []ScoredRow
		for r, s := range scores {
			if best.wants(s) {
				best.add(Row(r), s)
			}
			if s == s {
				want = append(want, ScoredRow{Row(r), s})
			}
		}
		slices.SortStableFunc(want, func(a, b ScoredRow) int {
			if a.Score > b.Score {
				return -1
			} else if a.Score < b.Score {
				return 1
			}
			return 0
		})
		if got := best.sorted(); !slices.Equal(got, want[:min(k, len(want))]) {
			t.Fatalf("best %d of %v: %v, want %v", k, scores, got, want)
		}
	})
}
