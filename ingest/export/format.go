package export

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

// What names a table.
type What string

// The tables.
const (
	Sessions What = "sessions"
	Clicks   What = "clicks"
	Aside    What = "aside"
)

// Format names a file format.
type Format string

// The formats.
const (
	Parquet Format = "parquet" // Snappy would be faster to write by a tenth; zstd makes the smaller file
	Arrow   Format = "arrow"   // an Arrow IPC file (Feather V2), buffers compressed with zstd
	CSV     Format = "csv"     // RFC 4180, a header line, LF
)

// Formats lists every Format.
var Formats = []Format{Parquet, Arrow, CSV}

// Sink takes the batches of one table and writes them in a format.
type Sink interface {
	Write(batch arrow.Record) error
	// Close writes what belongs behind the last batch. It does not close what the sink writes to.
	Close() error
}

// NewSink returns a sink that writes the table what to w.
func NewSink(what What, format Format, w io.Writer) (Sink, error) {
	if columns[what] == nil {
		return nil, fmt.Errorf("export: %q: choose sessions, clicks or aside", what)
	}
	s := schemaOf(what)
	switch format {
	case Parquet:
		return pqarrow.NewFileWriter(s, onlyWriter{w}, parquetProperties(), pqarrow.DefaultWriterProps())
	case Arrow:
		return ipc.NewFileWriter(&counted{w: w}, ipc.WithSchema(s), ipc.WithZstd())
	case CSV:
		return newCSV(what, s, w)
	}
	names := make([]string, len(Formats))
	for i, f := range slices.Sorted(slices.Values(Formats)) {
		names[i] = string(f)
	}
	return nil, fmt.Errorf("export: format %q: choose one of %s", format, strings.Join(names, ", "))
}

// parquetProperties: a record is written as one row group. Dictionaries make ids small; where a column has too many values the writer falls back to plain ones
// by itself.
func parquetProperties() *parquet.WriterProperties {
	return parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithMaxRowGroupLength(batchRows),
		parquet.WithVersion(parquet.V2_LATEST), parquet.WithCreatedBy("freshet"))
}

// onlyWriter hides that a writer is also a closer: the Parquet writer would close it.
type onlyWriter struct{ io.Writer }

// counted is what the Arrow file writer needs of a file: it asks for the position and never goes back.
type counted struct {
	w   io.Writer
	pos int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.pos += int64(n)
	return n, err
}

func (c *counted) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.New("export: an Arrow file can only be appended to")
	}
	return c.pos, nil
}
