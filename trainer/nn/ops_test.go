package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func random(rng *rand.Rand, n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = rng.NormFloat64()
	}
	return x
}

// checkGradient compares grad with central differences of f by each number of x. With h = 1e-5 the truncation is about h² = 1e-10 and the
// rounding about 1e-16/h = 1e-11: the bound of 1e-6 leaves room for steep norms.
func checkGradient(t *testing.T, name string, x, grad []float64, f func() float64) {
	t.Helper()
	const h = 1e-5
	nonZero := len(x) == 0
	for i := range x {
		saved := x[i]
		x[i] = saved + h
		up := f()
		x[i] = saved - h
		down := f()
		x[i] = saved
		want := (up - down) / (2 * h)
		if math.Abs(grad[i]-want)/max(1, math.Abs(grad[i])+math.Abs(want)) > 1e-6 {
			t.Fatalf("%s: gradient by number %d is %.9g, numerically %.9g", name, i, grad[i], want)
		}
		nonZero = nonZero || grad[i] != 0
	}
	if !nonZero {
		t.Errorf("%s: the gradient is all zero: nothing was checked", name)
	}
}

// dot is the loss of these tests: a random direction through the output, so that its gradient is that direction.
func dot(a, b []float64) float64 {
	s := 0.0
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// TestGemmGradient: the products by which backward goes through y = a·b are its gradient.
func TestGemmGradient(t *testing.T) {
	for _, s := range [][3]int{{1, 1, 1}, {1, 5, 3}, {7, 1, 2}, {5, 3, 11}, {13, 17, 7}} {
		m, k, n := s[0], s[1], s[2]
		rng := rand.New(rand.NewPCG(1, uint64(m)))
		a, b, dy := random(rng, m*k), random(rng, k*n), random(rng, m*n)
		f := func() float64 {
			y := make([]float64, m*n)
			Gemm(Whole(y, n), Plain, Plain, 1, Whole(a, k), Whole(b, n), 0)
			return dot(y, dy)
		}
		da, db := make([]float64, m*k), make([]float64, k*n)
		Gemm(Whole(da, k), Plain, Transposed, 1, Whole(dy, n), Whole(b, n), 1)
		Gemm(Whole(db, n), Transposed, Plain, 1, Whole(a, k), Whole(dy, n), 1)
		checkGradient(t, fmt.Sprint("a ", s), a, da, f)
		checkGradient(t, fmt.Sprint("b ", s), b, db, f)
	}
}

func TestSiLUGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 0))
	x, dy := random(rng, 11), random(rng, 11)
	x[0], x[1], x[2] = 0, 30, -30
	y, slope := make([]float64, 11), make([]float64, 11)
	f := func() float64 {
		SiLU(y, slope, x)
		return dot(y, dy)
	}
	f()
	dx := append([]float64{}, dy...)
	SiLUBackward(dx, slope)
	checkGradient(t, "x", x, dx, f)
}

func TestLayerNormGradient(t *testing.T) {
	for _, s := range [][2]int{{1, 2}, {1, 7}, {5, 13}} {
		n, d := s[0], s[1]
		rng := rand.New(rand.NewPCG(3, uint64(d)))
		x, dy := random(rng, n*d), random(rng, n*d)
		y, inv := make([]float64, n*d), make([]float64, n)
		f := func() float64 {
			LayerNorm(y, inv, x, d)
			return dot(y, dy)
		}
		f()
		dx := make([]float64, n*d)
		LayerNormBackward(dx, dy, append([]float64{}, y...), append([]float64{}, inv...), d)
		checkGradient(t, fmt.Sprint("x ", s), x, dx, f)
	}
}

func TestLayerNormOfConstantRow(t *testing.T) {
	y, inv := make([]float32, 3), make([]float32, 1)
	LayerNorm(y, inv, []float32{5, 5, 5}, 3)
	if y[0] != 0 || y[1] != 0 || y[2] != 0 || math.IsInf(float64(inv[0]), 0) {
		t.Errorf("norm of a constant row = %v, 1/deviation %v", y, inv[0])
	}
}

func TestGateGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 0))
	const n, d = 3, 5
	x, wide, dy := random(rng, n*d), random(rng, n*2*d), random(rng, n*d)
	u := Whole(wide, 2*d).Columns(d, 2*d)
	f := func() float64 {
		y := make([]float64, n*d)
		Gate(y, x, u)
		return dot(y, dy)
	}
	dx, dwide := make([]float64, n*d), make([]float64, n*2*d)
	GateBackward(dx, Whole(dwide, 2*d).Columns(d, 2*d), dy, x, u)
	checkGradient(t, "x", x, dx, f)
	checkGradient(t, "u", wide, dwide, f)
}

func TestBiasGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 0))
	y, b, dy := random(rng, 15), random(rng, 5), random(rng, 15)
	f := func() float64 {
		out := append([]float64{}, y...)
		AddBias(out, b)
		return dot(out, dy)
	}
	db := make([]float64, 5)
	AddBiasBackward(db, dy)
	checkGradient(t, "b", b, db, f)
}

func TestRotation(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 0))
	const n, heads, width = 4, 3, 6
	r := NewRotation[float64](10, width)
	positions := []int32{0, 3, 9, 3}
	x, dy := random(rng, n*heads*width), random(rng, n*heads*width)
	f := func() float64 {
		y := append([]float64{}, x...)
		r.Apply(Whole(y, heads*width), positions)
		return dot(y, dy)
	}
	dx := append([]float64{}, dy...)
	r.ApplyBackward(Whole(dx, heads*width), positions)
	checkGradient(t, "x", x, dx, f)

	// only differences of positions matter: q at p and k at p' give the same product as at p+5 and p'+5
	q, k := random(rng, width), random(rng, width)
	at := func(p, p2 int32) float64 {
		a, b := append([]float64{}, q...), append([]float64{}, k...)
		r.Apply(Whole(a, width), []int32{p})
		r.Apply(Whole(b, width), []int32{p2})
		return dot(a, b)
	}
	if a, b := at(1, 4), at(6, 9); math.Abs(a-b) > 1e-12 {
		t.Errorf("product at positions 1, 4 is %v, at 6, 9 it is %v", a, b)
	}
	if a, b := at(1, 4), at(1, 5); math.Abs(a-b) < 1e-3 {
		t.Errorf("product does not depend on the position: %v, %v", a, b)
	}
}

// TestLogQ compares the formula with how often an item is drawn.
func TestLogQ(t *testing.T) {
	const uniform, n, recent, inBatch, frequency = 5, 40, 7, 3, 0.06
	rng := rand.New(rand.NewPCG(10, 0))
	in := 0
	const trials = 200_000
	for range trials {
		hit := false
		for range uniform {
			hit = hit || rng.IntN(n) == 0
		}
		for range recent + inBatch {
			hit = hit || rng.Float64() < frequency
		}
		if hit {
			in++
		}
	}
	got, want := math.Exp(LogQ(uniform, n, recent, inBatch, frequency)), float64(in)/trials
	if math.Abs(got-want) > 0.015 { // the formula takes draws for Poisson: a little low; the standard error of the trials is .001
		t.Errorf("chance of being drawn %.4f, in %d trials %.4f", got, trials, want)
	}
	if rare := LogQ(1, 1<<30, 0, 1, 0); math.IsInf(rare, 0) || math.Abs(rare+30*math.Ln2) > 1e-6 {
		t.Errorf("log q of one draw out of 2^30 is %v, want %v", rare, -30*math.Ln2)
	}
}

// TestFloat32AgainstFloat64 runs both widths of the operations on the same numbers, at odd lengths and places.
func TestFloat32AgainstFloat64(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 0))
	for _, n := range []int{1, 2, 15, 16, 17, 63, 64, 1000} {
		x, y, z := random(rng, n), random(rng, n), random(rng, n)
		x32, y32, z32 := narrow(x, n%3), narrow(y, n%5), narrow(z, n%7)
		f := func(name string, wide func(x, y, z []float64), single func(x, y, z []float32)) {
			t.Helper()
			wide(x, y, z)
			single(x32, y32, z32)
			for _, pair := range []struct {
				wide   []float64
				single []float32
			}{{x, x32}, {y, y32}, {z, z32}} {
				for i, want := range pair.wide {
					if got := float64(pair.single[i]); !(math.Abs(got-want) <= 1e-5*max(1, math.Abs(want))) {
						t.Fatalf("%s: n=%d: number %d is %v, want %v", name, n, i, got, want)
					}
				}
			}
		}
		f("silu", func(x, y, z []float64) { SiLU(x, y, z) }, func(x, y, z []float32) { SiLU(x, y, z) })
		f("bias silu", func(x, y, z []float64) { BiasSiLU(x, y, x, z, 0.5) }, func(x, y, z []float32) { BiasSiLU(x, y, x, z, 0.5) })
		f("silu alone", func(x, y, z []float64) { SiLU(x, nil, x); BiasSiLU(y, nil, y, z, 2) }, func(x, y, z []float32) { SiLU(x, nil, x); BiasSiLU(y, nil, y, z, 2) })
		f("exp", func(x, _, _ []float64) { Exp(x); Scale(x, 0.5) }, func(x, _, _ []float32) { Exp(x); Scale(x, 0.5) })
		f("exp shift", func(x, y, _ []float64) { x[0] = ExpShift(y, x, Max(x)) / float64(n) }, func(x, y, _ []float32) { x[0] = ExpShift(y, x, Max(x)) / float32(n) })
		f("add", func(x, y, _ []float64) { Add(x, y) }, func(x, y, _ []float32) { Add(x, y) })
		f("add scaled", func(x, y, _ []float64) { AddScaled(x, 0.1, y) }, func(x, y, _ []float32) { AddScaled(x, 0.1, y) })
		f("mul", func(x, y, z []float64) { Mul(x, y, z); MulAdd(y, z, x) }, func(x, y, z []float32) { Mul(x, y, z); MulAdd(y, z, x) })
		f("square", func(x, _, _ []float64) { x[0] = SumSquares(x) / float64(n) }, func(x, _, _ []float32) { x[0] = float32(SumSquares(x)) / float32(n) })
		f("bias", func(x, y, _ []float64) { AddBias(x, y); AddBiasBackward(y, x) }, func(x, y, _ []float32) { AddBias(x, y); AddBiasBackward(y, x) })
		f("gate", func(x, y, z []float64) { Gate(x, y, Whole(z, n)); GateBackward(y, Whole(x, n), z, z, Whole(z, n)) }, func(x, y, z []float32) { Gate(x, y, Whole(z, n)); GateBackward(y, Whole(x, n), z, z, Whole(z, n)) })
		index := make([]uint8, n)
		for i := range index {
			index[i] = uint8(rng.IntN(min(n, 200)))
		}
		f("table", func(x, y, z []float64) { GatherTable(x, y, index); ScatterAdd(z, index, y) }, func(x, y, z []float32) { GatherTable(x, y, index); ScatterAdd(z, index, y) })
		if n%2 == 0 {
			wide, single := NewRotation[float64](9, 2), NewRotation[float32](9, 2)
			f("rotation", func(x, _, _ []float64) { wide.Apply(Whole(x, n), []int32{7}) }, func(x, _, _ []float32) { single.Apply(Whole(x, n), []int32{7}) })
		}
		if n > 2 {
			f("norm", func(x, y, z []float64) { LayerNorm(y, x[:1], z, n); LayerNormBackward(x, z, y, []float64{0.5}, n) }, func(x, y, z []float32) { LayerNorm(y, x[:1], z, n); LayerNormBackward(x, z, y, []float32{0.5}, n) })
		}
		f("scan", func(x, y, _ []float64) {
			x[0], y[0] = float64(CountAtLeast(x, 0.3))/float64(n), float64(CountAtLeast(y, 0.5))/float64(n)
		}, func(x, y, _ []float32) {
			x[0], y[0] = float32(CountAtLeast(x, 0.3))/float32(n), float32(CountAtLeast(y, 0.5))/float32(n)
		})
		f("sums", func(x, y, _ []float64) { x[0] = (Dot(x, y) + Sum(y)) / float64(n) }, func(x, y, _ []float32) { x[0] = (Dot(x, y) + Sum(y)) / float32(n) })
	}
}

// narrow copies x into float32, by numbers into an array.
func narrow(x []float64, by int) []float32 {
	y := make([]float32, by+len(x))[by:]
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

func TestAdamWAgainstDefinition(t *testing.T) {
	a := AdamW{Rate: 0.01, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Decay: 0.1}
	w, m, v := []float32{1}, []float32{0}, []float32{0}
	wantW, wantM, wantV := 1.0, 0.0, 0.0
	for step := 1; step <= 5; step++ {
		g := float64(step)*0.3 - 1
		a.Step(w, []float32{float32(g)}, m, v, 0.5, uint64(step), true)
		g *= 0.5
		wantM, wantV = 0.9*wantM+0.1*g, 0.99*wantV+0.01*g*g
		mHat, vHat := wantM/(1-math.Pow(0.9, float64(step))), wantV/(1-math.Pow(0.99, float64(step)))
		wantW = wantW - 0.01*0.1*wantW - 0.01*mHat/(math.Sqrt(vHat)+1e-8)
		if math.Abs(float64(w[0])-wantW) > 1e-6 {
			t.Fatalf("step %d: weight %v, want %v", step, w[0], wantW)
		}
	}
}

func TestAdagradAgainstDefinition(t *testing.T) {
	a := Adagrad{Rate: 0.05, Eps: 1e-10}
	w, acc := []float32{1, 2}, float32(0)
	a.Step(w, []float32{0.3, -0.4}, &acc)
	// acc = (.09+.16)/2 = .125, step .05/sqrt(.125)
	if math.Abs(float64(acc)-0.125) > 1e-7 || math.Abs(float64(w[0])-(1-0.3*0.05/math.Sqrt(0.125))) > 1e-6 || math.Abs(float64(w[1])-(2+0.4*0.05/math.Sqrt(0.125))) > 1e-6 {
		t.Errorf("acc %v, weights %v", acc, w)
	}
	a.Step(w, []float32{0, 0}, new(float32))
	if math.IsNaN(float64(w[0])) {
		t.Error("a zero gradient on a fresh row gives a weight that is not a number")
	}
}

func TestWorkspaceLendsDistinctMemory(t *testing.T) {
	var w Workspace[float32]
	for round := range 4 {
		w.Reset()
		var all [][]float32
		for i := range 10 {
			x := w.Zeros(7 * (round + i))
			for j := range x {
				if x[j] != 0 {
					t.Fatalf("round %d: Zeros lends %v", round, x[j])
				}
				x[j] = float32(i + 1)
			}
			all = append(all, x)
		}
		for i, x := range all {
			for _, v := range x {
				if v != float32(i+1) {
					t.Fatalf("round %d: loan %d was overwritten with %v", round, i, v)
				}
			}
		}
	}
	w.Reset()
	if n := testing.AllocsPerRun(10, func() { w.Reset(); w.Take(100) }); n != 0 {
		t.Errorf("a steady pass allocates %v times", n)
	}
}
