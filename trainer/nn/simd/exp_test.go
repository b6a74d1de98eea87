package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// ulps is the error of got in units in the last place of want.
func ulps(got float32, want float64) float64 {
	w := float32(math.Abs(want))
	return math.Abs(float64(got)-want) / float64(math.Nextafter32(w, float32(math.Inf(1)))-w)
}

// sweep gives numbers from low to high in blocks, of which no two start alike.
func sweep(low, high, step float32, f func(x []float32)) {
	var x []float32
	for v := low; v <= high; v += step {
		if x = append(x, v); len(x) == 1021 {
			f(x)
			x = x[:0]
		}
	}
	f(append(x, low, high))
}

// TestExpError measures the error over the whole range, and looks beyond its ends.
func TestExpError(t *testing.T) {
	everyLevel(t, func(t *testing.T, _ *rand.Rand) {
		worst, at := 0.0, float32(0)
		sweep(expMin, expMax, 0.00017, func(x []float32) {
			y := make([]float32, len(x))
			Exp(y, x)
			for i, v := range x {
				if e := ulps(y[i], math.Exp(float64(v))); e > worst {
					worst, at = e, v
				}
			}
		})
		t.Logf("at most %.2f ulp, at %v", worst, at)
		if !(worst <= ExpUlp) {
			t.Errorf("error of %.2f ulp at %v, want at most %v", worst, at, ExpUlp)
		}
		inf := float32(math.Inf(1))
		x := []float32{-1e30, -100, -88, -inf, 89, 88.5, 100, 1e30, inf}
		Exp(x, x)
		for i, v := range x {
			if low := i < 4; low && !(v >= 1e-38 && v < 2e-38) || !low && !(v > 1e38 && v < 1.7e38) {
				t.Errorf("number %d saturates at %v", i, v)
			}
		}
		zero := []float32{0}
		if Exp(zero, zero); zero[0] != 1 {
			t.Errorf("e^0 = %v", zero[0])
		}
	})
}

// TestSiLUError measures the value in units of itself where the clamp does not act, and the slope in units of 1.
func TestSiLUError(t *testing.T) {
	everyLevel(t, func(t *testing.T, _ *rand.Rand) {
		var worst, worstSlope float64
		sweep(-sigmoidMax, sigmoidMax, 0.00017, func(x []float32) {
			y, slope, alone := make([]float32, len(x)), make([]float32, len(x)), make([]float32, len(x))
			SiLU(y, slope, x)
			SiLU(alone, nil, x)
			for i, v := range x {
				s := 1 / (1 + math.Exp(-float64(v)))
				if v != 0 {
					worst = max(worst, ulps(y[i], float64(v)*s))
				}
				worstSlope = max(worstSlope, math.Abs(float64(slope[i])-s*(1+float64(v)*(1-s)))*(1<<23))
				if !equalBits(alone[i], y[i]) {
					t.Fatalf("SiLU(%v) is %v with slope, %v without", v, y[i], alone[i])
				}
			}
			inPlace := copied(x)
			SiLU(inPlace, slope, inPlace)
			for i := range x {
				if !equalBits(inPlace[i], y[i]) {
					t.Fatalf("SiLU(%v) is %v, in place %v", x[i], y[i], inPlace[i])
				}
			}
		})
		t.Logf("at most %.2f ulp, slope %.2f ulp of 1", worst, worstSlope)
		if !(worst <= SiLUUlp && worstSlope <= SiLUUlp) {
			t.Errorf("errors of %.2f and %.2f ulp, want at most %v", worst, worstSlope, SiLUUlp)
		}
		x := []float32{-1e4, -200, -100, 0, 100, 1e30}
		y, slope := make([]float32, len(x)), make([]float32, len(x))
		SiLU(y, slope, x)
		for i, v := range x {
			if v <= 0 && !(math.Abs(float64(y[i])) < 1e-30 && (v == 0 || math.Abs(float64(slope[i])) < 1e-30)) || v > 0 && (y[i] != v || slope[i] != 1) {
				t.Errorf("SiLU(%v) = %v with slope %v", v, y[i], slope[i])
			}
		}
	})
}
