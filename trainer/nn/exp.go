package nn

import (
	"math"

	"github.com/viterin/vek/vek32"
)

// The range to which x is clamped first. Outside, vek's kernel answers nonsense: e^-100 = -4e33, and NaN from 88.4 on. So e^x
// saturates at 1.2e-38 and 1.6e38; softmax and SiLU do not tell that from 0 and infinity.
const (
	expMin = -87.3
	expMax = 88
)

// Exp sets each x to e^x: for float32 within expUlp, clamped to the normal range; for float64 math.Exp. What is not a number
// does not stay one: callers look at x before. The result for an element does not depend on where it stands.
func Exp[F Float](x []F) {
	if !single[F]() {
		for i, v := range x {
			x[i] = F(math.Exp(float64(v)))
		}
		return
	}
	exp32(f32(x))
}

func exp32(x []float32) {
	if !accelerated {
		for i, v := range x {
			x[i] = expPoly(v)
		}
		return
	}
	n := len(x) &^ 7
	if n > 0 {
		vek32.MaximumNumber_Inplace(x[:n], expMin)
		vek32.MinimumNumber_Inplace(x[:n], expMax)
		vek32.Exp_Inplace(x[:n])
	}
	if n == len(x) {
		return
	}
	var tail [8]float32 // vek computes a tail with other code and other bits; a full block of 8 takes the same path as the rest
	for i, v := range x[n:] {
		tail[i] = min(max(v, expMin), expMax)
	}
	vek32.Exp_Inplace(tail[:])
	copy(x[n:], tail[:])
}

// expUlp bounds the error of Exp in float32, in units in the last place; TestExpError measures it.
const expUlp = 2

// expPoly is e^x = 2^k · e^r with |r| ≤ ln 2 / 2, e^r by a polynomial of degree 6 (Cephes expf). It has no branches but the
// clamp, and takes a third of the time of math.Exp.
func expPoly(x float32) float32 {
	x = min(max(x, expMin), expMax)
	const log2e, ln2Hi, ln2Lo = 1.44269504088896341, 0.693359375, -2.12194440e-4
	// adding and taking away 1.5·2^23 rounds to a whole number
	const round = 12582912
	k := float32(x*log2e+round) - round
	r := x - k*ln2Hi
	r -= k * ln2Lo
	p := float32(1.9875691500e-4)
	p = p*r + 1.3981999507e-3
	p = p*r + 8.3334519073e-3
	p = p*r + 4.1665795894e-2
	p = p*r + 1.6666665459e-1
	p = p*r + 5.0000001201e-1
	p = p*r*r + r + 1
	return p * math.Float32frombits(uint32(int32(k)+127)<<23)
}
