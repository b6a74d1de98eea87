package nn

import "math"

// AdamW is Adam with decoupled weight decay (arXiv 1711.05101, algorithm 2).
type AdamW struct {
	Rate, Beta1, Beta2, Eps, Decay float64
}

// Step moves w against g·scale. t counts the steps from 1.   w, g, m, v (n)
func (a AdamW) Step(w, g, m, v []float32, scale float64, t uint64, decay bool) {
	n := len(w)
	g, m, v = g[:n], m[:n], v[:n]
	rate := float32(a.Rate / (1 - math.Pow(a.Beta1, float64(t))))
	correct := float32(1 / (1 - math.Pow(a.Beta2, float64(t))))
	b1, b2, eps, s := float32(a.Beta1), float32(a.Beta2), float32(a.Eps), float32(scale)
	keep := float32(1)
	if decay {
		keep = float32(1 - a.Rate*a.Decay)
	}
	for i, x := range g {
		x *= s
		m[i] = b1*m[i] + (1-b1)*x
		v[i] = b2*v[i] + (1-b2)*x*x
		w[i] = keep*w[i] - rate*m[i]/(float32(math.Sqrt(float64(v[i]*correct)))+eps)
	}
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
