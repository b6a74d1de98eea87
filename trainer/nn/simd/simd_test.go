package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// everyLevel runs f with each level of this machine and prints its seed.
func everyLevel(t *testing.T, f func(t *testing.T, rng *rand.Rand)) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	for _, l := range Levels() {
		t.Run(l.String(), func(t *testing.T) {
			defer Use(Use(l))
			t.Logf("seed %d", seed)
			f(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

// TestEveryLevelRuns keeps a machine with AVX-512 from testing plain Go alone.
func TestEveryLevelRuns(t *testing.T) {
	t.Log(Levels())
	for _, l := range Levels() {
		before := Use(l)
		if Active() != l {
			t.Errorf("Use(%v) leaves %v", l, Active())
		}
		Use(before)
	}
	if Active() != best() {
		t.Errorf("active is %v, this machine has %v", Active(), best())
	}
}

// lengths are all up to 300 and a few large ones.
func lengths() []int {
	var all []int
	for n := range 301 {
		all = append(all, n)
	}
	return append(all, 1000, 1023, 4096, 10007)
}

const canary = float32(-12345.678)

// arena lends slices with a canary before and behind them, at odd places.
type arena struct {
	rng   *rand.Rand
	whole [][]float32
	lent  [][2]int
}

func (a *arena) take(n int) []float32 {
	at := 1 + a.rng.IntN(17)
	w := make([]float32, at+n+19)
	for i := range w {
		w[i] = canary
	}
	a.whole, a.lent = append(a.whole, w), append(a.lent, [2]int{at, at + n})
	return w[at : at+n : at+n]
}

// numbers are of all sizes around 1.
func (a *arena) numbers(n int) []float32 {
	x := a.take(n)
	for i := range x {
		x[i] = float32(a.rng.NormFloat64() * math.Exp(a.rng.NormFloat64()))
	}
	return x
}

func (a *arena) check(t *testing.T, what string) {
	t.Helper()
	for i, w := range a.whole {
		for j, v := range w {
			if (j < a.lent[i][0] || j >= a.lent[i][1]) && v != canary {
				t.Fatalf("%s: slice %d of %d numbers: number %d was overwritten", what, i, a.lent[i][1]-a.lent[i][0], j-a.lent[i][0])
			}
		}
	}
}

func copied(x []float32) []float32 { return append([]float32{}, x...) }

func equalBits(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }

// elementwise holds a kernel of up to three inputs, the first of which it may also overwrite, to its oracle in float64. For each length,
// numbers must be near the oracle, the same bits as for the element alone, and nothing outside may change.
type elementwise struct {
	name   string
	run    func(dst, x, y []float32)
	oracle func(dst, x, y float64) float64
	bound  float64 // of |got-want| / (|want|+|dst|+|x·y|+|x|+|y|), which covers one rounding of each step
}

var elementwises = []elementwise{
	{"add", func(d, x, _ []float32) { Add(d, x) }, func(d, x, _ float64) float64 { return d + x }, 1.2e-7},
	{"addScaled", func(d, x, _ []float32) { AddScaled(d, 0.37, x) }, func(d, x, _ float64) float64 { return d + float64(float32(0.37))*x }, 2.4e-7},
	{"mul", func(d, x, y []float32) { Mul(d, x, y) }, func(_, x, y float64) float64 { return x * y }, 1.2e-7},
	{"mulAdd", func(d, x, y []float32) { MulAdd(d, x, y) }, func(d, x, y float64) float64 { return d + x*y }, 2.4e-7},
	{"scale", func(d, _, _ []float32) { Scale(d, -1.7) }, func(d, _, _ float64) float64 { return d * float64(float32(-1.7)) }, 2.4e-7},
	{"biasSiLU", func(d, x, y []float32) { BiasSiLU(d, make([]float32, len(d)), x, y, 0.25) }, func(_, x, y float64) float64 {
		return (x + y) / (1 + math.Exp(-x-y)) / 4
	}, 6e-7},
	{"biasSiLU slope", func(d, x, y []float32) { BiasSiLU(make([]float32, len(d)), d, x, y, 0.25) }, func(_, x, y float64) float64 {
		s := 1 / (1 + math.Exp(-x-y))
		return (s + (x+y)*s*(1-s)) / 4
	}, 6e-7},
	{"biasSiLU in place", func(d, x, y []float32) { copy(d, x); BiasSiLU(d, nil, d, y, 0.25) }, func(_, x, y float64) float64 {
		return (x + y) / (1 + math.Exp(-x-y)) / 4
	}, 6e-7},
}

func TestElementwiseAgainstFloat64(t *testing.T) {
	for _, k := range elementwises {
		t.Run(k.name, func(t *testing.T) {
			everyLevel(t, func(t *testing.T, rng *rand.Rand) {
				for _, n := range lengths() {
					a := arena{rng: rng}
					d, x, y := a.numbers(n), a.numbers(n), a.numbers(n)
					d0, x0, y0 := copied(d), copied(x), copied(y)
					k.run(d, x, y)
					a.check(t, fmt.Sprint("n=", n))
					for i := range n {
						want := k.oracle(float64(d0[i]), float64(x0[i]), float64(y0[i]))
						size := math.Abs(want) + math.Abs(float64(d0[i])) + math.Abs(float64(x0[i])*float64(y0[i])) + math.Abs(float64(x0[i])) + math.Abs(float64(y0[i]))
						if !(math.Abs(float64(d[i])-want) <= k.bound*size) {
							t.Fatalf("n=%d: number %d of %v, %v, %v is %v, want %v", n, i, d0[i], x0[i], y0[i], d[i], want)
						}
						if x[i] != x0[i] || y[i] != y0[i] {
							t.Fatalf("n=%d: input %d was changed", n, i)
						}
						if n > 40 && i%7 > 0 {
							continue
						}
						alone := []float32{d0[i]}
						k.run(alone, x0[i:i+1], y0[i:i+1])
						if !equalBits(alone[0], d[i]) {
							t.Fatalf("n=%d: number %d is %v, alone %v: its place shows", n, i, d[i], alone[0])
						}
					}
				}
			})
		})
	}
}

// TestNotFiniteGoesThrough puts NaN and infinities at each place of a short slice and demands that the caller finds them there only.
func TestNotFiniteGoesThrough(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	kernels := append([]elementwise{
		{name: "exp", run: func(d, x, _ []float32) { Exp(d, x) }},
		{name: "expShift", run: func(d, x, _ []float32) { ExpShift(d, x, 1) }},
		{name: "silu", run: func(d, x, _ []float32) { SiLU(d, make([]float32, len(d)), x) }},
		{name: "silu slope", run: func(d, x, _ []float32) { SiLU(make([]float32, len(d)), d, x) }},
		{name: "silu alone", run: func(d, x, _ []float32) { SiLU(d, nil, x) }},
	}, elementwises...)
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		payload := math.Float32frombits(0x7fc001ff)
		for _, k := range kernels {
			for _, n := range []int{1, 7, 16, 37, 70} {
				for at := range n {
					for _, bad := range []float32{nan, payload, -payload} {
						d, x, y := make([]float32, n), make([]float32, n), make([]float32, n)
						d[at], x[at], y[at] = bad, bad, bad
						k.run(d, x, y)
						for i, v := range d {
							if (v != v) != (i == at) {
								t.Fatalf("%s: n=%d, NaN at %d: number %d is %v", k.name, n, at, i, v)
							}
						}
					}
				}
			}
		}
		d := []float32{1, inf, 3}
		Add(d, []float32{1, 1, -inf})
		if d[1] != inf || d[2] != -inf {
			t.Errorf("sums with infinity: %v", d)
		}
	})
}

// TestReductions holds the sums to float64 and to one result wherever the slice lies.
func TestReductions(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for _, n := range lengths() {
			a := arena{rng: rng}
			x, y, d := a.numbers(n), a.numbers(n), a.take(n)
			var sum, size, dot, dotSize, expSum float64
			top := math.Inf(-1)
			for i := range x {
				v, w := float64(x[i]), float64(y[i])
				sum, size = sum+v, size+math.Abs(v)
				dot, dotSize = dot+v*w, dotSize+math.Abs(v*w)
				top = math.Max(top, v)
			}
			for i := range x {
				expSum += math.Exp(float64(x[i] - float32(top)))
			}
			check := func(name string, want, bound float64, run func(x, y []float32) float32) {
				t.Helper()
				got := run(x, y)
				if !(math.Abs(float64(got)-want) <= bound || float64(got) == want) {
					t.Fatalf("n=%d: %s is %v, want %v", n, name, got, want)
				}
				for range 3 {
					mx, my := a.take(n), a.take(n)
					copy(mx, x)
					copy(my, y)
					if again := run(mx, my); !equalBits(again, got) {
						t.Fatalf("n=%d: %s is %v in one place and %v in another", n, name, got, again)
					}
				}
			}
			// each of at least four chains rounds at each of its steps, and terms far below its sum may be lost at every one
			chain := 1e-6 + float64(n)/4*0x1p-24
			check("sum", sum, chain*size, func(x, _ []float32) float32 { return Sum(x) })
			check("dot", dot, chain*dotSize, Dot)
			check("max", top, 0, func(x, _ []float32) float32 { return Max(x) })
			check("expShift", expSum, (chain+1e-6)*expSum, func(x, _ []float32) float32 { return ExpShift(d, x, float32(top)) })
			a.check(t, fmt.Sprint("n=", n))
		}
	})
}

// TestMaxSeesEachPlace puts the largest, or what is no number, at each place.
func TestMaxSeesEachPlace(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for n := 1; n < 150; n++ {
			x := make([]float32, n)
			for i := range x {
				x[i] = -1 - rng.Float32()
			}
			for at := range x {
				saved := x[at]
				x[at] = -0.5
				if got := Max(x); got != -0.5 {
					t.Fatalf("n=%d: max at %d is %v", n, at, got)
				}
				x[at] = float32(math.NaN())
				if got := Max(x); got == got {
					t.Fatalf("n=%d: max with NaN at %d is %v", n, at, got)
				}
				x[at] = saved
			}
		}
	})
}

func TestWrongLengthsPanic(t *testing.T) {
	f := func(name string, call func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		call()
	}
	x, y := make([]float32, 3), make([]float32, 4)
	f("add", func() { Add(x, y) })
	f("addScaled", func() { AddScaled(y, 1, x) })
	f("mul", func() { Mul(x, x, y) })
	f("mulAdd", func() { MulAdd(x, y, x) })
	f("dot", func() { Dot(x, y) })
	f("exp", func() { Exp(x, y) })
	f("expShift", func() { ExpShift(x, y, 0) })
	f("silu", func() { SiLU(x, y, x) })
	f("silu alone", func() { SiLU(x, nil, y) })
	f("biasSiLU", func() { BiasSiLU(x, x, x, y, 1) })
}

func TestKernelsDoNotAllocate(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		if n := testing.AllocsPerRun(10, func() {
			var x, y, z [40]float32 // stays on the stack only if no kernel lets it escape
			SiLU(y[:], z[:], x[:])
			BiasSiLU(x[:], z[:], x[:], y[:], 0.1)
			Add(x[:], y[:])
			x[0] += Dot(x[:], y[:]) + ExpShift(x[:], y[:], 0) + Max(x[:])
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
