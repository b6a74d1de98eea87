package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
	"gorgonia.org/tensor"

	"github.com/freshet-ml/freshet/trainer/nn/simd"
)

// engines are those that this build and this machine have.
func engines() map[string]tensor.BLAS {
	list := map[string]tensor.BLAS{"go": goEngine{}}
	if e, name, ok := openBLAS(); ok {
		list[name] = e
		list["mixed"] = mixedEngine{e}
	}
	return list
}

// TestEnginesAgainstNaive compares every engine with three loops, over transposes, strides, alpha, beta and odd shapes.
func TestEnginesAgainstNaive(t *testing.T) {
	for name, e := range engines() {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			for _, s := range [][3]int{{1, 1, 1}, {1, 64, 1}, {5, 7, 3}, {17, 33, 9}, {40, 40, 32}, {64, 129, 31}, {3, 300, 200}, {100, 64, 257}} {
				for _, tA := range []blas.Transpose{blas.NoTrans, blas.Trans} {
					for _, tB := range []blas.Transpose{blas.NoTrans, blas.Trans} {
						for _, ab := range [][2]float64{{1, 0}, {1, 1}, {-0.5, 0}, {2, 0.25}} {
							compareGemm(t, e, rng, s[0], s[1], s[2], tA, tB, ab[0], ab[1])
						}
					}
				}
			}
		})
	}
}

// TestMixedEngineChooses counts which products reach the library.
func TestMixedEngineChooses(t *testing.T) {
	var library countingEngine
	e := mixedEngine{&library}
	x := make([]float32, 1024*512)
	e.Sgemm(Plain, Plain, 512, 512, 512, 1, x, 512, x, 512, 0, make([]float32, 512*512), 512)
	if library.products != 0 {
		t.Error("a product of the bound's size went to the library")
	}
	e.Sgemm(Plain, Plain, 513, 512, 512, 1, x, 512, x, 512, 0, make([]float32, 513*512), 512)
	if library.products != 1 {
		t.Error("a product above the bound did not go to the library")
	}
}

type countingEngine struct {
	gonum.Implementation
	products int
}

func (e *countingEngine) Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	e.products++
}

func compareGemm(t *testing.T, e tensor.BLAS, rng *rand.Rand, m, n, k int, tA, tB blas.Transpose, alpha, beta float64) {
	t.Helper()
	rowsA, colsA, rowsB, colsB := m, k, k, n
	if tA == blas.Trans {
		rowsA, colsA = k, m
	}
	if tB == blas.Trans {
		rowsB, colsB = n, k
	}
	lda, ldb, ldc := colsA+rng.IntN(2)*3, colsB+rng.IntN(2)*5, n+rng.IntN(2)*2
	a, b, c := random(rng, rowsA*lda), random(rng, rowsB*ldb), random(rng, m*ldc)
	want := append([]float64{}, c...)
	for i := range m {
		for j := range n {
			sum := 0.0
			for l := range k {
				x, y := 0.0, 0.0
				if tA == blas.Trans {
					x = a[l*lda+i]
				} else {
					x = a[i*lda+l]
				}
				if tB == blas.Trans {
					y = b[j*ldb+l]
				} else {
					y = b[l*ldb+j]
				}
				sum += x * y
			}
			want[i*ldc+j] = alpha*sum + beta*want[i*ldc+j]
		}
	}
	c32 := narrow(c, 0)
	if beta == 0 { // what c holds must not matter
		for i := range c32 {
			if i%ldc < n {
				c32[i] = float32(math.NaN())
				c[i] = math.NaN()
			}
		}
	}
	e.Sgemm(tA, tB, m, n, k, float32(alpha), narrow(a, 0), lda, narrow(b, 0), ldb, float32(beta), c32, ldc)
	e.Dgemm(tA, tB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	shape := fmt.Sprintf("m=%d n=%d k=%d %c%c alpha=%v beta=%v strides %d %d %d", m, n, k, tA, tB, alpha, beta, lda, ldb, ldc)
	for i := range want {
		// rounding of a sum of k products of size 1: about sqrt(k) half units
		if !(math.Abs(float64(c32[i])-want[i]) < 3e-6*math.Sqrt(float64(k+1))*4) {
			t.Fatalf("sgemm %s: number %d is %v, want %v", shape, i, c32[i], want[i])
		}
		if !(math.Abs(c[i]-want[i]) < 1e-13*float64(k+1)) {
			t.Fatalf("dgemm %s: number %d is %v, want %v", shape, i, c[i], want[i])
		}
	}
}

func TestGemv(t *testing.T) {
	for name, e := range engines() {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(2, 1))
			for _, s := range [][2]int{{1, 1}, {5, 3}, {33, 64}, {1025, 65}} {
				m, n := s[0], s[1]
				a, x := random(rng, m*n), random(rng, n)
				want := make([]float64, m)
				gonum.Implementation{}.Dgemv(blas.NoTrans, m, n, 1, a, n, x, 1, 0, want, 1)
				a32, x32, y32, y := make([]float32, m*n), make([]float32, n), make([]float32, m), make([]float64, m)
				for i := range a {
					a32[i] = float32(a[i])
				}
				for i := range x {
					x32[i] = float32(x[i])
				}
				e.Sgemv(blas.NoTrans, m, n, 1, a32, n, x32, 1, 0, y32, 1)
				e.Dgemv(blas.NoTrans, m, n, 1, a, n, x, 1, 0, y, 1)
				for i := range want {
					if math.Abs(float64(y32[i])-want[i]) > 1e-4 || math.Abs(y[i]-want[i]) > 1e-12 {
						t.Fatalf("%v: row %d is %v and %v, want %v", s, i, y32[i], y[i], want[i])
					}
				}
			}
		})
	}
}

// TestBackendIsTheChosenOne keeps a build from falling back in silence: where the machine has OpenBLAS and the build may load it, it runs.
func TestBackendIsTheChosenOne(t *testing.T) {
	_, name, ok := openBLAS()
	if ok && os.Getenv("FRESHET_BLAS") != "go" && !strings.HasPrefix(Backend(), name) {
		t.Errorf("backend is %q, the machine has %q", Backend(), name)
	}
	if _, got := openEngine("go"); got != goBackend() {
		t.Errorf("FRESHET_BLAS=go gives %q", got)
	}
	t.Log(Backend())
}

// TestEnginesAreDeterministic multiplies the same matrices from several goroutines and demands the same bits each time.
func TestEnginesAreDeterministic(t *testing.T) {
	for name, e := range engines() {
		rng := rand.New(rand.NewPCG(3, 1))
		const m, n, k = 300, 256, 64
		a, b := make([]float32, m*k), make([]float32, k*n)
		for i := range a {
			a[i] = float32(rng.NormFloat64())
		}
		for i := range b {
			b[i] = float32(rng.NormFloat64())
		}
		out := make([][]float32, 8)
		var wg sync.WaitGroup
		for g := range out {
			wg.Go(func() {
				out[g] = make([]float32, m*n)
				for range 3 {
					e.Sgemm(blas.NoTrans, blas.NoTrans, m, n, k, 1, a, k, b, n, 0, out[g], n)
				}
			})
		}
		wg.Wait()
		for g := range out {
			for i := range out[g] {
				if math.Float32bits(out[g][i]) != math.Float32bits(out[0][i]) {
					t.Fatalf("%s: number %d is %v in one goroutine and %v in another", name, i, out[g][i], out[0][i])
				}
			}
		}
	}
}

// TestEnginesDoNotSeeAlignment moves the operands in memory and demands the same bits: where a slice happens to lie must not show in the
// weights (I4). gonum's dot product fails this.
func TestEnginesDoNotSeeAlignment(t *testing.T) {
	for name, e := range engines() {
		for _, s := range [][3]int{{1, 5, 16}, {3, 3, 40}, {7, 9, 64}, {16, 40, 64}, {40, 40, 32}, {40, 32, 40}, {64, 257, 64}, {300, 128, 64}, {1, 1024, 64}} {
			m, n, k := s[0], s[1], s[2]
			rng := rand.New(rand.NewPCG(4, uint64(m)))
			numbers := func(n int) []float32 {
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(rng.NormFloat64())
				}
				return x
			}
			a, b, v := numbers(m*k), numbers(k*n), numbers(k)
			moved := func(x []float32, by int) []float32 {
				y := make([]float32, len(x)+by)[by:]
				copy(y, x)
				return y
			}
			for _, tA := range []blas.Transpose{blas.NoTrans, blas.Trans} {
				for _, tB := range []blas.Transpose{blas.NoTrans, blas.Trans} {
					lda, ldb := k, n
					if tA == blas.Trans {
						lda = m
					}
					if tB == blas.Trans {
						ldb = k
					}
					var want []float32
					for by := range 16 {
						c := moved(make([]float32, m*n), (by*3)%16)
						e.Sgemm(tA, tB, m, n, k, 1, moved(a, by), lda, moved(b, (by*7)%16), ldb, 0, c, n)
						if by == 0 {
							want = c
							continue
						}
						for i := range c {
							if math.Float32bits(c[i]) != math.Float32bits(want[i]) {
								t.Fatalf("%s: %dx%dx%d %c%c: moved by %d numbers, %v became %v", name, m, n, k, tA, tB, by, want[i], c[i])
							}
						}
					}
				}
			}
			var want []float32
			for by := range 16 {
				y := moved(make([]float32, m), (by*3)%16)
				e.Sgemv(blas.NoTrans, m, k, 1, moved(a, by), k, moved(v, (by*5)%16), 1, 0, y, 1)
				if by == 0 {
					want = y
				}
				for i := range y {
					if math.Float32bits(y[i]) != math.Float32bits(want[i]) {
						t.Fatalf("%s: gemv %dx%d: moved by %d numbers, %v became %v", name, m, k, by, want[i], y[i])
					}
				}
			}
		}
	}
}

func TestWrongShapesPanic(t *testing.T) {
	f := func(name string, call func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s: no panic", name)
			}
		}()
		call()
	}
	x := make([]float32, 12)
	f("inner sizes", func() { Gemm(Whole(x, 3), Plain, Plain, 1, Whole(x, 3), Whole(x, 4), 0) })
	f("short c", func() {
		Gemm(Block[float32]{Data: x[:5], Rows: 3, Cols: 3, Stride: 3}, Plain, Plain, 1, Whole(x, 4), Whole(x, 3), 0)
	})
	f("ragged tensor", func() { NewTensor(x, 5, 2) })
	f("empty tensor", func() { NewTensor(x[:0], 0, 2) })
	f("no matrix", func() { NewTensor(x, 12).Matrix() })
	f("no stack", func() { NewTensor(x, 3, 4).Stack() })
}

// BenchmarkGemm multiplies the shapes of the model: projections of tokens, gradients of weights, attention of one head of sequences of 64
// and of 200 tokens (a block of wider rows), scores of a batch, and one large product.
func BenchmarkGemm(b *testing.B) {
	const plain, trans = blas.NoTrans, blas.Trans
	for _, s := range []struct {
		m, k, n       int
		tA, tB        blas.Transpose
		lda, ldb, ldc int // 0: dense
	}{
		{m: 512, k: 64, n: 256, tA: plain, tB: plain},
		{m: 512, k: 64, n: 64, tA: plain, tB: plain},
		{m: 512, k: 256, n: 64, tA: plain, tB: trans},
		{m: 64, k: 512, n: 256, tA: trans, tB: plain},
		{m: 64, k: 512, n: 64, tA: trans, tB: plain},
		{m: 64, k: 32, n: 64, tA: plain, tB: trans, lda: 128, ldb: 128},
		{m: 64, k: 64, n: 32, tA: plain, tB: plain, ldb: 128, ldc: 64},
		{m: 64, k: 64, n: 32, tA: trans, tB: plain, ldb: 128, ldc: 128},
		{m: 64, k: 32, n: 200, tA: plain, tB: trans, lda: 128, ldb: 128},
		{m: 64, k: 200, n: 32, tA: plain, tB: plain, ldb: 128, ldc: 64},
		{m: 200, k: 64, n: 32, tA: trans, tB: plain, ldb: 128, ldc: 128},
		{m: 1, k: 32, n: 64, tA: plain, tB: trans, ldb: 128},
		{m: 1, k: 64, n: 32, tA: plain, tB: plain, ldb: 128},
		{m: 1, k: 64, n: 128, tA: plain, tB: plain},
		{m: 16, k: 16, n: 16, tA: plain, tB: plain},
		{m: 16, k: 64, n: 128, tA: plain, tB: plain},
		{m: 64, k: 64, n: 1024, tA: plain, tB: trans},
		{m: 2560, k: 64, n: 128, tA: plain, tB: plain},
		{m: 128, k: 128, n: 128, tA: plain, tB: plain},
		{m: 256, k: 256, n: 256, tA: plain, tB: plain},
		{m: 384, k: 384, n: 384, tA: plain, tB: plain},
		{m: 512, k: 512, n: 512, tA: plain, tB: plain},
		{m: 4096, k: 256, n: 64, tA: plain, tB: plain},
		{m: 1, k: 64, n: 10000, tA: plain, tB: trans},
		{m: 4, k: 64, n: 10000, tA: plain, tB: trans},
		{m: 8, k: 64, n: 10000, tA: plain, tB: trans},
		{m: 64, k: 64, n: 10000, tA: plain, tB: trans},
		{m: 1024, k: 1024, n: 1024, tA: plain, tB: plain},
		{m: 1024, k: 1024, n: 1024, tA: trans, tB: plain},
		{m: 1024, k: 1024, n: 1024, tA: plain, tB: trans},
	} {
		rowsA, colsA, rowsB, colsB := s.m, s.k, s.k, s.n
		if s.tA == trans {
			rowsA, colsA = colsA, rowsA
		}
		if s.tB == trans {
			rowsB, colsB = colsB, rowsB
		}
		lda, ldb, ldc := max(s.lda, colsA), max(s.ldb, colsB), max(s.ldc, s.n)
		x, y, z := make([]float32, rowsA*lda), make([]float32, rowsB*ldb), make([]float32, s.m*ldc)
		run := func(name string, e tensor.BLAS) {
			b.Run(fmt.Sprintf("%dx%dx%d%c%c/%s", s.m, s.k, s.n, s.tA, s.tB, name), func(b *testing.B) {
				for b.Loop() {
					e.Sgemm(s.tA, s.tB, s.m, s.n, s.k, 1, x, lda, y, ldb, 0, z, ldc)
				}
				b.ReportMetric(2*float64(s.m*s.n*s.k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
		for _, l := range simd.Levels() {
			before := simd.Use(l)
			run("simd "+l.String(), goEngine{})
			simd.Use(before)
		}
		if e, name, ok := openBLAS(); ok {
			run(name, e)
		}
	}
}

func BenchmarkSiLU(b *testing.B) {
	x, y, s := make([]float32, 65536), make([]float32, 65536), make([]float32, 65536)
	for i := range x {
		x[i] = float32(i%100)/10 - 5
	}
	for b.Loop() {
		SiLU(y, s, x)
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/65536, "ns/number")
}
