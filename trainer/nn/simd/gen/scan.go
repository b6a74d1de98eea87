package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Predicates of VCMPPS that are false of what is not a number.
const (
	greaterEqual = 0x1d
	greater      = 0x1e
)

// fold4 folds four vectors at once: lane i of the result is the sum of v[i], in the same order for each.
func (s *isa) fold4(v [4]reg.VecVirtual) reg.VecVirtual {
	var y [4]reg.VecVirtual
	for i := range v {
		y[i] = v[i]
		if s.wide() {
			h := YMM()
			VEXTRACTF64X4(U8(1), v[i], h)
			VADDPS(h, v[i].AsY(), h)
			y[i] = h
		}
	}
	VHADDPS(y[1], y[0], y[0])
	VHADDPS(y[3], y[2], y[2])
	VHADDPS(y[2], y[0], y[0])
	h := XMM()
	VEXTRACTF128(U8(1), y[0], h)
	VADDPS(h, y[0].AsX(), h)
	return h
}

// gemv writes y = a·x by four rows at a time: four chains, one reading of x, and the four sums folded together. Where fewer rows are
// left, the places of the missing ones take the last row again, so that a row's sum has the same order wherever it stands.
func (s *isa) gemv() {
	s.text("gemv", "(y, a []float32, stride, d int, x []float32)")
	y, a, count := pointer("y"), pointer("a"), length("y")
	stride, d, x := inBytes(integer("stride")), integer("d"), pointer("x")
	again, rest := label("four"), label("rest")
	four := func(row [4]reg.GPVirtual) reg.VecVirtual {
		var acc [4]reg.VecVirtual
		for i := range acc {
			acc[i] = s.zero()
		}
		n := clone(d)
		s.each(n, 1, func(b block) {
			line := b.load(x)
			for i := range acc {
				if b.m.all() {
					VFMADD231PS(b.mem(row[i]), line, acc[i])
				} else {
					VFMADD231PS(b.load(row[i]), line, acc[i])
				}
			}
		})
		return s.fold4(acc)
	}
	next := func(row, from reg.GPVirtual) { LEAQ(Mem{Base: from, Index: stride, Scale: 1}, row) }
	row := [4]reg.GPVirtual{a, GP64(), GP64(), GP64()}
	Label(again)
	CMPQ(count, Imm(4))
	JLT(LabelRef(rest))
	for i := 1; i < 4; i++ {
		next(row[i], row[i-1])
	}
	VMOVUPS(four(row), Mem{Base: y})
	ADDQ(Imm(16), y)
	next(a, row[3])
	SUBQ(Imm(4), count)
	JMP(LabelRef(again))
	Label(rest)
	rows(count, func() {
		for i := 1; i < 4; i++ {
			MOVQ(a, row[i])
		}
		VMOVSS(four(row), Mem{Base: y})
		ADDQ(Imm(4), y)
		ADDQ(stride, a)
	})
	leave(nil)
}

// compare finds the lanes of a vector of x where which holds of x and bound, a bit for each.
func (s *isa) compare(b block, x, bound reg.Register, which uint8) (found reg.GPVirtual) {
	v := b.load(x)
	found = GP32()
	if s.wide() {
		k := K()
		if b.m.all() {
			VCMPPS(U8(which), bound, v, k)
		} else {
			VCMPPS(U8(which), bound, v, b.m.k, k)
		}
		KMOVW(k, found)
		return found
	}
	w := YMM()
	VCMPPS(U8(which), bound, v, w)
	if !b.m.all() {
		VANDPS(b.m.v, w, w)
	}
	VMOVMSKPS(w, found)
	return found
}

func (s *isa) countAtLeast() {
	s.text("countAtLeast", "(x []float32, bound float32) int")
	x, n := pointer("x"), length("x")
	bound := s.spread("bound")
	total := GP64()
	XORQ(total, total)
	s.each(n, 4, func(b block) {
		found := s.compare(b, x, bound, greaterEqual)
		POPCNTL(found, found)
		ADDQ(found.As64(), total)
	})
	VZEROUPPER()
	Store(total, ReturnIndex(0))
	RET()
}

// above sets a bit for each number, 32 numbers at a time.
func (s *isa) above() {
	s.text("above", "(bits []uint32, x []float32, bound float32)")
	bits, x, n := pointer("bits"), pointer("x"), length("x")
	bound, at := s.spread("bound"), GP64()
	XORQ(at, at)
	again, done := label("words"), label("done")
	Label(again)
	CMPQ(n, Imm(32))
	JLT(LabelRef(done))
	word := GP32()
	for j := range 32 / s.lanes {
		found := s.compare(block{s: s, at: at, disp: 4 * s.lanes * j}, x, bound, greater)
		if j == 0 {
			MOVL(found, word)
			continue
		}
		SHLL(U8(s.lanes*j), found)
		ORL(found, word)
	}
	MOVL(word, Mem{Base: bits})
	ADDQ(Imm(4), bits)
	ADDQ(Imm(32), at)
	SUBQ(Imm(32), n)
	JMP(LabelRef(again))
	Label(done)
	leave(nil)
}
