package nn

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"

	"github.com/freshet-ml/freshet/trainer/nn/simd"
)

// goEngine is the engine without foreign code: the kernels of package simd for float32, gonum for float64, which only the tests of gradients
// use. gonum's float32 products are not used: its dot product starts with what is not aligned, so that the place of a slice in memory
// shows in the last bits.
type goEngine struct{ gonum.Implementation }

func goBackend() string { return "Go (" + simd.Active().String() + ")" }

func (goEngine) Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	simd.Gemm(tA != blas.NoTrans, tB != blas.NoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
}

// plainGemv says whether a call asks for what Gemv does.
func plainGemv(tA blas.Transpose, alpha float32, incX int, beta float32, incY int) bool {
	return tA == blas.NoTrans && alpha == 1 && incX == 1 && incY == 1 && beta == 0
}

// Sgemv leaves what Gemv does not ask for to gonum.
func (e goEngine) Sgemv(tA blas.Transpose, m, n int, alpha float32, a []float32, lda int, x []float32, incX int, beta float32, y []float32, incY int) {
	if !plainGemv(tA, alpha, incX, beta, incY) {
		e.Implementation.Sgemv(tA, m, n, alpha, a, lda, x, incX, beta, y, incY)
		return
	}
	simd.Gemv(y[:m], a, lda, x[:n])
}
