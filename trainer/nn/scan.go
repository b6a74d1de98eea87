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

// Above sets bit j%32 of bits[j/32] where x[j] is more than bound, and clears it where not: simd.Above.   bits (⌈N/32⌉)  x (N)
func Above(bits []uint32, x []float32, bound float32) { simd.Above(bits, x, bound) }

// TileRows is how many rows of bytes stand next to each other, so that sums of them need no folding: simd.ScoreTiles.
const TileRows = simd.TileRows

// ScoreTiles sets dst[i] to (row_i·q)·scale_i·by + base_i.   tiles (N/TileRows,d/4,TileRows,4)  q (d)  dst, scale, base (N)
func ScoreTiles(dst []float32, tiles []uint8, q []int8, by float32, scale, base []float32, soon Soon) {
	simd.ScoreTiles(dst, tiles, q, by, scale, base, soon)
}

// Soon is what is scored next.
type Soon = simd.Soon

// SetTile writes a row into tiles.   row (d)
func SetTile(tiles []uint8, at int, row []int8) { simd.SetTile(tiles, at, row) }

// TileRow reads a row of tiles.   row (d)
func TileRow(row []int8, tiles []uint8, at int) { simd.TileRow(row, tiles, at) }

// ScoreHalfTiles, SetHalfTile and HalfTileRow are the same of numbers from -8 to 7: simd.ScoreHalfTiles.   tiles (N/TileRows,d/8,TileRows,4)
func ScoreHalfTiles(dst []float32, tiles []uint8, q []int8, by float32, scale, base []float32, soon Soon) {
	simd.ScoreHalfTiles(dst, tiles, q, by, scale, base, soon)
}

// SetHalfTile is SetTile.
func SetHalfTile(tiles []uint8, at int, row []int8) { simd.SetHalfTile(tiles, at, row) }

// HalfTileRow is TileRow.
func HalfTileRow(row []int8, tiles []uint8, at int) { simd.HalfTileRow(row, tiles, at) }
