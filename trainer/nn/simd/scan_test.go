package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
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
			for from := 0; from <= n; from += 1 + n/150 {
				for _, bound := range []float32{-1, 5, 7.5, 8} {
					if got, want := FirstAbove(x, from, bound), firstAboveGo(x, from, bound); got != want {
						t.Fatalf("n=%d: the first above %v from %d is %d, want %d", n, bound, from, got, want)
					}
				}
			}
			clear(x)
			for at := range min(n, 300) {
				x[at] = 1
				if got := FirstAbove(x, rng.IntN(at+1), 0); got != at {
					t.Fatalf("n=%d: one above at %d is found at %d", n, at, got)
				}
				x[at] = 0
			}
		}
	})
}

// TestDotInt8Rows demands exact sums, at the ends of the range as well, where products of bytes saturate if added up in 16 bits.
func TestDotInt8Rows(t *testing.T) {
	check := func(t *testing.T, rng *rand.Rand) {
		for _, d := range append(widths(), 0, 1000, 1<<16) {
			n := 1 + rng.IntN(9)
			rows, q := make([]int8, n*d+5), make([]int8, d+3)
			for i := range rows {
				rows[i] = int8(rng.IntN(256))
			}
			for i := range q {
				q[i] = int8(rng.IntN(256))
			}
			if d%3 == 0 {
				for i := range rows {
					rows[i] = -128
				}
				for i := range q {
					q[i] = -128
				}
			}
			rows, q = rows[5:], q[3:]
			got, want := make([]int32, n+2), make([]int32, n)
			got[0], got[n+1] = 77, 78
			DotInt8Rows(got[1:n+1], rows, d, q)
			dotInt8RowsGo(want, rows, d, q)
			for i, w := range want {
				if got[i+1] != w {
					t.Fatalf("%d rows of %d: row %d is %d, want %d", n, d, i, got[i+1], w)
				}
			}
			if got[0] != 77 || got[n+1] != 78 {
				t.Fatalf("%d rows of %d: a number beside dst was overwritten", n, d)
			}
		}
	}
	everyLevel(t, check)
	withoutVNNI(func() { everyLevel(t, check) })
}
