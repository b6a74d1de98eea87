package model

import "github.com/freshet-ml/freshet/trainer/nn"

// chunkRows is how many rows are allocated at a time: tables grow without copying, and a version shares the chunks that it does not change.
const chunkRows = 1024

// table holds one vector and one bias a row.
type table[F nn.Float] struct {
	dim     int
	n       int
	vectors [][]F       // blocks (chunkRows, dim)
	bias    [][]F       // (chunkRows)
	patches []*patch[F] // of each chunk, vectors that take the place of those in its block; a table that nobody shares has none
}

func (t *table[F]) grow() (vector, bias []F) {
	if t.n%chunkRows == 0 {
		t.vectors = append(t.vectors, make([]F, chunkRows*t.dim))
		t.bias = append(t.bias, make([]F, chunkRows))
	}
	t.n++
	return t.vector(Row(t.n - 1)), t.biasOf(Row(t.n - 1))
}

func (t *table[F]) vector(r Row) []F {
	if v := t.patched(r); v != nil {
		return v
	}
	at := int(r) % chunkRows * t.dim
	return t.vectors[int(r)/chunkRows][at : at+t.dim : at+t.dim]
}

// biasOf returns the one-element slice that holds the row's bias.
func (t *table[F]) biasOf(r Row) []F {
	at := int(r) % chunkRows
	return t.bias[int(r)/chunkRows][at : at+1 : at+1]
}

// scores sets out to z·E + b over the first n rows, one chunk after the other.   z (R,D)  out (R,n)
func (t *table[F]) scores(out, z nn.Block[F], n int) {
	for from := 0; from < n; from += chunkRows {
		rows := min(chunkRows, n-from)
		t.chunkScores(out.Columns(from, from+rows), z, from/chunkRows, rows)
	}
}

// chunkScores does so over the first n rows of a chunk, by its block alone.   z (R,D)  out (R,n)
func (t *table[F]) chunkScores(out, z nn.Block[F], chunk, n int) {
	vectors := nn.Block[F]{Data: t.vectors[chunk], Rows: n, Cols: t.dim, Stride: t.dim}
	if z.Rows == 1 {
		nn.Gemv(out.Data[:n], vectors, z.Data[:t.dim])
	} else {
		nn.Gemm(out, nn.Plain, nn.Transposed, 1, z, vectors, 0)
	}
	for i := range z.Rows {
		nn.Add(out.Data[i*out.Stride:][:n], t.bias[chunk][:n])
	}
}
