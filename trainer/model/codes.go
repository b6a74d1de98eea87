package model

import (
	"math"
	"slices"
)

// codes are a chunk of rows with a byte a number: v ≈ scale·code. They are of an item's own vector, not of its sum with those of its side
// information, which change with every version; those enter as they are.
type codes struct {
	rows  []int8    // (chunkRows, Dim)
	scale []float32 // (chunkRows)
}

func newCodes(dim int) *codes {
	return &codes{make([]int8, chunkRows*dim), make([]float32, chunkRows)}
}

func (c *codes) clone() *codes { return &codes{slices.Clone(c.rows), slices.Clone(c.scale)} }

func (c *codes) set(at int, vector []float32) {
	c.scale[at] = quantise(c.rows[at*len(vector):][:len(vector)], vector)
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
