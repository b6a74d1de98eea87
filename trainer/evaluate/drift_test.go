package evaluate

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
)

// TestDriftFalseAlarms feeds a million figures of one distribution, for several distributions. The losses of a stream are not independent, so the last is a process that swings.
func TestDriftFalseAlarms(t *testing.T) {
	for name, f := range map[string]func(rng *rand.Rand) func() float64{
		"normal":      func(rng *rand.Rand) func() float64 { return func() float64 { return 5 + 0.3*rng.NormFloat64() } },
		"exponential": func(rng *rand.Rand) func() float64 { return func() float64 { return rng.ExpFloat64() } },
		"hits":        func(rng *rand.Rand) func() float64 { return func() float64 { return float64(rng.IntN(10) / 7) } },
		"swinging": func(rng *rand.Rand) func() float64 {
			state := 0.0
			return func() float64 { state = 0.8*state + 0.1*rng.NormFloat64(); return state + 0.3*rng.NormFloat64() }
		},
	} {
		alarms := 0
		for seed := range uint64(10) {
			var d Drift
			next := f(rand.New(rand.NewPCG(seed, 7)))
			for range 100_000 {
				if d.Add(next()) {
					alarms++
				}
			}
		}
		t.Logf("%s: %d false alarms in a million (seeds 0-9, 7)", name, alarms)
		if alarms > 2 {
			t.Errorf("%s: %d false alarms in a million, want 2 at most", name, alarms)
		}
	}
}

// TestDriftSeesSteps: a rise of half, one and two deviations after 20,000, behind a loss that fell for long before.
func TestDriftSeesSteps(t *testing.T) {
	const before = 20_000
	for _, tc := range []struct {
		step   float64
		within int
	}{{0.5, 500}, {1, 120}, {2, 50}} {
		var delays int
		const seeds = 50
		for seed := range uint64(seeds) {
			rng := rand.New(rand.NewPCG(seed, 3))
			var d Drift
			loss := func(i int) float64 { return 4 + 4*float64(max(0, 5000-i))/5000 + 0.5*rng.NormFloat64() }
			for i := range before {
				if d.Add(loss(i)) {
					t.Fatalf("seed %d: a false alarm after %d", seed, i)
				}
			}
			delay := 1
			for !d.Add(loss(before) + 0.5*tc.step) {
				if delay++; delay > 10*tc.within {
					t.Fatalf("seed %d: a step of %v is not seen within %d", seed, tc.step, delay)
				}
			}
			delays += delay
		}
		t.Logf("step of %v deviations: seen after %d on average (seeds 0-%d, 3)", tc.step, delays/seeds, seeds-1)
		if delays/seeds > tc.within {
			t.Errorf("step of %v: seen after %d on average, want %d", tc.step, delays/seeds, tc.within)
		}
	}
}

func TestDriftGoesOnFromJSON(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var a, b Drift
	for i := range 5000 {
		x := rng.NormFloat64() + float64(i/1000%2)
		if a.Add(x) != b.Add(x) {
			t.Fatalf("after %d they differ", i)
		}
		if i%7 == 0 {
			text, err := json.Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			b = Drift{}
			if err := json.Unmarshal(text, &b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if a != b || a.Drifts < 2 {
		t.Errorf("%+v and %+v, want the same with two drifts", a, b)
	}
}
