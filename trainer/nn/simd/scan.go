package simd

// A kernel cannot be interrupted, and the garbage collector waits for it to stop the world. What may be as long as a catalogue is
// therefore done in turns of some 0.1 ms.
const (
	turn     = 1 << 18 // numbers that are only read once
	turnRows = 1 << 11
)

// Gemv sets y = a·x.   a (N,d), its rows stride numbers apart   x (d)  y (N)
//
// A row's sum has one order, which follows from d.
func Gemv(y, a []float32, stride int, x []float32) {
	span("gemv", a, len(y), len(x), stride)
	if len(x) == 0 {
		clear(y)
		return
	}
	for len(y) > turnRows {
		gemv(y[:turnRows], a, stride, len(x), x)
		y, a = y[turnRows:], a[turnRows*stride:]
	}
	gemv(y, a, stride, len(x), x)
}

// CountAtLeast counts the numbers of x that are bound or more. NaN is not.
func CountAtLeast(x []float32, bound float32) int {
	n := 0
	for ; len(x) > turn; x = x[turn:] {
		n += countAtLeast(x[:turn], bound)
	}
	return n + countAtLeast(x, bound)
}

// Above sets bit j%32 of bits[j/32] where x[j] is more than bound, and clears it where not. NaN is not.   bits (⌈N/32⌉)  x (N)
func Above(bits []uint32, x []float32, bound float32) {
	same("above", len(bits), (len(x)+31)/32)
	for ; len(x) > turn; bits, x = bits[turn/32:], x[turn:] {
		above(bits[:turn/32], x[:turn], bound)
	}
	whole := len(x) / 32
	above(bits[:whole], x[:32*whole], bound)
	if whole < len(bits) {
		aboveGo(bits[whole:], x[32*whole:], bound)
	}
}

func gemvGo(y, a []float32, stride, d int, x []float32) {
	for i := range y {
		y[i] = dotGo(a[i*stride:][:d], x)
	}
}

func countAtLeastGo(x []float32, bound float32) int {
	n := 0
	for _, v := range x {
		if v >= bound {
			n++
		}
	}
	return n
}

func aboveGo(bits []uint32, x []float32, bound float32) {
	clear(bits)
	for j, v := range x {
		if v > bound {
			bits[j/32] |= 1 << (j % 32)
		}
	}
}
