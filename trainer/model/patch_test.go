package model

import (
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/trainer/nn"
	"pgregory.net/rapid"
)

// TestTablesThatShareBlocks: whatever rows change from version to version, each version has its own vectors for ever, and its products are those of them, to the bit.
func TestTablesThatShareBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const dim = 3
		number := rapid.Float32Range(-2, 2)
		type version struct {
			table[float32]
			rows [][]float32
		}
		check := func(v *version, z []float32) {
			for r, want := range v.rows {
				if got := v.vector(Row(r)); !slices.Equal(got, want) {
					t.Fatalf("row %d is %v, want %v", r, got, want)
				}
			}
			for chunk := range v.vectors {
				out := make([]float32, min(chunkRows, v.n-chunk*chunkRows))
				v.products(out, z, chunk)
				for j, got := range out {
					want := make([]float32, 1)
					if nn.Gemv(want, nn.Whole(v.rows[chunk*chunkRows+j], dim), z); got != want[0] {
						t.Fatalf("the product of row %d is %v, want %v", chunk*chunkRows+j, got, want[0])
					}
				}
			}
		}
		all := []*version{{table: table[float32]{dim: dim}}}
		for range rapid.IntRange(1, 6).Draw(t, "versions") {
			last := all[len(all)-1]
			next := &version{last.shared(), slices.Clone(last.rows)}
			var rows []int32
			if n := last.n; n > 0 {
				from := rapid.IntRange(0, n-1).Draw(t, "from")
				step := rapid.SampledFrom([]int{1, 3, 100}).Draw(t, "step")
				for i := range rapid.SampledFrom([]int{0, 1, maxPatch / 2, maxPatch, maxPatch + 1, 300}).Draw(t, "changed") {
					if r := from + i*step; r < n {
						rows = append(rows, int32(r))
					}
				}
			}
			for range rapid.SampledFrom([]int{0, 1, maxPatch, chunkRows + 10}).Draw(t, "new") {
				rows = append(rows, int32(next.n))
				next.grow()
				next.rows = append(next.rows, nil)
			}
			first, vectors := number.Draw(t, "number"), []float32(nil)
			for i, r := range rows {
				v := []float32{first, float32(i), float32(r)}
				next.rows[r], vectors = v, append(vectors, v...)
			}
			next.change(rows, vectors, len(last.vectors))
			all = append(all, next)
		}
		z := []float32{number.Draw(t, "z"), number.Draw(t, "z"), number.Draw(t, "z")}
		for _, v := range all {
			check(v, z)
		}
	})
}
