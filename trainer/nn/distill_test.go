package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestDistillGradient(t *testing.T) {
	for _, s := range []struct {
		n      int
		masked []int32
	}{{1, nil}, {2, []int32{1}}, {7, nil}, {11, []int32{0, 5, 10}}} {
		rng := rand.New(rand.NewPCG(12, uint64(s.n)))
		x, teacher := random(rng, s.n), random(rng, s.n)
		const weight = 0.7
		f := func() float64 {
			return weight * Distill(x, slices.Clone(teacher), s.masked, weight, make([]float64, 2*s.n))
		}
		d, kept := slices.Clone(teacher), slices.Clone(x)
		Distill(x, d, s.masked, weight, make([]float64, 2*s.n))
		if !slices.Equal(x, kept) {
			t.Errorf("%v: the scores have changed", s)
		}
		if s.n-len(s.masked) > 1 { // one candidate alone is all there is, for both
			checkGradient(t, fmt.Sprint("scores ", s), x, d, f)
		}

		softmax := func(x []float64) []float64 { // the definition, written down
			out, sum := make([]float64, s.n), 0.
			for j, v := range x {
				if !slices.Contains(s.masked, int32(j)) {
					out[j] = math.Exp(v)
					sum += out[j]
				}
			}
			Scale(out, 1/sum)
			return out
		}
		p, q, want := softmax(teacher), softmax(x), 0.
		for j := range p {
			if p[j] > 0 {
				want += p[j] * math.Log(p[j]/q[j])
			}
			if diff := math.Abs(d[j] - weight*(q[j]-p[j])); diff > 1e-12 {
				t.Errorf("%v: the gradient of %d is off by %g", s, j, diff)
			}
		}
		if got := f() / weight; math.Abs(got-want) > 1e-12 {
			t.Errorf("%v: distance %v, by the definition %v", s, got, want)
		}
		same := slices.Clone(x)
		if got := Distill(x, same, s.masked, weight, make([]float64, 2*s.n)); math.Abs(got) > 1e-12 || SumSquares(same) > 1e-24 {
			t.Errorf("%v: the distance of scores to themselves is %v", s, got)
		}
	}
}

// TestDistillOfExtremes: scores far apart overflow nothing, all masked is no distance, and what is not a number shows in it.
func TestDistillOfExtremes(t *testing.T) {
	nan := float32(math.NaN())
	for _, c := range []struct {
		s, teacher []float32
		masked     []int32
		want       float64
	}{
		{[]float32{1e4, -1e4}, []float32{-1e4, 1e4}, nil, 2e4},
		{[]float32{1e4, 1e4}, []float32{-1e4, -1e4}, nil, 0},
		{[]float32{1, 2}, []float32{3, 1}, []int32{0, 1}, 0},
		{[]float32{nan, 2}, []float32{3, 1}, nil, math.NaN()},
		{[]float32{1, 2}, []float32{3, nan}, nil, math.NaN()},
		{nil, nil, nil, 0},
	} {
		d := slices.Clone(c.teacher)
		got := Distill(c.s, d, c.masked, 1, make([]float32, 2*len(c.s)))
		if got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%v against %v: %v, want %v", c.s, c.teacher, got, c.want)
		}
		if sum := SumSquares(d); math.IsNaN(sum) || sum > 4 {
			t.Errorf("%v against %v: gradient %v", c.s, c.teacher, d)
		}
	}
}
