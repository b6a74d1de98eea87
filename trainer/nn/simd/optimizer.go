package simd

import "math"

// AdamW holds the numbers of one step: g is multiplied by Scale, the moments keep Beta and take Rest of what is new, the second is
// multiplied by Correct, and w keeps Keep of itself and moves by Rate.
type AdamW struct {
	Scale, Beta1, Rest1, Beta2, Rest2, Rate, Correct, Eps, Keep float32
}

// Step moves m, v and w.   w, g, m, v (n)
func (a AdamW) Step(w, g, m, v []float32) {
	same("adamw", len(g), len(w))
	same("adamw", len(m), len(w))
	same("adamw", len(v), len(w))
	const turn = 1 << 17 // some 0.1 ms: see Gemv
	for len(w) > turn {
		a.Step(w[:turn], g[:turn], m[:turn], v[:turn])
		w, g, m, v = w[turn:], g[turn:], m[turn:], v[turn:]
	}
	adamW(w, g, m, v, a.Scale, a.Beta1, a.Rest1, a.Beta2, a.Rest2, a.Rate, a.Correct, a.Eps, a.Keep)
}

func adamWGo(w, g, m, v []float32, scale, beta1, rest1, beta2, rest2, rate, correct, eps, keep float32) {
	n := len(w)
	g, m, v = g[:n], m[:n], v[:n]
	for i, x := range g {
		x *= scale
		m[i] = beta1*m[i] + rest1*x
		v[i] = beta2*v[i] + rest2*x*x
		w[i] = keep*w[i] - rate*m[i]/(float32(math.Sqrt(float64(v[i]*correct)))+eps)
	}
}
