package simd

// GatherTable sets dst[i] = table[index[i]].   dst, index (n)
func GatherTable(dst, table []float32, index []uint8) {
	same("gather", len(index), len(dst))
	if len(dst) == 0 {
		return
	}
	if len(table) < 256 && int(largest(index)) >= len(table) {
		panic("simd: gather: an index is beyond the table")
	}
	gatherTable(dst, table, index)
}

// scatterMin is from how many numbers on the four tables of ScatterAdd cost less than they win.
const scatterMin = 512

// ScatterAdd adds x[i] to table[index[i]]. Many numbers are added up in four tables by turns, because most indices of a row are the
// same, and each addition to a place waits for the one before; the order follows from the length alone.   index, x (n)
func ScatterAdd(table []float32, index []uint8, x []float32) {
	same("scatter", len(index), len(x))
	if len(x) == 0 {
		return
	}
	if int(largest(index)) >= len(table) {
		panic("simd: scatter: an index is beyond the table")
	}
	if len(x) < scatterMin {
		for i, at := range index {
			table[at] += x[i]
		}
		return
	}
	var sums [4][256]float32
	a, b, c, d := &sums[0], &sums[1], &sums[2], &sums[3]
	for ; len(index) >= 4 && len(x) >= 4; index, x = index[4:], x[4:] {
		a[index[0]] += x[0]
		b[index[1]] += x[1]
		c[index[2]] += x[2]
		d[index[3]] += x[3]
	}
	for i, at := range index {
		a[at] += x[i]
	}
	for at := range min(len(table), 256) {
		table[at] += (a[at] + b[at]) + (c[at] + d[at])
	}
}

func gatherTableGo(dst, table []float32, index []uint8) {
	for i, at := range index {
		dst[i] = table[at]
	}
}

func largestGo(index []uint8) uint8 {
	var top uint8
	for _, at := range index {
		top = max(top, at)
	}
	return top
}
