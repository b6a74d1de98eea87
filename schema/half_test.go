package schema_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

func TestHalvesRoundToTheNearest(t *testing.T) {
	for in, want := range map[float32]float32{
		0: 0, 1: 1, -2: -2, 65504: 65504, 1 + 1./1024: 1 + 1./1024, 1 + 1./2048: 1, 1 + 3./2048: 1 + 2./1024, 2047.6: 2048, 1e-6: 0, 70000: float32(math.Inf(1)),
	} {
		if got := schema.Widened(schema.Halved([]float32{in}))[0]; got != want {
			t.Errorf("%v becomes %v, want %v", in, got, want)
		}
	}
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 10_000 {
		x := float32(rng.NormFloat64())
		if got := schema.Widened(schema.Halved([]float32{x}))[0]; math.Abs(float64(got-x)) > math.Max(math.Abs(float64(x))/2048, 1./(1<<14)) {
			t.Fatalf("seed %d: %v becomes %v", seed, x, got)
		}
	}
}
