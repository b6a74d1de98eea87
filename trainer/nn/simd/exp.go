package simd

import "math"

// The range to which x is clamped before the exponential: e^x saturates at 1.2e-38 and 1.6e38, and the sigmoid ends before it is
// denormal. Softmax and SiLU do not tell that from 0 and infinity.
const (
	expMin, expMax = -87.3, 88
	sigmoidMax     = 87.3
)

// ExpUlp bounds the error of Exp and ExpShift in units in the last place, within the range; SiLUUlp that of SiLU and its like, relative to
// the number for y above the clamp and to 1 for the slope, which crosses zero. Tests measure both.
const (
	ExpUlp  = 1
	SiLUUlp = 3
)

// Exp sets dst = e^x, saturated. dst may be x.
func Exp(dst, x []float32) {
	same("exp", len(x), len(dst))
	exp(dst, x)
}

// ExpShift sets dst = e^(x-shift), saturated, and returns the sum. dst may be x.
func ExpShift(dst, x []float32, shift float32) float32 {
	same("exp shift", len(x), len(dst))
	return expShift(dst, x, shift)
}

// SiLU sets y = x·s and slope = dy/dx = s + y(1-s) with s = sigmoid(x). slope may be nil, y may be x.
func SiLU(y, slope, x []float32) {
	same("silu", len(x), len(y))
	if slope == nil {
		siluOnly(y, x)
		return
	}
	same("silu", len(slope), len(y))
	silu(y, slope, x)
}

// BiasSiLU is SiLU of t = s + bias, with the result and the slope by t multiplied by scale: a row of pointwise attention. slope may be
// nil, a may be s.
func BiasSiLU(a, slope, s, bias []float32, scale float32) {
	same("bias silu", len(s), len(a))
	same("bias silu", len(bias), len(a))
	if slope == nil {
		biasSiLUOnly(a, s, bias, scale)
		return
	}
	same("bias silu", len(slope), len(a))
	biasSiLU(a, slope, s, bias, scale)
}

// expPoly is e^x = 2^k · e^r with |r| ≤ ln 2 / 2, e^r by a polynomial of degree 6 (Cephes expf). It has no branches but the
// clamp, and takes a third of the time of math.Exp.
func expPoly(x float32) float32 {
	const log2e, ln2Hi, ln2Lo = 1.44269504088896341, 0.693359375, -2.12194440e-4
	const round = 12582912 // adding and taking away 1.5·2^23 rounds to a whole number
	x = clamp(x, expMin, expMax)
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

// clamp lets what is not a number through. min and max do as well, at ten times the price.
func clamp(x, low, high float32) float32 {
	if x < low {
		return low
	}
	if x > high {
		return high
	}
	return x
}

// sigmoid returns s = 1/(1+e^-x), and 1-s as e^-x·s, which keeps its digits where s is nearly 1.
func sigmoid(x float32) (s, rest float32) {
	e := expPoly(-clamp(x, -sigmoidMax, sigmoidMax))
	s = 1 / (1 + e)
	return s, e * s
}

func expGo(dst, x []float32) {
	for i, v := range x {
		dst[i] = expPoly(v)
	}
}

func expShiftGo(dst, x []float32, shift float32) float32 {
	for i, v := range x {
		dst[i] = expPoly(v - shift)
	}
	return sumGo(dst)
}

func siluGo(y, slope, x []float32) {
	for i, v := range x {
		s, rest := sigmoid(v)
		y[i] = v * s
		slope[i] = s + y[i]*rest
	}
}

func siluOnlyGo(y, x []float32) {
	for i, v := range x {
		s, _ := sigmoid(v)
		y[i] = v * s
	}
}

func biasSiLUGo(a, slope, s, bias []float32, scale float32) {
	for i, v := range s {
		v += bias[i]
		sig, rest := sigmoid(v)
		slope[i] = (sig + v*sig*rest) * scale
		a[i] = v * sig * scale
	}
}

func biasSiLUOnlyGo(a, s, bias []float32, scale float32) {
	for i, v := range s {
		v += bias[i]
		sig, _ := sigmoid(v)
		a[i] = v * sig * scale
	}
}
