package nn

import (
	"fmt"

	"gorgonia.org/tensor"
)

// Tensor is one tensor of weights: gorgonia's Dense, and its numbers as a slice. Both see memory that others see as well, such as an arena.
type Tensor[F Float] struct {
	*tensor.Dense
	Values []F
}

// NewTensor sees values in a shape. Each dimension is at least 1.
func NewTensor[F Float](values []F, shape ...int) Tensor[F] {
	size := 1
	for _, d := range shape {
		size *= d
	}
	if size == 0 || size != len(values) {
		panic(fmt.Sprintf("nn: tensor: %d numbers are not of shape %v", len(values), shape))
	}
	var backing any
	if single[F]() {
		backing = f32(values)
	} else {
		backing = f64(values)
	}
	return Tensor[F]{tensor.New(tensor.WithShape(shape...), tensor.WithBacking(backing)), values}
}

// Matrix is the block of a tensor of two dimensions.
func (t Tensor[F]) Matrix() Block[F] {
	if t.Dims() != 2 {
		panic(fmt.Sprintf("nn: tensor of shape %v is no matrix", t.Shape()))
	}
	return Whole(t.Values, t.Shape()[1])
}

// Stack is the blocks of a tensor of three dimensions, one for each of the first.
func (t Tensor[F]) Stack() []Block[F] {
	if t.Dims() != 3 {
		panic(fmt.Sprintf("nn: tensor of shape %v is no stack of matrices", t.Shape()))
	}
	n, rows := t.Shape()[0], t.Shape()[1]
	all := Whole(t.Values, t.Shape()[2])
	blocks := make([]Block[F], n)
	for i := range blocks {
		blocks[i] = all.Slice(i*rows, (i+1)*rows)
	}
	return blocks
}
