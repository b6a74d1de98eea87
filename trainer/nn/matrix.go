package nn

import (
	"fmt"
	"unsafe"

	"gorgonia.org/tensor"
)

// Matrix is a whole row-major matrix over memory that others also see, known to tensor. Weights have one for as long as they live;
// activations get one each time their shape changes.
type Matrix[F Float] struct {
	Block[F]
	dense *tensor.Dense
}

// NewMatrix sees data as a matrix of cols columns.
func NewMatrix[F Float](data []F, cols int) *Matrix[F] {
	m := &Matrix[F]{Block: Whole(data, cols)}
	if len(data) == 0 {
		return m // tensor has no empty matrix, and there is nothing to multiply
	}
	if len(data)%cols != 0 {
		panic(fmt.Sprintf("nn: matrix: %d numbers are not rows of %d", len(data), cols))
	}
	var backing any
	if unsafe.Sizeof(F(0)) == 4 {
		backing = f32(data)
	} else {
		backing = f64(data)
	}
	m.dense = tensor.New(tensor.WithShape(m.Rows, m.Cols), tensor.WithBacking(backing))
	return m
}

// MatMul sets dst = a·b.   a (M,K)  b (K,N)  dst (M,N)
func MatMul[F Float](dst, a, b *Matrix[F]) {
	if dst.dense == nil || a.dense == nil || b.dense == nil {
		want("matmul", "dst", dst.Rows, a.Rows)
		clear(dst.Data)
		return
	}
	if _, err := tensor.MatMul(a.dense, b.dense, tensor.WithReuse(dst.dense)); err != nil {
		panic(fmt.Sprintf("nn: matmul: %dx%d times %dx%d into %dx%d: %v", a.Rows, a.Cols, b.Rows, b.Cols, dst.Rows, dst.Cols, err))
	}
}

// MatMulBackward adds to da and db. da may be nil.   dy (M,N)  da (M,K)  db (K,N)
func MatMulBackward[F Float](da, db []F, dy []F, a, b *Matrix[F]) {
	dyBlock := Block[F]{Data: dy, Rows: a.Rows, Cols: b.Cols, Stride: b.Cols}
	want("matmul backward", "dy", len(dy), a.Rows*b.Cols)
	if da != nil {
		Gemm(Block[F]{Data: da, Rows: a.Rows, Cols: a.Cols, Stride: a.Cols}, Plain, Transposed, 1, dyBlock, b.Block, 1)
	}
	Gemm(Whole(db, b.Cols), Transposed, Plain, 1, a.Block, dyBlock, 1)
}
