package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestGemvAgainstFloat64(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for _, d := range widths() {
			for _, n := range []int{0, 1, 2, 3, 4, 5, 11} {
				a := arena{rng: rng}
				stride := d + rng.IntN(3)*rng.IntN(9)
				m, x, y := a.numbers(max(0, (n-1)*stride+d)), a.numbers(d), a.take(n)
				Gemv(y, m, stride, x)
				for i := range n {
					want, size := 0.0, 0.0
					for j, v := range x {
						want, size = want+float64(v)*float64(m[i*stride+j]), size+math.Abs(float64(v)*float64(m[i*stride+j]))
					}
					if !(math.Abs(float64(y[i])-want) <= 1e-6*size) {
						t.Fatalf("%d rows of %d at %d: row %d is %v, want %v", n, d, stride, i, y[i], want)
					}
					alone := a.take(1)
					if Gemv(alone, m[i*stride:][:d], stride, x); !equalBits(alone[0], y[i]) {
						t.Fatalf("%d rows of %d: row %d is %v, alone %v", n, d, i, y[i], alone[0])
					}
				}
				a.check(t, fmt.Sprintf("%d rows of %d", n, d))
			}
		}
		y := []float32{1, 2}
		if Gemv(y, nil, 0, nil); y[0] != 0 || y[1] != 0 {
			t.Errorf("rows of nothing give %v", y)
		}
	})
}

func TestScansAgainstPlain(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for _, n := range lengths() {
			a := arena{rng: rng}
			x := a.take(n)
			for i := range x {
				x[i] = float32(rng.IntN(9)) // many ties
				if rng.IntN(20) == 0 {
					x[i] = float32(math.NaN())
				}
			}
			for _, bound := range []float32{-1, 0, 4, 8, 9, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN())} {
				if got, want := CountAtLeast(x, bound), countAtLeastGo(x, bound); got != want {
					t.Fatalf("n=%d: %d are at least %v, want %d", n, got, bound, want)
				}
			}
			for _, bound := range []float32{-1, 5, 7.5, 8, float32(math.Inf(-1)), float32(math.NaN())} {
				got, want := make([]uint32, (n+31)/32), make([]uint32, (n+31)/32)
				for i := range got {
					got[i] = rng.Uint32()
				}
				Above(got, x, bound)
				if aboveGo(want, x, bound); !slices.Equal(got, want) {
					t.Fatalf("n=%d: above %v are %b, want %b", n, bound, got, want)
				}
			}
			a.check(t, "scans")
		}
	})
}

// TestTurns holds what is done in turns to the plain loops, with what is looked for around the ends of a turn.
func TestTurns(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		const n = 2*turn + 100
		x := make([]float32, n)
		for _, at := range []int{0, turn - 1, turn, turn + 1, 2*turn - 1, 2 * turn, n - 1} {
			x[at] = 2
			bits := make([]uint32, (n+31)/32)
			Above(bits, x, 1)
			for i, word := range bits {
				if want := uint32(1) << (at % 32); i == at/32 && word != want || i != at/32 && word != 0 {
					t.Fatalf("one above at %d gives %b as word %d", at, word, i)
				}
			}
			if got := CountAtLeast(x, 1); got != 1 {
				t.Fatalf("one above at %d is counted %d times", at, got)
			}
			if got := SumSquares(x); got != 4 {
				t.Fatalf("the square of 2 at %d is %v", at, got)
			}
			x[at] = 0
		}
		const rows, d = 2*turnRows + 3, 5
		a := arena{rng: rng}
		m, q, y, want := a.numbers(rows*d), a.numbers(d), a.take(rows), make([]float32, rows)
		Gemv(y, m, d, q)
		gemv(want, m, d, d, q)
		for i := range rows {
			if !equalBits(y[i], want[i]) {
				t.Fatalf("row %d is %v, want %v", i, y[i], want[i])
			}
		}
		a.check(t, "gemv")
		w, g, mo, v := a.numbers(n), a.numbers(n), make([]float32, n), make([]float32, n)
		part := [4][]float32{copied(w), g, copied(mo), copied(v)}
		o := AdamW{Scale: 1, Beta1: 0.9, Rest1: 0.1, Beta2: 0.99, Rest2: 0.01, Rate: 0.03, Correct: 1.5, Eps: 1e-8, Keep: 1}
		o.Step(w, g, mo, v)
		for i := 0; i < n; i += 1000 {
			to := min(i+1000, n)
			o.Step(part[0][i:to], part[1][i:to], part[2][i:to], part[3][i:to])
		}
		for i := range w {
			if !equalBits(w[i], part[0][i]) || !equalBits(mo[i], part[2][i]) || !equalBits(v[i], part[3][i]) {
				t.Fatalf("weight %d is %v in one step, %v in parts", i, w[i], part[0][i])
			}
		}
	})
}
