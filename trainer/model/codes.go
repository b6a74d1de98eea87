package model

import (
	"math"
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// codes are rows with a byte, or half a byte, a number: v ≈ scale·code. They are of an item's own vector, not of its sum with those of its side
// information, which change with every version; those enter as they are.
type codes struct {
	half  bool
	tiles []uint8   // (rows/TileRows, width/4, TileRows, 4), as nn.ScoreTiles reads them, or as nn.ScoreHalfTiles does
	scale []float32 // (rows)
}

// codeWidth is Dim, rounded up to what a tile takes.
func codeWidth(dim int) int { return (dim + 7) / 8 * 8 }

// newCodes makes room for rows, a multiple of nn.TileRows, by bytes or by half bytes.
func newCodes(half bool, rows, dim int) *codes {
	size := codeWidth(dim)
	if half {
		size /= 2
	}
	return &codes{half, make([]uint8, rows*size), make([]float32, rows)}
}

func (c *codes) clone() *codes { return &codes{c.half, slices.Clone(c.tiles), slices.Clone(c.scale)} }

// set makes row at stand for a vector. code is room for the numbers.   code (codeWidth(len(vector)))
func (c *codes) set(at int, vector []float32, code []int8) {
	clear(code[len(vector):])
	c.scale[at] = c.quantise(code[:len(vector)], vector)
	c.write(at, code)
}

func (c *codes) quantise(code []int8, vector []float32) (scale float32) {
	if c.half {
		return quantise(code, vector, mostOfHalf)
	}
	return quantise(code, vector, mostOfByte)
}

func (c *codes) write(at int, code []int8) {
	if c.half {
		nn.SetHalfTile(c.tiles, at, code)
	} else {
		nn.SetTile(c.tiles, at, code)
	}
}

func (c *codes) read(code []int8, at int) {
	if c.half {
		nn.HalfTileRow(code, c.tiles, at)
	} else {
		nn.TileRow(code, c.tiles, at)
	}
}

// move makes row to what row from is. code is room for it.
func (c *codes) move(to, from int, code []int8) {
	c.read(code, from)
	c.write(to, code)
	c.scale[to] = c.scale[from]
}

// score sets scores to the products of the rows from from on with the query of q, each with its base. soon is what comes next.   scores, from (multiples of nn.TileRows)
func (c *codes) score(scores []float32, from int, q *scan, base []float32, soon nn.Soon) {
	n, size := len(scores), len(c.tiles)/len(c.scale)
	tiles, scale, base := c.tiles[from*size:][:n*size], c.scale[from:][:n], base[:n]
	by := nn.ScoreTiles
	if c.half {
		by = nn.ScoreHalfTiles
	}
	by(scores, tiles, q.code, q.scale, scale, base, soon)
}

// The largest codes.
const (
	mostOfByte = 127
	mostOfHalf = 7
)

// quantise sets code to x/scale, rounded, for the scale with which the largest of x is most.
func quantise(code []int8, x []float32, most float32) (scale float32) {
	var largest float32
	for _, v := range x {
		largest = max(largest, v, -v)
	}
	scale = largest / most
	if !(scale > 0) { // also where division made nothing of it
		clear(code)
		return 0
	}
	for i, v := range x {
		code[i] = int8(math.RoundToEven(float64(v / scale)))
	}
	return scale
}
