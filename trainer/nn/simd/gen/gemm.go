package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tileRows is how many rows of c stay in registers while a column of a and a row of b go by.
func (s *isa) tileRows() int {
	if s.wide() {
		return 8 // 16 accumulators of 32 registers: enough chains to hide the latency, and the model's heights are multiples of 8
	}
	return 6 // 12 of 16
}

// gemmPanel writes c = alpha·a·b + beta·c for a panel of c of one or two vectors' columns, n of them. Element (i,l) of a is rs·i + cs·l
// bytes from its start, so that a may be transposed; the rows of b are bs bytes apart, those of c ldc. Each number of c is one sum
// over l in rising order, whatever tile it falls into.
func (s *isa) gemmPanel(vectors int) {
	s.text(fmt.Sprint("gemmPanel", vectors), "(a *float32, rs, cs int, b *float32, bs int, c *float32, ldc, m, n, k int, alpha, beta float32)")
	a, c := GP64(), GP64()
	Load(Param("a"), a)
	Load(Param("c"), c)
	rs, cs, bs, ldc, m := integer("rs"), integer("cs"), integer("bs"), integer("ldc"), integer("m")
	rs3 := GP64()
	LEAQ(Mem{Base: rs, Index: rs, Scale: 2}, rs3)
	n := integer("n")
	if vectors > 1 {
		SUBQ(I32(int32(s.lanes*(vectors-1))), n)
	}
	last := s.first(n)

	tile := func(rows int) {
		acc := s.accumulators(rows * vectors)
		a0, a4, b, left := GP64(), GP64(), GP64(), GP64()
		MOVQ(a, a0)
		if rows > 4 {
			LEAQ(Mem{Base: a, Index: rs, Scale: 4}, a4)
		}
		Load(Param("b"), b)
		Load(Param("k"), left)
		next, sum := label("next"), label("sum")
		TESTQ(left, left)
		JEQ(LabelRef(sum))
		Label(next)
		line := make([]reg.VecVirtual, vectors)
		for j := range line {
			m := mask{}
			if j == vectors-1 {
				m = last
			}
			line[j] = s.load(Mem{Base: b, Disp: 4 * s.lanes * j}, m)
		}
		for i := range rows {
			from := a0
			if i >= 4 {
				from = a4
			}
			at := Mem{Base: from}
			switch i % 4 {
			case 1:
				at.Index, at.Scale = rs, 1
			case 2:
				at.Index, at.Scale = rs, 2
			case 3:
				at.Index, at.Scale = rs3, 1
			}
			x := s.vec()
			VBROADCASTSS(at, x)
			for j := range line {
				VFMADD231PS(line[j], x, acc[i*vectors+j])
			}
		}
		ADDQ(cs, a0)
		if rows > 4 {
			ADDQ(cs, a4)
		}
		ADDQ(bs, b)
		DECQ(left)
		JNE(LabelRef(next))

		Label(sum)
		add, done := label("add"), label("stored")
		alpha := s.spread("alpha")
		bits := GP32()
		at, err := Param("beta").Resolve()
		if err != nil {
			panic(err)
		}
		MOVL(at.Addr, bits)
		ADDL(bits, bits) // without its sign
		JNE(LabelRef(add))
		write := func(beta reg.VecVirtual) {
			for i := range rows {
				for j := range vectors {
					m := mask{}
					if j == vectors-1 {
						m = last
					}
					to, v := Mem{Base: c, Disp: 4 * s.lanes * j}, acc[i*vectors+j]
					if beta == nil {
						VMULPS(alpha, v, v)
						s.store(v, to, m)
						continue
					}
					old := s.load(to, m)
					VMULPS(beta, old, old)
					VFMADD231PS(v, alpha, old)
					s.store(old, to, m)
				}
				ADDQ(ldc, c)
			}
		}
		write(nil)
		JMP(LabelRef(done))
		Label(add)
		write(s.spread("beta"))
		Label(done)
	}

	full, rest, end := label("full"), label("rest"), label("end")
	height := s.tileRows()
	Label(full)
	CMPQ(m, Imm(uint64(height)))
	JLT(LabelRef(rest))
	tile(height)
	if height == 8 {
		LEAQ(Mem{Base: a, Index: rs, Scale: 8}, a)
	} else {
		LEAQ(Mem{Base: a, Index: rs3, Scale: 2}, a)
	}
	SUBQ(Imm(uint64(height)), m)
	JMP(LabelRef(full))
	Label(rest)
	for rows := height - 1; rows > 0; rows-- {
		fewer := label("fewer")
		CMPQ(m, Imm(uint64(rows)))
		JNE(LabelRef(fewer))
		tile(rows)
		JMP(LabelRef(end))
		Label(fewer)
	}
	Label(end)
	leave(nil)
}

// transpose writes one vector's columns of a panel from as many rows of a matrix whose rows are stride bytes apart: dst[l·width+i] =
// src[i·stride+l] for l below 4·quads. Four rows' quarters are put together in the lanes of a vector when they are loaded, so
// that 4x4 blocks remain to be transposed within the lanes.
func (s *isa) transpose() {
	s.text("transpose", "(dst *float32, width int, src *float32, stride, quads int)")
	to, from := GP64(), GP64()
	Load(Param("dst"), to)
	Load(Param("src"), from)
	width, stride, quads := integer("width"), integer("stride"), integer("quads")
	stride4 := GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 1}, stride4)
	ADDQ(stride4, stride4)
	var stride12 reg.GPVirtual
	if s.wide() {
		stride12 = GP64()
		LEAQ(Mem{Base: stride4, Index: stride4, Scale: 2}, stride12)
	}
	row := [4]reg.GPVirtual{from, GP64(), GP64(), GP64()}
	for i := 1; i < 4; i++ {
		LEAQ(Mem{Base: row[i-1], Index: stride, Scale: 1}, row[i])
	}
	rows(quads, func() {
		var r, t, c [4]reg.VecVirtual
		for i := range r {
			r[i], t[i], c[i] = s.vec(), s.vec(), s.vec()
			VMOVUPS(Mem{Base: row[i]}, r[i].AsX())
			if s.wide() {
				VINSERTF32X4(U8(1), Mem{Base: row[i], Index: stride4, Scale: 1}, r[i], r[i])
				VINSERTF32X4(U8(2), Mem{Base: row[i], Index: stride4, Scale: 2}, r[i], r[i])
				VINSERTF32X4(U8(3), Mem{Base: row[i], Index: stride12, Scale: 1}, r[i], r[i])
			} else {
				VINSERTF128(U8(1), Mem{Base: row[i], Index: stride4, Scale: 1}, r[i], r[i])
			}
			ADDQ(Imm(16), row[i])
		}
		VUNPCKLPS(r[1], r[0], t[0])
		VUNPCKHPS(r[1], r[0], t[1])
		VUNPCKLPS(r[3], r[2], t[2])
		VUNPCKHPS(r[3], r[2], t[3])
		VUNPCKLPD(t[2], t[0], c[0])
		VUNPCKHPD(t[2], t[0], c[1])
		VUNPCKLPD(t[3], t[1], c[2])
		VUNPCKHPD(t[3], t[1], c[3])
		for i := range c {
			VMOVUPS(c[i], Mem{Base: to})
			ADDQ(width, to)
		}
	})
	leave(nil)
}

// packRows copies k rows of n numbers that are stride bytes apart to rows that are width bytes apart; n is at most two vectors.
func (s *isa) packRows() {
	s.text("packRows", "(dst *float32, width int, src *float32, stride, n, k int)")
	to, from := GP64(), GP64()
	Load(Param("dst"), to)
	Load(Param("src"), from)
	width, stride, n, k := integer("width"), integer("stride"), integer("n"), integer("k")
	narrow, done := label("narrow"), label("packed")
	CMPQ(n, I32(int32(s.lanes)))
	JLE(LabelRef(narrow))
	SUBQ(I32(int32(s.lanes)), n)
	m := s.first(n)
	rows(k, func() {
		PREFETCHT0(Mem{Base: from, Index: stride, Scale: 8})
		PREFETCHT0(Mem{Base: from, Index: stride, Scale: 8, Disp: 64})
		low, high := s.load(Mem{Base: from}, mask{}), s.load(Mem{Base: from, Disp: 4 * s.lanes}, m)
		VMOVUPS(low, Mem{Base: to})
		VMOVUPS(high, Mem{Base: to, Disp: 4 * s.lanes})
		ADDQ(stride, from)
		ADDQ(width, to)
	})
	JMP(LabelRef(done))
	Label(narrow)
	m = s.first(n)
	rows(k, func() {
		VMOVUPS(s.load(Mem{Base: from}, m), Mem{Base: to})
		ADDQ(stride, from)
		ADDQ(width, to)
	})
	Label(done)
	leave(nil)
}
