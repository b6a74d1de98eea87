package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestSample holds the candidates' rules on random batches: sorted, distinct, all chosen targets in, no sibling as a negative, corrections below 0.
func TestSample(t *testing.T) {
	for _, per := range []string{batch, grouped} {
		t.Run(per, func(t *testing.T) {
			cfg := small()
			cfg.NegativesPer = per
			checkSample(t, cfg)
		})
	}
}

func checkSample(t *testing.T, cfg Config) {
	m, _ := trained(t, cfg, 100, 10)
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		rng := rand.New(rand.NewPCG(seed, 1))
		batch := randomExamples(rng, 100, 1+rng.IntN(6)*rng.IntN(40), 3, 3) // of one group, or of several
		for i := range batch {
			if rng.IntN(3) == 0 { // more targets than are learned from at once
				batch[i].Targets = nil
				for _, r := range rng.Perm(100)[:12] {
					batch[i].Targets = append(batch[i].Targets, Row(r))
				}
			}
		}
		m.Forward(batch)
		task := m.sample()
		if len(task.positives) > 0 && len(task.draws) > 0 != (cfg.NegativesPer == grouped) || len(task.draws) > 0 && len(task.draws) != len(m.net.groups) {
			t.Fatalf("%d draws for %d groups", len(task.draws), len(m.net.groups))
		}
		at := 0
		for g := range m.net.groups {
			of := task.drawOf(g)
			candidates := task.candidates[of.from:of.to]
			if !slices.IsSorted(candidates) || len(slices.Compact(slices.Clone(candidates))) != len(candidates) {
				t.Fatalf("candidates are not rising: %v", candidates)
			}
			for _, q := range m.net.groups[g].layout.queries {
				e, a := &batch[q.example], task.queries[at]
				at++
				positives, excluded := task.positives[a.from:a.to], task.excluded[a.exFrom:a.exTo]
				want := 0
				if len(e.Past) > 0 {
					want = min(len(e.Targets), m.cfg.MaxTargets)
				}
				if len(positives) != want || (a.weight > 0) != (want > 0) {
					t.Fatalf("an example with %d targets and %d sessions is learned from %d, with weight %v", len(e.Targets), len(e.Past), len(positives), a.weight)
				}
				if want == 0 {
					continue
				}
				aside := append(slices.Clone(positives), excluded...)
				slices.Sort(aside)
				all := slices.Clone(e.Targets)
				slices.Sort(all)
				if !slices.Equal(aside, all) {
					t.Fatalf("positives and excluded are %v, want the targets %v", aside, all)
				}
				for _, r := range positives {
					if !slices.Contains(candidates, r) {
						t.Fatalf("the target %d is no candidate", r)
					}
				}
			}
		}
		if at != len(task.queries) {
			t.Fatalf("%d queries, %d aims", at, len(task.queries))
		}
		if len(task.logQ) != len(task.candidates) {
			t.Fatalf("%d corrections of %d candidates", len(task.logQ), len(task.candidates))
		}
		for j, q := range task.logQ {
			if !(q <= 0) || math.IsInf(q, 0) {
				t.Fatalf("log q of candidate %d is %v", j, q)
			}
		}
	})
}

// TestRingCountsTheLastTargets holds the frequencies against the last targets, counted again.
func TestRingCountsTheLastTargets(t *testing.T) {
	m, rng := trained(t, small(), 30, 0)
	var all []Row
	for range 40 {
		batch := randomExamples(rng, 30, 3, 2, 2)
		for _, e := range batch {
			all = append(all, e.Targets...)
		}
		m.Forward(batch)
		m.Step()
		want := make([]uint32, 30)
		for _, r := range all[max(0, len(all)-m.cfg.RecentWindow):] {
			want[r]++
		}
		if !slices.Equal(m.frequency, want) {
			t.Fatalf("after %d targets, frequencies are %v, want %v", len(all), m.frequency, want)
		}
	}
}
