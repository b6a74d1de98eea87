package schema_test

import (
	"fmt"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

// BenchmarkTableBytes encodes the items of a base: 100,000 names and vectors of 64 numbers.
func BenchmarkTableBytes(b *testing.B) {
	const items, dim = 100_000, 64
	names := make([]string, items)
	for i := range names {
		names[i] = fmt.Sprintf("i%d", i)
	}
	t := schema.Table{Columns: []schema.Column{{Name: "item_id", Data: names}, {Name: "vector", Data: schema.Vectors{Dim: dim, Values: make([]float32, items*dim)}}}}
	b.ReportAllocs()
	for b.Loop() {
		encoded, err := t.Bytes()
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(encoded)))
	}
}
