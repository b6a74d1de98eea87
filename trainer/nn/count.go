package nn

// CountAtLeast returns how many of x are at least bound.
func CountAtLeast[F Float](x []F, bound F) int {
	var a, b int
	for len(x) >= 2 { // two counters, and no branch that the processor would have to guess
		var p, q int
		if x[0] >= bound {
			p = 1
		}
		if x[1] >= bound {
			q = 1
		}
		a, b = a+p, b+q
		x = x[2:]
	}
	if len(x) > 0 && x[0] >= bound {
		a++
	}
	return a + b
}
