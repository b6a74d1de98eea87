package model

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestSessionsWeighWhatTheyAreGiven learns whole histories, with and without what looks further ahead: the loss is that of each session alone
// times its weight, and the request's own.
func TestSessionsWeighWhatTheyAreGiven(t *testing.T) {
	for _, horizon := range []int{1, 2} {
		cfg := small()
		cfg.Loss, cfg.NegativesPer, cfg.Horizon, cfg.LossWithoutHistory = full, batch, horizon, true
		loss := func(weights []float64, request float64) float64 {
			m := filled(t, cfg, 40)
			examples := randomExamples(rand.New(rand.NewPCG(3, 3)), 40, 3, 4, 3)
			for i := range examples {
				e := &examples[i]
				e.Learn, e.Weight = len(e.Past), request
				if weights != nil {
					e.Weights = weights[:len(e.Past)]
				}
			}
			m.Forward(examples)
			stats := m.Step()
			if stats.Skipped {
				t.Fatalf("step skipped: %+v", stats)
			}
			return stats.Loss
		}
		const none = 1e-300 // 0 would be 1
		weights := []float64{.25, 0, 3, .5, .75, 1, 2}
		got, want := loss(weights, 2), 2*loss(make([]float64, len(weights)), 1)
		for i, w := range weights {
			one := make([]float64, len(weights))
			one[i] = 1
			part := loss(one, none)
			if i < 2 && part <= 0 {
				t.Fatalf("session %d alone has a loss of %v", i, part)
			}
			want += w * part
		}
		if math.Abs(got-want) > 1e-5*want {
			t.Errorf("horizon %d: the loss is %v, want %v", horizon, got, want)
		}
		all := []float64{1, 1, 1, 1, 1, 1, 1}
		if a, b := loss(all, 1), loss(nil, 0); a != b || a <= 0 {
			t.Errorf("horizon %d: weights of one give %v, none %v", horizon, a, b)
		}
	}
}
