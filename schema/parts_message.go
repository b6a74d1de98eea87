package schema

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// A table travels as messages of Arrow's IPC format, each a header (a flatbuffer that says what is in the body) and a body
// (the columns' buffers, each padded to 64 bytes): first one with the schema, then one for each record batch. Arrow Flight
// carries the two halves in fields of their own; files and streams put them one behind the other.

// PartsSchemaMessage returns the header of the message that begins a stream of the parts table. It has no body.
func PartsSchemaMessage() []byte { return bytes.Clone(schemaMessage) }

// Message returns the rows as one record batch. Both slices are valid until the next call of b.
func (b *PartsBuilder) Message() (header, body []byte, err error) {
	if b.out == nil {
		b.out = newPartsWriter()
	}
	record := b.Record()
	defer record.Release()
	return b.out.message(record)
}

// partsWriter makes messages of records.
type partsWriter struct {
	ipc    *ipc.Writer
	header []byte
	body   bytes.Buffer
}

func newPartsWriter() *partsWriter {
	w := &partsWriter{}
	w.ipc = ipc.NewWriterWithPayloadWriter(w, ipc.WithSchema(partsSchema))
	return w
}

func (w *partsWriter) message(record arrow.Record) (header, body []byte, err error) {
	if err := w.ipc.Write(record); err != nil {
		return nil, nil, fmt.Errorf("encode parts: %w", err)
	}
	return w.header, w.body.Bytes(), nil
}

// Start, WritePayload and Close are ipc.PayloadWriter: the last payload wins, which is the record's.
func (w *partsWriter) Start() error { return nil }

func (w *partsWriter) WritePayload(p ipc.Payload) error {
	meta := p.Meta()
	defer meta.Release()
	w.header = append(w.header[:0], meta.Bytes()...)
	w.body.Reset()
	return p.SerializeBody(&w.body)
}

func (w *partsWriter) Close() error { return nil }

var schemaMessage = func() []byte {
	w := newPartsWriter()
	if err := w.ipc.Close(); err != nil { // a stream without batches is its schema
		panic("schema: parts: " + err.Error())
	}
	return w.header
}()

// PartsReader reads record batches of one stream of the parts table. The zero value is ready. It is for one goroutine.
type PartsReader struct {
	in           *ipc.Reader
	header, body []byte // of the message that comes next; no header when there is none
	began        bool
	memory       bounded
}

// Read returns the rows of the record batch in a message's header and body, and shares no memory with them. Every fault is
// an ErrCorrupt; after one the stream cannot be read on. What it takes in memory is bounded by the length of the body.
func (r *PartsReader) Read(header, body []byte) ([]PartsRow, error) {
	if r.in == nil {
		// The schema is ours, not the sender's: what does not fit into it is damage, and a damaged schema is never parsed.
		in, err := ipc.NewReaderFromMessageReader((*partsMessages)(r), ipc.WithAllocator(&r.memory))
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
		}
		r.in = in
	}
	r.header, r.body = header, body
	r.memory.left = len(body) + len(header) + leastMemory
	defer func() { r.header, r.body = nil, nil }()
	if !r.in.Next() {
		if err := r.in.Err(); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
		}
		return nil, fmt.Errorf("%w: it is not a record batch", ErrCorrupt)
	}
	return ReadParts(r.in.Record())
}

// leastMemory is what buffers may take beyond the length of the body: each is rounded up to 64 bytes.
const leastMemory = 16 << 10

// bounded is Go's memory, up to a number of bytes. Beyond it it panics, which the Arrow reader turns into an error.
type bounded struct{ left int }

func (m *bounded) take(n int) {
	if n < 0 || n > m.left {
		panic(errTooLong)
	}
	m.left -= n
}

var errTooLong = errors.New("a buffer is longer than the message")

func (m *bounded) Allocate(n int) []byte {
	m.take(n)
	return memory.DefaultAllocator.Allocate(n)
}

func (m *bounded) Reallocate(n int, b []byte) []byte {
	m.take(n)
	return memory.DefaultAllocator.Reallocate(n, b)
}

func (m *bounded) Free([]byte) {}

// partsMessages is a PartsReader as the ipc.MessageReader of its ipc.Reader.
type partsMessages PartsReader

func (m *partsMessages) Message() (*ipc.Message, error) {
	if !m.began {
		m.began = true
		return ipc.NewMessage(memory.NewBufferBytes(schemaMessage), memory.NewBufferBytes(nil)), nil
	}
	header := m.header
	if header == nil {
		return nil, errors.New("the message is not a record batch")
	}
	m.header = nil
	return ipc.NewMessage(memory.NewBufferBytes(header), memory.NewBufferBytes(m.body)), nil
}

func (m *partsMessages) Retain()  {}
func (m *partsMessages) Release() {}

// ReadParts returns the rows of a record with the schema of PartsSchema. Texts share the record's memory. Every fault is an
// ErrCorrupt.
func ReadParts(record arrow.Record) (rows []PartsRow, err error) {
	defer func() { // accessors panic on offsets that lie outside
		if r := recover(); r != nil {
			rows, err = nil, fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
	}()
	if !record.Schema().Equal(partsSchema) {
		return nil, fmt.Errorf("%w: its columns are not those of the parts table", ErrCorrupt)
	}
	for i, f := range partsSchema.Fields() {
		if c := record.Column(i); !f.Nullable && c.NullN() > 0 || c.Len() != int(record.NumRows()) {
			return nil, fmt.Errorf("%w: column %q has nulls, or another length than the table", ErrCorrupt, f.Name)
		}
	}
	clicks, offsets, err := readClicks(record.Column(colClicks).(*array.List))
	if err != nil {
		return nil, err
	}
	var (
		partition  = record.Column(colPartition).(*array.Int32)
		emit       = record.Column(colEmit).(*array.Uint64)
		kind       = record.Column(colKind).(*array.String)
		epoch      = record.Column(colEpoch).(*array.Uint32)
		due        = record.Column(colDue).(*array.Timestamp)
		user       = record.Column(colUserID).(*array.String)
		start      = record.Column(colSessionStart).(*array.Timestamp)
		number     = record.Column(colNumber).(*array.Int32)
		final      = record.Column(colFinal).(*array.Boolean)
		cause      = record.Column(colCause).(*array.String)
		offset     = record.Column(colOffset).(*array.Int64)
		partitions = record.Column(colPartitions).(*array.Int32)
	)
	rows = make([]PartsRow, record.NumRows())
	for i := range rows {
		r := &rows[i]
		p := &r.Part
		p.Partition, p.Emit, p.Epoch, p.Due = Partition(partition.Value(i)), Emit(emit.Value(i)), Epoch(epoch.Value(i)), BeginningOfTime
		if due.IsValid(i) {
			p.Due = EventTime(due.Value(i))
		}
		if r.Kind, err = kindOf(kind.Value(i)); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		switch {
		case r.Kind == RowPart:
			if due.IsNull(i) || user.IsNull(i) || start.IsNull(i) || number.IsNull(i) || final.IsNull(i) || cause.IsNull(i) {
				return nil, fmt.Errorf("%w: row %d is a part and has a null", ErrCorrupt, i)
			}
			p.UserID, p.SessionStart, p.Number = user.Value(i), EventTime(start.Value(i)), number.Value(i)
			p.Final, p.Cause = final.Value(i), Cause(cause.Value(i))
			if from, to := offsets[i], offsets[i+1]; from < to {
				p.Clicks = clicks[from:to:to]
				for j := range p.Clicks {
					p.Clicks[j].UserID = p.UserID
				}
			}
		case offset.IsNull(i) || r.Kind == RowGrow && partitions.IsNull(i):
			return nil, fmt.Errorf("%w: row %d is a mark and has a null", ErrCorrupt, i)
		default:
			r.Offset = Offset(offset.Value(i))
			if r.Kind == RowGrow {
				r.Partitions = partitions.Value(i)
			}
		}
	}
	return rows, nil
}

func kindOf(name string) (RowKind, error) {
	for _, k := range []RowKind{RowPart, RowTick, RowEnd, RowGrow, RowGap} {
		if string(k) == name {
			return k, nil
		}
	}
	return "", fmt.Errorf("%w: %.20q is a kind that this program does not know: run a newer freshet", ErrCorrupt, name)
}

// readClicks returns the clicks of all rows, and where each row's begin and end.
func readClicks(lists *array.List) ([]Click, []int32, error) {
	if lists.Len() == 0 {
		return nil, nil, nil
	}
	offsets := lists.Offsets()[lists.Offset():]
	if len(offsets) < lists.Len()+1 || offsets[0] < 0 {
		return nil, nil, fmt.Errorf("%w: the lists of clicks have no ends", ErrCorrupt)
	}
	offsets = offsets[:lists.Len()+1]
	for i, end := range offsets[1:] {
		if end < offsets[i] { // else few clicks could be read many times over
			return nil, nil, fmt.Errorf("%w: the clicks of row %d end before they begin", ErrCorrupt, i)
		}
	}
	structs, n := lists.ListValues().(*array.Struct), int(offsets[lists.Len()])
	if n == 0 {
		return nil, offsets, nil
	}
	if structs.NullN() > 0 || structs.Len() < n {
		return nil, nil, fmt.Errorf("%w: there are not as many clicks as the lists hold", ErrCorrupt)
	}
	for i, f := range clickStruct.Fields() {
		if c := structs.Field(i); c.NullN() > 0 || c.Len() < n {
			return nil, nil, fmt.Errorf("%w: column %q of the clicks has nulls, or is too short", ErrCorrupt, f.Name)
		}
	}
	var (
		item      = structs.Field(colItemID).(*array.String)
		eventTime = structs.Field(colEventTime).(*array.Timestamp).TimestampValues()
		action    = structs.Field(colAction).(*array.String)
		eventID   = structs.Field(colEventID).(*array.String)
		session   = structs.Field(colSession).(*array.String)
		scene     = structs.Field(colScene).(*array.String)
		category  = structs.Field(colCategory).(*array.String)
		seller    = structs.Field(colSeller).(*array.String)
		price     = structs.Field(colPrice).(*array.Float64).Float64Values()
		context   = structs.Field(colContext).(*array.String)
		contexts  = context.ValueBytes()
		arrivedAt = structs.Field(colArrivedAt).(*array.Timestamp).TimestampValues()
	)
	clicks := make([]Click, n)
	for i := range clicks {
		c := &clicks[i]
		c.ItemID, c.EventTime, c.Action = item.Value(i), EventTime(eventTime[i]), Action(action.Value(i))
		c.EventID, c.SessionID, c.Scene = eventID.Value(i), session.Value(i), scene.Value(i)
		c.Item.Category, c.Item.Seller, c.Item.Price = category.Value(i), seller.Value(i), price[i]
		c.ArrivedAt = ArrivalTime(arrivedAt[i])
		if from, to := context.ValueOffset(i)-context.ValueOffset(0), context.ValueOffset(i+1)-context.ValueOffset(0); from != to {
			c.Context = contexts[from:to:to]
		}
	}
	return clicks, offsets, nil
}
