package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// exponential holds the constants of e^x = 2^k · e^r with |r| ≤ ln 2 / 2 and e^r by a polynomial of degree 6 (Cephes expf). Both
// widths take the same steps and give the same bits.
type exponential struct {
	s             *isa
	low, high     reg.VecVirtual
	round         reg.VecVirtual // 1.5·2^23: adding and taking it away rounds to a whole number
	log2e, hi, lo Op
	one           reg.VecVirtual
	terms         []Op
	bias          Op // the exponent of 1, as bits
	negative      bool
}

// The ranges to which x is clamped. Above 88.38, 2^k needs k = 128. The sigmoid's ends before 1/(1+e^-x) is denormal.
const (
	expMin, expMax = -87.3, 88
	sigmoidMax     = 87.3
)

// newExp prepares e^x, or e^-x clamped for a sigmoid.
func (s *isa) newExp(negative bool) exponential {
	low, high := float32(expMin), float32(expMax)
	lowName, highName := "expMin", "expMax"
	if negative {
		low, high = -sigmoidMax, sigmoidMax
		lowName, highName = "sigmoidMin", "sigmoidMax"
	}
	e := exponential{
		s: s, negative: negative,
		low: s.register(lowName, low), high: s.register(highName, high),
		round: s.register("round", 12582912), one: s.register("one", 1),
		log2e: s.number("log2e", 1.44269504088896341), hi: s.number("ln2Hi", 0.693359375), lo: s.number("ln2Lo", -2.12194440e-4),
		terms: []Op{
			s.number("term6", 1.9875691500e-4), s.number("term5", 1.3981999507e-3), s.number("term4", 8.3334519073e-3),
			s.number("term3", 4.1665795894e-2), s.number("term2", 1.6666665459e-1), s.number("term1", 5.0000001201e-1),
		},
	}
	if !s.wide() {
		e.bias = s.bits("expBias", 127<<23)
	}
	return e
}

// of returns e^x, or e^-x; x is kept. What is not a number stays so: MAX and MIN give their second source then, and x is that.
func (e exponential) of(x reg.VecVirtual) reg.VecVirtual {
	r, k, t, p := e.s.vec(), e.s.vec(), e.s.vec(), e.s.vec()
	VMAXPS(x, e.low, r)
	VMINPS(r, e.high, r)
	VMOVAPS(e.round, t)
	if e.negative {
		VFNMADD231PS(e.log2e, r, t)
	} else {
		VFMADD231PS(e.log2e, r, t)
	}
	VSUBPS(e.round, t, k)
	if e.negative {
		VFNMSUB231PS(e.hi, k, r)
	} else {
		VFNMADD231PS(e.hi, k, r)
	}
	VFNMADD231PS(e.lo, k, r)
	if v, ok := e.terms[0].(reg.VecVirtual); ok {
		VMOVAPS(v, p)
	} else {
		VMOVUPS(e.terms[0], p)
	}
	for _, term := range e.terms[1:] {
		VFMADD213PS(term, r, p)
	}
	VFMADD213PS(e.one, r, p)
	VFMADD213PS(e.one, r, p)
	if e.s.wide() {
		VSCALEFPS(k, p, p)
		return p
	}
	VPSLLD(U8(23), t, t) // the low bits of t are k
	VPADDD(e.bias, t, t)
	VMULPS(t, p, p)
	return p
}

// sigmoid returns s = 1/(1+e^-x), and 1-s as e^-x·s, which keeps its digits where s is nearly 1.
func (e exponential) sigmoid(x reg.VecVirtual) (s, rest reg.VecVirtual) {
	rest, s = e.of(x), e.s.vec()
	VADDPS(e.one, rest, s)
	VDIVPS(s, e.one, s)
	VMULPS(s, rest, rest)
	return s, rest
}

func (s *isa) exp() {
	s.text("exp", "(dst, x []float32)")
	dst, x, n := pointer("dst"), pointer("x"), length("dst")
	e := s.newExp(false)
	s.each(n, 2, func(b block) { b.store(e.of(b.load(x)), dst) })
	leave(nil)
}

func (s *isa) expShift() {
	s.text("expShift", "(dst, x []float32, shift float32) float32")
	dst, x, n := pointer("dst"), pointer("x"), length("dst")
	e := s.newExp(false)
	shift := s.spread("shift")
	acc := s.accumulators(2)
	s.each(n, 2, func(b block) {
		v := b.load(x)
		VSUBPS(shift, v, v)
		p := e.of(v)
		b.store(p, dst)
		s.only(p, b.m)
		VADDPS(p, acc[b.slot], acc[b.slot])
	})
	leave(s.total(acc))
}

// silu writes SiLU with or without its slope.
func (s *isa) silu(slope bool) {
	name, args := "silu", "(y, slope, x []float32)"
	if !slope {
		name, args = "siluOnly", "(y, x []float32)"
	}
	s.text(name, args)
	y, x, n := pointer("y"), pointer("x"), length("y")
	var d reg.GPVirtual
	if slope {
		d = pointer("slope")
	}
	e := s.newExp(true)
	s.each(n, 2, func(b block) {
		v := b.load(x)
		sig, rest := e.sigmoid(v)
		VMULPS(sig, v, v)
		b.store(v, y)
		if slope {
			VFMADD213PS(sig, v, rest) // s + y(1-s)
			b.store(rest, d)
		}
	})
	leave(nil)
}

// biasSiLU writes an attention row with or without its slope.
func (s *isa) biasSiLU(slope bool) {
	name, args := "biasSiLU", "(a, slope, s, bias []float32, scale float32)"
	if !slope {
		name, args = "biasSiLUOnly", "(a, s, bias []float32, scale float32)"
	}
	s.text(name, args)
	a, x, bias, n := pointer("a"), pointer("s"), pointer("bias"), length("a")
	var d reg.GPVirtual
	if slope {
		d = pointer("slope")
	}
	e := s.newExp(true)
	scale := s.spread("scale")
	s.each(n, 2, func(b block) {
		v := b.load(x)
		VADDPS(b.load(bias), v, v)
		sig, rest := e.sigmoid(v)
		VMULPS(sig, v, v)
		if slope {
			VFMADD213PS(sig, v, rest)
			VMULPS(scale, rest, rest)
			b.store(rest, d)
		}
		VMULPS(scale, v, v)
		b.store(v, a)
	})
	leave(nil)
}
