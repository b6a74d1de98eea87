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
func ScoreTiles(dst []float32, tiles []uint8, q []int8, by float32, scale, base []float32, soon Soon) {
	same("tiles", len(q)%4, 0)
	scoreInTurns(scoreTiles, dst, tiles, len(q), q, 128, by, scale, base, soon)
}

// Half tiles are the same of half a byte a number:
//
//	tiles (N/16, d/8, 16, 4)     a number x, from -8 to 7, as x+8; byte i of eight columns has column i in its lower half and column i+4 in its upper
//
// d is a multiple of 8, N of 16.

// ScoreHalfTiles is ScoreTiles of half tiles.   tiles (N/16,d/8,16,4)  q (d)  dst, scale, base (N)
func ScoreHalfTiles(dst []float32, tiles []uint8, q []int8, by float32, scale, base []float32, soon Soon) {
	same("half tiles", len(q)%8, 0)
	scoreInTurns(scoreHalfTiles, dst, tiles, len(q)/2, q, 8, by, scale, base, soon)
}

// scoreInTurns scores by a kernel, so many rows a turn that what belongs to them stays near. A row has size bytes; zero stands for 0.
func scoreInTurns(kernel tileKernel, dst []float32, tiles []uint8, size int, q []int8, zero int32, by float32, scale, base []float32, soon Soon) {
	excess := excessOf(dst, tiles, size, q, zero, scale, base)
	for len(dst) > turnRows {
		rest := Soon{tiles[turnRows*size:], scale[turnRows:], base[turnRows:]}
		kernel(dst[:turnRows], tiles[:turnRows*size], q, excess, by, scale[:turnRows], base[:turnRows], rest)
		dst, tiles, scale, base = dst[turnRows:], rest.Tiles, rest.Scale, rest.Base
	}
	if soon.Tiles == nil {
		soon = Soon{tiles, scale, base} // what is at hand costs least
	}
	kernel(dst, tiles, q, excess, by, scale, base, soon)
}

// tileKernel scores the rows of a turn.
type tileKernel func(dst []float32, tiles []uint8, q []int8, excess int32, by float32, scale, base []float32, soon Soon)

// Soon is what is scored next, as much as now: it is asked of memory meanwhile. The zero value is nothing.
type Soon struct {
	Tiles       []uint8
	Scale, Base []float32
}

// excessOf checks the lengths, and returns how much a sum is too large for tiles of size bytes a row, where zero stands for 0.
func excessOf(dst []float32, tiles []uint8, size int, q []int8, zero int32, scale, base []float32) (excess int32) {
	same("tiles", len(dst)%TileRows, 0)
	same("tiles", len(tiles), len(dst)*size)
	same("tiles", len(scale), len(dst))
	same("tiles", len(base), len(dst))
	if len(q) > 1<<16 {
		panic("simd: tiles: a row is too long")
	}
	for _, v := range q {
		excess += zero * int32(v)
	}
	return excess
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

// SetHalfTile writes a row into half tiles.   row (d), from -8 to 7
func SetHalfTile(tiles []uint8, at int, row []int8) {
	tile := halfTile(tiles, at, len(row))
	for j := 0; j < len(row); j += 8 {
		for i := range 4 {
			tile[j/2*TileRows+i] = uint8(row[j+i]+8) | uint8(row[j+4+i]+8)<<4
		}
	}
}

// HalfTileRow reads a row of half tiles.   row (d)
func HalfTileRow(row []int8, tiles []uint8, at int) {
	tile := halfTile(tiles, at, len(row))
	for j := 0; j < len(row); j += 8 {
		for i := range 4 {
			b := tile[j/2*TileRows+i]
			row[j+i], row[j+4+i] = int8(b&15)-8, int8(b>>4)-8
		}
	}
}

// halfTile is the tile of a row of d numbers, from its first byte on.
func halfTile(tiles []uint8, at, d int) []uint8 {
	if d == 0 {
		return nil
	}
	size := TileRows * d / 2
	return tiles[at/TileRows*size:][:size][at%TileRows*4:]
}

func scoreHalfTilesGo(dst []float32, tiles []uint8, q []int8, excess int32, by float32, scale, base []float32) {
	d := len(q)
	for from := range dst {
		tile, sum := halfTile(tiles, from, d), int32(0)
		for j := 0; j < d; j += 8 {
			for i, b := range tile[j/2*TileRows:][:4] {
				sum += int32(b&15)*int32(q[j+i]) + int32(b>>4)*int32(q[j+4+i])
			}
		}
		scaled := float32(float32(sum-excess) * scale[from])
		dst[from] = float32(scaled*by) + base[from]
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
