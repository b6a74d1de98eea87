package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// rows runs body count times.
func rows(count reg.GPVirtual, body func()) {
	again, done := label("row"), label("rows")
	Label(again)
	TESTQ(count, count)
	JEQ(LabelRef(done))
	body()
	DECQ(count)
	JMP(LabelRef(again))
	Label(done)
}

func integer(param string) reg.GPVirtual {
	n := GP64()
	Load(Param(param), n)
	return n
}

// inBytes is n numbers of 4 bytes.
func inBytes(n reg.GPVirtual) reg.GPVirtual {
	b := GP64()
	MOVQ(n, b)
	SHLQ(U8(2), b)
	return b
}

func clone(n reg.GPVirtual) reg.GPVirtual {
	c := GP64()
	MOVQ(n, c)
	return c
}

// addBias adds b to each row of y, addBiasBackward each row of dy to db: the same with the places changed.
func (s *isa) addBias(backward bool) {
	name, args, dstName, xName := "addBias", "(y, b []float32)", "y", "b"
	if backward {
		name, args, dstName, xName = "addBiasBackward", "(db, dy []float32)", "db", "dy"
	}
	s.text(name, args)
	dst, x, d, count := pointer(dstName), pointer(xName), length(xName), length(dstName)
	moves := dst
	if backward {
		d, count, moves = count, d, x
	}
	step := inBytes(d)
	done := label("none")
	TESTQ(d, d)
	JEQ(LabelRef(done))
	again := label("row")
	Label(again)
	CMPQ(count, d)
	JLT(LabelRef(done))
	n := clone(d)
	s.each(n, 4, func(b block) {
		v := b.load(x)
		VADDPS(b.load(dst), v, v)
		b.store(v, dst)
	})
	ADDQ(step, moves)
	SUBQ(d, count)
	JMP(LabelRef(again))
	Label(done)
	leave(nil)
}

// gate writes y = x ⊙ u row by row, where the rows of u are stride numbers apart.
func (s *isa) gate() {
	s.text("gate", "(y, x, u []float32, rows, d, stride int)")
	y, x, u := pointer("y"), pointer("x"), pointer("u")
	count, d := integer("rows"), integer("d")
	step, stride := inBytes(d), inBytes(integer("stride"))
	rows(count, func() {
		n := clone(d)
		s.each(n, 4, func(b block) {
			v := b.load(x)
			VMULPS(b.load(u), v, v)
			b.store(v, y)
		})
		ADDQ(step, x)
		ADDQ(step, y)
		ADDQ(stride, u)
	})
	leave(nil)
}

func (s *isa) gateBackward() {
	s.text("gateBackward", "(dx, du, dy, x, u []float32, rows, d, strideDU, strideU int)")
	dx, du, dy, x, u := pointer("dx"), pointer("du"), pointer("dy"), pointer("x"), pointer("u")
	count, d := integer("rows"), integer("d")
	step, strideDU, strideU := inBytes(d), inBytes(integer("strideDU")), inBytes(integer("strideU"))
	rows(count, func() {
		n := clone(d)
		s.each(n, 2, func(b block) {
			g, v, w := b.load(dy), b.load(dx), b.load(du)
			VFMADD231PS(b.load(u), g, v)
			VFMADD231PS(b.load(x), g, w)
			b.store(v, dx)
			b.store(w, du)
		})
		for _, p := range []reg.GPVirtual{dx, dy, x} {
			ADDQ(step, p)
		}
		ADDQ(strideDU, du)
		ADDQ(strideU, u)
	})
	leave(nil)
}

// share broadcasts total/count from the lowest lane.
func (s *isa) share(total, count reg.VecVirtual) reg.VecVirtual {
	v := s.vec()
	VDIVSS(count.AsX(), total.AsX(), total.AsX())
	VBROADCASTSS(total.AsX(), v)
	return v
}

// layerNorm subtracts the mean, sums the squares of what is left, and divides by the deviation: three passes over a row that lies in
// the first cache by then. The deviation itself is found in float64, as the plain loop does.
func (s *isa) layerNorm() {
	s.text("layerNorm", "(y, inv, x []float32, d int, eps float64)")
	y, inv, x, count, d := pointer("y"), pointer("inv"), pointer("x"), length("inv"), integer("d")
	step := inBytes(d)
	width, width64, eps, one := XMM(), XMM(), XMM(), XMM()
	VXORPS(width, width, width)
	VXORPS(width64, width64, width64)
	VCVTSI2SSQ(d, width, width)
	VCVTSI2SDQ(d, width64, width64)
	Load(Param("eps"), eps)
	VMOVSD(s.table("one64", 0, uint32(math.Float64bits(1)>>32)), one)
	rows(count, func() {
		acc := s.accumulators(4)
		n := clone(d)
		s.each(n, 4, func(b block) { VADDPS(b.load(x), acc[b.slot], acc[b.slot]) })
		mean := s.share(s.total(acc), width)
		acc = s.accumulators(4)
		n = clone(d)
		s.each(n, 4, func(b block) {
			v := b.load(x)
			VSUBPS(mean, v, v)
			b.store(v, y)
			s.only(v, b.m)
			VFMADD231PS(v, v, acc[b.slot])
		})
		q := s.total(acc).AsX()
		VCVTSS2SD(q, q, q)
		VDIVSD(width64, q, q)
		VADDSD(eps, q, q)
		VSQRTSD(q, q, q)
		VDIVSD(q, one, q)
		VCVTSD2SS(q, q, q)
		VMOVSS(q, Mem{Base: inv})
		scale := s.vec()
		VBROADCASTSS(q, scale)
		n = clone(d)
		s.each(n, 4, func(b block) {
			v := b.load(y)
			VMULPS(scale, v, v)
			b.store(v, y)
		})
		ADDQ(step, x)
		ADDQ(step, y)
		ADDQ(Imm(4), inv)
	})
	leave(nil)
}

func (s *isa) layerNormBackward() {
	s.text("layerNormBackward", "(dx, dy, y, inv []float32, d int)")
	dx, dy, y, inv, count, d := pointer("dx"), pointer("dy"), pointer("y"), pointer("inv"), length("inv"), integer("d")
	step := inBytes(d)
	width := XMM()
	VXORPS(width, width, width)
	VCVTSI2SSQ(d, width, width)
	rows(count, func() {
		// two accumulators of each: the sums and what they are made from fit AVX2's registers
		acc := s.accumulators(2)
		product := s.accumulators(2)
		n := clone(d)
		s.each(n, 2, func(b block) {
			g := b.load(dy)
			VADDPS(g, acc[b.slot], acc[b.slot])
			VFMADD231PS(b.load(y), g, product[b.slot])
		})
		mean := s.share(s.total(acc), width)
		along := s.share(s.total(product), width)
		scale := s.vec()
		VBROADCASTSS(Mem{Base: inv}, scale)
		n = clone(d)
		s.each(n, 4, func(b block) {
			g, to := b.load(dy), b.load(dx)
			VSUBPS(mean, g, g)
			VFNMADD231PS(b.load(y), along, g)
			VFMADD231PS(g, scale, to)
			b.store(to, dx)
		})
		for _, p := range []reg.GPVirtual{dx, dy, y} {
			ADDQ(step, p)
		}
		ADDQ(Imm(4), inv)
	})
	leave(nil)
}

// rotate turns the pairs (z, z+half) of each head of one row by the angles of one position.
func (s *isa) rotate() {
	s.text("rotate", "(row, cos, sin []float32, sign float32)")
	low, cos, sin, left, half := pointer("row"), pointer("cos"), pointer("sin"), length("row"), length("cos")
	sign := s.spread("sign")
	high, step := GP64(), inBytes(half)
	LEAQ(Mem{Base: low, Index: half, Scale: 4}, high)
	ADDQ(step, step)
	width := GP64()
	LEAQ(Mem{Base: half, Index: half, Scale: 1}, width)
	again, done := label("head"), label("heads")
	TESTQ(half, half)
	JEQ(LabelRef(done))
	Label(again)
	CMPQ(left, width)
	JLT(LabelRef(done))
	n := clone(half)
	s.each(n, 1, func(b block) {
		c, si, u, v := b.load(cos), b.load(sin), b.load(low), b.load(high)
		VMULPS(sign, si, si)
		us, uc := s.vec(), s.vec()
		VMULPS(u, si, us)
		VMULPS(u, c, uc)
		VFNMADD231PS(v, si, uc)
		VFMADD231PS(v, c, us)
		b.store(uc, low)
		b.store(us, high)
	})
	ADDQ(step, low)
	ADDQ(step, high)
	SUBQ(width, left)
	JMP(LabelRef(again))
	Label(done)
	leave(nil)
}

// sumSquares accumulates in float64.
func (s *isa) sumSquares() {
	s.text("sumSquares", "(x []float32) float64")
	x, n := pointer("x"), length("x")
	acc := s.accumulators(4)
	s.each(n, 2, func(b block) {
		v := b.load(x)
		low, high := s.vec(), s.vec()
		if s.wide() {
			h := YMM()
			VEXTRACTF64X4(U8(1), v, h)
			VCVTPS2PD(v.AsY(), low)
			VCVTPS2PD(h, high)
		} else {
			h := XMM()
			VEXTRACTF128(U8(1), v, h)
			VCVTPS2PD(v.AsX(), low)
			VCVTPS2PD(h, high)
		}
		VFMADD231PD(low, low, acc[2*b.slot])
		VFMADD231PD(high, high, acc[2*b.slot+1])
	})
	for n := 4; n > 1; n /= 2 {
		for i := range n / 2 {
			VADDPD(acc[i+n/2], acc[i], acc[i])
		}
	}
	y := acc[0]
	if s.wide() {
		h := YMM()
		VEXTRACTF64X4(U8(1), y, h)
		VADDPD(h, y.AsY(), h)
		y = h
	}
	h := XMM()
	VEXTRACTF128(U8(1), y, h)
	VADDPD(h, y.AsX(), h)
	swapped := XMM()
	VPSHUFD(U8(0b01_00_11_10), h, swapped)
	VADDPD(swapped, h, h)
	leave(h)
}
