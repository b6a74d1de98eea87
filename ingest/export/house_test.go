package export_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/export"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// house is a store in memory with a node that fills it.
type house struct {
	t      fataler
	store  *buffer.Store
	node   *ingest.Node
	offset map[schema.Partition]schema.Offset
}

func newHouse(t fataler, partitions int, c window.Config) *house {
	t.Helper()
	return newHouseOf(t, partitions, c, buffer.Options{CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
}

func newHouseOf(t fataler, partitions int, c window.Config, b buffer.Options) *house {
	t.Helper()
	b.FS = buffer.Memory()
	store, err := buffer.Open("store", b)
	if err != nil {
		t.Fatalf("%v", err)
	}
	decoder, err := decode.New(decode.Config{})
	if err != nil {
		t.Fatalf("%v", err)
	}
	o := ingest.DefaultOptions("clicks")
	o.Window, o.IdleAfter = c, 0
	node, err := ingest.New(store, func(r source.Record, c *schema.Click) error { return decoder.Decode(r.Value, c) }, o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	for p := range partitions {
		if _, err := node.Assign(context.Background(), schema.Partition(p)); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return &house{t: t, store: store, node: node, offset: map[schema.Partition]schema.Offset{}}
}

func (h *house) close() {
	if err := h.store.Close(); err != nil {
		h.t.Fatalf("%v", err)
	}
}

// arrivals is when the first record of every partition arrives; each following one comes a second later.
var arrivals = time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC).UnixMilli()

// take gives records to a partition, one value each, in one batch. The key is what stands before a tab, if there is one.
func (h *house) take(p schema.Partition, values ...string) {
	h.t.Helper()
	var b source.Batch
	for _, v := range values {
		key, value, ok := strings.Cut(v, "\t")
		if !ok {
			key, value = "", v
		}
		o := h.offset[p]
		b.Records = append(b.Records, source.Record{Partition: p, Offset: o, ArrivedAt: schema.ArrivalTime(arrivals + int64(o)*1000), Key: []byte(key), Value: []byte(value)})
		h.offset[p]++
	}
	b.Next, b.HighWatermark = h.offset[p], h.offset[p]
	if err := h.node.Apply(context.Background(), p, b); err != nil {
		h.t.Fatalf("%v", err)
	}
}

func (h *house) end() {
	h.t.Helper()
	if err := h.node.End(context.Background()); err != nil {
		h.t.Fatalf("%v", err)
	}
}

// export runs a job and returns the bytes that it wrote.
func (h *house) export(f export.Format, o export.Options) ([]byte, export.Summary, error) {
	h.t.Helper()
	var job *export.Job
	var err error
	if o.What == export.Aside {
		job, err = export.NewAside(h.aside(), -1, o)
	} else {
		job, err = export.New(h.store, o)
	}
	if err != nil {
		return nil, export.Summary{}, err
	}
	var b bytes.Buffer
	sink, err := export.NewSink(o.What, f, &b)
	if err != nil {
		return nil, export.Summary{}, err
	}
	sum, err := job.Run(context.Background(), sink)
	return b.Bytes(), sum, err
}

func (h *house) aside() iter.Seq2[schema.Rejected, error] { return h.store.Aside(0) }

// read returns the batches of a file that an Arrow or a Parquet reader finds, and the schema.
func read(t fataler, f export.Format, b []byte) (*arrow.Schema, []arrow.Record) {
	t.Helper()
	switch f {
	case export.Arrow:
		in, err := ipc.NewFileReader(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%v", err)
		}
		var batches []arrow.Record
		for i := range in.NumRecords() {
			r, err := in.RecordAt(i)
			if err != nil {
				t.Fatalf("%v", err)
			}
			batches = append(batches, r)
		}
		return in.Schema(), batches
	case export.Parquet:
		in, err := file.NewParquetReader(bytes.NewReader(b), file.WithReadProps(parquet.NewReaderProperties(memory.DefaultAllocator)))
		if err != nil {
			t.Fatalf("%v", err)
		}
		reader, err := pqarrow.NewFileReader(in, pqarrow.ArrowReadProperties{BatchSize: 1 << 20}, memory.DefaultAllocator)
		if err != nil {
			t.Fatalf("%v", err)
		}
		table, err := reader.ReadTable(context.Background())
		if err != nil {
			t.Fatalf("%v", err)
		}
		var batches []arrow.Record
		rows := array.NewTableReader(table, 1<<20)
		for rows.Next() {
			r := rows.Record()
			r.Retain()
			batches = append(batches, r)
		}
		return table.Schema(), batches
	}
	t.Fatalf("no reader of %s", f)
	return nil, nil
}

// dump writes a table as text: its columns and a line of JSON a row.
func dump(t fataler, f export.Format, b []byte) string {
	t.Helper()
	if f == export.CSV {
		return string(b)
	}
	s, batches := read(t, f, b)
	var out strings.Builder
	for _, field := range s.Fields() {
		null := ""
		if field.Nullable {
			null = ", or null"
		}
		fmt.Fprintf(&out, "%s: %s%s\n", field.Name, field.Type, null)
	}
	for _, batch := range batches {
		text, err := batch.MarshalJSON()
		if err != nil {
			t.Fatalf("%v", err)
		}
		rows := strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(text)), "["), "]"))
		out.WriteString(strings.ReplaceAll(rows, "\n,", "\n") + "\n")
	}
	return out.String()
}

// newStory is a house with the windows of the stories.
func newStory(t *testing.T) *house {
	c := window.DefaultConfig()
	c.PartAge, c.PartClicks = 10*time.Second, 3
	return newHouse(t, 2, c)
}
