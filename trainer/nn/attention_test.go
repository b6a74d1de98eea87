package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// attentionInput is a sequence of some tokens, the last of which ask.
func attentionInput(rng *rand.Rand, asking, tokens, d int, time, distance []float64) (in AttentionInput[float64], q, k, v []float64) {
	q, k, v = random(rng, asking*d), random(rng, tokens*d), random(rng, tokens*d)
	in = AttentionInput[float64]{Q: Whole(q, d), K: Whole(k, d), V: Whole(v, d), Time: time, Distance: distance}
	for i := range asking {
		at := tokens - asking + i
		in.At = append(in.At, int32(at))
		in.Sees = append(in.Sees, int32(rng.IntN(at+1)))
	}
	if time != nil {
		for range tokens * tokens {
			in.Bucket = append(in.Bucket, uint8(rng.IntN(len(time))))
		}
	}
	return in, q, k, v
}

// naiveAttention is the definition.
func naiveAttention(at Attention[float64], in AttentionInput[float64]) []float64 {
	d, t := in.Q.Cols, in.K.Rows
	w := d / at.Heads
	o := make([]float64, in.Q.Rows*d)
	for i := range in.Q.Rows {
		self := int(in.At[i])
		for h := range at.Heads {
			a, sum := make([]float64, t), 0.0
			for j := range t {
				if j >= int(in.Sees[i]) && j != self {
					continue
				}
				s := 0.0
				for z := h * w; z < h*w+w; z++ {
					s += in.Q.Data[i*d+z] * in.K.Data[j*d+z]
				}
				if at.Softmax {
					s /= math.Sqrt(float64(w))
				}
				if in.Time != nil {
					s += in.Time[in.Bucket[self*t+j]]
				}
				if in.Distance != nil {
					s += in.Distance[self-j]
				}
				if at.Softmax {
					a[j] = math.Exp(s)
				} else {
					a[j] = s / (1 + math.Exp(-s)) / at.Divisor
				}
				sum += a[j]
			}
			for j := range t {
				if at.Softmax {
					a[j] /= sum
				}
				for z := h * w; z < h*w+w; z++ {
					o[i*d+z] += a[j] * in.V.Data[j*d+z]
				}
			}
		}
	}
	return o
}

// kindsOfAttention calls f for both kinds, with and without each bias.
func kindsOfAttention(rng *rand.Rand, tokens int, f func(name string, soft bool, time, distance []float64)) {
	for _, soft := range []bool{false, true} {
		for bias := range 4 {
			var time, distance []float64
			if bias&1 > 0 {
				time = random(rng, 3)
			}
			if bias&2 > 0 {
				distance = random(rng, tokens)
			}
			f(fmt.Sprintf("softmax %v, bias %d", soft, bias), soft, time, distance)
		}
	}
}

func TestAttentionGradient(t *testing.T) {
	for _, s := range []struct{ asking, tokens, heads, width int }{{1, 1, 1, 2}, {1, 5, 2, 3}, {5, 5, 3, 2}, {7, 7, 1, 5}, {queryRows + 3, queryRows + 5, 1, 2}} {
		rng := rand.New(rand.NewPCG(7, uint64(s.tokens)))
		kindsOfAttention(rng, s.tokens, func(name string, soft bool, time, distance []float64) {
			d := s.heads * s.width
			in, q, k, v := attentionInput(rng, s.asking, s.tokens, d, time, distance)
			if s.asking > 1 {
				in.Sees[1] = in.At[1] // so that nothing depends on one draw
			} else if s.tokens > 1 {
				in.Sees[0] = 3
			}
			at := Attention[float64]{Heads: s.heads, Softmax: soft, Divisor: 4}
			var scratch AttentionScratch[float64]
			do := random(rng, s.asking*d)
			f := func() float64 {
				o := make([]float64, s.asking*d)
				at.Forward(Whole(o, d), &in, &scratch)
				return dot(o, do)
			}
			o, want := make([]float64, s.asking*d), naiveAttention(at, in)
			at.Forward(Whole(o, d), &in, &scratch)
			for i := range o {
				if math.Abs(o[i]-want[i]) > 1e-12 {
					t.Fatalf("%s %v: number %d is %v, by the definition %v", name, s, i, o[i], want[i])
				}
			}
			dq, dk, dv := make([]float64, len(q)), make([]float64, len(k)), make([]float64, len(v))
			dTime, dDistance := make([]float64, len(time)), make([]float64, len(distance))
			if time == nil {
				dTime = nil
			}
			if distance == nil {
				dDistance = nil
			}
			at.Backward(Whole(dq, d), Whole(dk, d), Whole(dv, d), dTime, dDistance, Whole(do, d), &in, &scratch)
			if s.tokens > 1 || !soft { // one token has all of the weight, whatever its product
				checkGradient(t, fmt.Sprint(name, " q ", s), q, dq, f)
				checkGradient(t, fmt.Sprint(name, " k ", s), k, dk, f)
				checkGradient(t, fmt.Sprint(name, " time ", s), time, dTime, f)
				checkGradient(t, fmt.Sprint(name, " distance ", s), distance, dDistance, f)
			}
			checkGradient(t, fmt.Sprint(name, " v ", s), v, dv, f)
		})
	}
}

// TestAttentionSeesOnlyItsMask changes what a query must not see, and demands the same bits.
func TestAttentionSeesOnlyItsMask(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 0))
	const tokens, d = queryRows + 6, 4
	kindsOfAttention(rng, tokens, func(name string, soft bool, time, distance []float64) {
		in, _, k, v := attentionInput(rng, tokens, tokens, d, time, distance)
		at := Attention[float64]{Heads: 2, Softmax: soft, Divisor: 4}
		out := func() []float64 {
			o := make([]float64, tokens*d)
			at.Forward(Whole(o, d), &in, &AttentionScratch[float64]{})
			return o
		}
		for changed := 0; changed < tokens; changed += 3 {
			before := out()
			for j := range d {
				k[changed*d+j]++
				v[changed*d+j]--
			}
			after := out()
			for i := range tokens {
				sees := changed == i || changed < int(in.Sees[i])
				same := true
				for j := range d {
					same = same && before[i*d+j] == after[i*d+j]
				}
				if same == sees {
					t.Fatalf("%s: token %d changed, token %d sees it: %v, output the same: %v", name, changed, i, sees, same)
				}
			}
		}
	})
}
