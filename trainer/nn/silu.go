package nn

import "github.com/viterin/vek/vek32"

// SiLU sets y = x·sigmoid(x) and slope = dy/dx = s + y(1-s) with s = sigmoid(x), which is all that backward needs. y may be x.
//
//	x, y, slope (n)
func SiLU[F Float](y, slope, x []F) {
	want("silu", "y", len(y), len(x))
	want("silu", "slope", len(slope), len(x))
	if useVek[F](len(x)) {
		silu32(f32(y), f32(slope), f32(x))
		return
	}
	for i, v := range x {
		slope[i] = -v
	}
	Exp(slope)
	for i, v := range x {
		s := 1 / (1 + slope[i])
		y[i] = v * s
		slope[i] = s + y[i]*(1-s)
	}
}

// siluBlock numbers, three arrays of them, stay in the first-level cache over the passes below.
const siluBlock = 1024

func silu32(y, slope, x []float32) {
	var s [siluBlock]float32
	for len(x) > 0 {
		n := min(len(x), siluBlock)
		s, xb, yb, d := s[:n], x[:n], y[:n], slope[:n]
		vek32.MulNumber_Into(s, xb, -1)
		exp32(s)
		vek32.AddNumber_Inplace(s, 1)
		vek32.Inv_Inplace(s)
		// y = x·s; slope = s + y - y·s
		if &yb[0] == &xb[0] {
			vek32.Mul_Inplace(yb, s)
		} else {
			vek32.Mul_Into(yb, xb, s)
		}
		vek32.Mul_Into(d, yb, s)
		vek32.Sub_Inplace(d, yb)
		vek32.Sub_Inplace(s, d)
		copy(d, s)
		x, y, slope = x[n:], y[n:], slope[n:]
	}
}

// SiLUBackward multiplies dy by the slope in place: it sets dx = dy ⊙ slope where dy stood, because nothing else reads dy.
func SiLUBackward[F Float](dy, slope []F) { Mul(dy, dy, slope) }
