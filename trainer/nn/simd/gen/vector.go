package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func (s *isa) add() {
	s.text("add", "(dst, x []float32)")
	dst, x, n := pointer("dst"), pointer("x"), length("dst")
	s.each(n, 4, func(b block) {
		v := b.load(x)
		VADDPS(b.load(dst), v, v)
		b.store(v, dst)
	})
	leave(nil)
}

func (s *isa) addScaled() {
	s.text("addScaled", "(dst []float32, a float32, x []float32)")
	dst, x, n := pointer("dst"), pointer("x"), length("dst")
	a := s.spread("a")
	s.each(n, 4, func(b block) {
		v := b.load(dst)
		VFMADD231PS(b.load(x), a, v)
		b.store(v, dst)
	})
	leave(nil)
}

func (s *isa) mul() {
	s.text("mul", "(dst, x, y []float32)")
	dst, x, y, n := pointer("dst"), pointer("x"), pointer("y"), length("dst")
	s.each(n, 4, func(b block) {
		v := b.load(x)
		VMULPS(b.load(y), v, v)
		b.store(v, dst)
	})
	leave(nil)
}

func (s *isa) mulAdd() {
	s.text("mulAdd", "(dst, x, y []float32)")
	dst, x, y, n := pointer("dst"), pointer("x"), pointer("y"), length("dst")
	s.each(n, 4, func(b block) {
		v := b.load(dst)
		VFMADD231PS(b.load(x), b.load(y), v)
		b.store(v, dst)
	})
	leave(nil)
}

func (s *isa) scale() {
	s.text("scale", "(dst []float32, a float32)")
	dst, n := pointer("dst"), length("dst")
	a := s.spread("a")
	s.each(n, 4, func(b block) {
		v := b.load(dst)
		VMULPS(a, v, v)
		b.store(v, dst)
	})
	leave(nil)
}

func (s *isa) sum() {
	s.text("sum", "(x []float32) float32")
	x, n := pointer("x"), length("x")
	acc := s.accumulators(4)
	s.each(n, 4, func(b block) { VADDPS(b.load(x), acc[b.slot], acc[b.slot]) })
	leave(s.total(acc))
}

func (s *isa) dot() {
	s.text("dot", "(x, y []float32) float32")
	x, y, n := pointer("x"), pointer("y"), length("x")
	acc := s.accumulators(4)
	s.each(n, 4, func(b block) { VFMADD231PS(b.load(x), b.load(y), acc[b.slot]) })
	leave(s.total(acc))
}

// maximum notes beside the maxima whether anything was not a number, because MAX forgets it.
func (s *isa) maximum() {
	s.text("maximum", "(x []float32) float32")
	x, n := pointer("x"), length("x")
	least := s.register("minusInf", float32(math.Inf(-1)))
	acc := make([]reg.VecVirtual, 4)
	for i := range acc {
		acc[i] = s.vec()
		VMOVAPS(least, acc[i])
	}
	strange := s.newFlags()
	s.each(n, 4, func(b block) {
		v := b.load(x)
		strange.note(v)
		switch {
		case b.m.all():
			VMAXPS(acc[b.slot], v, acc[b.slot])
		case s.wide():
			VMAXPS(acc[b.slot], v, b.m.k, acc[b.slot])
		default: // the lanes that are not there read as 0: leave them out
			VBLENDVPS(b.m.v, v, least, v)
			VMAXPS(acc[b.slot], v, acc[b.slot])
		}
	})
	for n := 4; n > 1; n /= 2 {
		for i := range n / 2 {
			VMAXPS(acc[i+n/2], acc[i], acc[i])
		}
	}
	top := s.foldBy(acc[0], func(a, b, to Op) { VMAXPS(a, b, to) })
	clean := label("clean")
	strange.none(clean)
	VPCMPEQD(top, top, top) // all bits set: not a number
	Label(clean)
	leave(top)
}

// flags remember that a lane was not a number.
type flags struct {
	k reg.OpmaskVirtual
	v reg.VecVirtual
}

func (s *isa) newFlags() flags {
	if s.wide() {
		k := K()
		KXORW(k, k, k)
		return flags{k: k}
	}
	return flags{v: s.zero()}
}

func (f flags) note(v reg.VecVirtual) {
	const unordered = 3
	if f.k != nil {
		k := K()
		VCMPPS(U8(unordered), v, v, k)
		KORW(k, f.k, f.k)
		return
	}
	w := YMM()
	VCMPPS(U8(unordered), v, v, w)
	VORPS(w, f.v, f.v)
}

// none jumps where nothing was noted.
func (f flags) none(to string) {
	r := GP32()
	if f.k != nil {
		KMOVW(f.k, r)
	} else {
		VMOVMSKPS(f.v, r)
	}
	TESTL(r, r)
	JEQ(LabelRef(to))
}
