package nn

import (
	"sync"

	"github.com/viterin/vek"
	"github.com/viterin/vek/vek32"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
)

// goEngine is the engine without foreign code: vek's AVX2 kernels for float32, plain loops where the product is too small for them, gonum
// for float64, which only the tests of gradients use. gonum's float32 products are not used: its dot product starts with what is not
// aligned, so that the place of a slice in memory shows in the last bits.
type goEngine struct{ gonum.Implementation }

func goBackend() string {
	if vek.Info().Acceleration {
		return "Go (vek AVX2)"
	}
	return "Go (gonum)"
}

// Bounds within which vek is used. Rows are given to it in strips below its own limit for going parallel, so that a product takes no
// goroutines and its sums have one order.
const (
	vekMinWork   = 4096    // multiplications; below, packing costs more than it wins
	vekStripWork = 100_000 // vek goes parallel from here
)

var accelerated = vek.Info().Acceleration

// scratch32 lends memory for packed operands.
var scratch32 = sync.Pool{New: func() any { return new([]float32) }}

func borrow(n int) *[]float32 {
	s := scratch32.Get().(*[]float32)
	if cap(*s) < n {
		*s = make([]float32, n)
	}
	*s = (*s)[:n]
	return s
}

// Sgemm packs what is transposed or strided and lets vek multiply plain row-major matrices.
func (e goEngine) Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	if !accelerated || m*n*k < vekMinWork || n < 8 {
		plainGemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
		return
	}
	packedB := b
	if tB != blas.NoTrans || ldb != n {
		s := borrow(k * n)
		defer scratch32.Put(s)
		pack(*s, k, n, b, ldb, tB != blas.NoTrans)
		packedB = *s
	}
	strip := max(1, (vekStripWork-1)/(n*k))
	if strip > 4 {
		strip &^= 3
	}
	strip = min(strip, m)
	packedA := borrow(strip * k)
	defer scratch32.Put(packedA)
	out := borrow(strip * n)
	defer scratch32.Put(out)
	for i := 0; i < m; i += strip {
		rows := min(strip, m-i)
		stripA := (*packedA)[:rows*k]
		switch {
		case tA != blas.NoTrans:
			pack(stripA, rows, k, a[i:], lda, true)
		case lda != k:
			pack(stripA, rows, k, a[i*lda:], lda, false)
		default:
			stripA = a[i*k:][:rows*k]
		}
		if alpha == 1 && beta == 0 && ldc == n {
			multiply(c[i*n:][:rows*n], stripA, packedB[:k*n], rows, k, n)
			continue
		}
		product := (*out)[:rows*n]
		multiply(product, stripA, packedB[:k*n], rows, k, n)
		for r := range rows {
			from, to := product[r*n:][:n], c[(i+r)*ldc:][:n]
			switch {
			case beta == 0 && alpha == 1:
				copy(to, from)
			case beta == 0:
				vek32.MulNumber_Into(to, from, alpha)
			default:
				if alpha != 1 {
					vek32.MulNumber_Inplace(from, alpha)
				}
				if beta != 1 {
					vek32.MulNumber_Inplace(to, beta)
				}
				vek32.Add_Inplace(to, from)
			}
		}
	}
}

// plainGemm is three loops: by rows of b where that is how they lie, else a sum each.
func plainGemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	at := func(i, l int) float32 {
		if tA != blas.NoTrans {
			return a[l*lda+i]
		}
		return a[i*lda+l]
	}
	for i := range m {
		row := c[i*ldc:][:n]
		for j := range row {
			if beta == 0 {
				row[j] = 0
			} else {
				row[j] *= beta
			}
		}
		if tB == blas.NoTrans {
			for l := range k {
				AddScaled(row, alpha*at(i, l), b[l*ldb:][:n])
			}
			continue
		}
		for j := range row {
			line := b[j*ldb:][:k]
			if tA == blas.NoTrans {
				row[j] += alpha * dot4(a[i*lda:][:k], line)
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

// multiply sets dst = a·b, all packed. vek goes parallel from four rows and vekStripWork on; a strip is less.
func multiply(dst, a, b []float32, m, k, n int) { vek32.MatMul_Into(dst, a[:m*k], b[:k*n], k) }

// pack sets dst (rows, cols) to src, or to the transpose of a src of cols rows.
func pack(dst []float32, rows, cols int, src []float32, stride int, transposed bool) {
	if !transposed {
		for i := range rows {
			copy(dst[i*cols:][:cols], src[i*stride:][:cols])
		}
		return
	}
	const tile = 16 // 16 rows of 16 numbers: one cache line each
	for i0 := 0; i0 < rows; i0 += tile {
		i1 := min(i0+tile, rows)
		for j0 := 0; j0 < cols; j0 += tile {
			j1 := min(j0+tile, cols)
			for j := j0; j < j1; j++ {
				line := src[j*stride:][:i1]
				for i := i0; i < i1; i++ {
					dst[i*cols+j] = line[i]
				}
			}
		}
	}
}

// Sgemv is a dot product a row. What Gemv does not ask for is left to gonum.
func (e goEngine) Sgemv(tA blas.Transpose, m, n int, alpha float32, a []float32, lda int, x []float32, incX int, beta float32, y []float32, incY int) {
	if tA != blas.NoTrans || incX != 1 || incY != 1 || beta != 0 {
		e.Implementation.Sgemv(tA, m, n, alpha, a, lda, x, incX, beta, y, incY)
		return
	}
	x = x[:n]
	for i := range m {
		if accelerated && n >= 8 {
			y[i] = alpha * vek32.Dot(a[i*lda:][:n], x)
		} else {
			y[i] = alpha * dot4(a[i*lda:][:n], x)
		}
	}
}
