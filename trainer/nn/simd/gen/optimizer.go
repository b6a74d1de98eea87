package main

import (
	. "github.com/mmcloughlin/avo/build"
)

// adamW writes w = keep·w - rate·m / (sqrt(v·correct) + eps), after m and v have moved towards g·scale and its square.
func (s *isa) adamW() {
	s.text("adamW", "(w, g, m, v []float32, scale, beta1, rest1, beta2, rest2, rate, correct, eps, keep float32)")
	w, g, m, v, n := pointer("w"), pointer("g"), pointer("m"), pointer("v"), length("w")
	scale, beta1, rest1 := s.spread("scale"), s.spread("beta1"), s.spread("rest1")
	beta2, rest2 := s.spread("beta2"), s.spread("rest2")
	rate, correct, eps, keep := s.spread("rate"), s.spread("correct"), s.spread("eps"), s.spread("keep")
	s.each(n, 1, func(b block) {
		x, mv := b.load(g), b.load(m)
		VMULPS(scale, x, x)
		VMULPS(beta1, mv, mv)
		VFMADD231PS(rest1, x, mv)
		b.store(mv, m)
		VMULPS(x, x, x)
		vv := b.load(v)
		VMULPS(beta2, vv, vv)
		VFMADD231PS(rest2, x, vv)
		b.store(vv, v)
		VMULPS(correct, vv, vv)
		VSQRTPS(vv, vv)
		VADDPS(eps, vv, vv)
		VMULPS(rate, mv, mv)
		VDIVPS(vv, mv, mv)
		wv := b.load(w)
		VFMSUB132PS(keep, mv, wv) // keep·w - step
		b.store(wv, w)
	})
	leave(nil)
}
