package model

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
	"pgregory.net/rapid"
)

// tastes sets a model's vectors to clusters of some two hundred items, most of a vector that of its cluster, and biases to what popularity by rank is: the logarithm of Zipf's share.
func tastes(m *Model, rng *rand.Rand) (query func() []float32) {
	d := m.cfg.Dim
	normal := func(scale float64) []float32 {
		v := make([]float32, d)
		for j := range v {
			v[j] = float32(scale * rng.NormFloat64())
		}
		return v
	}
	centres := make([][]float32, 1+m.items.n/200)
	for i := range centres {
		centres[i] = normal(0.5)
	}
	for r := range m.items.n {
		v := m.items.vector(Row(r))
		copy(v, normal(0.15))
		nn.Add(v, centres[rng.IntN(len(centres))])
		m.items.biasOf(Row(r))[0] = -0.5 * float32(math.Log(float64(1+rng.IntN(m.items.n))))
	}
	for s := 1; s < m.items.side.n; s++ {
		copy(m.items.side.vector(Row(s)), normal(0.1))
	}
	return func() []float32 {
		z := normal(0.3)
		nn.Add(z, centres[rng.IntN(len(centres))])
		nn.Add(z, centres[rng.IntN(len(centres))])
		return z
	}
}

// indexed loads a model's whole snapshot and makes an index, measured by queries.
func indexed(tb testing.TB, m *Model, how Serving, query func() []float32) *Served {
	tb.Helper()
	o := m.Snapshot(true, nil).Objects()
	s, err := how.Load(o[0].Table, o[1].Table)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range measured {
		s.pools.past.add(query(), uint8(i%gaps))
	}
	return s.Indexed()
}

// checkIndex: each item stands in one list, where the index says it does, with its bytes; free rows stand in none.
func checkIndex(t interface{ Fatalf(string, ...any) }, s *Served) {
	x, seen := s.index, map[Row]bool{}
	place := Row(0)
	for i, l := range x.lists {
		if len(l.rows) != len(l.sides) || len(l.codes.scale) < (len(l.rows)+nn.TileRows-1)/nn.TileRows*nn.TileRows {
			t.Fatalf("list %d has %d rows, %d sides and room for %d", i, len(l.rows), len(l.sides), len(l.codes.scale))
		}
		for j, r := range l.rows {
			code, kept := make([]int8, codeWidth(s.cfg.Dim)), make([]int8, codeWidth(s.cfg.Dim))
			l.codes.read(kept, j)
			scale := l.codes.quantise(code[:s.cfg.Dim], s.items.vector(r))
			switch {
			case seen[r]:
				t.Fatalf("row %d stands twice", r)
			case int(x.of[int(r)/chunkRows][int(r)%chunkRows]) != i+1:
				t.Fatalf("row %d stands in list %d, and is said to be in %d", r, i, x.of[int(r)/chunkRows][int(r)%chunkRows]-1)
			case s.id(r) == "":
				t.Fatalf("row %d is free and stands in list %d", r, i)
			case scale != l.codes.scale[j] || !slices.Equal(code, kept) || l.sides[j] != *s.items.sidesOf(r):
				t.Fatalf("list %d has row %d otherwise than the version", i, r)
			case x.row(place) != r:
				t.Fatalf("at place %d of all lists is row %d, want %d", place, x.row(place), r)
			}
			seen[r] = true
			place++
		}
	}
	for r := range Row(s.items.n) {
		if s.id(r) != "" && !seen[r] {
			t.Fatalf("row %d stands in no list", r)
		}
	}
}

// sameScores compares two answers place by place: the order of sums differs, and with it that of items which score next to the same.
func sameScores(t interface{ Fatalf(string, ...any) }, got, want []Scored, within float64) {
	if len(got) != len(want) {
		t.Fatalf("%d items, want %d", len(got), len(want))
	}
	for i := range got {
		if math.Abs(float64(got[i].Score-want[i].Score)) > within {
			t.Fatalf("place %d is %v, want %v", i, got[i], want[i])
		}
	}
}

// TestIndexFollowsDeltas while items come, lose their rows and get those of others: every list is as the version is, versions of before answer as they did, and where all rows are candidates
// the answer is that of a look at all.
func TestIndexFollowsDeltas(t *testing.T) {
	cfg := small()
	cfg.NegativesUniform = 3
	rapid.Check(t, func(t *rapid.T) {
		cfg.MaxItems = rapid.SampledFrom([]int{0, 60, 900}).Draw(t, "max_items")
		cfg.Cosine = rapid.Bool().Draw(t, "cosine")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		m, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		names := 0
		admit := func(n int) {
			for i := range n {
				if i%16 == 0 {
					m.Admit("item-0", schema.ItemInfo{}, schema.EventTime(names))
					m.Sweep(schema.EventTime(names))
				}
				m.Admit(fmt.Sprintf("item-%d", names), infoOf(rng.IntN(40)), schema.EventTime(names))
				names++
			}
		}
		admit(1 + rng.IntN(1100))
		o := m.Snapshot(true, nil).Objects()
		s, err := Serving{Index: IVF, MinRecall: 0.01, Probes: 1}.Load(o[0].Table, o[1].Table)
		if err != nil {
			t.Fatal(err)
		}
		live, marks := randomLive(rng, m.Items()), manyMarks(rng, m.Items(), min(m.Items(), 20))
		s = s.With(live).Indexed()
		z := make([]float32, cfg.Dim)
		for j := range z {
			z[j] = float32(rng.NormFloat64())
		}
		type version struct {
			s    *Served
			want []Scored
		}
		var versions []version
		for range rapid.IntRange(1, 5).Draw(t, "deltas") {
			checkIndex(t, s)
			versions = append(versions, version{s, s.bestWith(z, 2, marks, 10, Filter{})})
			admit(rng.IntN(400))
			m.Forward(liveExamples(m, rng, 3, 3, 1))
			m.Step()
			o := m.Snapshot(false, nil).Objects()
			if s, err = s.Apply(o[0].Table, o[1].Table); err != nil {
				t.Fatal(err)
			}
			all := *s
			all.probes, all.probing = len(s.index.lists), true
			exact := *s
			exact.probing = false
			k := s.items.n / 2
			if s.how.Precision.candidates(k) >= s.items.n {
				sameScores(t, all.bestWith(z, 2, marks, k, Filter{}), exact.bestWith(z, 2, marks, k, Filter{}), 1e-4) // a cosine is divided by the temperature
			}
		}
		checkIndex(t, s)
		for i, v := range versions {
			if got := v.s.bestWith(z, 2, marks, 10, Filter{}); !slices.Equal(got, v.want) {
				t.Fatalf("version %d changed after later deltas", i)
			}
			checkIndex(t, v.s)
		}
	})
}

// TestIndexKeepsWhatIsAsked with a single probe: every mark is in the score, wherever its item stands; and a filter has as many items as were asked for, as long as there are so many.
func TestIndexKeepsWhatIsAsked(t *testing.T) {
	const items = 5000
	m := filled(t, small(), items)
	rng := rand.New(rand.NewPCG(42, 42))
	query := tastes(m, rng)
	s := indexed(t, m, Serving{Index: IVF, MinRecall: 0.01, Probes: 1}, query)
	if r := s.Retrieval(); r.Index != IVF || r.Probes != 1 {
		t.Fatalf("%+v", r)
	}
	kinds := s.w.markTerms
	for i := range kinds {
		kinds[i] = 0
	}
	kinds[MarkAgain], kinds[MarkNeighbour] = -1, 1
	for range 50 {
		z := query()
		best := s.bestBy(z, Query{}, 100)
		exact := *s
		exact.probing = false
		last := exact.bestBy(z, Query{}, items)
		var marks []Mark
		lifted := map[string]bool{}
		for _, b := range last[items-20:] { // to the front
			r, _ := s.Row(b.ItemID)
			marks, lifted[b.ItemID] = append(marks, Mark{r, MarkNeighbour, 1000}), true
		}
		for _, b := range best { // to the end
			if r, _ := s.Row(b.ItemID); !lifted[b.ItemID] {
				marks = append(marks, Mark{r, MarkAgain, 1000})
			}
		}
		slices.SortFunc(marks, func(a, b Mark) int { return int(a.Row - b.Row) })
		got := s.bestBy(z, Query{Marks: marks}, 100)
		want := exact.bestBy(z, Query{Marks: marks}, 20)
		sameScores(t, got[:20], want, 1e-3)
		for _, g := range got {
			if g.Score < -500 {
				t.Fatalf("item %s, which a mark put to the end, is among the best 100", g.ItemID)
			}
		}
		f := Filter{Categories: []string{fmt.Sprint(rng.IntN(7))}}
		for _, b := range last[:items-50] {
			if r, _ := s.Row(b.ItemID); m.categories[r] == f.Categories[0] {
				f.Deny = append(f.Deny, b.ItemID)
			}
		}
		left := 0
		for _, b := range last {
			r, _ := s.Row(b.ItemID)
			if m.categories[r] == f.Categories[0] && !slices.Contains(f.Deny, b.ItemID) {
				left++
			}
		}
		for _, k := range []int{1, left, left + 10} {
			if got := s.bestBy(z, Query{Filter: f}, k); len(got) != min(k, left) {
				t.Fatalf("%d items of the filter, want %d of %d", len(got), k, left)
			}
		}
	}
}

// TestRecallIsMeasured: over items that stand in clusters an index finds what was measured, by other queries as well, from a part of the lists; over items that do not it is not used.
func TestRecallIsMeasured(t *testing.T) {
	const items = 20_000
	for _, cosine := range []bool{false, true} {
		cfg := DefaultConfig()
		cfg.Dim, cfg.Cosine = 32, cosine
		m := filled(t, cfg, items)
		rng := rand.New(rand.NewPCG(43, 43))
		query := tastes(m, rng)
		s := indexed(t, m, Serving{Index: IVF}, query)
		r := s.Retrieval()
		if r.Index != IVF || r.Recall < 0.95 || 4*r.Probes > r.Lists {
			t.Errorf("cosine %v: %+v", cosine, r)
		}
		exact := *s
		exact.probing = false
		found := 0
		for i := range 50 {
			q, a := pastQuery{query(), uint8(i % gaps)}, s.lend()
			found += common(exact.bestFor(&a.scan, &q), s.bestFor(&a.scan, &q))
		}
		if recall := float64(found) / 5000; recall < 0.93 {
			t.Errorf("cosine %v: recall %.3f by other queries, measured %.3f", cosine, recall, r.Recall)
		}
	}
	m := filled(t, small(), items)
	rng := rand.New(rand.NewPCG(44, 44))
	s := indexed(t, m, Serving{Index: IVF, Probes: 1}, clustered(m, rng))
	r := s.Retrieval()
	if r.Index != Exact || r.Recall >= 0.95 || r.Lists == 0 {
		t.Errorf("of what stands in no clusters: %+v", r)
	}
	z := make([]float32, m.cfg.Dim)
	z[0] = 1
	if !slices.Equal(s.bestOf(z, 50, Filter{}), serve(t, m, Float32).bestOf(z, 50, Filter{})) {
		t.Error("an index that is not good enough is used")
	}
	if r := indexed(t, m, Serving{Index: Auto}, func() []float32 { return z }).Retrieval(); r != (Retrieval{Index: Exact, Recall: 1}) {
		t.Errorf("auto over %d items: %+v", items, r)
	}
}

// TestDriftMakesListsAnew: where a quarter of the rows has moved and recall is too low, lists are made of the rows as they are now.
func TestDriftMakesListsAnew(t *testing.T) {
	const items = 4000
	m := filled(t, small(), items)
	query := tastes(m, rand.New(rand.NewPCG(45, 45)))
	s := indexed(t, m, Serving{Index: IVF, Probes: 32}, query)
	query = tastes(m, rand.New(rand.NewPCG(46, 46)))
	for r := range items {
		m.touch(Row(r))
	}
	o := m.Snapshot(false, nil).Objects()
	next, err := s.Apply(o[0].Table, o[1].Table)
	if err != nil {
		t.Fatal(err)
	}
	checkIndex(t, next)
	for range measured {
		next.pools.past.add(query(), 1)
	}
	after := next.Indexed()
	if after.index.cells == s.index.cells || after.index.moved != 0 || after.Retrieval().Recall < 0.95 {
		t.Errorf("%+v after %d rows moved: %+v", after.Retrieval(), after.index.moved, s.Retrieval())
	}
	if again := after.Indexed(); again.index != after.index {
		t.Error("lists that are good are made anew")
	}
}

// TestIndexFromManySides asks while tables change: each goroutine gets what one alone gets.
func TestIndexFromManySides(t *testing.T) {
	const items = 3000
	m := filled(t, small(), items)
	rng := rand.New(rand.NewPCG(47, 47))
	query := tastes(m, rng)
	s := indexed(t, m, Serving{Index: IVF, MinRecall: 0.01, Probes: 4}, query)
	lives := []Live{randomLive(rng, items), randomLive(rng, items), nil}
	z, want := query(), [][]Scored{}
	for _, l := range lives {
		want = append(want, s.With(l).bestWith(z, 3, nil, 20, Filter{}))
	}
	var all sync.WaitGroup
	for i, l := range lives {
		with := s.With(l)
		for range 3 {
			all.Go(func() {
				for range 5 {
					if got := with.bestWith(z, 3, nil, 20, Filter{}); !slices.Equal(got, want[i]) {
						t.Errorf("tables %d: another answer", i)
					}
				}
			})
		}
	}
	all.Wait()
}

// TestCellsAreTheNearest: a vector belongs to the nearest of the centres of the coarse ones nearest to it, and the same points make the same centres.
func TestCellsAreTheNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		dim, n := rapid.SampledFrom([]int{1, 4, 16}).Draw(t, "dim"), rapid.IntRange(1, 300).Draw(t, "points")
		points := make([]float32, n*dim)
		for i := range points {
			points[i] = float32(rng.IntN(5)) // often the same
		}
		want := rapid.IntRange(1, 100).Draw(t, "centres")
		c, again := newCells(points, dim, want), newCells(points, dim, want)
		if !slices.Equal(c.fine.points, again.fine.points) || !slices.Equal(c.from, again.from) {
			t.Fatal("two times other centres")
		}
		if got := c.fine.n(); got < 1 || got > 2*want+1 || c.from[len(c.from)-1] != got {
			t.Fatalf("%d centres, about %d were asked for; cuts %v", got, want, c.from)
		}
		far := func(s *centres, v []float32, i int) (sum float64) {
			for j, x := range s.points[i*dim:][:dim] {
				sum += float64(x-v[j]) * float64(x-v[j])
			}
			return sum
		}
		var f finder
		for at := 0; at < len(points); at += dim {
			v, coarse := points[at:][:dim], make([]int, c.coarse.n())
			for i := range coarse {
				coarse[i] = i
			}
			slices.SortStableFunc(coarse, func(a, b int) int { return cmp.Compare(far(&c.coarse, v, a), far(&c.coarse, v, b)) })
			found, reached := c.find(v, &f), coarse[min(reach, len(coarse))-1]
			for _, near := range coarse {
				if far(&c.coarse, v, near) > far(&c.coarse, v, reached)-1e-3 {
					break // it may stand for another that is as far
				}
				for i := c.from[near]; i < c.from[near+1]; i++ {
					if far(&c.fine, v, i) < far(&c.fine, v, found)-1e-3 {
						t.Fatalf("centre %d is nearer than %d", i, found)
					}
				}
			}
		}
	})
}
