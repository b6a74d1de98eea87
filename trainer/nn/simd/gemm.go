package simd

import "sync"

// Bounds of the blocks of a product. A panel of b is as wide as two vectors, and panelDepth long: with a strip of a it fits the
// first cache. A block of a of blockRows by panelDepth fits the second.
const (
	panelDepth = 256
	panelWidth = 32 // the widest level's
	blockRows  = 256
)

// panels lends the memory of packed panels.
var panels = sync.Pool{New: func() any { return new([panelDepth * panelWidth]float32) }}

// Gemm sets c = alpha·a·b + beta·c, with a or b transposed where transA or transB says so, on one thread. c is m by n, the inner
// size is k; row i of a matrix starts at i times its stride. With beta 0, what c holds does not matter. A number of c is a sum in an
// order that follows from k alone.
func Gemm(transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	if m <= 0 || n <= 0 {
		return
	}
	span("gemm: c", c, m, n, ldc)
	checkOperand("gemm: a", transA, a, m, k, lda)
	checkOperand("gemm: b", transB, b, k, n, ldb)
	switch {
	case k <= 0 || level == Go:
		gemmGo(transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	default:
		gemmPanels(transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	}
}

func checkOperand(op string, trans bool, x []float32, rows, cols, stride int) {
	if trans {
		rows, cols = cols, rows
	}
	span(op, x, rows, cols, stride)
}

// gemmGo is three loops: by rows of b where that is how they lie, else a sum each.
func gemmGo(transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	at := func(i, l int) float32 {
		if transA {
			return a[l*lda+i]
		}
		return a[i*lda+l]
	}
	for i := range m {
		row := c[i*ldc:][:n]
		if beta == 0 {
			clear(row)
		} else if beta != 1 {
			scaleGo(row, beta)
		}
		if k <= 0 {
			continue
		}
		if !transB {
			for l := range k {
				addScaledGo(row, alpha*at(i, l), b[l*ldb:][:n])
			}
			continue
		}
		for j := range row {
			line := b[j*ldb:][:k]
			if !transA {
				row[j] += alpha * dotGo(a[i*lda:][:k], line)
				continue
			}
			var sum float32
			for l, v := range line {
				sum += v * at(i, l)
			}
			row[j] += alpha * sum
		}
	}
}
