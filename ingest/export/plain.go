package export

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/freshet-ml/freshet/schema"
)

// WritePlain writes a table of one value a row as Parquet or CSV: what other rooms have computed, such as metrics over time. A number that is not
// finite is null, and empty in CSV. It panics on a column of lists: a mistake of the program.
func WritePlain(w io.Writer, format Format, t schema.Table) error {
	if format == CSV {
		return plainCSV(w, t)
	}
	if format != Parquet {
		return fmt.Errorf("export: format %q: a plain table is parquet or csv", format)
	}
	fields := make([]arrow.Field, len(t.Columns))
	for i, c := range t.Columns {
		fields[i] = arrow.Field{Name: c.Name, Type: plainType(c), Nullable: true}
	}
	s := arrow.NewSchema(fields, nil)
	build := array.NewRecordBuilder(memory.DefaultAllocator, s)
	defer build.Release()
	for i, c := range t.Columns {
		appendPlain(build.Field(i), c)
	}
	record := build.NewRecord()
	defer record.Release()
	out, err := pqarrow.NewFileWriter(s, onlyWriter{w}, parquetProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if record.NumRows() > 0 {
		if err := out.Write(record); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func plainType(c schema.Column) arrow.DataType {
	switch c.Data.(type) {
	case []string:
		return arrow.BinaryTypes.String
	case []int32:
		return arrow.PrimitiveTypes.Int32
	case []int64:
		return arrow.PrimitiveTypes.Int64
	case []float64:
		return arrow.PrimitiveTypes.Float64
	}
	panic(fmt.Sprintf("export: column %q has type %T, which is not one plain value a row", c.Name, c.Data))
}

func appendPlain(b array.Builder, c schema.Column) {
	switch v := c.Data.(type) {
	case []string:
		b.(*array.StringBuilder).AppendValues(v, nil)
	case []int32:
		b.(*array.Int32Builder).AppendValues(v, nil)
	case []int64:
		b.(*array.Int64Builder).AppendValues(v, nil)
	case []float64:
		for _, x := range v {
			if number(x) {
				b.(*array.Float64Builder).Append(x)
			} else {
				b.AppendNull()
			}
		}
	}
}

func number(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

func plainCSV(w io.Writer, t schema.Table) error {
	out := csv.NewWriter(w)
	row := make([]string, len(t.Columns))
	rows := 0
	for i, c := range t.Columns {
		row[i] = c.Name
		rows = plainRows(c)
	}
	_ = out.Write(row) // Error has it
	for r := range rows {
		for i, c := range t.Columns {
			switch v := c.Data.(type) {
			case []string:
				row[i] = v[r]
			case []int32:
				row[i] = strconv.Itoa(int(v[r]))
			case []int64:
				row[i] = strconv.FormatInt(v[r], 10)
			case []float64:
				row[i] = ""
				if number(v[r]) {
					row[i] = strconv.FormatFloat(v[r], 'g', -1, 64)
				}
			}
		}
		_ = out.Write(row)
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func plainRows(c schema.Column) int {
	switch v := c.Data.(type) {
	case []string:
		return len(v)
	case []int32:
		return len(v)
	case []int64:
		return len(v)
	case []float64:
		return len(v)
	}
	panic(fmt.Sprintf("export: column %q has type %T, which is not one plain value a row", c.Name, c.Data))
}
