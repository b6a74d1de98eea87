package nn

import "math"

// Attention is attention over one sequence under a mask, in one of two kinds:
//
//	pointwise (HSTU, arXiv 2402.17152, section 3)    A = mask ⊙ SiLU(Q·Kᵀ + bias) / Divisor
//	softmax (arXiv 1706.03762)                       A = softmax over the mask of (Q·Kᵀ/√W + bias)
//
// and O = A·V. Pointwise weights do not sum to one, and so tell how much of the history speaks for something.
//
// Nothing of size T² outlives a call: backward computes the weights again, which costs less than to keep them, and only the
// blocks that the mask reaches are computed.
type Attention[F Float] struct {
	Heads   int
	Softmax bool
	Divisor F // of the pointwise kind
}

// AttentionInput is one sequence of T tokens, seen from R of them.
type AttentionInput[F Float] struct {
	Q    Block[F] // (R, heads·W)
	K, V Block[F] // (T, heads·W)
	// Query i stands at token At[i], rising. It sees the tokens before Sees[i] ≤ At[i], and itself.
	At, Sees []int32 // (R)
	Bucket   []uint8 // (T,T) which entry of Time a pair takes, by token of the query; nil where Time is
	Time     []F     // shared by the heads; nil for none
	Distance []F     // by At[i]-j, shared by the heads; nil for none
}

// AttentionScratch is the memory of a call; its zero value is ready.
type AttentionScratch[F Float] struct{ bias, a, slope, da, ds, reversed, dReversed []F }

func grown[F Float](x *[]F, n int) []F {
	if cap(*x) < n {
		*x = make([]F, n+n/4)
	}
	return (*x)[:n]
}

// queryRows is how many queries are computed at a time: enough for the products to run at speed, few enough that a block of
// weights stays in the second cache and that little beyond the diagonal is computed.
const queryRows = 64

// Forward sets o.   o (R, heads·W)
func (at Attention[F]) Forward(o Block[F], in *AttentionInput[F], s *AttentionScratch[F]) {
	w := in.Q.Cols / at.Heads
	in.reverse(s)
	for from := 0; from < in.Q.Rows; from += queryRows {
		to := min(from+queryRows, in.Q.Rows)
		n := int(in.At[to-1]) + 1
		in.fillBias(s, from, to, n)
		a := Whole(grown(&s.a, (to-from)*n), n)
		for h := range at.Heads {
			c, d := h*w, h*w+w
			at.weigh(a, Block[F]{}, in, s, from, to, c, d)
			Gemm(o.Slice(from, to).Columns(c, d), Plain, Plain, 1, a, in.V.Slice(0, n).Columns(c, d), 0)
		}
	}
}

// fillBias sets the bias of the queries from..to, (to-from, n), which the heads share.
func (in *AttentionInput[F]) fillBias(s *AttentionScratch[F], from, to, n int) {
	bias := grown(&s.bias, (to-from)*n)
	t := in.K.Rows
	for i := from; i < to; i++ {
		at := int(in.At[i])
		row := bias[(i-from)*n:][:at+1]
		if in.Time != nil {
			GatherTable(row, in.Time, in.Bucket[at*t:][:at+1])
		} else {
			clear(row)
		}
		if in.Distance != nil {
			Add(row, s.reversed[t-1-at:t])
		}
	}
}

// reverse turns the distances around, so that those of a row lie in its order.
func (in *AttentionInput[F]) reverse(s *AttentionScratch[F]) {
	if in.Distance == nil {
		return
	}
	s.reversed = grown(&s.reversed, in.K.Rows)
	for j := range s.reversed {
		s.reversed[j] = in.Distance[len(s.reversed)-1-j]
	}
}

// weigh sets a to the weights of the queries from..to of the head in the columns c..d, and slope, where it has memory, to dA/dS of the pointwise
// kind.   a, slope (to-from, n)
func (at Attention[F]) weigh(a, slope Block[F], in *AttentionInput[F], s *AttentionScratch[F], from, to, c, d int) {
	n := a.Cols
	scale := F(1)
	if at.Softmax {
		scale = F(1 / math.Sqrt(float64(d-c)))
	}
	Gemm(a, Plain, Transposed, scale, in.Q.Slice(from, to).Columns(c, d), in.K.Slice(0, n).Columns(c, d), 0)
	for i := range to - from {
		self, sees := int(in.At[from+i]), int(in.Sees[from+i])
		row := a.Data[i*n:][:n]
		bias := s.bias[i*n:][:self+1]
		if at.Softmax {
			Add(row[:self+1], bias)
			for j := sees; j < self; j++ {
				row[j] = F(math.Inf(-1))
			}
			sum := ExpShift(row[:self+1], row[:self+1], Max(row[:self+1]))
			clear(row[sees:self]) // e^x does not quite reach zero
			Scale(row[:self+1], 1/sum)
			clear(row[self+1:])
			continue
		}
		var of []F
		if slope.Rows > 0 {
			of = slope.Data[i*n:][:n]
			BiasSiLU(row[:self+1], of[:self+1], row[:self+1], bias, 1/at.Divisor)
			clear(of[sees:self])
			clear(of[self+1:])
		} else {
			BiasSiLU(row[:self+1], nil, row[:self+1], bias, 1/at.Divisor)
		}
		clear(row[sees:self])
		clear(row[self+1:])
	}
}

// Backward adds to dq, dk, dv, dTime and dDistance, of which the last two may be nil where the bias is.   do, dq (R, heads·W)  dk, dv (T, heads·W)
func (at Attention[F]) Backward(dq, dk, dv Block[F], dTime, dDistance []F, do Block[F], in *AttentionInput[F], s *AttentionScratch[F]) {
	w := in.Q.Cols / at.Heads
	scale := F(1)
	if at.Softmax {
		scale = F(1 / math.Sqrt(float64(w)))
	}
	t := in.K.Rows
	in.reverse(s)
	s.dReversed = grown(&s.dReversed, t)
	clear(s.dReversed)
	for from := 0; from < in.Q.Rows; from += queryRows {
		to := min(from+queryRows, in.Q.Rows)
		n, r := int(in.At[to-1])+1, to-from
		in.fillBias(s, from, to, n)
		a, slope := Whole(grown(&s.a, r*n), n), Whole(grown(&s.slope, r*n), n)
		da, ds := Whole(grown(&s.da, r*n), n), grown(&s.ds, r*n)
		q, dOut := in.Q.Slice(from, to), do.Slice(from, to)
		k, v := in.K.Slice(0, n), in.V.Slice(0, n)
		for h := range at.Heads {
			c, d := h*w, h*w+w
			at.weigh(a, slope, in, s, from, to, c, d)
			Gemm(da, Plain, Transposed, 1, dOut.Columns(c, d), v.Columns(c, d), 0)
			Gemm(dv.Slice(0, n).Columns(c, d), Transposed, Plain, 1, a, dOut.Columns(c, d), 1)
			if at.Softmax {
				for i := range r {
					softmaxBackward(da.Data[i*n:][:n], a.Data[i*n:][:n])
				}
			} else {
				Mul(da.Data, da.Data, slope.Data)
			}
			Gemm(dq.Slice(from, to).Columns(c, d), Plain, Plain, scale, da, k.Columns(c, d), 1)
			Gemm(dk.Slice(0, n).Columns(c, d), Transposed, Plain, scale, da, q.Columns(c, d), 1)
			if h == 0 {
				copy(ds, da.Data)
			} else {
				Add(ds, da.Data)
			}
		}
		for i := range r {
			self := int(in.At[from+i])
			row := ds[i*n:][:self+1]
			if dTime != nil {
				ScatterAdd(dTime, in.Bucket[self*t:][:self+1], row)
			}
			if dDistance != nil {
				Add(s.dReversed[t-1-self:t], row)
			}
		}
	}
	if dDistance != nil {
		for j, g := range s.dReversed {
			dDistance[t-1-j] += g
		}
	}
}

// softmaxBackward turns d, the gradient by the weights a of one row, into that by the scores: a ⊙ (d - Σ a⊙d).
func softmaxBackward[F Float](d, a []F) {
	along := Dot(d, a)
	for j, w := range a {
		d[j] = w * (d[j] - along)
	}
}
