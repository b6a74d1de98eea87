package export

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/freshet-ml/freshet/schema"
)

// The columns of each table. A column that is not nullable has a value in every row. Names and types are a promise to
// readers: columns may be added behind, and nothing else changes.
var columns = map[What][]arrow.Field{
	Sessions: {
		{Name: "user_id", Type: arrow.BinaryTypes.String},
		{Name: "session_start", Type: arrow.PrimitiveTypes.Int64}, // ms: event time of the first click
		{Name: "session_end", Type: arrow.PrimitiveTypes.Int64},   // ms: event time of the last click
		{Name: "clicks", Type: arrow.PrimitiveTypes.Int32},
		{Name: "items", Type: arrow.ListOfNonNullable(arrow.BinaryTypes.String)}, // one per click, in event order
	},
	Clicks: {
		{Name: "user_id", Type: arrow.BinaryTypes.String},
		{Name: "item_id", Type: arrow.BinaryTypes.String},
		{Name: "event_time", Type: arrow.PrimitiveTypes.Int64}, // ms
		{Name: "action", Type: arrow.BinaryTypes.String},
		{Name: "event_id", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "session_id", Type: arrow.BinaryTypes.String, Nullable: true}, // the producer's own
		{Name: "scene", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "category", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "seller", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "price", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "context", Type: arrow.BinaryTypes.String, Nullable: true}, // a JSON object
		{Name: "arrived_at", Type: arrow.PrimitiveTypes.Int64},            // ms
		{Name: "session_start", Type: arrow.PrimitiveTypes.Int64},         // ms; with user_id it names the session
		{Name: "partition", Type: arrow.PrimitiveTypes.Int32},
		{Name: "emit", Type: arrow.PrimitiveTypes.Uint64}, // of the part in the partition's log
		{Name: "part", Type: arrow.PrimitiveTypes.Int32},  // number of the part in its session
	},
	Aside: {
		{Name: "topic", Type: arrow.BinaryTypes.String},
		{Name: "partition", Type: arrow.PrimitiveTypes.Int32},
		{Name: "offset", Type: arrow.PrimitiveTypes.Int64},
		{Name: "arrived_at", Type: arrow.PrimitiveTypes.Int64}, // ms
		{Name: "reason", Type: arrow.BinaryTypes.String},
		{Name: "detail", Type: arrow.BinaryTypes.String},
		{Name: "key", Type: arrow.BinaryTypes.Binary},   // base64 in CSV
		{Name: "value", Type: arrow.BinaryTypes.Binary}, // base64 in CSV
	},
}

// A batch of rows, which is a row group in Parquet and a record batch in Arrow, ends with whichever of these comes first.
// The second bounds memory where rows are long.
const (
	batchRows  = 128 << 10
	batchBytes = 64 << 20
)

// table gathers rows into batches for a sink.
type table struct {
	schema *arrow.Schema
	build  *array.RecordBuilder
	sink   Sink
	rows   int
	bytes  int
	// repaired counts texts that were not UTF-8, which the formats demand, and were written with U+FFFD in place of what
	// was wrong.
	repaired int64
}

func newTable(what What, sink Sink) *table {
	s := schemaOf(what)
	return &table{schema: s, build: array.NewRecordBuilder(memory.DefaultAllocator, s), sink: sink}
}

func schemaOf(what What) *arrow.Schema { return arrow.NewSchema(columns[what], nil) }

// text appends a required text to column i, and note one that may be missing.
func (t *table) text(i int, v string) {
	if !utf8.ValidString(v) {
		v = strings.ToValidUTF8(v, "\uFFFD")
		t.repaired++
	}
	t.build.Field(i).(*array.StringBuilder).Append(v)
	t.bytes += len(v)
}

func (t *table) note(i int, v string) {
	if v == "" {
		t.build.Field(i).AppendNull()
		return
	}
	t.text(i, v)
}

func (t *table) int64(i int, v int64)   { t.build.Field(i).(*array.Int64Builder).Append(v) }
func (t *table) int32(i int, v int32)   { t.build.Field(i).(*array.Int32Builder).Append(v) }
func (t *table) uint64(i int, v uint64) { t.build.Field(i).(*array.Uint64Builder).Append(v) }
func (t *table) binary(i int, v []byte) {
	t.build.Field(i).(*array.BinaryBuilder).Append(v)
	t.bytes += len(v)
}
func (t *table) number(i int, v float64) { t.build.Field(i).(*array.Float64Builder).Append(v) }

func (t *table) session(s *session) error {
	t.text(0, s.user)
	t.int64(1, int64(s.start))
	t.int64(2, int64(s.end))
	t.int32(3, int32(s.clicks))
	list := t.build.Field(4).(*array.ListBuilder)
	list.Append(true)
	items := list.ValueBuilder().(*array.StringBuilder)
	s.eachItem(func(id []byte) {
		if !utf8.Valid(id) {
			id = bytes.ToValidUTF8(id, []byte("\uFFFD"))
			t.repaired++
		}
		items.BinaryBuilder.Append(id)
		t.bytes += len(id) + 4
	})
	return t.end(64)
}

func (t *table) click(p *schema.Part, c *schema.Click) error {
	t.text(0, c.UserID)
	t.text(1, c.ItemID)
	t.int64(2, int64(c.EventTime))
	t.text(3, string(c.Action))
	t.note(4, c.EventID)
	t.note(5, c.SessionID)
	t.note(6, c.Scene)
	t.note(7, c.Item.Category)
	t.note(8, c.Item.Seller)
	if c.Item.Price == 0 {
		t.build.Field(9).AppendNull()
	} else {
		t.number(9, c.Item.Price)
	}
	t.note(10, string(c.Context))
	t.int64(11, int64(c.ArrivedAt))
	t.int64(12, int64(p.SessionStart))
	t.int32(13, int32(p.Partition))
	t.uint64(14, uint64(p.Emit))
	t.int32(15, p.Number)
	return t.end(128)
}

func (t *table) rejected(r *schema.Rejected) error {
	t.text(0, r.Topic)
	t.int32(1, int32(r.Partition))
	t.int64(2, int64(r.Offset))
	t.int64(3, int64(r.ArrivedAt))
	t.text(4, string(r.Reason))
	t.text(5, r.Detail)
	t.binary(6, r.Key)
	t.binary(7, r.Value)
	return t.end(64)
}

// end ends a row, which took fixed bytes beside its texts, and a batch where that is full.
func (t *table) end(fixed int) error {
	t.rows++
	if t.bytes += fixed; t.rows < batchRows && t.bytes < batchBytes {
		return nil
	}
	return t.flush()
}

// flush hands the rows gathered so far to the sink.
func (t *table) flush() error {
	if t.rows == 0 {
		return nil
	}
	record := t.build.NewRecord()
	defer record.Release()
	t.rows, t.bytes = 0, 0
	return t.sink.Write(record)
}
