package nn

import (
	"math"

	"github.com/freshet-ml/freshet/trainer/nn/simd"
)

// AdamW is Adam with decoupled weight decay (arXiv 1711.05101, algorithm 2).
type AdamW struct {
	Rate, Beta1, Beta2, Eps, Decay float64
}

// Step moves w against g·scale. t counts the steps from 1.   w, g, m, v (n)
func (a AdamW) Step(w, g, m, v []float32, scale float64, t uint64, decay bool) {
	step := simd.AdamW{
		Scale: float32(scale), Eps: float32(a.Eps), Keep: 1,
		Beta1: float32(a.Beta1), Rest1: 1 - float32(a.Beta1), Beta2: float32(a.Beta2), Rest2: 1 - float32(a.Beta2),
		Rate:    float32(a.Rate / (1 - math.Pow(a.Beta1, float64(t)))),
		Correct: float32(1 / (1 - math.Pow(a.Beta2, float64(t)))),
	}
	if decay {
		step.Keep = float32(1 - a.Rate*a.Decay)
	}
	step.Step(w, g, m, v)
}

// Adagrad keeps one accumulator for a whole row: cheap for tables of millions of rows, and a row that was seldom seen moves fast.
type Adagrad struct {
	Rate, Eps float64
}

// Step moves the row w against g and adds the mean of g² to acc.
func (a Adagrad) Step(w, g []float32, acc *float32) {
	*acc += float32(SumSquares(g) / float64(len(g)))
	AddScaled(w, float32(-a.Rate/(math.Sqrt(float64(*acc))+a.Eps)), g)
}
