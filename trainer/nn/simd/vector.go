package simd

import "math"

// Add adds x to dst.
func Add(dst, x []float32) {
	same("add", len(x), len(dst))
	add(dst, x)
}

// AddScaled adds a·x to dst.
func AddScaled(dst []float32, a float32, x []float32) {
	same("add scaled", len(x), len(dst))
	addScaled(dst, a, x)
}

// Mul sets dst = x ⊙ y. dst may be either.
func Mul(dst, x, y []float32) {
	same("mul", len(x), len(dst))
	same("mul", len(y), len(dst))
	mul(dst, x, y)
}

// MulAdd adds x ⊙ y to dst.
func MulAdd(dst, x, y []float32) {
	same("mul add", len(x), len(dst))
	same("mul add", len(y), len(dst))
	mulAdd(dst, x, y)
}

// Scale multiplies dst by a.
func Scale(dst []float32, a float32) { scale(dst, a) }

// Sum returns the sum of x.
func Sum(x []float32) float32 { return sum(x) }

// Dot returns the sum of x ⊙ y.
func Dot(x, y []float32) float32 {
	same("dot", len(y), len(x))
	return dot(x, y)
}

// Max returns the largest of x: -Inf of none, and NaN if there is one.
func Max(x []float32) float32 { return maximum(x) }

func addGo(dst, x []float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] += v
	}
}

func addScaledGo(dst []float32, a float32, x []float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] += a * v
	}
}

func mulGo(dst, x, y []float32) {
	dst, y = dst[:len(x)], y[:len(x)]
	for i, v := range x {
		dst[i] = v * y[i]
	}
}

func mulAddGo(dst, x, y []float32) {
	dst, y = dst[:len(x)], y[:len(x)]
	for i, v := range x {
		dst[i] += v * y[i]
	}
}

func scaleGo(dst []float32, a float32) {
	for i := range dst {
		dst[i] *= a
	}
}

// The sums run in four chains: one chain would wait for itself at every addition.

func sumGo(x []float32) float32 {
	var a, b, c, d float32
	for ; len(x) >= 4; x = x[4:] {
		a, b, c, d = a+x[0], b+x[1], c+x[2], d+x[3]
	}
	for _, v := range x {
		a += v
	}
	return a + b + c + d
}

func dotGo(x, y []float32) float32 {
	var a, b, c, d float32
	y = y[:len(x)]
	for ; len(x) >= 4 && len(y) >= 4; x, y = x[4:], y[4:] {
		a, b, c, d = a+x[0]*y[0], b+x[1]*y[1], c+x[2]*y[2], d+x[3]*y[3]
	}
	for i, v := range x {
		a += v * y[i]
	}
	return a + b + c + d
}

func maximumGo(x []float32) float32 {
	top := float32(math.Inf(-1))
	for _, v := range x {
		if v > top {
			top = v
		} else if v != v {
			return v
		}
	}
	return top
}
