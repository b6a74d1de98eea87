package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dropout zeroes the numbers whose draw is below bound and multiplies the others by keep. The draw of number i is the upper 31 bits of a
// hash of seed + i·golden, so that two vectors can compute what plain Go does, number by number.
func (s *isa) dropout() {
	s.text("dropout", "(x []float32, keep float32, bound, seed uint32)")
	x, n := pointer("x"), length("x")
	keep, bound, seed := s.spread("keep"), s.spreadInt("bound"), s.spreadInt("seed")
	places := s.table("places", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
	golden, first, second := s.bits("golden", 0x9e3779b1), s.bits("hashFirst", 0x21f0aaad), s.bits("hashSecond", 0x735a2d97)
	s.each(n, 2, func(b block) {
		at, h, t := GP32(), s.vec(), s.vec()
		LEAL(Mem{Base: b.at, Disp: b.disp / 4}, at)
		s.broadcastInt(at, h)
		VPADDD(places, h, h)
		VPMULLD(golden, h, h)
		VPADDD(seed, h, h)
		fold := func(shift uint8) {
			VPSRLD(U8(shift), h, t)
			s.xor(t, h)
		}
		fold(16)
		VPMULLD(first, h, h)
		fold(15)
		VPMULLD(second, h, h)
		fold(15)
		VPSRLD(U8(1), h, h)
		v := b.load(x)
		VMULPS(keep, v, v)
		if s.wide() {
			k := K()
			VPCMPD(U8(5), bound, h, k) // not less
			VMOVAPS_Z(v, k, v)
		} else {
			VPCMPGTD(h, bound, t)
			VANDNPS(v, t, v)
		}
		b.store(v, x)
	})
	leave(nil)
}

// spreadInt broadcasts a uint32 parameter.
func (s *isa) spreadInt(param string) reg.VecVirtual {
	v := s.vec()
	s.broadcastInt(Load(Param(param), GP32()).(reg.GPVirtual), v)
	return v
}

// broadcastInt sets every lane of v to r.
func (s *isa) broadcastInt(r reg.GPVirtual, v reg.VecVirtual) {
	if s.wide() {
		VPBROADCASTD(r, v)
		return
	}
	x := XMM()
	VMOVD(r, x)
	VPBROADCASTD(x, v)
}

// xor sets v = v ^ t.
func (s *isa) xor(t, v reg.VecVirtual) {
	if s.wide() {
		VPXORD(t, v, v)
		return
	}
	VPXOR(t, v, v)
}
