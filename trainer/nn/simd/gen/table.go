package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// gatherTable sets dst[i] = table[index[i]]. The caller has seen that no index is beyond the table.
func (s *isa) gatherTable() {
	s.text("gatherTable", "(dst, table []float32, index []uint8)")
	dst, table, index, n := pointer("dst"), pointer("table"), pointer("index"), length("dst")
	if s.wide() {
		s.each(n, 4, func(b block) {
			from := Mem{Base: index, Index: b.at, Scale: 1, Disp: b.disp / 4}
			at, v, lanes := ZMM(), s.zero(), K()
			if b.m.all() {
				VPMOVZXBD(from, at)
				KXNORW(lanes, lanes, lanes)
			} else {
				VPMOVZXBD_Z(from, b.m.k, at)
				KMOVW(b.m.k, lanes)
			}
			VGATHERDPS(Mem{Base: table, Index: at, Scale: 4}, lanes, v)
			b.store(v, dst)
		})
		leave(nil)
		return
	}
	// AVX2 cannot load some of 8 bytes: the rest goes one by one
	whole, at := clone(n), GP64()
	ANDQ(I8(-8), whole)
	SUBQ(whole, n)
	XORQ(at, at)
	again, rest, one, done := label("vectors"), label("rest"), label("one"), label("done")
	Label(again)
	CMPQ(at, whole)
	JGE(LabelRef(rest))
	offsets, v, lanes := YMM(), YMM(), YMM()
	VPMOVZXBD(Mem{Base: index, Index: at, Scale: 1}, offsets)
	VPCMPEQD(lanes, lanes, lanes)
	VXORPS(v, v, v)
	VGATHERDPS(lanes, Mem{Base: table, Index: offsets, Scale: 4}, v)
	VMOVUPS(v, Mem{Base: dst, Index: at, Scale: 4})
	ADDQ(Imm(8), at)
	JMP(LabelRef(again))
	Label(rest)
	place, word := GP64(), GP32()
	Label(one)
	TESTQ(n, n)
	JEQ(LabelRef(done))
	MOVBQZX(Mem{Base: index, Index: at, Scale: 1}, place)
	MOVL(Mem{Base: table, Index: place, Scale: 4}, word)
	MOVL(word, Mem{Base: dst, Index: at, Scale: 4})
	INCQ(at)
	DECQ(n)
	JMP(LabelRef(one))
	Label(done)
	leave(nil)
}

// largest returns the largest byte, 0 of none.
func (s *isa) largest() {
	s.text("largest", "(index []uint8) uint8")
	p, n := pointer("index"), length("index")
	// 32 bytes at a time at either level; the rest one by one
	acc := YMM()
	VPXOR(acc, acc, acc)
	again, rest, one, next, done := label("vectors"), label("rest"), label("one"), label("next"), label("done")
	Label(again)
	CMPQ(n, Imm(32))
	JLT(LabelRef(rest))
	VPMAXUB(Mem{Base: p}, acc, acc)
	ADDQ(Imm(32), p)
	SUBQ(Imm(32), n)
	JMP(LabelRef(again))
	Label(rest)
	h := XMM()
	VEXTRACTI128(U8(1), acc, h)
	x := acc.AsX()
	VPMAXUB(h, x, x)
	for _, shift := range []uint8{8, 4, 2, 1} {
		VPSRLDQ(U8(shift), x, h)
		VPMAXUB(h, x, x)
	}
	var top, v reg.GPVirtual = GP32(), GP32()
	VMOVD(x, top)
	ANDL(U32(255), top)
	Label(one)
	TESTQ(n, n)
	JEQ(LabelRef(done))
	MOVBLZX(Mem{Base: p}, v)
	CMPL(v, top)
	JLS(LabelRef(next))
	MOVL(v, top)
	Label(next)
	INCQ(p)
	DECQ(n)
	JMP(LabelRef(one))
	Label(done)
	VZEROUPPER()
	Store(top.As8(), ReturnIndex(0))
	RET()
}
