package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Column is a named column of a Table. Data is one of
//
//	[]string  []int32  []int64  []uint64  []float32  []float64      one value a row
//	Vectors  Codes                                                  one vector of fixed length a row, of float32 or of int8
//	[][]int32  [][]float32  [][]Half                                one list a row
type Column struct {
	Name string
	Data any
}

// Vectors is a column of vectors of one length: row i is Values[i*Dim : (i+1)*Dim].
type Vectors struct {
	Dim    int
	Values []float32
}

// Codes is Vectors of int8.
type Codes struct {
	Dim    int
	Values []int8
}

// Table is a table of columns of equal length. It travels as an Arrow IPC file with one record batch, which any Arrow
// reader opens. Encoding is a pure function of the table: equal tables give equal bytes.
type Table struct {
	Columns []Column
	// Meta is written as key-value metadata of the Arrow schema, in this order.
	Meta [][2]string
}

// ErrCorrupt marks bytes that are not a table, or not the table that was expected.
var ErrCorrupt = errors.New("corrupt table")

// Col returns the data of the column called name as a T, or ErrCorrupt where there is none or it has another type.
func Col[T any](t Table, name string) (T, error) {
	for _, c := range t.Columns {
		if c.Name == name {
			if data, ok := c.Data.(T); ok {
				return data, nil
			}
			var want T
			return want, fmt.Errorf("%w: column %q is %T, want %T", ErrCorrupt, name, c.Data, want)
		}
	}
	var none T
	return none, fmt.Errorf("%w: there is no column %q", ErrCorrupt, name)
}

// Has says whether t has a column called name.
func (t Table) Has(name string) bool {
	return slices.ContainsFunc(t.Columns, func(c Column) bool { return c.Name == name })
}

// MetaValue returns the metadata value of key, or "".
func (t Table) MetaValue(key string) string {
	for _, kv := range t.Meta {
		if kv[0] == key {
			return kv[1]
		}
	}
	return ""
}

// Encode writes t as an Arrow IPC file. It panics on a column type that Column does not list or on columns of unequal
// length: both are mistakes of the program.
func (t Table) Encode(w io.Writer) error {
	record := t.record()
	defer record.Release()
	return encode(w, record)
}

// Bytes returns t encoded.
func (t Table) Bytes() ([]byte, error) {
	record := t.record()
	defer record.Release()
	const frame = 4096 // schema, footer, and what aligns some columns
	size := frame
	for _, c := range record.Columns() {
		size += bytesOf(c.Data())
	}
	b := bytes.NewBuffer(make([]byte, 0, size)) // one that grows is cleared and copied again and again
	err := encode(b, record)
	return b.Bytes(), err
}

func encode(w io.Writer, record arrow.Record) error {
	out, err := ipc.NewFileWriter(&appendOnly{w: w}, ipc.WithSchema(record.Schema()))
	if err == nil {
		err = out.Write(record)
	}
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		return fmt.Errorf("encode table: %w", err)
	}
	return nil
}

// bytesOf returns how many bytes the buffers of an array have.
func bytesOf(d arrow.ArrayData) (n int) {
	for _, b := range d.Buffers() {
		if b != nil {
			n += b.Len()
		}
	}
	for _, child := range d.Children() {
		n += bytesOf(child)
	}
	return n
}

func (t Table) record() arrow.Record {
	fields := make([]arrow.Field, len(t.Columns))
	columns := make([]arrow.Array, len(t.Columns))
	rows := -1
	for i, c := range t.Columns {
		columns[i] = toArrow(c)
		fields[i] = arrow.Field{Name: c.Name, Type: columns[i].DataType()}
		if rows >= 0 && columns[i].Len() != rows {
			panic(fmt.Sprintf("schema: table: column %q has %d rows, the first has %d", c.Name, columns[i].Len(), rows))
		}
		rows = columns[i].Len()
	}
	var keys, values []string
	for _, kv := range t.Meta {
		keys, values = append(keys, kv[0]), append(values, kv[1])
	}
	meta := arrow.NewMetadata(keys, values)
	return array.NewRecord(arrow.NewSchema(fields, &meta), columns, int64(max(rows, 0)))
}

// DecodeTable reads a table that Encode, or another Arrow writer, wrote, without compression. Every fault is an ErrCorrupt. What it
// takes in memory is bounded by the length of b. The columns are copies: they do not hold on to b.
func DecodeTable(b []byte) (t Table, err error) {
	defer func() { // the Arrow reader panics on some damaged input
		if r := recover(); r != nil {
			t, err = Table{}, fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
	}()
	if err := checkFooter(b); err != nil {
		return Table{}, err
	}
	in, err := ipc.NewFileReader(bytes.NewReader(b), ipc.WithAllocator(&bounded{left: 2*len(b) + leastMemory})) // each buffer once in the batch, once by itself
	if err != nil {
		return Table{}, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	defer in.Close()
	if in.NumRecords() != 1 {
		return Table{}, fmt.Errorf("%w: %d record batches, want 1", ErrCorrupt, in.NumRecords())
	}
	record, err := in.RecordAt(0)
	if err != nil {
		return Table{}, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	defer record.Release()
	for i, f := range in.Schema().Fields() {
		data, err := fromArrow(record.Column(i))
		if err != nil {
			return Table{}, fmt.Errorf("column %q: %w", f.Name, err)
		}
		t.Columns = append(t.Columns, Column{Name: f.Name, Data: data})
	}
	meta := in.Schema().Metadata()
	for i, k := range meta.Keys() {
		t.Meta = append(t.Meta, [2]string{k, meta.Values()[i]})
	}
	return t, nil
}

func toArrow(c Column) arrow.Array {
	switch v := c.Data.(type) {
	case []string:
		b := array.NewStringBuilder(memory.DefaultAllocator)
		b.AppendValues(v, nil)
		return b.NewArray()
	case []int8: // of Codes
		return fixedWidth(arrow.PrimitiveTypes.Int8, arrow.Int8Traits.CastToBytes(v), len(v))
	case []Half: // of lists
		return fixedWidth(arrow.FixedWidthTypes.Float16, arrow.Float16Traits.CastToBytes(v), len(v))
	case []int32:
		return fixedWidth(arrow.PrimitiveTypes.Int32, arrow.Int32Traits.CastToBytes(v), len(v))
	case []int64:
		return fixedWidth(arrow.PrimitiveTypes.Int64, arrow.Int64Traits.CastToBytes(v), len(v))
	case []uint64:
		return fixedWidth(arrow.PrimitiveTypes.Uint64, arrow.Uint64Traits.CastToBytes(v), len(v))
	case []float32:
		return fixedWidth(arrow.PrimitiveTypes.Float32, arrow.Float32Traits.CastToBytes(v), len(v))
	case []float64:
		return fixedWidth(arrow.PrimitiveTypes.Float64, arrow.Float64Traits.CastToBytes(v), len(v))
	case Vectors:
		if v.Dim <= 0 || len(v.Values)%v.Dim != 0 {
			panic(fmt.Sprintf("schema: table: column %q has %d values, not a multiple of its dim %d", c.Name, len(v.Values), v.Dim))
		}
		return fixedLists(v.Dim, len(v.Values), toArrow(Column{Data: v.Values}))
	case Codes:
		if v.Dim <= 0 || len(v.Values)%v.Dim != 0 {
			panic(fmt.Sprintf("schema: table: column %q has %d values, not a multiple of its dim %d", c.Name, len(v.Values), v.Dim))
		}
		return fixedLists(v.Dim, len(v.Values), toArrow(Column{Data: v.Values}))
	case [][]int32:
		return lists(v)
	case [][]float32:
		return lists(v)
	case [][]Half:
		return lists(v)
	}
	panic(fmt.Sprintf("schema: table: column %q has type %T", c.Name, c.Data))
}

func fixedWidth(t arrow.DataType, b []byte, n int) arrow.Array {
	return array.MakeFromData(array.NewData(t, n, []*memory.Buffer{nil, memory.NewBufferBytes(b)}, nil, 0, 0))
}

// fixedLists are n values as vectors of one length.
func fixedLists(dim, n int, values arrow.Array) arrow.Array {
	t := arrow.FixedSizeListOfNonNullable(int32(dim), values.DataType())
	return array.MakeFromData(array.NewData(t, n/dim, []*memory.Buffer{nil}, []arrow.ArrayData{values.Data()}, 0, 0))
}

func lists[T Half | int32 | float32](rows [][]T) arrow.Array {
	offsets := make([]int32, 1, len(rows)+1)
	flat := make([]T, 0)
	for _, r := range rows {
		flat = append(flat, r...)
		offsets = append(offsets, int32(len(flat)))
	}
	values := toArrow(Column{Data: flat})
	t := arrow.ListOfNonNullable(values.DataType())
	buffers := []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets))}
	return array.MakeFromData(array.NewData(t, len(rows), buffers, []arrow.ArrayData{values.Data()}, 0, 0))
}

func fromArrow(a arrow.Array) (any, error) {
	if a.NullN() > 0 {
		return nil, fmt.Errorf("%w: it has nulls", ErrCorrupt)
	}
	switch v := a.(type) {
	case *array.String:
		out := make([]string, v.Len())
		for i := range out {
			out[i] = string([]byte(v.Value(i)))
		}
		return out, nil
	case *array.Int32:
		return append([]int32{}, v.Int32Values()...), nil
	case *array.Int64:
		return append([]int64{}, v.Int64Values()...), nil
	case *array.Uint64:
		return append([]uint64{}, v.Uint64Values()...), nil
	case *array.Float32:
		return append([]float32{}, v.Float32Values()...), nil
	case *array.Float64:
		return append([]float64{}, v.Float64Values()...), nil
	case *array.FixedSizeList:
		dim := int(v.DataType().(*arrow.FixedSizeListType).Len())
		if n := dim * v.Len(); dim > 0 && v.ListValues().Len() >= n {
			switch values := v.ListValues().(type) {
			case *array.Float32:
				return Vectors{Dim: dim, Values: append([]float32{}, values.Float32Values()[:n]...)}, nil
			case *array.Int8:
				return Codes{Dim: dim, Values: append([]int8{}, values.Int8Values()[:n]...)}, nil
			}
		}
		return nil, fmt.Errorf("%w: it is not a list of vectors of float32 or int8", ErrCorrupt)
	case *array.List:
		switch values := v.ListValues().(type) {
		case *array.Float16:
			return fromLists(v, values.Values())
		case *array.Int32:
			return fromLists(v, values.Int32Values())
		case *array.Float32:
			return fromLists(v, values.Float32Values())
		}
	}
	return nil, fmt.Errorf("%w: type %s is not one of this program's", ErrCorrupt, a.DataType())
}

func fromLists[T Half | int32 | float32](l *array.List, values []T) ([][]T, error) {
	if l.Len() >= max(len(l.Offsets()), 1) { // Arrow's reader looks at what a string column says of its length, and not at this
		return nil, fmt.Errorf("%w: it has %d lists and %d ends of them", ErrCorrupt, l.Len(), len(l.Offsets()))
	}
	out := make([][]T, l.Len())
	for i := range out {
		from, to := l.ValueOffsets(i)
		if from < 0 || to < from || to > int64(len(values)) {
			return nil, fmt.Errorf("%w: a list reaches beyond its values", ErrCorrupt)
		}
		out[i] = append([]T{}, values[from:to]...)
	}
	return out, nil
}

// appendOnly is what the Arrow file writer needs of a file: it asks for the position and never goes back.
type appendOnly struct {
	w   io.Writer
	pos int64
}

func (a *appendOnly) Write(p []byte) (int, error) {
	n, err := a.w.Write(p)
	a.pos += int64(n)
	return n, err
}

func (a *appendOnly) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.New("schema: table: an encoded table can only be appended to")
	}
	return a.pos, nil
}
