package nn

import (
	"math/rand/v2"
	"slices"
	"testing"

	"gorgonia.org/tensor"
)

// TestTensorSharesItsMemory writes through each of the three views and reads through the others.
func TestTensorSharesItsMemory(t *testing.T) {
	arena := make([]float32, 30)
	w := NewTensor(arena[3:27], 2, 3, 4)
	w.Stack()[1].Slice(2, 3).Data[3] = 7
	if arena[26] != 7 || w.Values[23] != 7 {
		t.Errorf("the arena has %v", arena)
	}
	if v, err := w.At(1, 2, 3); err != nil || v != float32(7) {
		t.Errorf("tensor has %v, %v", v, err)
	}
	if err := w.SetAt(float32(5), 0, 0, 1); err != nil || arena[4] != 5 {
		t.Errorf("written through tensor, the arena has %v, %v", arena[4], err)
	}
	m := NewTensor(arena[3:15], 3, 4).Matrix()
	if m.Rows != 3 || m.Cols != 4 || m.Data[1] != 5 {
		t.Errorf("matrix %+v", m)
	}
}

// TestTensorMultipliesByTheEngine: what tensor multiplies, and what Gemm does, are one product, bit by bit.
func TestTensorMultipliesByTheEngine(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	numbers := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	for _, s := range [][3]int{{1, 1, 1}, {5, 7, 3}, {64, 96, 33}} {
		a, b := NewTensor(numbers(s[0]*s[1]), s[0], s[1]), NewTensor(numbers(s[1]*s[2]), s[1], s[2])
		got, want := NewTensor(make([]float32, s[0]*s[2]), s[0], s[2]), make([]float32, s[0]*s[2])
		if _, err := tensor.MatMul(a.Dense, b.Dense, tensor.WithReuse(got.Dense)); err != nil {
			t.Fatal(err)
		}
		engine.Sgemm(Plain, Plain, s[0], s[2], s[1], 1, a.Values, s[1], b.Values, s[2], 0, want, s[2])
		if !slices.Equal(got.Values, want) {
			t.Errorf("%v: tensor gives %v, the engine %v", s, got.Values, want)
		}
	}
}
