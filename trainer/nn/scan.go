package nn

import "github.com/freshet-ml/freshet/trainer/nn/simd"

// CountAtLeast counts the numbers of x that are bound or more. NaN is not.
func CountAtLeast[F Float](x []F, bound F) int {
	if single[F]() {
		return simd.CountAtLeast(f32(x), float32(bound))
	}
	n := 0
	for _, v := range x {
		if v >= bound {
			n++
		}
	}
	return n
}

// FirstAbove returns the place of the first number of x, at from or behind it, that is more than bound, or len(x).
func FirstAbove[F Float](x []F, from int, bound F) int {
	if single[F]() {
		return simd.FirstAbove(f32(x), from, float32(bound))
	}
	for i, v := range x[from:] {
		if v > bound {
			return from + i
		}
	}
	return len(x)
}

// DotInt8Rows sets dst[i] to the product of row i and q, exactly.   rows (N,d)  q (d)  dst (N)
func DotInt8Rows(dst []int32, rows []int8, d int, q []int8) {
	want("int8 rows", "q", len(q), d)
	want("int8 rows", "rows", len(rows), len(dst)*d)
	simd.DotInt8Rows(dst, rows, d, q)
}
