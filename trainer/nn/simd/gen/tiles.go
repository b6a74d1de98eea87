package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tileRows is how many rows a tile has: as many as a vector of AVX-512 has sums.
const tileRows = 16

// scoreTiles writes dst[i] = (Σ_j tile_ij·q_j - excess)·scale_i·by + base_i. A tile has, for four columns after the other, those of its sixteen rows next to each other: sums
// of rows stand in lanes from the start, and none is folded.
//
// Tiles are read one after the other. Four side by side are no faster where the caches hold them, and take twice as long where memory has to bring them.
func (s *isa) scoreTiles() {
	t := s.tilesOf("scoreTiles")
	if s.wide() {
		t.each(t.wideSums)
	} else {
		t.each(t.narrowSums)
	}
}

// scoreHalfTiles is scoreTiles of half bytes.
func (s *isa) scoreHalfTiles() {
	t := s.tilesOf("scoreHalfTiles")
	if s.wide() {
		t.each(t.wideHalfSums)
	} else {
		t.each(t.halfSums)
	}
}

// tiles are the registers of scoreTiles.
type tiles struct {
	*isa
	dst, count, from, q, d, scale, base reg.GPVirtual
	by, excess                          reg.VecVirtual

	// What is scored soon is asked of memory meanwhile, line by line: it lies elsewhere, so that the processor's own guess would find its beginning too late.
	soonTiles reg.GPVirtual   // the next line of bytes
	soon      []reg.GPVirtual // the same of numbers, sixteen a line
}

// tilesOf begins a function.
func (s *isa) tilesOf(name string) *tiles {
	s.text(name, "(dst []float32, tiles []uint8, q []int8, excess int32, by float32, scale, base []float32, soonTiles []uint8, soonScale, soonBase []float32)")
	t := &tiles{isa: s, dst: pointer("dst"), count: length("dst"), from: pointer("tiles"), q: pointer("q"), d: length("q"), scale: pointer("scale"), base: pointer("base"),
		soonTiles: pointer("soonTiles"), soon: []reg.GPVirtual{pointer("soonScale"), pointer("soonBase")}}
	t.by = s.spread("by")
	t.excess = s.vec()
	given, low := GP32(), XMM()
	Load(Param("excess"), given)
	VMOVD(given, low)
	VPBROADCASTD(low, t.excess)
	return t
}

// tileSums writes the sums of the products of a tile with a query, in two vectors where one does not hold its rows. It moves t.from behind the tile; left is how many
// columns there are, at the query.
type tileSums func(left, at reg.GPVirtual) []reg.VecVirtual

// each scores all tiles and ends the function.
func (t *tiles) each(sums tileSums) {
	again, done := label("tile"), label("done")
	Label(again)
	CMPQ(t.count, Imm(tileRows))
	JLT(LabelRef(done))
	for i, sum := range sums(clone(t.d), clone(t.q)) {
		VPSUBD(t.excess, sum, sum)
		VCVTDQ2PS(sum, sum)
		VMULPS(Mem{Base: t.scale, Disp: 4 * t.lanes * i}, sum, sum)
		VMULPS(t.by, sum, sum)
		VADDPS(Mem{Base: t.base, Disp: 4 * t.lanes * i}, sum, sum)
		VMOVUPS(sum, Mem{Base: t.dst, Disp: 4 * t.lanes * i})
	}
	for _, p := range t.soon {
		PREFETCHT1(Mem{Base: p})
		ADDQ(Imm(64), p)
	}
	for _, p := range []reg.GPVirtual{t.dst, t.scale, t.base} {
		ADDQ(I32(4*tileRows), p)
	}
	SUBQ(I32(tileRows), t.count)
	JMP(LabelRef(again))
	Label(done)
	leave(nil)
}

// line moves on by the 64 bytes that were read, and asks for as many of what comes soon.
func (t *tiles) line() {
	PREFETCHT1(Mem{Base: t.soonTiles})
	ADDQ(Imm(64), t.soonTiles)
	ADDQ(Imm(64), t.from)
}

// wideSums returns one vector, by VNNI.
func (t *tiles) wideSums(left, at reg.GPVirtual) []reg.VecVirtual {
	acc := t.zero()
	again, done := label("columns"), label("summed")
	Label(again)
	TESTQ(left, left)
	JEQ(LabelRef(done))
	four, u := ZMM(), ZMM()
	VPBROADCASTD(Mem{Base: at}, four)
	VMOVDQU32(Mem{Base: t.from}, u)
	dpbusd(four, u, acc)
	t.line()
	ADDQ(Imm(4), at)
	SUBQ(Imm(4), left)
	JMP(LabelRef(again))
	Label(done)
	return []reg.VecVirtual{acc}
}

// narrowSums returns two vectors: products of 16 bits are added in pairs, and a row's two sums at the end.
func (t *tiles) narrowSums(left, at reg.GPVirtual) []reg.VecVirtual {
	acc := t.accumulators(4)
	again, done := label("columns"), label("summed")
	Label(again)
	TESTQ(left, left)
	JEQ(LabelRef(done))
	few, four := XMM(), YMM()
	VMOVD(Mem{Base: at}, few)
	VPMOVSXBW(few, few)
	VPBROADCASTQ(few, four)
	for i := range acc {
		u := YMM()
		VPMOVZXBW(Mem{Base: t.from, Disp: 16 * i}, u)
		VPMADDWD(four, u, u)
		VPADDD(u, acc[i], acc[i])
	}
	t.line()
	ADDQ(Imm(4), at)
	SUBQ(Imm(4), left)
	JMP(LabelRef(again))
	Label(done)
	for i := range 2 {
		VPHADDD(acc[2*i+1], acc[2*i], acc[i])
		VPERMQ(U8(0b11_01_10_00), acc[i], acc[i]) // the halves of a vector were added apart
	}
	return acc[:2]
}

// wideHalfSums returns one vector, by VNNI.
func (t *tiles) wideHalfSums(left, at reg.GPVirtual) []reg.VecVirtual {
	acc := t.accumulators(2) // of the lower halves, and of the upper
	low := t.words("lowHalves", 0x0f0f0f0f)
	again, done := label("columns"), label("summed")
	Label(again)
	TESTQ(left, left)
	JEQ(LabelRef(done))
	first, second, u, high := ZMM(), ZMM(), ZMM(), ZMM()
	VPBROADCASTD(Mem{Base: at}, first)
	VPBROADCASTD(Mem{Base: at, Disp: 4}, second)
	VMOVDQU32(Mem{Base: t.from}, u)
	VPSRLW(U8(4), u, high)
	VPANDD(low, u, u)
	VPANDD(low, high, high)
	dpbusd(first, u, acc[0])
	dpbusd(second, high, acc[1])
	t.line()
	ADDQ(Imm(8), at)
	SUBQ(Imm(8), left)
	JMP(LabelRef(again))
	Label(done)
	VPADDD(acc[1], acc[0], acc[0])
	return acc[:1]
}

// halfSums returns two vectors. Products of 15 and 128 at most, two of which an instruction adds, go eight times into 16 bits; then they are added up in 32.
func (t *tiles) halfSums(left, at reg.GPVirtual) []reg.VecVirtual {
	const together = 4 // times eight columns
	acc := t.accumulators(2)
	low, ones := t.words("lowHalves", 0x0f0f0f0f), t.words("ones16", 0x0001_0001)
	again, wide, done := label("columns"), label("wide"), label("summed")
	Label(again)
	TESTQ(left, left)
	JEQ(LabelRef(done))
	part := t.accumulators(len(acc))
	for g := range together {
		first, second := YMM(), YMM()
		VPBROADCASTD(Mem{Base: at}, first)
		VPBROADCASTD(Mem{Base: at, Disp: 4}, second)
		for i := range part {
			u, high := YMM(), YMM()
			VMOVDQU(Mem{Base: t.from, Disp: 32 * i}, u)
			VPSRLW(U8(4), u, high)
			VPAND(low, u, u)
			VPAND(low, high, high)
			VPMADDUBSW(first, u, u)
			VPMADDUBSW(second, high, high)
			VPADDW(u, part[i], part[i])
			VPADDW(high, part[i], part[i])
		}
		t.line()
		ADDQ(Imm(8), at)
		SUBQ(Imm(8), left)
		if g < together-1 {
			JEQ(LabelRef(wide))
		}
	}
	Label(wide)
	for i := range part {
		VPMADDWD(ones, part[i], part[i])
		VPADDD(part[i], acc[i], acc[i])
	}
	JMP(LabelRef(again))
	Label(done)
	return acc
}

// dpbusd adds to acc the products of 4 unsigned bytes of u and 4 signed ones of v in each lane. avo does not know it.
func dpbusd(v, u Op, acc reg.VecVirtual) {
	Instruction(&ir.Instruction{Opcode: "VPDPBUSD", Operands: []Op{v, u, acc}, Inputs: []Op{v, u, acc}, Outputs: []Op{acc}, ISA: []string{"AVX512_VNNI"}})
}
