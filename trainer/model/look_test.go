package model

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// TestAnyNumberOfCoresLooksAlike: with any number of cores, a look gives the same items with the same scores, by either precision, with terms and marks, equal scores and a filter,
// also where looks take the cores from each other.
func TestAnyNumberOfCoresLooksAlike(t *testing.T) {
	const items = 4*leastRun*chunkRows + 77
	cfg := small()
	cfg.Dim, cfg.Heads = 4, 1
	m := filled(t, cfg, items)
	rng := rand.New(rand.NewPCG(41, 41))
	query := wholeNumbers(m, rng)
	live, o := randomLive(rng, items), m.Snapshot(true, nil).Objects()
	queries := []Query{{}, {Marks: manyMarks(rng, items, 500)}, {Filter: Filter{Categories: []string{"2", "5"}, Deny: []string{"item-2", "item-9"}}}}
	for _, p := range precisions {
		var want [][]Scored
		z := query()
		for _, cores := range []int{0, 1, 2, 3, 9} {
			s, err := Serving{Precision: p, Cores: cores}.Load(o[0].Table, o[1].Table)
			if err != nil {
				t.Fatal(err)
			}
			s = s.With(live)
			if want == nil {
				for _, q := range queries {
					want = append(want, s.bestBy(z, q, 300))
				}
			}
			var requests sync.WaitGroup
			for range 4 {
				requests.Go(func() {
					for i, q := range queries {
						if got := s.bestBy(z, q, 300); !slices.Equal(got, want[i]) {
							t.Errorf("precision %s, %d cores, query %d: another answer than one core's", p, cores, i)
						}
					}
				})
			}
			requests.Wait()
			if n := len(s.pools.helpers); n != 0 {
				t.Errorf("%d cores are not given back", n)
			}
		}
	}
}

// TestFaultsOfHelpersAreTheCallers: what panics on another core panics where the look was asked for, and the core is given back.
func TestFaultsOfHelpersAreTheCallers(t *testing.T) {
	m := filled(t, small(), 3*leastRun*chunkRows)
	o := m.Snapshot(true, nil).Objects()
	s, err := Serving{Cores: 2}.Load(o[0].Table, o[1].Table)
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if p := recover(); p != "a fault" {
				t.Errorf("recovered %v", p)
			}
		}()
		a := s.lend()
		if !s.filter(&a.scan.filter, &Filter{}) {
			t.Fatal("nothing is kept")
		}
		s.look(&a.scan, 5, func(_ *Served, _ *scan, _ []float32, chunk int) {
			if chunk == len(s.names)-1 {
				panic("a fault")
			}
		})
	}()
	if n := len(s.pools.helpers); n != 0 {
		t.Errorf("%d cores are not given back", n)
	}
}
