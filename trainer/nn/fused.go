package nn

import (
	"math"

	"github.com/freshet-ml/freshet/trainer/nn/simd"
)

// ReLU sets y = max(0, x), and keeps the slope. What is not a number stays so. y may be x.
func ReLU[F Float](y, slope, x []F) {
	for i, v := range x {
		if v <= 0 {
			y[i], slope[i] = 0, 0
		} else {
			y[i], slope[i] = v, 1
		}
	}
}

// Normalize sets each row of y to that of x divided by its length, and keeps 1/length.   x, y (N,D)  inv (N)
func Normalize[F Float](y, inv, x []F, d int) {
	for i := range inv {
		row := x[i*d:][:d]
		inv[i] = F(1 / math.Sqrt(SumSquares(row)+1e-12))
		for j, v := range row {
			y[i*d+j] = v * inv[i]
		}
	}
}

// NormalizeBackward adds to dx: (dy - y·(y·dy))/length.   dy, dx (N,D); needs y and inv of the forward
func NormalizeBackward[F Float](dx, dy, y, inv []F, d int) {
	for i, s := range inv {
		g, out, to := dy[i*d:][:d], y[i*d:][:d], dx[i*d:][:d]
		along := dot4(g, out)
		for j, v := range g {
			to[j] += (v - out[j]*along) * s
		}
	}
}

// Dropout zeroes numbers of x at rate p and divides the others by 1-p. The draws are a function of the seed and the place alone, so that
// backward, which is the same on the gradient, needs nothing kept.
func Dropout[F Float](x []F, p float64, seed uint64) {
	if p == 0 {
		return
	}
	short := uint32(mix(seed))
	if single[F]() {
		simd.Dropout(f32(x), p, float32(1/(1-p)), short)
		return
	}
	keep, bound := F(1/(1-p)), simd.DropoutBound(p)
	for i := range x {
		if simd.DropoutDraw(short, uint32(i)) < bound {
			x[i] = 0
		} else {
			x[i] *= keep
		}
	}
}

// mix is the finalizer of SplitMix64 (doi 10.1145/2714064.2660195).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
