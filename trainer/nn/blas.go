package nn

import (
	"fmt"
	"os"

	"gonum.org/v1/gonum/blas"
	"gorgonia.org/tensor"

	"github.com/freshet-ml/freshet/trainer/nn/simd"
)

// engine multiplies matrices: for Gemm, and for tensor.
var engine, backend = openEngine(os.Getenv("FRESHET_BLAS"))

func init() { tensor.Use(engine) }

// Backend names the engine that multiplies matrices, for the log's first lines and for measurements.
func Backend() string { return backend }

func openEngine(choice string) (tensor.BLAS, string) {
	if choice != "go" {
		if e, name, ok := openBLAS(); ok {
			if simd.Active() == simd.Go {
				return e, name
			}
			return mixedEngine{e}, name + ", small products " + goBackend()
		}
	}
	return goEngine{}, goBackend()
}

// mixedEngine gives to package simd what it multiplies faster than OpenBLAS: products with a vector, and of matrices those up to
// ownMaxWork. The others go to the library.
type mixedEngine struct{ tensor.BLAS }

// ownMaxWork is the number of multiplications up to which simd's products win, with AVX-512 and with AVX2: BenchmarkGemm. The size of 1024³
// loses; all that a batch of some thousand tokens makes is below.
const ownMaxWork = 512 * 512 * 512

func (e mixedEngine) Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	if m*n*k > ownMaxWork {
		e.BLAS.Sgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
		return
	}
	goEngine{}.Sgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
}

func (e mixedEngine) Sgemv(tA blas.Transpose, m, n int, alpha float32, a []float32, lda int, x []float32, incX int, beta float32, y []float32, incY int) {
	if !plainGemv(tA, alpha, incX, beta, incY) {
		e.BLAS.Sgemv(tA, m, n, alpha, a, lda, x, incX, beta, y, incY)
		return
	}
	goEngine{}.Sgemv(tA, m, n, alpha, a, lda, x, incX, beta, y, incY)
}

// Op says how an operand of Gemm enters the product.
type Op = blas.Transpose

// The two ways.
const (
	Plain      Op = blas.NoTrans
	Transposed Op = blas.Trans
)

// Block is a matrix, or a block of columns of one: row i starts at Data[i*Stride].
type Block[F Float] struct {
	Data       []F
	Rows, Cols int
	Stride     int
}

// Whole sees x as a matrix of cols columns.
func Whole[F Float](x []F, cols int) Block[F] {
	return Block[F]{Data: x, Rows: len(x) / cols, Cols: cols, Stride: cols}
}

// Columns is the block of the columns from..to of b.
func (b Block[F]) Columns(from, to int) Block[F] {
	if b.Rows == 0 {
		return Block[F]{Cols: to - from, Stride: b.Stride}
	}
	return Block[F]{Data: b.Data[from:], Rows: b.Rows, Cols: to - from, Stride: b.Stride}
}

// Slice is the block of the rows from..to of b.
func (b Block[F]) Slice(from, to int) Block[F] {
	return Block[F]{Data: b.Data[from*b.Stride:], Rows: to - from, Cols: b.Cols, Stride: b.Stride}
}

func (b Block[F]) check(name string) {
	if b.Rows > 0 && b.Cols > 0 && (b.Stride < b.Cols || len(b.Data) < (b.Rows-1)*b.Stride+b.Cols) {
		panic(fmt.Sprintf("nn: gemm: %s: %d numbers, want %dx%d at stride %d", name, len(b.Data), b.Rows, b.Cols, b.Stride))
	}
}

// Gemm sets c = alpha·a·b + beta·c, with a or b transposed where the Op says so. With beta 0, what c holds does not matter.
func Gemm[F Float](c Block[F], opA, opB Op, alpha F, a, b Block[F], beta F) {
	m, k := a.Rows, a.Cols
	if opA == Transposed {
		m, k = k, m
	}
	k2, n := b.Rows, b.Cols
	if opB == Transposed {
		k2, n = n, k2
	}
	if k != k2 || c.Rows != m || c.Cols != n {
		panic(fmt.Sprintf("nn: gemm: %dx%d times %dx%d into %dx%d", m, k, k2, n, c.Rows, c.Cols))
	}
	if m == 0 || n == 0 {
		return
	}
	c.check("c")
	if k == 0 {
		for i := range m {
			row := c.Data[i*c.Stride:][:n]
			for j := range row {
				if beta == 0 {
					row[j] = 0
				} else {
					row[j] *= beta
				}
			}
		}
		return
	}
	a.check("a")
	b.check("b")
	if single[F]() {
		engine.Sgemm(opA, opB, m, n, k, float32(alpha), f32(a.Data), a.Stride, f32(b.Data), b.Stride, float32(beta), f32(c.Data), c.Stride)
	} else {
		engine.Dgemm(opA, opB, m, n, k, float64(alpha), f64(a.Data), a.Stride, f64(b.Data), b.Stride, float64(beta), f64(c.Data), c.Stride)
	}
}

// Gemv sets y = a·x.   a (M,K)  x (K)  y (M)
func Gemv[F Float](y []F, a Block[F], x []F) {
	want("gemv", "x", len(x), a.Cols)
	want("gemv", "y", len(y), a.Rows)
	if a.Rows == 0 || a.Cols == 0 {
		clear(y)
		return
	}
	a.check("a")
	if single[F]() {
		engine.Sgemv(Plain, a.Rows, a.Cols, 1, f32(a.Data), a.Stride, f32(x), 1, 0, f32(y), 1)
	} else {
		engine.Dgemv(Plain, a.Rows, a.Cols, 1, f64(a.Data), a.Stride, f64(x), 1, 0, f64(y), 1)
	}
}
