package simd

// Dropout zeroes numbers of x at the rate p and multiplies the others by keep. What becomes of a number is a function of the seed and its
// place alone, the same with every set of instructions.
func Dropout(x []float32, p float64, keep float32, seed uint32) {
	dropout(x, keep, DropoutBound(p), seed)
}

// DropoutBound is what a draw must be below for its number to be dropped.
func DropoutBound(p float64) uint32 { return uint32(p * (1 << 31)) }

// DropoutDraw is the draw of number i, below 1<<31: a hash of good avalanche ("prospector", lowbias32) of a Weyl sequence.
func DropoutDraw(seed, i uint32) uint32 {
	h := seed + i*0x9e3779b1
	h ^= h >> 16
	h *= 0x21f0aaad
	h ^= h >> 15
	h *= 0x735a2d97
	h ^= h >> 15
	return h >> 1
}

func dropoutGo(x []float32, keep float32, bound, seed uint32) {
	for i, v := range x {
		if DropoutDraw(seed, uint32(i)) < bound {
			x[i] = 0
		} else {
			x[i] = v * keep
		}
	}
}
