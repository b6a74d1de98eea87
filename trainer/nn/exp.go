package nn

import (
	"math"

	"github.com/freshet-ml/freshet/trainer/nn/simd"
)

// Exp sets each x to e^x: for float32 within one unit in the last place, saturated at 1.2e-38 and 1.6e38, which softmax and SiLU do
// not tell from 0 and infinity; for float64 math.Exp. The result for an element does not depend on where it stands.
func Exp[F Float](x []F) {
	if single[F]() {
		simd.Exp(f32(x), f32(x))
		return
	}
	for i, v := range x {
		x[i] = F(math.Exp(float64(v)))
	}
}

// ExpShift sets dst = e^(x-shift), with the limits of Exp, and returns the sum. dst may be x.   dst, x (n)
func ExpShift[F Float](dst, x []F, shift F) (total F) {
	want("exp shift", "x", len(x), len(dst))
	if single[F]() {
		return F(simd.ExpShift(f32(dst), f32(x), float32(shift)))
	}
	for i, v := range x {
		dst[i] = F(math.Exp(float64(v - shift)))
		total += dst[i]
	}
	return total
}
