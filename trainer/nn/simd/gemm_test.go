package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// product is one call of Gemm.
type product struct {
	transA, transB bool
	m, n, k        int
	alpha, beta    float32
	a, b, c        []float32
	lda, ldb, ldc  int
}

func (p *product) run(c []float32) {
	Gemm(p.transA, p.transB, p.m, p.n, p.k, p.alpha, p.a, p.lda, p.b, p.ldb, p.beta, c, p.ldc)
}

// newProduct makes operands that are no longer than they must be, with gaps between their rows.
func newProduct(a *arena, m, n, k int, transA, transB bool, alpha, beta float32) product {
	matrix := func(rows, cols int, trans bool) ([]float32, int) {
		if trans {
			rows, cols = cols, rows
		}
		stride := cols + a.rng.IntN(2)*(1+a.rng.IntN(9))
		if rows == 0 || cols == 0 {
			return nil, stride
		}
		return a.numbers((rows-1)*stride + cols), stride
	}
	p := product{transA: transA, transB: transB, m: m, n: n, k: k, alpha: alpha, beta: beta}
	p.a, p.lda = matrix(m, k, transA)
	p.b, p.ldb = matrix(k, n, transB)
	p.c, p.ldc = matrix(m, n, false)
	return p
}

func TestGemmAgainstFloat64(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		shapes := [][3]int{{512, 256, 64}, {64, 256, 512}, {64, 200, 32}, {64, 32, 200}, {200, 32, 64}, {1, 128, 64}, {1100, 33, 3}, {9, 70, 600}}
		for range 150 {
			shapes = append(shapes, [3]int{1 + rng.IntN(40), 1 + rng.IntN(80), rng.IntN(70)})
		}
		for _, s := range shapes {
			for trans := range 4 {
				for _, ab := range [][2]float32{{1, 0}, {1, 1}, {-0.5, 0}, {2, 0.25}} {
					a := arena{rng: rng}
					p := newProduct(&a, s[0], s[1], s[2], trans&1 > 0, trans&2 > 0, ab[0], ab[1])
					comparePart(t, &p, rng)
					a.check(t, p.String())
				}
			}
		}
	})
}

func (p *product) String() string {
	return fmt.Sprintf("m=%d n=%d k=%d transposed %v %v alpha=%v beta=%v strides %d %d %d", p.m, p.n, p.k, p.transA, p.transB, p.alpha, p.beta, p.lda, p.ldb, p.ldc)
}

// comparePart runs p and compares some of its numbers with sums in float64, and the gaps between the rows with what they were.
func comparePart(t *testing.T, p *product, rng *rand.Rand) {
	t.Helper()
	before := copied(p.c)
	if p.beta == 0 { // what c holds must not matter
		for i := range p.m {
			for j := range p.n {
				p.c[i*p.ldc+j] = float32(math.NaN())
			}
		}
	}
	p.run(p.c)
	for i := range before {
		if i%p.ldc >= p.n && p.c[i] != before[i] {
			t.Fatalf("%v: number %d, between two rows, was overwritten", p, i)
		}
	}
	part := min(1, 4000/float64(p.m*p.n)) // of a large product, some numbers
	for i := range p.m {
		for j := range p.n {
			if rng.Float64() > part {
				continue
			}
			sum, size := 0.0, 0.0
			for l := range p.k {
				x, y := 0.0, 0.0
				if p.transA {
					x = float64(p.a[l*p.lda+i])
				} else {
					x = float64(p.a[i*p.lda+l])
				}
				if p.transB {
					y = float64(p.b[j*p.ldb+l])
				} else {
					y = float64(p.b[l*p.ldb+j])
				}
				sum, size = sum+x*y, size+math.Abs(x*y)
			}
			old := float64(before[i*p.ldc+j]) * float64(p.beta)
			want := float64(p.alpha)*sum + old
			bound := 2e-7 * (math.Abs(float64(p.alpha))*size*math.Sqrt(float64(p.k+4)) + 4*math.Abs(old))
			if got := float64(p.c[i*p.ldc+j]); !(math.Abs(got-want) <= bound) {
				t.Fatalf("%v: number (%d,%d) is %v, want %v", p, i, j, got, want)
			}
		}
	}
}

// TestGemmDoesNotSeePlaces takes rows out of a product, moves the operands, and demands the same bits.
func TestGemmDoesNotSeePlaces(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for _, s := range [][3]int{{1, 5, 16}, {7, 9, 64}, {40, 40, 32}, {37, 57, 300}, {64, 200, 32}} {
			for trans := range 4 {
				a := arena{rng: rng}
				p := newProduct(&a, s[0], s[1], s[2], trans&1 > 0, trans&2 > 0, 1, 0)
				p.run(p.c)
				whole := copied(p.c)
				moved := p
				moved.a, moved.b = a.take(len(p.a)), a.take(len(p.b))
				copy(moved.a, p.a)
				copy(moved.b, p.b)
				for _, part := range []int{p.m, 1, min(3, p.m)} {
					q := moved
					q.m = part
					from := p.m - part
					if p.transA {
						q.a = q.a[from:]
					} else {
						q.a = q.a[from*p.lda:]
					}
					c := a.take(len(p.c) - from*p.ldc)
					q.run(c)
					for i := range part {
						for j := range p.n {
							if got, want := c[i*p.ldc+j], whole[(from+i)*p.ldc+j]; !equalBits(got, want) {
								t.Fatalf("%v: number (%d,%d) is %v, in a product of the last %d rows %v", &p, from+i, j, want, part, got)
							}
						}
					}
				}
				a.check(t, p.String())
			}
		}
	})
}

func TestGemmShortOperandsPanic(t *testing.T) {
	x := make([]float32, 12)
	for name, call := range map[string]func(){
		"a": func() { Gemm(false, false, 3, 2, 4, 1, x[:11], 4, x, 2, 0, x, 2) },
		"b": func() { Gemm(false, true, 2, 3, 4, 1, x, 4, x[:11], 4, 0, x, 3) },
		"c": func() { Gemm(false, false, 3, 4, 1, 1, x, 1, x, 4, 0, x[:11], 4) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s may be too short", name)
				}
			}()
			call()
		}()
	}
}
