package nn

// Attention is HSTU's pointwise attention over one sequence (arXiv 2402.17152, section 3), with a session mask:
//
//	S = Q·Kᵀ + bias    A = mask ⊙ SiLU(S) / scale    O = A·V
//
// There is no softmax, so a row's weights do not sum to one and tell how much of the history speaks for something.
type Attention[F Float] struct {
	Heads int
	Scale F
}

// AttentionInput is one sequence of T tokens, seen from R of them (all, or the last only).
type AttentionInput[F Float] struct {
	Q    Block[F] // (R, heads·W)
	K, V Block[F] // (T, heads·W)
	// Query i stands at token At[i]. It sees the tokens before Sees[i], and itself.
	At, Sees []int32 // (R)
	Bucket   []uint8 // (R,T) which entry of Bias a pair takes
	Bias     []F     // shared by the heads
}

// AttentionCache is what forward keeps for backward.
type AttentionCache[F Float] struct {
	A, Slope []F // (heads, R, T); Slope is dA/dS, 0 where masked
}

// Forward sets o.   o (R, heads·W)
func (at Attention[F]) Forward(o Block[F], cache AttentionCache[F], in AttentionInput[F]) {
	r, t := in.Q.Rows, in.K.Rows
	w := in.Q.Cols / at.Heads
	want("attention", "cache", len(cache.A), at.Heads*r*t)
	for h := range at.Heads {
		a, slope := cache.A[h*r*t:][:r*t], cache.Slope[h*r*t:][:r*t]
		for i, b := range in.Bucket {
			a[i] = in.Bias[b]
		}
		Gemm(Whole(a, t), Plain, Transposed, 1, in.Q.Columns(h*w, h*w+w), in.K.Columns(h*w, h*w+w), 1)
		SiLU(a, slope, a)
		inv := 1 / at.Scale
		for i := range r {
			row, d := a[i*t:][:t], slope[i*t:][:t]
			sees, self := int(in.Sees[i]), int(in.At[i])
			for j := range sees {
				row[j] *= inv
				d[j] *= inv
			}
			keep, keepSlope := row[self], d[self]
			clear(row[sees:])
			clear(d[sees:])
			if self >= sees {
				row[self], d[self] = keep*inv, keepSlope*inv
			}
		}
		Gemm(o.Columns(h*w, h*w+w), Plain, Plain, 1, Whole(a, t), in.V.Columns(h*w, h*w+w), 0)
	}
}

// Backward adds to dq, dk, dv and dbias. scratch holds R·T numbers.   do, dq (R, heads·W)  dk, dv (T, heads·W)
func (at Attention[F]) Backward(dq, dk, dv Block[F], dbias []F, do Block[F], cache AttentionCache[F], in AttentionInput[F], scratch []F) {
	r, t := in.Q.Rows, in.K.Rows
	w := in.Q.Cols / at.Heads
	for h := range at.Heads {
		a, slope := cache.A[h*r*t:][:r*t], cache.Slope[h*r*t:][:r*t]
		from, to := h*w, h*w+w
		ds := scratch[:r*t]
		Gemm(Whole(ds, t), Plain, Transposed, 1, do.Columns(from, to), in.V.Columns(from, to), 0) // dA
		Gemm(dv.Columns(from, to), Transposed, Plain, 1, Whole(a, t), do.Columns(from, to), 1)
		SiLUBackward(ds, slope)
		for i, b := range in.Bucket {
			dbias[b] += ds[i]
		}
		Gemm(dq.Columns(from, to), Plain, Plain, 1, Whole(ds, t), in.K.Columns(from, to), 1)
		Gemm(dk.Columns(from, to), Transposed, Plain, 1, Whole(ds, t), in.Q.Columns(from, to), 1)
	}
}
