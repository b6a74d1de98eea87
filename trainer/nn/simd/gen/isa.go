package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// isa writes the same kernel for vectors of 16 numbers with mask registers (AVX-512) or of 8 with mask vectors (AVX2).
type isa struct {
	name   string // the end of the names of its functions
	lanes  int
	tables map[string]Mem // constants of this file, by name
}

func (s *isa) wide() bool { return s.lanes == 16 }

func (s *isa) vec() reg.VecVirtual {
	if s.wide() {
		return ZMM()
	}
	return YMM()
}

func (s *isa) zero() reg.VecVirtual {
	v := s.vec()
	if !s.wide() {
		VXORPS(v, v, v)
		return v
	}
	// avo does not know that this reads nothing, and would keep a register for what v was
	Instruction(&ir.Instruction{Opcode: "VPXORD", Operands: []Op{v, v, v}, Outputs: []Op{v}, ISA: []string{"AVX512F"}})
	return v
}

// text starts a function of the room's package; args is its signature after the name.
func (s *isa) text(name, args string) {
	TEXT(name+s.name, 4, "func"+args) // 4 is NOSPLIT
	Pragma("noescape")
}

// table is a constant of the file: count words of 4 bytes, made once.
func (s *isa) table(name string, words ...uint32) Mem {
	if m, ok := s.tables[name]; ok {
		return m
	}
	m := GLOBL(name+s.name, 8|16) // RODATA|NOPTR
	for i, w := range words {
		DATA(4*i, U32(w))
	}
	s.tables[name] = m
	return m
}

// bits is a constant of 32 bits in every lane, as an operand that may stand first: a register where there are 32 of them, memory
// where there are 16.
func (s *isa) bits(name string, w uint32) Op {
	if s.wide() {
		v := ZMM()
		VPBROADCASTD(s.table(name, w), v)
		return v
	}
	return s.table(name, w, w, w, w, w, w, w, w)
}

func (s *isa) number(name string, x float32) Op { return s.bits(name, math.Float32bits(x)) }

// register is the same in a register always.
func (s *isa) register(name string, x float32) reg.VecVirtual {
	return s.words(name, math.Float32bits(x))
}

func (s *isa) words(name string, w uint32) reg.VecVirtual {
	op := s.bits(name, w)
	if v, ok := op.(reg.VecVirtual); ok {
		return v
	}
	v := YMM()
	VMOVUPS(op, v)
	return v
}

// spread broadcasts a float32 parameter.
func (s *isa) spread(param string) reg.VecVirtual {
	at, err := Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	v := s.vec()
	VBROADCASTSS(at.Addr, v)
	return v
}

// mask says which lanes take part. The zero value: all of them.
type mask struct {
	k reg.OpmaskVirtual
	v reg.VecVirtual
}

func (m mask) all() bool { return m.k == nil && m.v == nil }

// first is the mask of the first n lanes, 0 <= n < lanes.
func (s *isa) first(n reg.GPVirtual) mask {
	if s.wide() {
		r, k := GP32(), K()
		MOVL(I32(-1), r)
		BZHIL(n.As32(), r, r)
		KMOVW(r, k)
		return mask{k: k}
	}
	ones := uint32(math.MaxUint32)
	m := s.table("firstLanes", ones, ones, ones, ones, ones, ones, ones, ones, 0, 0, 0, 0, 0, 0, 0, 0)
	at, back, v := GP64(), GP64(), YMM()
	LEAQ(m.Offset(32), at)
	MOVQ(n, back)
	SHLQ(U8(2), back)
	SUBQ(back, at)
	VMOVUPS(Mem{Base: at}, v)
	return mask{v: v}
}

// load reads lanes; those outside the mask are 0 and their memory is not touched.
func (s *isa) load(from Mem, m mask) reg.VecVirtual {
	v := s.vec()
	switch {
	case m.all():
		VMOVUPS(from, v)
	case s.wide():
		VMOVUPS_Z(from, m.k, v)
	default:
		VMASKMOVPS(from, m.v, v)
	}
	return v
}

func (s *isa) store(v reg.VecVirtual, to Mem, m mask) {
	switch {
	case m.all():
		VMOVUPS(v, to)
	case s.wide():
		VMOVUPS(v, m.k, to)
	default:
		VMASKMOVPS(v, m.v, to)
	}
}

// only sets the lanes of v outside the mask to 0.
func (s *isa) only(v reg.VecVirtual, m mask) {
	switch {
	case m.all():
	case s.wide():
		VMOVAPS_Z(v, m.k, v)
	default:
		VANDPS(m.v, v, v)
	}
}

// block is one vector of a loop over slices.
type block struct {
	s    *isa
	at   reg.GPVirtual // numbers before it
	disp int           // bytes from there
	slot int           // which of the unrolled ones
	m    mask
}

func (b block) mem(base reg.Register) Mem {
	return Mem{Base: base, Index: b.at, Scale: 4, Disp: b.disp}
}
func (b block) load(base reg.Register) reg.VecVirtual     { return b.s.load(b.mem(base), b.m) }
func (b block) store(v reg.VecVirtual, base reg.Register) { b.s.store(v, b.mem(base), b.m) }

var labels int

// label makes a name that the file does not have yet.
func label(name string) string {
	labels++
	return fmt.Sprint(name, labels)
}

// each runs body over n numbers: unroll vectors at a time, then one, then the rest under a mask. What a lane takes part in
// depends on n alone. It spoils n.
func (s *isa) each(n reg.GPVirtual, unroll int, body func(block)) {
	at := GP64()
	XORQ(at, at)
	many, one, rest, done := label("many"), label("one"), label("rest"), label("done")
	if unroll > 1 {
		Label(many)
		CMPQ(n, I32(int32(unroll*s.lanes)))
		JLT(LabelRef(one))
		for j := range unroll {
			body(block{s: s, at: at, disp: 4 * s.lanes * j, slot: j})
		}
		ADDQ(I32(int32(unroll*s.lanes)), at)
		SUBQ(I32(int32(unroll*s.lanes)), n)
		JMP(LabelRef(many))
	}
	Label(one)
	CMPQ(n, I32(int32(s.lanes)))
	JLT(LabelRef(rest))
	body(block{s: s, at: at})
	ADDQ(I32(int32(s.lanes)), at)
	SUBQ(I32(int32(s.lanes)), n)
	JMP(LabelRef(one))
	Label(rest)
	TESTQ(n, n)
	JEQ(LabelRef(done))
	body(block{s: s, at: at, m: s.first(n)})
	Label(done)
}

// fold folds v to the sum of its halves until 4 lanes are left, then those: always in this order.
func (s *isa) fold(v reg.VecVirtual) reg.VecVirtual {
	return s.foldBy(v, func(a, b, to Op) { VADDPS(a, b, to) })
}

func (s *isa) foldBy(v reg.VecVirtual, op func(a, b, to Op)) reg.VecVirtual {
	y := v
	if s.wide() {
		h, sum := YMM(), YMM()
		VEXTRACTF64X4(U8(1), v, h)
		op(h, v.AsY(), sum)
		y = sum
	}
	h, x := XMM(), XMM()
	VEXTRACTF128(U8(1), y, h)
	op(h, y.AsX(), x)
	VPSHUFD(U8(0b01_00_11_10), x, h)
	op(h, x, x)
	VPSHUFD(U8(0b10_11_00_01), x, h)
	op(h, x, x)
	return x
}

// accumulators are n zeros.
func (s *isa) accumulators(n int) []reg.VecVirtual {
	acc := make([]reg.VecVirtual, n)
	for i := range acc {
		acc[i] = s.zero()
	}
	return acc
}

// total adds the accumulators in pairs and folds the sum.
func (s *isa) total(acc []reg.VecVirtual) reg.VecVirtual {
	for n := len(acc); n > 1; n /= 2 {
		for i := range n / 2 {
			VADDPS(acc[i+n/2], acc[i], acc[i])
		}
	}
	return s.fold(acc[0])
}

func pointer(param string) reg.GPVirtual {
	p := GP64()
	Load(Param(param).Base(), p)
	return p
}

func length(param string) reg.GPVirtual {
	n := GP64()
	Load(Param(param).Len(), n)
	return n
}

// leave ends a function; result is nil or a number in the lowest lane.
func leave(result reg.VecVirtual) {
	VZEROUPPER()
	if result != nil {
		Store(result.AsX(), ReturnIndex(0))
	}
	RET()
}
