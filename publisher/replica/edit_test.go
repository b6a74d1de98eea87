package replica_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow/go/v17/arrow/float16"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
)

// copyTable returns a table that may be edited.
func copyTable(t schema.Table) schema.Table {
	out := schema.Table{Columns: slices.Clone(t.Columns), Meta: slices.Clone(t.Meta)}
	for i := range out.Columns {
		out.Columns[i].Data = eachRow(out.Columns[i].Data, func(n int) []int { return upTo(n) })
	}
	return out
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// eachRow returns the rows of a column that choose names, of how many there are, in that order. It copies lists, too.
func eachRow(data any, choose func(n int) []int) any {
	switch v := data.(type) {
	case []string:
		return rowsOf(v, choose)
	case []int32:
		return rowsOf(v, choose)
	case []int64:
		return rowsOf(v, choose)
	case []uint64:
		return rowsOf(v, choose)
	case []float32:
		return rowsOf(v, choose)
	case []float64:
		return rowsOf(v, choose)
	case [][]int32:
		return listsOf(v, choose)
	case [][]float32:
		return listsOf(v, choose)
	case [][]schema.Half:
		return listsOf(v, choose)
	case schema.Vectors:
		return schema.Vectors{Dim: v.Dim, Values: vectorsAt(v.Dim, v.Values, choose)}
	case schema.Codes:
		return schema.Codes{Dim: v.Dim, Values: vectorsAt(v.Dim, v.Values, choose)}
	}
	panic(fmt.Sprintf("a column of type %T is not edited: add it here and to changed", data))
}

func vectorsAt[T any](dim int, values []T, choose func(n int) []int) (out []T) {
	for _, r := range choose(len(values) / dim) {
		out = append(out, values[r*dim:][:dim]...)
	}
	return out
}

func rowsOf[T any](v []T, choose func(n int) []int) []T {
	out := []T{}
	for _, r := range choose(len(v)) {
		out = append(out, v[r])
	}
	return out
}

func listsOf[T any](v [][]T, choose func(n int) []int) [][]T {
	out := rowsOf(v, choose)
	for i := range out {
		out[i] = slices.Clone(out[i])
	}
	return out
}

// edit changes one thing of one table: what says what, of a column and a row, with value. Tables stay ones that can be encoded.
func edit(objects *[]publisher.Object, table int, what byte, column, row int, value []byte) {
	o := &(*objects)[table%len(*objects)]
	if len(o.Table.Columns) == 0 {
		return
	}
	c := &o.Table.Columns[column%len(o.Table.Columns)]
	switch what % 8 {
	default:
		c.Data = changed(c.Data, row, value)
	case 4: // a row goes, or comes twice
		twice := value[0]%2 == 0
		for i := range o.Table.Columns {
			o.Table.Columns[i].Data = eachRow(o.Table.Columns[i].Data, func(n int) []int {
				all := upTo(n)
				if n == 0 {
					return all
				}
				if twice {
					return slices.Insert(all, row%n, row%n)
				}
				return slices.Delete(all, row%n, row%n+1)
			})
		}
	case 5:
		if len(o.Table.Meta) > 0 {
			text := &o.Table.Meta[column%len(o.Table.Meta)][1]
			if b := []byte(*text); len(b) > 0 {
				b[row%len(b)] = value[0]
				*text = string(b)
			}
		}
	case 6:
		c.Name = (*objects)[0].Table.Columns[row%len((*objects)[0].Table.Columns)].Name
	case 7:
		if value[0]%2 == 0 {
			o.Table.Columns = slices.Delete(o.Table.Columns, column%len(o.Table.Columns), column%len(o.Table.Columns)+1)
		} else {
			*objects = slices.Delete(*objects, table%len(*objects), table%len(*objects)+1)
		}
	}
}

// changed returns a column with another value in one row: one of those at the edges, or any.
func changed(data any, row int, value []byte) any {
	n := binary.LittleEndian.Uint16(value[1:])
	whole := []int32{-1, 0, 1, math.MaxInt32, math.MinInt32, 1 << 20, int32(n), -int32(n)}[value[0]%8]
	float := []float32{-1, 0, 1, math.MaxFloat32, -math.MaxFloat32, 1e-38, float32(n), float32(math.NaN())}[value[0]%8]
	put := func(rows int, set func(r int)) any {
		if rows > 0 {
			set(row % rows)
		}
		return data
	}
	switch v := data.(type) {
	case []string:
		return put(len(v), func(r int) { v[r] = string(value[:value[0]%4]) })
	case []int32:
		return put(len(v), func(r int) { v[r] = whole })
	case []int64:
		return put(len(v), func(r int) { v[r] = int64(whole) << (value[1] % 32) })
	case []uint64:
		return put(len(v), func(r int) { v[r] = uint64(whole) })
	case []float32:
		return put(len(v), func(r int) { v[r] = float })
	case []float64:
		return put(len(v), func(r int) { v[r] = float64(float) })
	case [][]int32:
		return put(len(v), func(r int) { v[r] = anotherList(v[r], whole, value[0]) })
	case [][]float32:
		return put(len(v), func(r int) { v[r] = anotherList(v[r], float, value[0]) })
	case [][]schema.Half:
		half := halves[value[0]%8]
		return put(len(v), func(r int) { v[r] = anotherList(v[r], half, value[0]) })
	case schema.Vectors:
		return put(len(v.Values), func(r int) { v.Values[r] = float })
	case schema.Codes:
		return put(len(v.Values), func(r int) { v.Values[r] = int8(value[1]) }) // -128 among them, which no publisher writes
	}
	panic(fmt.Sprintf("a column of type %T is not edited", data))
}

// halves are those at the edges: the largest, both infinities, no number, the smallest, and the smallest that is precise.
var halves = append(schema.Halved([]float32{-1, 65504, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 0x1p-14}), float16.FromBits(1), float16.FromBits(0x8000))

// anotherList has one more value, one less, or another one.
func anotherList[T any](list []T, value T, how byte) []T {
	switch {
	case how < 85 || len(list) == 0:
		return append(list, value)
	case how < 170:
		return list[1:]
	}
	list[int(how)%len(list)] = value
	return list
}
