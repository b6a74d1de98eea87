package nn

import "github.com/viterin/vek/vek32"

// The loops below are vek's AVX2 kernels for float32 of some length, else plain Go: element-wise, and the same bits either way.
const vekMinLen = 16

func useVek[F Float](n int) bool { return accelerated && n >= vekMinLen && single[F]() }

// Add adds x to dst.
func Add[F Float](dst, x []F) {
	want("add", "x", len(x), len(dst))
	if useVek[F](len(x)) {
		vek32.Add_Inplace(f32(dst), f32(x))
		return
	}
	for i, v := range x {
		dst[i] += v
	}
}

// AddScaled adds a·x to dst.
func AddScaled[F Float](dst []F, a F, x []F) {
	want("add scaled", "x", len(x), len(dst))
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] += a * v
	}
}

// AddBias adds b to each row of y.   y (N,D)  b (D)
func AddBias[F Float](y, b []F) {
	for ; len(y) > 0; y = y[len(b):] {
		Add(y[:len(b)], b)
	}
}

// AddBiasBackward adds to db.   dy (N,D)  db (D)
func AddBiasBackward[F Float](db, dy []F) {
	for ; len(dy) > 0; dy = dy[len(db):] {
		Add(db, dy[:len(db)])
	}
}

// Mul sets dst = x ⊙ y. dst may be x.
func Mul[F Float](dst, x, y []F) {
	want("mul", "x", len(x), len(dst))
	want("mul", "y", len(y), len(dst))
	if useVek[F](len(x)) {
		if &dst[0] == &x[0] {
			vek32.Mul_Inplace(f32(dst), f32(y))
		} else {
			vek32.Mul_Into(f32(dst), f32(x), f32(y))
		}
		return
	}
	y = y[:len(x)]
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = v * y[i]
	}
}

// Gate sets y = x ⊙ u, where u is a block of a wider matrix.   x, y (N,D)  u (N,D)
func Gate[F Float](y, x []F, u Block[F]) {
	d := u.Cols
	for i := range u.Rows {
		Mul(y[i*d:][:d], x[i*d:][:d], u.Data[i*u.Stride:][:d])
	}
}

// GateBackward adds to dx and du.   dy, dx (N,D)  du (N,D) with the shape of u
func GateBackward[F Float](dx []F, du Block[F], dy, x []F, u Block[F]) {
	d := u.Cols
	for i := range u.Rows {
		g, xr, dxr := dy[i*d:][:d], x[i*d:][:d], dx[i*d:][:d]
		ur, dur := u.Data[i*u.Stride:][:d], du.Data[i*du.Stride:][:d]
		for j, v := range g {
			dxr[j] += v * ur[j]
			dur[j] += v * xr[j]
		}
	}
}

// SumSquares returns the sum of x².
func SumSquares[F Float](x []F) float64 {
	var s0, s1, s2, s3 float64 // four chains, because one waits for itself
	i := 0
	for ; i+4 <= len(x); i += 4 {
		a, b, c, d := float64(x[i]), float64(x[i+1]), float64(x[i+2]), float64(x[i+3])
		s0, s1, s2, s3 = s0+a*a, s1+b*b, s2+c*c, s3+d*d
	}
	for ; i < len(x); i++ {
		s0 += float64(x[i]) * float64(x[i])
	}
	return s0 + s1 + s2 + s3
}
