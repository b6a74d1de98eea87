package model

import (
	"math"
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// codes are rows with a byte a number: v ≈ scale·code. They are of an item's own vector, not of its sum with those of its side
// information, which change with every version; those enter as they are.
type codes struct {
	tiles []uint8   // (rows/TileRows, width/4, TileRows, 4), as nn.ScoreTiles reads them
	scale []float32 // (rows)
}

// codeWidth is Dim, rounded up to what a tile takes.
func codeWidth(dim int) int { return (dim + 3) / 4 * 4 }

// newCodes makes room for rows, a multiple of nn.TileRows.
func newCodes(rows, dim int) *codes {
	return &codes{make([]uint8, rows*codeWidth(dim)), make([]float32, rows)}
}

func (c *codes) clone() *codes { return &codes{slices.Clone(c.tiles), slices.Clone(c.scale)} }

// set makes row at stand for a vector. code is room for the bytes.   code (codeWidth(len(vector)))
func (c *codes) set(at int, vector []float32, code []int8) {
	clear(code[len(vector):])
	c.scale[at] = quantise(code[:len(vector)], vector)
	nn.SetTile(c.tiles, at, code)
}

// score sets scores to the products of the rows from from on with the query of q, each with its base.   scores, from (multiples of nn.TileRows)
func (c *codes) score(scores []float32, from int, q *scan, base []float32) {
	n := len(scores)
	nn.ScoreTiles(scores, c.tiles[from*len(q.code):][:n*len(q.code)], q.code, q.scale, c.scale[from:][:n], base[:n])
}

// quantise sets code to x/scale, rounded, for the scale with which the largest of x is 127.
func quantise(code []int8, x []float32) (scale float32) {
	var most float32
	for _, v := range x {
		most = max(most, v, -v)
	}
	scale = most / 127
	if !(scale > 0) { // also where division made nothing of it
		clear(code)
		return 0
	}
	for i, v := range x {
		code[i] = int8(math.RoundToEven(float64(v / scale)))
	}
	return scale
}
