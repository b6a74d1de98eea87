package schema

import (
	"math"

	"github.com/apache/arrow/go/v17/arrow/float16"
)

// Half is a number of 16 bits (IEEE 754 binary16) with 11 of them precise: from 2^-14 to 65504, and 0.
type Half = float16.Num

// Halved rounds x to halves: what is closer to 0 than 2^-14 becomes 0, what is beyond 65504 infinite.
func Halved(x []float32) []Half {
	out := make([]Half, len(x))
	for i, v := range x {
		if bits := math.Float32bits(v); v-v == 0 { // New cuts off; this makes it round to the nearest, and to even
			v = math.Float32frombits(bits + 0xfff + bits>>13&1)
		}
		out[i] = float16.New(v)
	}
	return out
}

// Widened is x in 32 bits.
func Widened(x []Half) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = v.Float32()
	}
	return out
}
