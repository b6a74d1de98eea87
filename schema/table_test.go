package schema_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

func sample() schema.Table {
	return schema.Table{
		Columns: []schema.Column{
			{Name: "item_id", Data: []string{"a", "", "ünï"}},
			{Name: "row", Data: []int32{0, 7, -1}},
			{Name: "seen", Data: []int64{1, 2, 3}},
			{Name: "emit", Data: []uint64{1, 2, 1 << 63}},
			{Name: "bias", Data: []float32{0.5, -1, 2}},
			{Name: "weight", Data: []float64{0.25, 0, 1e300}},
			{Name: "vector", Data: schema.Vectors{Dim: 2, Values: []float32{1, 2, 3, 4, 5, 6}}},
			{Name: "vector_int8", Data: schema.Codes{Dim: 1, Values: []int8{-127, 0, 127}}},
			{Name: "half", Data: [][]schema.Half{schema.Halved([]float32{1, -2}), {}, schema.Halved([]float32{65504})}},
			{Name: "shape", Data: [][]int32{{2, 3}, {}, {1}}},
			{Name: "values", Data: [][]float32{{1}, {2, 3}, {}}},
		},
		Meta: [][2]string{{"dim", "2"}, {"action", "click"}},
	}
}

func TestTableRoundTrip(t *testing.T) {
	for name, want := range map[string]schema.Table{
		"full":  sample(),
		"empty": {Columns: []schema.Column{{Name: "item_id", Data: []string{}}, {Name: "vector", Data: schema.Vectors{Dim: 4, Values: []float32{}}}}},
	} {
		b, err := want.Bytes()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, _ := want.Bytes()
		if !bytes.Equal(b, again) {
			t.Errorf("%s: encoding twice gave different bytes", name)
		}
		got, err := schema.DecodeTable(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: decode(encode(t)) differs (-want +got):\n%s", name, diff)
		}
	}
}

func TestColNamesTheFault(t *testing.T) {
	table := sample()
	if _, err := schema.Col[[]float32](table, "none"); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("missing column: got %v, want ErrCorrupt", err)
	}
	if _, err := schema.Col[[]float32](table, "row"); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("column of another type: got %v, want ErrCorrupt", err)
	}
	if rows, err := schema.Col[[]int32](table, "row"); err != nil || rows[1] != 7 {
		t.Errorf("row = %v, %v", rows, err)
	}
}

// TestTableOfAnyLengths puts numbers of all sizes at every place of a table: whatever length it is that they stand for, no more memory is taken than the table may need.
func TestTableOfAnyLengths(t *testing.T) {
	whole, err := sample().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for at := 0; at+8 <= len(whole); at += 2 {
		for _, n := range []uint64{1<<64 - 1, 1 << 62, 1<<32 - 1, 1 << 31, 1<<24 - 1, 1 << 12} {
			b := bytes.Clone(whole)
			if n>>32 > 0 {
				binary.LittleEndian.PutUint64(b[at:], n)
			} else {
				binary.LittleEndian.PutUint32(b[at:], uint32(n))
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := schema.DecodeTable(b)
			runtime.ReadMemStats(&after)
			if err != nil && !errors.Is(err, schema.ErrCorrupt) {
				t.Fatalf("%d at byte %d: fault is not an ErrCorrupt: %v", n, at, err)
			}
			if err != nil {
				refused++
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<10+16*uint64(len(b)) {
				t.Fatalf("%d at byte %d: %d bytes are allocated for a table of %d", n, at, grown, len(b))
			}
		}
	}
	if refused == 0 {
		t.Fatal("nothing was refused")
	}
}

func FuzzDecodeTable(t *testing.F) {
	f := fuzz.Of(t)
	b, _ := sample().Bytes()
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte("ARROW1\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := schema.DecodeTable(b); err != nil && !errors.Is(err, schema.ErrCorrupt) {
			t.Fatalf("fault is not an ErrCorrupt: %v", err)
		}
	})
}
