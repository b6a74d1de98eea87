package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// near fails where got is further than bound·scale from want at any place.
func near(t *testing.T, what string, got []float32, want []float64, bound float64, scale func(i int) float64) {
	t.Helper()
	for i, w := range want {
		if !(math.Abs(float64(got[i])-w) <= bound*scale(i)) {
			t.Fatalf("%s: number %d is %v, want %v", what, i, got[i], w)
		}
	}
}

func unit(want []float64) func(int) float64 {
	return func(i int) float64 { return 1 + math.Abs(want[i]) }
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// widths are those of rows: the model's, and all around the ends of vectors.
func widths() []int {
	all := []int{100, 128, 200, 256, 257}
	for d := 1; d <= 70; d++ {
		all = append(all, d)
	}
	return all
}

func TestLayerNormAgainstFloat64(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for _, d := range widths() {
			for _, n := range []int{0, 1, 3, 8} {
				what := fmt.Sprintf("%d rows of %d", n, d)
				a := arena{rng: rng}
				x, y, inv, dy, dx := a.numbers(n*d), a.take(n*d), a.take(n), a.numbers(n*d), a.numbers(n*d)
				LayerNorm(y, inv, x, d, 1e-6)
				wantY, wantInv, wantDX := make([]float64, n*d), make([]float64, n), wide(dx)
				for i := range n {
					var mean, variance, dMean, along float64
					for _, v := range x[i*d:][:d] {
						mean += float64(v) / float64(d)
					}
					for _, v := range x[i*d:][:d] {
						variance += (float64(v) - mean) * (float64(v) - mean) / float64(d)
					}
					wantInv[i] = 1 / math.Sqrt(variance+1e-6)
					for j, v := range x[i*d:][:d] {
						wantY[i*d+j] = (float64(v) - mean) * wantInv[i]
						dMean += float64(dy[i*d+j]) / float64(d)
						along += float64(dy[i*d+j]) * float64(y[i*d+j]) / float64(d)
					}
					for j := range d {
						at := i*d + j
						wantDX[at] += (float64(dy[at]) - dMean - float64(y[at])*along) * float64(inv[i])
					}
				}
				if d > 1 { // one number has no deviation but rounding
					// what is left of two nearly equal numbers has few digits: their size over the deviation says how few
					lost := func(i int) float64 {
						top := 1.0
						for _, v := range x[i*d:][:d] {
							top = max(top, math.Abs(float64(v)))
						}
						return 1 + top*wantInv[i]
					}
					near(t, what+": y", y, wantY, 2e-6, func(i int) float64 { return (1 + math.Abs(wantY[i])) * lost(i/d) })
					near(t, what+": inv", inv, wantInv, 2e-6, func(i int) float64 { return wantInv[i] * lost(i) })
				}
				LayerNormBackward(dx, dy, y, inv, d)
				near(t, what+": dx", dx, wantDX, 1e-5, func(i int) float64 { return 1 + math.Abs(wantDX[i]) + 8*float64(inv[i/d]) })
				a.check(t, what)
				// a row has the same bits wherever it stands
				for i := range n {
					row, one := a.take(d), make([]float32, 1)
					LayerNorm(row, one, x[i*d:][:d], d, 1e-6)
					for j := range row {
						if !equalBits(row[j], y[i*d+j]) || !equalBits(one[0], inv[i]) {
							t.Fatalf("%s: row %d is %v alone and %v among others", what, i, row[j], y[i*d+j])
						}
					}
				}
			}
		}
	})
}

func TestBiasAgainstFloat64(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for _, d := range widths() {
			for _, n := range []int{0, 1, 5} {
				a := arena{rng: rng}
				y, b, db := a.numbers(n*d), a.numbers(d), a.numbers(d)
				wantY, wantB := wide(y), wide(db)
				for i := range wantY {
					wantB[i%d] += float64(y[i])
					wantY[i] += float64(b[i%d])
				}
				AddBiasBackward(db, y)
				AddBias(y, b)
				what := fmt.Sprintf("%d rows of %d", n, d)
				near(t, what+": y", y, wantY, 1e-6, unit(wantY))
				near(t, what+": db", db, wantB, 3e-6, func(int) float64 { return 10 })
				a.check(t, what)
			}
		}
		AddBias(nil, nil)
		AddBiasBackward(nil, nil)
	})
}

func TestGateAgainstFloat64(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for _, d := range widths() {
			const n = 3
			strideU, strideDU := d+rng.IntN(9), d+rng.IntN(9)
			a := arena{rng: rng}
			y, x, u, dy, dx := a.take(n*d), a.numbers(n*d), a.numbers((n-1)*strideU+d), a.numbers(n*d), a.numbers(n*d)
			du := a.numbers((n-1)*strideDU + d)
			wantY, wantDX, wantDU := make([]float64, n*d), wide(dx), wide(du)
			for i := range n {
				for j := range d {
					at := i*d + j
					wantY[at] = float64(x[at]) * float64(u[i*strideU+j])
					wantDX[at] += float64(dy[at]) * float64(u[i*strideU+j])
					wantDU[i*strideDU+j] += float64(dy[at]) * float64(x[at])
				}
			}
			Gate(y, x, u, n, d, strideU)
			GateBackward(dx, du, dy, x, u, n, d, strideDU, strideU)
			what := fmt.Sprintf("rows of %d at strides %d, %d", d, strideU, strideDU)
			near(t, what+": y", y, wantY, 1e-6, unit(wantY))
			near(t, what+": dx", dx, wantDX, 1e-5, unit(wantDX))
			near(t, what+": du", du, wantDU, 1e-5, unit(wantDU))
			a.check(t, what)
		}
	})
}

func TestRotateAgainstFloat64(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for half := 1; half < 70; half++ {
			for heads := range 4 {
				a := arena{rng: rng}
				row, cos, sin := a.numbers(heads*2*half), a.numbers(half), a.numbers(half)
				for _, sign := range []float32{1, -1} {
					want := wide(row)
					for h := range heads {
						for z := range half {
							u, v := h*2*half+z, h*2*half+half+z
							c, s := float64(cos[z]), float64(sign)*float64(sin[z])
							want[u], want[v] = float64(row[u])*c-float64(row[v])*s, float64(row[u])*s+float64(row[v])*c
						}
					}
					size := math.Sqrt(SumSquares(row) * (1 + SumSquares(cos) + SumSquares(sin)))
					Rotate(row, cos, sin, sign)
					near(t, fmt.Sprintf("%d heads of %d", heads, 2*half), row, want, 1e-6, func(int) float64 { return size })
				}
				a.check(t, fmt.Sprintf("%d heads of %d", heads, 2*half))
			}
		}
	})
}

func TestSumSquaresAgainstFloat64(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for _, n := range lengths() {
			a := arena{rng: rng}
			x, moved := a.numbers(n), a.take(n)
			copy(moved, x)
			want := 0.0
			for _, v := range x {
				want += float64(v) * float64(v)
			}
			got := SumSquares(x)
			if !(math.Abs(got-want) <= 1e-13*want) { // what float32 would lose is 1e-7
				t.Fatalf("n=%d: %v, want %v", n, got, want)
			}
			if again := SumSquares(moved); again != got {
				t.Fatalf("n=%d: %v in one place and %v in another", n, got, again)
			}
		}
	})
}

func TestTables(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for _, n := range lengths() {
			for _, size := range []int{1, 2, 70, 129, 255, 256} {
				a := arena{rng: rng}
				table, dst, x := a.numbers(size), a.take(n), a.numbers(n)
				index, want, weight := make([]uint8, n), wide(table), make([]float64, size)
				for i := range index {
					index[i] = uint8(rng.IntN(size))
					want[index[i]] += float64(x[i])
					weight[index[i]] += math.Abs(float64(x[i]))
				}
				GatherTable(dst, table, index)
				for i, at := range index {
					if !equalBits(dst[i], table[at]) {
						t.Fatalf("n=%d: number %d is %v, entry %d is %v", n, i, dst[i], at, table[at])
					}
				}
				again := copied(table)
				ScatterAdd(table, index, x)
				near(t, fmt.Sprintf("n=%d into %d", n, size), table, want, 1e-5, func(i int) float64 { return 1 + weight[i] })
				ScatterAdd(again, append(make([]uint8, 3), index...)[3:], append(make([]float32, 5), x...)[5:])
				for i := range table {
					if !equalBits(table[i], again[i]) {
						t.Fatalf("n=%d: entry %d is %v, of moved slices %v", n, i, table[i], again[i])
					}
				}
				a.check(t, fmt.Sprint("n=", n))
			}
		}
	})
}

func TestIndexBeyondTheTablePanics(t *testing.T) {
	everyLevel(t, func(t *testing.T, _ *rand.Rand) {
		for _, n := range []int{1, 31, 32, 33, 64, 700} {
			for at := range n {
				index := make([]uint8, n)
				index[at] = 7
				for name, call := range map[string]func(){
					"gather":  func() { GatherTable(make([]float32, n), make([]float32, 7), index) },
					"scatter": func() { ScatterAdd(make([]float32, 7), index, make([]float32, n)) },
				} {
					func() {
						defer func() {
							if recover() == nil {
								t.Fatalf("%s: n=%d: index 7 at %d is taken for one of 7", name, n, at)
							}
						}()
						call()
					}()
				}
			}
		}
	})
}

func TestAdamWAgainstFloat64(t *testing.T) {
	everyLevel(t, func(t *testing.T, rng *rand.Rand) {
		for _, n := range lengths() {
			a := arena{rng: rng}
			w, g, m, v := a.numbers(n), a.numbers(n), a.numbers(n), a.numbers(n)
			for i := range v {
				v[i] *= v[i]
			}
			o := AdamW{Scale: 0.5, Beta1: 0.9, Rest1: 0.1, Beta2: 0.99, Rest2: 0.01, Rate: 0.03, Correct: 1.5, Eps: 1e-8, Keep: 0.999}
			w0, m0, v0 := wide(w), wide(m), wide(v)
			for i := range w {
				x := float64(g[i]) * float64(o.Scale)
				m0[i] = float64(o.Beta1)*m0[i] + float64(o.Rest1)*x
				v0[i] = float64(o.Beta2)*v0[i] + float64(o.Rest2)*x*x
				w0[i] = float64(o.Keep)*w0[i] - float64(o.Rate)*m0[i]/(math.Sqrt(v0[i]*float64(o.Correct))+float64(o.Eps))
			}
			o.Step(w, g, m, v)
			what := fmt.Sprint("n=", n)
			near(t, what+": m", m, m0, 1e-6, unit(m0))
			near(t, what+": v", v, v0, 1e-6, unit(v0))
			near(t, what+": w", w, w0, 2e-6, func(i int) float64 {
				return 1 + math.Abs(w0[i]) + math.Abs(m0[i])/math.Sqrt(v0[i]+1e-12)
			})
			a.check(t, what)
		}
	})
}
