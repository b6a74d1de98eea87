package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func (s *Served) bestBy(z []float32, q Query, k int) []Scored {
	a := s.lend()
	defer s.pools.answers.Put(a)
	a.since = 3
	return s.best(a, z, &q, k)
}

// wholeNumbers sets a model's vectors and biases to small whole numbers, whose sums are exact and often equal.
func wholeNumbers(m *Model, rng *rand.Rand) (query func() []float32) {
	set := func(x []float32) {
		for j := range x {
			x[j] = float32(rng.IntN(5) - 2)
		}
	}
	for r := range m.items.n {
		set(m.items.vector(Row(r)))
		set(m.items.biasOf(Row(r)))
	}
	for side := 1; side < m.items.side.n; side++ {
		set(m.items.side.vector(Row(side)))
		set(m.items.side.biasOf(Row(side)))
	}
	return func() []float32 {
		z := make([]float32, m.cfg.Dim)
		set(z)
		return z
	}
}

// keepsNaively is what a Filter says, by definition.
func keepsNaively(f *Filter) func(id, category string) bool {
	return func(id, category string) bool {
		return (len(f.Categories) == 0 || slices.Contains(f.Categories, category)) &&
			(f.Allow == nil || slices.Contains(f.Allow, id)) && !slices.Contains(f.Deny, id)
	}
}

// TestFilterIsTheNaiveOne: what a filter leaves is what scoring all rows leaves of those that it keeps by definition, in the same order, and as many as were asked for, as long
// as there are so many. Names and categories that no item has are passed over, and an allow list of nothing keeps nothing.
func TestFilterIsTheNaiveOne(t *testing.T) {
	cfg := small()
	cfg.Dim, cfg.Heads, cfg.Terms = 4, 1, false
	m := filled(t, cfg, 2*chunkRows+100)
	query := wholeNumbers(m, rand.New(rand.NewPCG(40, 40)))
	exact, bytes := serve(t, m, Float32), serve(t, m, Int4)
	n := m.items.n
	rapid.Check(t, func(t *rapid.T) {
		names := func(what string) (ids []string) {
			for range rapid.SampledFrom([]int{0, 1, 7, 300}).Draw(t, what) {
				ids = append(ids, fmt.Sprint("item-", rapid.IntRange(0, n+n/10).Draw(t, "item")))
			}
			return ids
		}
		var f Filter
		for _, c := range rapid.SliceOfN(rapid.IntRange(0, 9), 0, 3).Draw(t, "categories") {
			f.Categories = append(f.Categories, fmt.Sprint(c))
		}
		f.Deny = names("deny")
		if rapid.Bool().Draw(t, "allow") {
			f.Allow = append([]string{}, names("allowed")...)
		}
		z, k := query(), rapid.SampledFrom([]int{0, 1, 20, n, n + 5}).Draw(t, "k")
		want := naiveBest(exact, scoredNaively(exact, z), k, keepsNaively(&f))
		if diff := cmp.Diff(want, exact.bestBy(z, Query{Filter: f}, k)); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		got := bytes.bestBy(z, Query{Filter: f}, k)
		if len(got) != len(want) {
			t.Fatalf("by bytes: %d items, want %d", len(got), len(want))
		}
		for _, g := range got {
			r, _ := exact.Row(g.ItemID)
			if !keepsNaively(&f)(g.ItemID, m.categories[r]) {
				t.Fatalf("by bytes: item %s of category %q was not to be kept", g.ItemID, m.categories[r])
			}
		}
	})
}

// TestCategoriesAreThoseOfTheVersion: a delta that gives a row to an item of a category that is new leaves the version before as it was.
func TestCategoriesAreThoseOfTheVersion(t *testing.T) {
	m := filled(t, small(), 50)
	before := load(t, m.Snapshot(true, nil))
	info := infoOf(3)
	info.Category = "new"
	m.Admit("item-3", info, 0)
	m.Admit("another", info, 0)
	o := m.Snapshot(false, nil).Objects()
	after, err := before.Apply(o[0].Table, o[1].Table)
	if err != nil {
		t.Fatal(err)
	}
	z := make([]float32, m.cfg.Dim)
	ids := func(s *Served, category string) (ids []string) {
		for _, b := range s.bestBy(z, Query{Filter: Filter{Categories: []string{category}}}, 50) {
			ids = append(ids, b.ItemID)
		}
		return ids
	}
	if got := ids(after, "new"); !slices.Equal(got, []string{"item-3", "another"}) {
		t.Errorf("of the new category are %v", got)
	}
	if got := ids(after, "3"); slices.Contains(got, "item-3") {
		t.Errorf("of the old category are %v", got)
	}
	if got := ids(before, "new"); len(got) != 0 {
		t.Errorf("before, %v were of the new category", got)
	}
	if got := ids(before, "3"); !slices.Contains(got, "item-3") {
		t.Errorf("before, of the old category were %v", got)
	}
}
