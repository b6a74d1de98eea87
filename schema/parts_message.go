package schema

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
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

// Read returns the record batch in a message's header and body, and shares no memory with them. Every fault is an
// ErrCorrupt; after one the stream cannot be read on. What it takes in memory is bounded by the length of the body.
func (r *PartsReader) Read(header, body []byte) (*PartsBatch, error) {
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
	return OpenParts(r.in.Record())
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
