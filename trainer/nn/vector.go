package nn

import (
	"math"

	"github.com/freshet-ml/freshet/trainer/nn/simd"
)

// The loops below are those of package simd for float32, plain Go for float64.

// Add adds x to dst.
func Add[F Float](dst, x []F) {
	want("add", "x", len(x), len(dst))
	if single[F]() {
		simd.Add(f32(dst), f32(x))
		return
	}
	for i, v := range x {
		dst[i] += v
	}
}

// AddScaled adds a·x to dst.
func AddScaled[F Float](dst []F, a F, x []F) {
	want("add scaled", "x", len(x), len(dst))
	if single[F]() {
		simd.AddScaled(f32(dst), float32(a), f32(x))
		return
	}
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] += a * v
	}
}

// AddBias adds b to each row of y.   y (N,D)  b (D)
func AddBias[F Float](y, b []F) {
	if single[F]() {
		simd.AddBias(f32(y), f32(b))
		return
	}
	for ; len(y) > 0; y = y[len(b):] {
		Add(y[:len(b)], b)
	}
}

// AddBiasBackward adds to db.   dy (N,D)  db (D)
func AddBiasBackward[F Float](db, dy []F) {
	if single[F]() {
		simd.AddBiasBackward(f32(db), f32(dy))
		return
	}
	for ; len(dy) > 0; dy = dy[len(db):] {
		Add(db, dy[:len(db)])
	}
}

// Mul sets dst = x ⊙ y. dst may be either.
func Mul[F Float](dst, x, y []F) {
	want("mul", "x", len(x), len(dst))
	want("mul", "y", len(y), len(dst))
	if single[F]() {
		simd.Mul(f32(dst), f32(x), f32(y))
		return
	}
	y = y[:len(x)]
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = v * y[i]
	}
}

// MulAdd adds x ⊙ y to dst.
func MulAdd[F Float](dst, x, y []F) {
	want("mul add", "x", len(x), len(dst))
	want("mul add", "y", len(y), len(dst))
	if single[F]() {
		simd.MulAdd(f32(dst), f32(x), f32(y))
		return
	}
	for i, v := range x {
		dst[i] += v * y[i]
	}
}

// Scale multiplies x by a.
func Scale[F Float](x []F, a F) {
	if single[F]() {
		simd.Scale(f32(x), float32(a))
		return
	}
	for i := range x {
		x[i] *= a
	}
}

// Sum returns the sum of x.
func Sum[F Float](x []F) F {
	if single[F]() {
		return F(simd.Sum(f32(x)))
	}
	return sum(x)
}

// Dot returns the sum of x ⊙ y.
func Dot[F Float](x, y []F) F {
	want("dot", "y", len(y), len(x))
	if single[F]() {
		return F(simd.Dot(f32(x), f32(y)))
	}
	return dot4(x, y)
}

// Max returns the largest of x: -Inf of none, and NaN if there is one.
func Max[F Float](x []F) F {
	if single[F]() {
		return F(simd.Max(f32(x)))
	}
	top := F(math.Inf(-1))
	for _, v := range x {
		top = max(top, v)
	}
	return top
}

// Gate sets y = x ⊙ u, where u is a block of a wider matrix.   x, y (N,D)  u (N,D)
func Gate[F Float](y, x []F, u Block[F]) {
	d := u.Cols
	if single[F]() {
		simd.Gate(f32(y), f32(x), f32(u.Data), u.Rows, d, u.Stride)
		return
	}
	for i := range u.Rows {
		Mul(y[i*d:][:d], x[i*d:][:d], u.Data[i*u.Stride:][:d])
	}
}

// GateBackward adds to dx and du.   dy, dx (N,D)  du (N,D) with the shape of u
func GateBackward[F Float](dx []F, du Block[F], dy, x []F, u Block[F]) {
	d := u.Cols
	if single[F]() {
		simd.GateBackward(f32(dx), f32(du.Data), f32(dy), f32(x), f32(u.Data), u.Rows, d, du.Stride, u.Stride)
		return
	}
	for i := range u.Rows {
		g, xr, dxr := dy[i*d:][:d], x[i*d:][:d], dx[i*d:][:d]
		ur, dur := u.Data[i*u.Stride:][:d], du.Data[i*du.Stride:][:d]
		MulAdd(dxr, g, ur)
		MulAdd(dur, g, xr)
	}
}

// SumSquares returns the sum of x², added up in float64.
func SumSquares[F Float](x []F) float64 {
	if single[F]() {
		return simd.SumSquares(f32(x))
	}
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

// GatherTable sets dst[i] = table[index[i]].   dst, index (n)
func GatherTable[F Float](dst, table []F, index []uint8) {
	want("gather table", "index", len(index), len(dst))
	if single[F]() {
		simd.GatherTable(f32(dst), f32(table), index)
		return
	}
	for i, at := range index {
		dst[i] = table[at]
	}
}

// ScatterAdd adds x[i] to table[index[i]], in an order that follows from the length alone.   index, x (n)
func ScatterAdd[F Float](table []F, index []uint8, x []F) {
	want("scatter add", "index", len(index), len(x))
	if single[F]() {
		simd.ScatterAdd(f32(table), index, f32(x))
		return
	}
	for i, at := range index {
		table[at] += x[i]
	}
}
