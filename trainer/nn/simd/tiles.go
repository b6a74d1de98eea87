package simd

// TileRows is how many rows stand next to each other in a tile.
const TileRows = 16

// Tiles are rows of d numbers, a byte each, of which 16 are kept together:
//
//	tiles (N/16, d/4, 16, 4)     a number x, from -128 to 127, as x+128
//
// d is a multiple of 4, N of 16: rows and columns that are too many are to be 128, which is 0.

// ScoreTiles sets dst[i] to (row_i·q)·scale_i·by + base_i, the product exactly and then in this order of float32.   tiles (N/16,d/4,16,4)  q (d)  dst, scale, base (N)
//
// d is at most 1<<16, so that no sum leaves 32 bits.
func ScoreTiles(dst []float32, tiles []uint8, q []int8, by float32, scale, base []float32) {
	d := len(q)
	same("tiles", len(dst)%TileRows+d%4, 0)
	same("tiles", len(tiles), len(dst)*d)
	same("tiles", len(scale), len(dst))
	same("tiles", len(base), len(dst))
	if d > 1<<16 {
		panic("simd: tiles: a row is too long")
	}
	excess := int32(0)
	for _, v := range q {
		excess += 128 * int32(v)
	}
	for len(dst) > turnRows {
		scoreTiles(dst[:turnRows], tiles[:turnRows*d], q, excess, by, scale[:turnRows], base[:turnRows])
		dst, tiles, scale, base = dst[turnRows:], tiles[turnRows*d:], scale[turnRows:], base[turnRows:]
	}
	scoreTiles(dst, tiles, q, excess, by, scale, base)
}

// SetTile writes a row into tiles.   row (d)
func SetTile(tiles []uint8, at int, row []int8) {
	size := TileRows * len(row)
	tile := tiles[at/TileRows*size:][:size]
	for j, v := range row {
		tile[j/4*4*TileRows+at%TileRows*4+j%4] = uint8(int(v) + 128)
	}
}

// TileRow reads a row of tiles.   row (d)
func TileRow(row []int8, tiles []uint8, at int) {
	size := TileRows * len(row)
	tile := tiles[at/TileRows*size:][:size]
	for j := range row {
		row[j] = int8(int(tile[j/4*4*TileRows+at%TileRows*4+j%4]) - 128)
	}
}

func scoreTilesGo(dst []float32, tiles []uint8, q []int8, excess int32, by float32, scale, base []float32) {
	d := len(q)
	for from := 0; from < len(dst); from += TileRows {
		var sums [TileRows]int32
		tile := tiles[from*d:][:TileRows*d]
		for j := 0; j < d; j += 4 {
			a, b, c, e := int32(q[j]), int32(q[j+1]), int32(q[j+2]), int32(q[j+3])
			columns := tile[j*TileRows:][:4*TileRows]
			for i := range sums {
				u := columns[4*i:][:4]
				sums[i] += a*int32(u[0]) + b*int32(u[1]) + c*int32(u[2]) + e*int32(u[3])
			}
		}
		for i, sum := range sums {
			scaled := float32(float32(sum-excess) * scale[from+i])
			dst[from+i] = float32(scaled*by) + base[from+i]
		}
	}
}
