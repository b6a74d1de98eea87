package model

import (
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// A version changes some rows of many chunks: a thousand rows at random are in nearly every chunk of a hundred thousand, and to copy those whole would be to copy the table. What
// changes stands in a patch instead, and the block is shared, until a patch has more than maxPatch rows; then a block of its own is made.

// maxPatch bounds the rows of a patch: to a sixteenth of a chunk, which is what patches add to a look at all rows at most.
const maxPatch = chunkRows / 16

// patch are rows of a chunk that changed since its block was made. It never changes.
type patch[F nn.Float] struct {
	at      []int32 // places in the chunk, rising
	vectors []F     // (len(at), dim)
}

// patched returns the vector of row r, or nil where it is in its block.
func (t *table[F]) patched(r Row) []F {
	chunk := int(r) / chunkRows
	if chunk >= len(t.patches) || t.patches[chunk] == nil {
		return nil
	}
	p := t.patches[chunk]
	i, ok := slices.BinarySearch(p.at, int32(r)%chunkRows)
	if !ok {
		return nil
	}
	return p.vectors[i*t.dim:][:t.dim:t.dim]
}

// shared is a table like t, for changes of its own.
func (t *table[F]) shared() table[F] {
	return table[F]{dim: t.dim, n: t.n, vectors: slices.Clone(t.vectors), bias: slices.Clone(t.bias), patches: slices.Clone(t.patches)}
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
			t.patch(chunk, rows[:n], vectors)
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

func (t *table[F]) patch(chunk int, rows []int32, vectors []F) {
	for len(t.patches) <= chunk {
		t.patches = append(t.patches, nil)
	}
	was := t.patches[chunk]
	if was == nil {
		was = &patch[F]{}
	}
	next := &patch[F]{make([]int32, 0, len(was.at)+len(rows)), make([]F, 0, len(was.vectors)+len(rows)*t.dim)}
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
	if len(next.at) <= maxPatch {
		t.patches[chunk] = next
		return
	}
	t.vectors[chunk], t.patches[chunk] = slices.Clone(t.vectors[chunk]), nil
	t.write(chunk, next.at, next.vectors)
}

// products sets out to z·E over the first rows of a chunk.   z (dim)  out (rows)
func (t *table[F]) products(out, z []F, chunk int) {
	nn.Gemv(out, nn.Block[F]{Data: t.vectors[chunk], Rows: len(out), Cols: t.dim, Stride: t.dim}, z)
	if chunk >= len(t.patches) || t.patches[chunk] == nil {
		return
	}
	var some [maxPatch]F
	p := t.patches[chunk]
	products := some[:len(p.at)]
	nn.Gemv(products, nn.Whole(p.vectors, t.dim), z)
	for i, at := range p.at {
		out[at] = products[i]
	}
}
