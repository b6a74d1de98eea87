package export

import (
	"encoding/base64"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// csvSink writes batches as CSV. Null is an empty field, bytes are base64, a list is its texts separated by spaces.
type csvSink struct {
	w    *csv.Writer
	what What
	row  []string
	list strings.Builder
}

func newCSV(what What, s *arrow.Schema, w io.Writer) (*csvSink, error) {
	c := &csvSink{w: csv.NewWriter(w), what: what, row: make([]string, s.NumFields())}
	for i, f := range s.Fields() {
		c.row[i] = f.Name
		if f.Type.ID() == arrow.BINARY {
			c.row[i] += "_base64"
		}
	}
	return c, c.w.Write(c.row)
}

func (c *csvSink) Write(batch arrow.Record) error {
	for r := range int(batch.NumRows()) {
		for i := range c.row {
			var err error
			if c.row[i], err = c.cell(batch.Column(i), r); err != nil {
				return err
			}
		}
		if err := c.w.Write(c.row); err != nil {
			return err
		}
	}
	return nil
}

func (c *csvSink) Close() error {
	c.w.Flush()
	return c.w.Error()
}

func (c *csvSink) cell(column arrow.Array, r int) (string, error) {
	if column.IsNull(r) {
		return "", nil
	}
	switch v := column.(type) {
	case *array.String:
		return v.Value(r), nil
	case *array.Int32:
		return strconv.FormatInt(int64(v.Value(r)), 10), nil
	case *array.Int64:
		return strconv.FormatInt(v.Value(r), 10), nil
	case *array.Uint64:
		return strconv.FormatUint(v.Value(r), 10), nil
	case *array.Float64:
		return strconv.FormatFloat(v.Value(r), 'g', -1, 64), nil
	case *array.Binary:
		return base64.StdEncoding.EncodeToString(v.Value(r)), nil
	case *array.List:
		return c.texts(v, r)
	}
	panic("export: csv: a column of type " + column.DataType().Name())
}

// texts joins the texts of a list. One that holds a space would come apart again as two.
func (c *csvSink) texts(l *array.List, r int) (string, error) {
	from, to := l.ValueOffsets(r)
	values := l.ListValues().(*array.String)
	c.list.Reset()
	for i := from; i < to; i++ {
		text := values.Value(int(i))
		if strings.ContainsFunc(text, unicode.IsSpace) {
			return "", fmt.Errorf("export: item id %q has a space in it, and spaces separate the items of a session in CSV: use --format parquet or arrow, or export clicks", text)
		}
		if i > from {
			c.list.WriteByte(' ')
		}
		c.list.WriteString(text)
	}
	return c.list.String(), nil
}
