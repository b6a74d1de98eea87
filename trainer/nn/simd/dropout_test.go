package simd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestDropoutOfEveryLevelIsTheSame holds the draws of the assembly to those of plain Go, number by number.
func TestDropoutOfEveryLevelIsTheSame(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for n := range 200 {
			p, seed := rng.Float64()*0.95, rng.Uint32()
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
			want := slices.Clone(x)
			dropoutGo(want, 1.25, DropoutBound(p), seed)
			Dropout(x, p, 1.25, seed)
			if !slices.Equal(x, want) {
				t.Fatalf("%d numbers at rate %v, seed %d: %v, want %v", n, p, seed, x, want)
			}
		}
	})
}

// TestDropoutDraws: rates as asked for, neighbours that do not know of each other, and seeds that do not either.
func TestDropoutDraws(t *testing.T) {
	const n = 200_000
	for _, p := range []float64{0.1, 0.2, 0.5, 0.9} {
		bound := DropoutBound(p)
		drop := func(seed, i uint32) float64 {
			if DropoutDraw(seed, i) < bound {
				return 1 - p
			}
			return -p
		}
		var mean, neighbours, seeds float64
		for i := range uint32(n) {
			x := drop(7, i)
			mean += x / n
			neighbours += x * drop(7, i+1) / (n * p * (1 - p))
			seeds += x * drop(8, i) / (n * p * (1 - p))
		}
		if off := 5 / math.Sqrt(n); math.Abs(mean) > off || math.Abs(neighbours) > off || math.Abs(seeds) > off { // five deviations
			t.Errorf("rate %v: off by %v, correlation of neighbours %v, of seeds %v", p, mean, neighbours, seeds)
		}
	}
}
