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

// FirstAbove returns the place of the first number of x, at from or behind it, that is more than bound, or len(x).
func FirstAbove(x []float32, from int, bound float32) int {
	if from < 0 || from > len(x) {
		panic("simd: first above: it starts outside the slice")
	}
	for ; len(x)-from > turn; from += turn {
		if at := firstAbove(x[:from+turn], from, bound); at < from+turn {
			return at
		}
	}
	return firstAbove(x, from, bound)
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

func firstAboveGo(x []float32, from int, bound float32) int {
	for i, v := range x[from:] {
		if v > bound {
			return from + i
		}
	}
	return len(x)
}
