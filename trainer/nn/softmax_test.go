package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestNCEGradient(t *testing.T) {
	for _, s := range []struct {
		n, positives int
		masked       []int32
	}{{0, 1, nil}, {1, 1, []int32{0}}, {7, 1, nil}, {11, 3, []int32{2, 5}}, {3, 2, []int32{0, 1, 2}}} {
		rng := rand.New(rand.NewPCG(9, uint64(s.n)))
		x, pos := random(rng, s.n), random(rng, s.positives)
		const weight = 0.7
		f := func() float64 { return weight * NCE(slices.Clone(x), s.masked, slices.Clone(pos), weight) }
		d, dPos := slices.Clone(x), slices.Clone(pos)
		NCE(d, s.masked, dPos, weight)
		if s.n == len(s.masked) { // nothing to tell apart: loss and gradient are zero
			if loss := f(); loss != 0 || SumSquares(d)+SumSquares(dPos) != 0 {
				t.Errorf("%v: loss without negatives = %v, gradients %v %v", s, loss, d, dPos)
			}
			continue
		}
		checkGradient(t, fmt.Sprint("candidates ", s), x, d, f)
		checkGradient(t, fmt.Sprint("positives ", s), pos, dPos, f)

		want := 0.0 // the definition, written down
		for _, p := range pos {
			sum := math.Exp(p)
			for j := range x {
				if !slices.Contains(s.masked, int32(j)) {
					sum += math.Exp(x[j])
				}
			}
			want -= math.Log(math.Exp(p)/sum) / float64(len(pos))
		}
		if got := f() / weight; math.Abs(got-want) > 1e-12 {
			t.Errorf("%v: loss %v, by the definition %v", s, got, want)
		}
	}
}

// TestNCEOfExtremes: scores far apart overflow nothing, and a score that is not a number shows in the loss.
func TestNCEOfExtremes(t *testing.T) {
	for _, c := range []struct {
		s, pos []float32
		want   float64
	}{
		{[]float32{1e4, -1e4}, []float32{0}, 1e4},
		{[]float32{-1e4, -1e4}, []float32{0}, 0},
		{[]float32{3e38, 0}, []float32{-3e38}, math.Inf(1)},
		{[]float32{0, float32(math.NaN())}, []float32{1}, math.NaN()},
		{[]float32{0, 1}, []float32{float32(math.NaN())}, math.NaN()},
	} {
		s, pos := slices.Clone(c.s), slices.Clone(c.pos)
		got := NCE(s, nil, pos, 1)
		if math.IsNaN(c.want) != math.IsNaN(got) || math.IsInf(c.want, 1) != math.IsInf(got, 1) && got < 1e38 || !math.IsNaN(c.want) && !math.IsInf(c.want, 1) && math.Abs(got-c.want) > 1e-3 {
			t.Errorf("candidates %v, positive %v: loss %v, want %v", c.s, c.pos, got, c.want)
		}
	}
}

func TestReLUGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 0))
	x, do := random(rng, 13), random(rng, 13)
	y, slope := make([]float64, 13), make([]float64, 13)
	f := func() float64 { ReLU(y, slope, x); return dot(y, do) }
	f()
	dx := make([]float64, 13)
	Mul(dx, do, slope)
	checkGradient(t, "relu", x, dx, f)
}

// TestNCEOfPositivesFarApart: one positive far above the negatives must not silence another one that is below them.
func TestNCEOfPositivesFarApart(t *testing.T) {
	for _, far := range []float64{1, 60, 68, 70, 100, 600} {
		s, pos := []float64{-far, -far - 1}, []float64{0, -far - 20}
		loss := NCE(s, nil, pos, 1)
		below := math.Log(1 + math.Exp(-1)) // of the negatives, less -far
		first, second := math.Log1p(math.Exp(below-far)), math.Log(math.Exp(-20)+math.Exp(below))+20
		if want := (first + second) / 2; math.Abs(loss-want) > 1e-12*want {
			t.Errorf("%v apart: loss %v, want %v", far, loss, want)
		}
		if math.Abs(pos[1]+0.5) > 1e-8 || math.Abs(SumSquares([]float64{s[0] + s[1] + pos[0] + pos[1]})) > 1e-24 {
			t.Errorf("%v apart: gradients %v and %v: want half of a push on the second, and a sum of zero", far, pos, s)
		}
		single, singles := []float32{float32(-far), float32(-far - 1)}, []float32{0, float32(-far - 20)}
		if got := NCE(single, nil, singles, 1); math.Abs(got-loss) > 1e-5*loss || math.Abs(float64(singles[1])+0.5) > 1e-6 {
			t.Errorf("%v apart, in float32: loss %v with gradients %v, want %v", far, got, singles, loss)
		}
	}
	for _, pos := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		if loss := NCE([]float32{0, 1}, nil, []float32{2, pos}, 1); !math.IsNaN(loss) && !math.IsInf(loss, 0) {
			t.Errorf("a positive with the score %v: the loss is %v", pos, loss)
		}
	}
}

// TestReLUHandsOnWhatIsNoNumber: a comparison with NaN is false, and the zero that it would become hides that a weight is broken.
func TestReLUHandsOnWhatIsNoNumber(t *testing.T) {
	x := []float32{-1, 0, 2, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}
	y, slope := make([]float32, len(x)), make([]float32, len(x))
	ReLU(y, slope, x)
	if y[0] != 0 || y[1] != 0 || y[2] != 2 || y[3] == y[3] || y[4] != x[4] || y[5] != 0 || !slices.Equal(slope[:3], []float32{0, 0, 1}) || slope[3] != 1 {
		t.Errorf("ReLU of %v is %v with slope %v", x, y, slope)
	}
}

func TestNormalizeGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 0))
	const n, d = 3, 5
	x, do := random(rng, n*d), random(rng, n*d)
	y, inv := make([]float64, n*d), make([]float64, n)
	f := func() float64 { Normalize(y, inv, x, d); return dot(y, do) }
	f()
	for i := range n {
		if l := SumSquares(y[i*d:][:d]); math.Abs(l-1) > 1e-9 {
			t.Errorf("row %d has length² %v", i, l)
		}
	}
	dx := make([]float64, n*d)
	NormalizeBackward(dx, do, y, inv, d)
	checkGradient(t, "normalize", x, dx, f)
}

// TestDropout: the share that is dropped, the mean that is kept, the same numbers for the same seed, others for another.
func TestDropout(t *testing.T) {
	const n, p = 40_001, 0.3
	run := func(seed uint64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = 1
		}
		Dropout(x, p, seed)
		return x
	}
	x := run(5)
	dropped, total := 0, 0.0
	for _, v := range x {
		if v == 0 {
			dropped++
		}
		total += float64(v)
	}
	if share := float64(dropped) / n; math.Abs(share-p) > 0.01 || math.Abs(total/n-1) > 0.02 {
		t.Errorf("dropped %.3f, mean %.3f", share, total/n)
	}
	if !slices.Equal(x, run(5)) || slices.Equal(x, run(6)) {
		t.Error("the draws are not a function of the seed")
	}
	if short := x[:11]; !slices.Equal(short, func() []float32 { y := []float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}; Dropout(y, p, 5); return y }()) {
		t.Error("the draws depend on the length")
	}
}
