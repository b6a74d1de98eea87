package export_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/freshet-ml/freshet/ingest/export"
	"github.com/freshet-ml/freshet/schema"
)

func TestWritePlain(t *testing.T) {
	table := schema.Table{Columns: []schema.Column{
		{Name: "arm", Data: []string{"a", `b,"c"`}}, {Name: "cycle", Data: []int32{1, 2}},
		{Name: "from", Data: []int64{1_700_000_000_000, -1}}, {Name: "recall_at_20", Data: []float64{0.25, math.NaN()}},
	}}
	var b bytes.Buffer
	if err := export.WritePlain(&b, export.CSV, table); err != nil {
		t.Fatal(err)
	}
	if want := "arm,cycle,from,recall_at_20\na,1,1700000000000,0.25\n\"b,\"\"c\"\"\",2,-1,\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	b.Reset()
	if err := export.WritePlain(&b, export.Parquet, table); err != nil {
		t.Fatal(err)
	}
	r, err := file.NewParquetReader(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	in, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	got, err := in.ReadTable(t.Context())
	if err != nil || got.NumRows() != 2 || got.NumCols() != 4 {
		t.Fatalf("%v: %v", err, got)
	}
	recall := got.Column(3).Data().Chunk(0).(*array.Float64)
	if got.Column(0).Data().Chunk(0).(*array.String).Value(1) != `b,"c"` || recall.Value(0) != 0.25 || !recall.IsNull(1) {
		t.Errorf("%v", got)
	}
	if err := export.WritePlain(&b, export.Arrow, table); err == nil {
		t.Error("a format that is not there is written")
	}
}
