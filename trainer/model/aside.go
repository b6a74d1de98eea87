package model

import (
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// A version changes some rows of many chunks: a thousand rows at random are in nearly every chunk of a hundred thousand, and to copy those whole would be to copy the table. What
// changes stands aside instead, and the block is shared, until more than maxAside rows of a chunk do; then a block of its own is made.

// maxAside bounds the rows of a chunk that stand aside: a sixteenth, which is what they add to a look at all rows at most.
const maxAside = chunkRows / 16

// aside are rows of a chunk that changed since its block was made. It never changes.
type aside[F nn.Float] struct {
	at      []int32 // places in the chunk, rising
	vectors []F     // (len(at), dim)
}

// vectorAside returns row r's, or nil where it is in its block.
func (t *table[F]) vectorAside(r Row) []F {
	chunk := int(r) / chunkRows
	if chunk >= len(t.aside) || t.aside[chunk] == nil {
		return nil
	}
	a := t.aside[chunk]
	i, ok := slices.BinarySearch(a.at, int32(r)%chunkRows)
	if !ok {
		return nil
	}
	return a.vectors[i*t.dim:][:t.dim:t.dim]
}

// shared is a table like t, for changes of its own.
func (t *table[F]) shared() table[F] {
	return table[F]{dim: t.dim, n: t.n, vectors: slices.Clone(t.vectors), bias: slices.Clone(t.bias), aside: slices.Clone(t.aside)}
}

// change sets rows, which rise, in t alone: the tables that it was copied from keep theirs. Blocks from own on are not shared.   vectors (len(rows), dim)
func (t *table[F]) change(rows []int32, vectors []F, own int) {
	for len(rows) > 0 {
		chunk, n := int(rows[0])/chunkRows, 1
		for n < len(rows) && int(rows[n])/chunkRows == chunk {
			n++
		}
		if chunk >= own {
			t.write(chunk, rows[:n], vectors)
		} else {
			t.setAside(chunk, rows[:n], vectors)
		}
		rows, vectors = rows[n:], vectors[n*t.dim:]
	}
}

// write sets rows of a block, or places in it.
func (t *table[F]) write(chunk int, rows []int32, vectors []F) {
	for i, r := range rows {
		copy(t.vectors[chunk][int(r)%chunkRows*t.dim:][:t.dim], vectors[i*t.dim:])
	}
}

func (t *table[F]) setAside(chunk int, rows []int32, vectors []F) {
	for len(t.aside) <= chunk {
		t.aside = append(t.aside, nil)
	}
	was := t.aside[chunk]
	if was == nil {
		was = &aside[F]{}
	}
	next := &aside[F]{make([]int32, 0, len(was.at)+len(rows)), make([]F, 0, len(was.vectors)+len(rows)*t.dim)}
	i := 0
	keep := func(below int32) {
		for ; i < len(was.at) && was.at[i] < below; i++ {
			next.at, next.vectors = append(next.at, was.at[i]), append(next.vectors, was.vectors[i*t.dim:][:t.dim]...)
		}
	}
	for j, r := range rows {
		at := r % chunkRows
		keep(at)
		if i < len(was.at) && was.at[i] == at {
			i++
		}
		next.at, next.vectors = append(next.at, at), append(next.vectors, vectors[j*t.dim:][:t.dim]...)
	}
	keep(chunkRows)
	if len(next.at) <= maxAside {
		t.aside[chunk] = next
		return
	}
	t.vectors[chunk], t.aside[chunk] = slices.Clone(t.vectors[chunk]), nil
	t.write(chunk, next.at, next.vectors)
}

// products sets out to z·E over the first rows of a chunk.   z (dim)  out (rows)
func (t *table[F]) products(out, z []F, chunk int) {
	nn.Gemv(out, nn.Block[F]{Data: t.vectors[chunk], Rows: len(out), Cols: t.dim, Stride: t.dim}, z)
	if chunk >= len(t.aside) || t.aside[chunk] == nil {
		return
	}
	var some [maxAside]F
	a := t.aside[chunk]
	products := some[:len(a.at)]
	nn.Gemv(products, nn.Whole(a.vectors, t.dim), z)
	for i, at := range a.at {
		out[at] = products[i]
	}
}
