package nn

import "github.com/freshet-ml/freshet/trainer/nn/simd"

// CountAtLeast counts the numbers of x that are bound or more. NaN is not.
func CountAtLeast[F Float](x []F, bound F) int {
	if single[F]() {
		return simd.CountAtLeast(f32(x), float32(bound))
	}
	n := 0
	for _, v := range x {
		if v >= bound {
			n++
		}
	}
	return n
}

// FirstAbove returns the place of the first number of x, at from or behind it, that is more than bound, or len(x).
func FirstAbove[F Float](x []F, from int, bound F) int {
	if single[F]() {
		return simd.FirstAbove(f32(x), from, float32(bound))
	}
	for i, v := range x[from:] {
		if v > bound {
			return from + i
		}
	}
	return len(x)
}

// TileRows is how many rows of bytes stand next to each other, so that sums of them need no folding: simd.ScoreTiles.
const TileRows = simd.TileRows

// ScoreTiles sets dst[i] to (row_i·q)·scale_i·by + base_i.   tiles (N/TileRows,d/4,TileRows,4)  q (d)  dst, scale, base (N)
func ScoreTiles(dst []float32, tiles []uint8, q []int8, by float32, scale, base []float32) {
	simd.ScoreTiles(dst, tiles, q, by, scale, base)
}

// SetTile writes a row into tiles.   row (d)
func SetTile(tiles []uint8, at int, row []int8) { simd.SetTile(tiles, at, row) }

// TileRow reads a row of tiles.   row (d)
func TileRow(row []int8, tiles []uint8, at int) { simd.TileRow(row, tiles, at) }
