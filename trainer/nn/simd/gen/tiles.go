package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// ahead is how many bytes before their use tiles are asked for. The processor's own guess stops at the end of a page of 4 KiB.
const ahead = 16384

// tileRows is how many rows a tile has: as many as a vector of AVX-512 has sums.
const tileRows = 16

// scoreTiles writes dst[i] = (Σ_j tile_ij·q_j - excess)·scale_i·by + base_i. A tile has, for four columns after the other, those of its sixteen rows next to each other: sums
// of rows stand in lanes from the start, and none is folded.
func (s *isa) scoreTiles() {
	t := s.tilesOf("scoreTiles", "")
	SHLQ(U8(4), t.size)
	if s.wide() {
		t.each(4, t.wideSums)
	} else {
		t.each(1, t.narrowSums)
	}
}

// scoreHalfTiles is scoreTiles of half bytes. It waits for memory, which wider vectors do not bring: both levels use the same. Two tiles side by side were measured to be slower.
//
// What is scored soon is asked of memory meanwhile, tile by tile: it lies elsewhere, so that the processor's own guess, or some bytes ahead, would find its beginning too late.
func (s *isa) scoreHalfTiles() {
	if s.wide() {
		return
	}
	t := s.tilesOf("scoreHalfTiles", ", soonTiles []uint8, soonScale, soonBase []float32")
	t.soon, t.alike = pointer("soonTiles"), []reg.GPVirtual{pointer("soonScale"), pointer("soonBase")}
	SHLQ(U8(3), t.size)
	t.each(1, t.halfSums)
}

// tilesOf begins a function with more parameters. What size is multiplied by is the caller's.
func (s *isa) tilesOf(name, more string) *tiles {
	s.text(name, "(dst []float32, tiles []uint8, q []int8, excess int32, by float32, scale, base []float32"+more+")")
	t := &tiles{isa: s, dst: pointer("dst"), count: length("dst"), from: pointer("tiles"), q: pointer("q"), d: length("q"), scale: pointer("scale"), base: pointer("base")}
	t.by = s.spread("by")
	t.excess = s.vec()
	given, low := GP32(), XMM()
	Load(Param("excess"), given)
	VMOVD(given, low)
	VPBROADCASTD(low, t.excess)
	t.size = clone(t.d)
	return t
}

// each scores all tiles, many side by side as long as there are so many, and ends the function.
func (t *tiles) each(many int, sums tileSums) {
	again, rest, done := label("tiles"), label("tile"), label("done")
	if many > 1 {
		Label(again)
		CMPQ(t.count, I32(int32(many*tileRows)))
		JLT(LabelRef(rest))
		t.some(many, sums)
		JMP(LabelRef(again))
	}
	Label(rest)
	CMPQ(t.count, Imm(tileRows))
	JLT(LabelRef(done))
	t.some(1, sums)
	JMP(LabelRef(rest))
	Label(done)
	leave(nil)
}

// tiles are the registers of scoreTiles.
type tiles struct {
	*isa
	dst, count, from, q, d, scale, base reg.GPVirtual
	size                                reg.GPVirtual   // of a tile in bytes
	soon                                reg.GPVirtual   // the next line of bytes that is asked for; nil for none
	alike                               []reg.GPVirtual // the same of numbers, sixteen a line
	by, excess                          reg.VecVirtual
}

// tileSums writes the sums of the products of tiles with a query, two vectors a tile where one does not hold the rows of a tile. row are where the tiles begin, as they are to stay;
// left is how many columns there are, at the query.
type tileSums func(row []reg.GPVirtual, left, at reg.GPVirtual) []reg.VecVirtual

// some scores so many tiles, which are asked of memory once and read side by side.
func (t *tiles) some(n int, sums tileSums) {
	row := make([]reg.GPVirtual, n)
	for i := range row {
		row[i] = GP64()
		if i == 0 {
			MOVQ(t.from, row[i])
		} else {
			LEAQ(Mem{Base: row[i-1], Index: t.size, Scale: 1}, row[i])
		}
	}
	left, at := clone(t.d), clone(t.q)
	for i, sum := range sums(row, left, at) {
		VPSUBD(t.excess, sum, sum)
		VCVTDQ2PS(sum, sum)
		VMULPS(Mem{Base: t.scale, Disp: 4 * t.lanes * i}, sum, sum)
		VMULPS(t.by, sum, sum)
		VADDPS(Mem{Base: t.base, Disp: 4 * t.lanes * i}, sum, sum)
		VMOVUPS(sum, Mem{Base: t.dst, Disp: 4 * t.lanes * i})
	}
	for _, p := range t.alike {
		for range n {
			PREFETCHT1(Mem{Base: p})
			ADDQ(Imm(64), p)
		}
	}
	for _, p := range []reg.GPVirtual{t.dst, t.scale, t.base} {
		ADDQ(I32(int32(4*tileRows*n)), p)
	}
	LEAQ(Mem{Base: row[n-1], Index: t.size, Scale: 1}, t.from)
	SUBQ(I32(int32(tileRows*n)), t.count)
}

// wideSums returns a vector a tile, by VNNI.
func (t *tiles) wideSums(row []reg.GPVirtual, left, at reg.GPVirtual) []reg.VecVirtual {
	acc := t.accumulators(len(row))
	again, done := label("columns"), label("summed")
	Label(again)
	TESTQ(left, left)
	JEQ(LabelRef(done))
	four := ZMM()
	VPBROADCASTD(Mem{Base: at}, four)
	for i := range acc {
		u := ZMM()
		PREFETCHT0(Mem{Base: row[i], Disp: ahead})
		VMOVDQU32(Mem{Base: row[i]}, u)
		dpbusd(four, u, acc[i])
		ADDQ(Imm(64), row[i])
	}
	ADDQ(Imm(4), at)
	SUBQ(Imm(4), left)
	JMP(LabelRef(again))
	Label(done)
	for i := range row { // back to its beginning
		SUBQ(t.size, row[i])
	}
	return acc
}

// narrowSums returns two vectors for one tile: products of 16 bits are added in pairs, and a row's two sums at the end.
func (t *tiles) narrowSums(row []reg.GPVirtual, left, at reg.GPVirtual) []reg.VecVirtual {
	acc := t.accumulators(4)
	again, done := label("columns"), label("summed")
	Label(again)
	TESTQ(left, left)
	JEQ(LabelRef(done))
	few, four := XMM(), YMM()
	VMOVD(Mem{Base: at}, few)
	VPMOVSXBW(few, few)
	VPBROADCASTQ(few, four)
	PREFETCHT0(Mem{Base: row[0], Disp: ahead})
	for i := range acc {
		u := YMM()
		VPMOVZXBW(Mem{Base: row[0], Disp: 16 * i}, u)
		VPMADDWD(four, u, u)
		VPADDD(u, acc[i], acc[i])
	}
	ADDQ(Imm(64), row[0])
	ADDQ(Imm(4), at)
	SUBQ(Imm(4), left)
	JMP(LabelRef(again))
	Label(done)
	SUBQ(t.size, row[0])
	for i := range 2 {
		VPHADDD(acc[2*i+1], acc[2*i], acc[i])
		VPERMQ(U8(0b11_01_10_00), acc[i], acc[i]) // the halves of a vector were added apart
	}
	return acc[:2]
}

// halfSums returns two vectors a tile. Products of 15 and 128 at most, two of which an instruction adds, go eight times into 16 bits; then they are added up in 32.
func (t *tiles) halfSums(row []reg.GPVirtual, left, at reg.GPVirtual) []reg.VecVirtual {
	const together = 4 // times eight columns
	acc := t.accumulators(2 * len(row))
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
		for range row {
			PREFETCHT1(Mem{Base: t.soon})
			ADDQ(Imm(64), t.soon)
		}
		for i := range part {
			u, high := YMM(), YMM()
			VMOVDQU(Mem{Base: row[i/2], Disp: 32 * (i % 2)}, u)
			VPSRLW(U8(4), u, high)
			VPAND(low, u, u)
			VPAND(low, high, high)
			VPMADDUBSW(first, u, u)
			VPMADDUBSW(second, high, high)
			VPADDW(u, part[i], part[i])
			VPADDW(high, part[i], part[i])
		}
		for i := range row {
			ADDQ(Imm(64), row[i])
		}
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
	for i := range row {
		SUBQ(t.size, row[i])
	}
	return acc
}

// dpbusd adds to acc the products of 4 unsigned bytes of u and 4 signed ones of v in each lane. avo does not know it.
func dpbusd(v, u Op, acc reg.VecVirtual) {
	Instruction(&ir.Instruction{Opcode: "VPDPBUSD", Operands: []Op{v, u, acc}, Inputs: []Op{v, u, acc}, Outputs: []Op{acc}, ISA: []string{"AVX512_VNNI"}})
}
