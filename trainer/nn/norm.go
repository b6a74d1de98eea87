package nn

import (
	"math"

	"github.com/freshet-ml/freshet/trainer/nn/simd"
)

// normEps keeps the norm of a constant row finite. HSTU's value.
const normEps = 1e-6

// LayerNorm sets each row of y to that of x with mean 0 and variance 1, without learned scale or shift, and keeps 1/deviation.
//
//	x, y (N,D)  inv (N)
func LayerNorm[F Float](y, inv, x []F, d int) {
	want("layer norm", "y", len(y), len(x))
	want("layer norm", "inv", len(inv)*d, len(x))
	if single[F]() {
		simd.LayerNorm(f32(y), f32(inv), f32(x), d, normEps)
		return
	}
	for i := range inv {
		row, out := x[i*d:][:d], y[i*d:][:d]
		mean := sum(row) / F(d)
		for j, v := range row {
			out[j] = v - mean
		}
		inv[i] = F(1 / math.Sqrt(float64(sumSquares(out))/float64(d)+normEps))
		scale := inv[i]
		for j := range out {
			out[j] *= scale
		}
	}
}

// LayerNormBackward adds to dx. It needs y and inv of the forward.   dy, dx (N,D)
//
//	dx = (dy - mean(dy) - y·mean(dy ⊙ y)) · inv
func LayerNormBackward[F Float](dx, dy, y, inv []F, d int) {
	if single[F]() {
		simd.LayerNormBackward(f32(dx), f32(dy), f32(y), f32(inv), d)
		return
	}
	for i, scale := range inv {
		grad, out, to := dy[i*d:][:d], y[i*d:][:d], dx[i*d:][:d]
		mean := sum(grad) / F(d)
		along := dot4(grad, out) / F(d)
		for j, g := range grad {
			to[j] += (g - mean - out[j]*along) * scale
		}
	}
}

// The sums of a row run in four chains: one chain would wait for itself at every addition.

func sum[F Float](x []F) F {
	var a, b, c, d F
	i := 0
	for ; i+4 <= len(x); i += 4 {
		a, b, c, d = a+x[i], b+x[i+1], c+x[i+2], d+x[i+3]
	}
	for ; i < len(x); i++ {
		a += x[i]
	}
	return a + b + c + d
}

func sumSquares[F Float](x []F) F { return dot4(x, x) }

func dot4[F Float](x, y []F) F {
	y = y[:len(x)]
	var a, b, c, d F
	i := 0
	for ; i+4 <= len(x); i += 4 {
		a, b, c, d = a+x[i]*y[i], b+x[i+1]*y[i+1], c+x[i+2]*y[i+2], d+x[i+3]*y[i+3]
	}
	for ; i < len(x); i++ {
		a += x[i] * y[i]
	}
	return a + b + c + d
}
