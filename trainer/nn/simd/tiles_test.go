package simd

import (
	"math/rand/v2"
	"testing"
)

// tileKinds are the two kinds of tiles: bytes and half bytes.
var tileKinds = []struct {
	name         string
	dims         []int
	size         func(d int) int // bytes a row
	least, count int             // of the numbers of a row
	score        func(dst []float32, tiles []uint8, q []int8, by float32, scale, base []float32, soon Soon)
	set          func(tiles []uint8, at int, row []int8)
	row          func(row []int8, tiles []uint8, at int)
}{
	{"bytes", []int{0, 4, 8, 12, 60, 64, 68, 128, 1000, 1 << 16}, func(d int) int { return d }, -128, 256, ScoreTiles, SetTile, TileRow},
	{"half bytes", []int{0, 8, 16, 24, 32, 40, 64, 72, 128, 1000, 1 << 16}, func(d int) int { return d / 2 }, -8, 16, ScoreHalfTiles, SetHalfTile, HalfTileRow},
}

// TestScoreTiles demands the bits of the definition, at the ends of the range as well, where products of bytes saturate if added up in 16 bits, and over more rows than
// are done in one turn.
func TestScoreTiles(t *testing.T) {
	for _, k := range tileKinds {
		check := func(t *testing.T, rng *rand.Rand) {
			for _, d := range k.dims {
				for _, n := range []int{0, 16, 32, 64, 80, 144, 2*turnRows + 48} {
					if n*d > 1<<21 {
						continue
					}
					for _, ends := range []bool{false, true} {
						a := arena{rng: rng}
						tiles, rows, q := make([]uint8, n*k.size(d)), make([][]int8, n), make([]int8, d)
						for j := range q {
							q[j] = int8(rng.IntN(256))
							if ends {
								q[j] = -128
							}
						}
						side := rng.IntN(2) * (k.count - 1) // of the range
						for i := range rows {
							rows[i] = make([]int8, d)
							for j := range rows[i] {
								rows[i][j] = int8(k.least + rng.IntN(k.count))
								if ends {
									rows[i][j] = int8(k.least + side)
								}
							}
							k.set(tiles, i, rows[i])
						}
						dst, scale, base, by := a.take(n), a.numbers(n), a.numbers(n), float32(rng.NormFloat64())
						k.score(dst, tiles, q, by, scale, base, Soon{})
						back := make([]int8, d)
						for i := range rows {
							sum := int32(0)
							for j, v := range rows[i] {
								sum += int32(v) * int32(q[j])
							}
							scaled := float32(float32(sum) * scale[i])
							if want := float32(scaled*by) + base[i]; !equalBits(dst[i], want) {
								t.Fatalf("%s: %d rows of %d: row %d is %v, want %v", k.name, n, d, i, dst[i], want)
							}
							k.row(back, tiles, i)
							for j, v := range back {
								if v != rows[i][j] {
									t.Fatalf("%s: %d rows of %d: number %d of row %d comes back as %d, was %d", k.name, n, d, j, i, v, rows[i][j])
								}
							}
						}
						a.check(t, "tiles")
					}
				}
			}
		}
		everyLevel(t, check)
		withoutVNNI(func() { everyLevel(t, check) })
	}
}
