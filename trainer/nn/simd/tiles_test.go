package simd

import (
	"math/rand/v2"
	"testing"
)

// TestScoreTiles demands the bits of the definition, at the ends of the range as well, where products of bytes saturate if added up in 16 bits, and over more rows than
// are done in one turn.
func TestScoreTiles(t *testing.T) {
	check := func(t *testing.T, rng *rand.Rand) {
		for _, d := range []int{0, 4, 8, 12, 60, 64, 68, 128, 1000, 1 << 16} {
			for _, n := range []int{0, 16, 32, 64, 80, 144, 2*turnRows + 48} {
				if n*d > 1<<21 {
					continue
				}
				a := arena{rng: rng}
				tiles, rows, q := make([]uint8, n*d), make([][]int8, n), make([]int8, d)
				draw := func() int8 { return int8(rng.IntN(256)) }
				if d%3 == 0 {
					draw = func() int8 { return -128 }
				}
				for j := range q {
					q[j] = draw()
				}
				for i := range rows {
					rows[i] = make([]int8, d)
					for j := range rows[i] {
						rows[i][j] = draw()
					}
					SetTile(tiles, i, rows[i])
				}
				dst, scale, base, by := a.take(n), a.numbers(n), a.numbers(n), float32(rng.NormFloat64())
				ScoreTiles(dst, tiles, q, by, scale, base)
				back := make([]int8, d)
				for i := range rows {
					sum := int32(0)
					for j, v := range rows[i] {
						sum += int32(v) * int32(q[j])
					}
					scaled := float32(float32(sum) * scale[i])
					if want := float32(scaled*by) + base[i]; !equalBits(dst[i], want) {
						t.Fatalf("%d rows of %d: row %d is %v, want %v", n, d, i, dst[i], want)
					}
					TileRow(back, tiles, i)
					for j, v := range back {
						if v != rows[i][j] {
							t.Fatalf("%d rows of %d: number %d of row %d comes back as %d, was %d", n, d, j, i, v, rows[i][j])
						}
					}
				}
				a.check(t, "tiles")
			}
		}
	}
	everyLevel(t, check)
	withoutVNNI(func() { everyLevel(t, check) })
}
