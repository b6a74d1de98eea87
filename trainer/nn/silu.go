package nn

import (
	"math"

	"github.com/freshet-ml/freshet/trainer/nn/simd"
)

// SiLU sets y = x·sigmoid(x) and slope = dy/dx = s + y(1-s) with s = sigmoid(x), which is all that backward needs. y may be x;
// slope may be nil where nothing will ask for it.
//
//	x, y, slope (n)
func SiLU[F Float](y, slope, x []F) {
	want("silu", "y", len(y), len(x))
	if slope != nil {
		want("silu", "slope", len(slope), len(x))
	}
	if single[F]() {
		simd.SiLU(f32(y), f32(slope), f32(x))
		return
	}
	for i, v := range x {
		s := sigmoid(v)
		y[i] = v * s
		if slope != nil {
			slope[i] = s + y[i]*(1-s)
		}
	}
}

// SiLUBackward multiplies dy by the slope in place: it sets dx = dy ⊙ slope where dy stood, because nothing else reads dy.
func SiLUBackward[F Float](dy, slope []F) { Mul(dy, dy, slope) }

// BiasSiLU sets a = SiLU(s + bias)·scale and slope = da/ds: a row of pointwise attention. a may be s; slope may be nil.
//
//	a, slope, s, bias (n)
func BiasSiLU[F Float](a, slope, s, bias []F, scale F) {
	want("bias silu", "s", len(s), len(a))
	want("bias silu", "bias", len(bias), len(a))
	if slope != nil {
		want("bias silu", "slope", len(slope), len(a))
	}
	if single[F]() {
		simd.BiasSiLU(f32(a), f32(slope), f32(s), f32(bias), float32(scale))
		return
	}
	for i, v := range s {
		v += bias[i]
		sig := sigmoid(v)
		if slope != nil {
			slope[i] = (sig + v*sig*(1-sig)) * scale
		}
		a[i] = v * sig * scale
	}
}

func sigmoid[F Float](x F) F { return F(1 / (1 + math.Exp(-float64(x)))) }
