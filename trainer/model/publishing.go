package model

import (
	"fmt"
	"math"

	"github.com/freshet-ml/freshet/schema"
)

// Publishing says how weights are published. The zero value is exact: what is published is what is trained.
type Publishing struct {
	// Rows is how numbers travel: Float32 as they are; Int8 a byte a number for items, with a scale for each (what of them is largest is 127), and 16 bits for the shared weights.
	Rows Precision
	// MinChange withholds what moved less since it was last published, as a share of its length: a vector (with its bias, where that moved by less than MinChange), and a
	// row of a shared matrix. It stays marked, and goes out when it adds up. 0 withholds nothing. It takes a copy of all that was published.
	MinChange float64
}

// Validate reports the first fault of p, or nil.
func (p Publishing) Validate() error {
	if p.Rows != "" && p.Rows != Float32 && p.Rows != Int8 {
		return fmt.Errorf("rows %q: must be %s or %s", string(p.Rows), Float32, Int8)
	}
	if !(p.MinChange >= 0 && p.MinChange < 1) {
		return fmt.Errorf("min_change %v: must be at least 0 and below 1", p.MinChange)
	}
	return nil
}

// Publishes sets how snapshots are made from now on; the next one must be full. It panics on what Validate refuses.
func (m *Model) Publishes(p Publishing) {
	if err := p.Validate(); err != nil {
		panic("model: " + err.Error())
	}
	m.publishing, m.told = p, nil
	if p.MinChange > 0 {
		m.told = &told{rows: table[float32]{dim: m.cfg.Dim}}
	}
}

// told is what replicas know of the weights, under MinChange.
type told struct {
	rows   table[float32] // vectors and biases
	params [][]float32    // in the order of params
	anew   []bool         // of each row: more than its weights is not told
}

// retell says that more than the weights of a row has changed.
func (m *Model) retell(r Row) {
	if t := m.told; t != nil {
		for int(r) >= len(t.anew) {
			t.anew = append(t.anew, false)
		}
		t.anew[r] = true
	}
}

// hasMoved says whether a number of a row, or of a matrix, is farther from what was told than a share of its length.
func hasMoved(now, told []float32, share float64) bool {
	var distance, length float64
	for i, x := range now {
		d := float64(x) - float64(told[i])
		distance += d * d
		length += float64(x) * float64(x)
	}
	return distance > share*share*length
}

// tells takes from rows, all that changed, those that are to be published now, and remembers them as told.
func (m *Model) tells(rows []Row, full bool) []Row {
	t := m.told
	if t == nil {
		return rows
	}
	share := m.publishing.MinChange
	var out []Row
	for _, r := range rows {
		vector, bias := m.items.vector(r), m.items.biasOf(r)[0]
		known := int(r) < t.rows.n
		if !full && known && !(int(r) < len(t.anew) && t.anew[r]) &&
			math.Abs(float64(bias-t.rows.biasOf(r)[0])) <= share && !hasMoved(vector, t.rows.vector(r), share) {
			continue
		}
		for int(r) >= t.rows.n {
			t.rows.grow()
		}
		copy(t.rows.vector(r), vector)
		t.rows.biasOf(r)[0] = bias
		if int(r) < len(t.anew) {
			t.anew[r] = false
		}
		out = append(out, r)
	}
	return out
}

// tellsParams takes from params, which has all numbers of each tensor, the rows that are to be published now, and remembers them as told. Where it takes only some
// it says which in a column of its own.
func (m *Model) tellsParams(params *schema.Table, full bool) {
	t := m.told
	if t == nil {
		return
	}
	shapes, values := params.Columns[1].Data.([][]int32), params.Columns[2].Data.([][]float32)
	rows := make([][]int32, len(values))
	t.params = append(t.params, make([][]float32, len(values)-len(t.params))...)
	for i, now := range values {
		width, told := rowWidth(shapes[i]), t.params[i]
		if len(told) < len(now) {
			told = append(told, make([]float32, len(now)-len(told))...)
		}
		var taken []float32
		for r := 0; r*width < len(now); r++ {
			row, of := now[r*width:][:width], told[r*width:][:width]
			if full || (r+1)*width > len(t.params[i]) || hasMoved(row, of, m.publishing.MinChange) {
				copy(of, row)
				rows[i], taken = append(rows[i], int32(r)), append(taken, row...)
			}
		}
		if t.params[i] = told; !full {
			values[i] = taken
		}
	}
	if !full {
		params.Columns = append(params.Columns, schema.Column{Name: columnRows, Data: rows})
	}
}

// rowWidth is the length of a row of a tensor: its last dimension. One of a single dimension is one row.
func rowWidth(shape []int32) int { return int(shape[len(shape)-1]) }

// encodeRows are the columns of vectors: one, or codes and their scales.
func (p *Publishing) encodeRows(dim int, vectors []float32) []schema.Column {
	if p.Rows != Int8 {
		return []schema.Column{{Name: columnVector, Data: schema.Vectors{Dim: dim, Values: vectors}}}
	}
	codes, scales := make([]int8, len(vectors)), make([]float32, len(vectors)/dim)
	for i := range scales {
		scales[i] = quantise(codes[i*dim:][:dim], vectors[i*dim:][:dim], mostOfByte)
	}
	return []schema.Column{{Name: columnCodes, Data: schema.Codes{Dim: dim, Values: codes}}, {Name: columnScale, Data: scales}}
}

// shorten makes the numbers of params halves where they travel so.
func (p *Publishing) shorten(params *schema.Table) {
	if p.Rows != Int8 {
		return
	}
	values := params.Columns[2].Data.([][]float32)
	halves := make([][]schema.Half, len(values))
	for i, v := range values {
		halves[i] = schema.Halved(v)
	}
	params.Columns[2] = schema.Column{Name: columnHalves, Data: halves}
}

// The columns of items that hold vectors, and of params that hold numbers: in full, or shorter.
const (
	columnVector = "vector"
	columnCodes  = "vector_int8"
	columnScale  = "scale"
	columnValues = "values"
	columnHalves = "values_float16"
	columnRows   = "rows"
)

// vectorsOf reads what encodeRows wrote.
func vectorsOf(t schema.Table) (schema.Vectors, error) {
	if !t.Has(columnCodes) {
		return schema.Col[schema.Vectors](t, columnVector)
	}
	codes, err := schema.Col[schema.Codes](t, columnCodes)
	if err != nil {
		return schema.Vectors{}, err
	}
	scales, err := schema.Col[[]float32](t, columnScale)
	if err != nil {
		return schema.Vectors{}, err
	}
	v := schema.Vectors{Dim: codes.Dim, Values: make([]float32, len(codes.Values))}
	for i, c := range codes.Values {
		v.Values[i] = scales[i/codes.Dim] * float32(c)
	}
	return v, nil
}

// numbersOf reads the numbers of params.
func numbersOf(t schema.Table) ([][]float32, error) {
	if !t.Has(columnHalves) {
		return schema.Col[[][]float32](t, columnValues)
	}
	halves, err := schema.Col[[][]schema.Half](t, columnHalves)
	if err != nil {
		return nil, err
	}
	values := make([][]float32, len(halves))
	for i, h := range halves {
		values[i] = schema.Widened(h)
	}
	return values, nil
}

// overlaid returns all numbers of all tensors, of which values has some rows.
func overlaid(specs []spec, arena []float32, before *table[float32], t schema.Table, values [][]float32) ([][]float32, error) {
	rows, err := schema.Col[[][]int32](t, columnRows)
	if err != nil {
		return nil, err
	}
	if before == nil || len(rows) != len(values) {
		return nil, fmt.Errorf("%w: rows of %d tensors for %d, or no version before to lay them over", schema.ErrCorrupt, len(rows), len(values))
	}
	out := make([][]float32, len(values))
	for i := range specs {
		var was []float32
		switch size := specs[i].size(); {
		case i < len(specs)-2:
			was, arena = arena[:size], arena[size:]
		case i == len(specs)-2:
			for r := range before.n {
				was = append(was, before.vector(Row(r))...)
			}
		case before.n == size: // one row: where it grew, all of it is there
			for r := range before.n {
				was = append(was, before.biasOf(Row(r))[0])
			}
		}
		if out[i], err = laid(was, specs[i].shape, specs[i].size(), rows[i], values[i]); err != nil {
			return nil, fmt.Errorf("%q: %w", specs[i].name, err)
		}
	}
	return out, nil
}

// laid returns all numbers of a tensor: those of some rows laid over what there was before, of which there may be fewer rows.
func laid(before []float32, shape []int32, size int, rows []int32, values []float32) ([]float32, error) {
	width := rowWidth(shape)
	if width < 1 || len(values) != len(rows)*width || len(before) > size {
		return nil, fmt.Errorf("%w: %d numbers for %d rows of %d, over %d of %d", schema.ErrCorrupt, len(values), len(rows), width, len(before), size)
	}
	all := make([]float32, size)
	known := copy(all, before) / width
	for i, r := range rows {
		switch {
		case r < 0 || (int(r)+1)*width > size || i > 0 && r <= rows[i-1]:
			return nil, fmt.Errorf("%w: row %d comes where another must", schema.ErrCorrupt, r)
		case int(r) > known:
			return nil, fmt.Errorf("%w: row %d is missing", schema.ErrCorrupt, known)
		}
		known = max(known, int(r)+1)
		copy(all[int(r)*width:], values[i*width:][:width])
	}
	if known*width != size {
		return nil, fmt.Errorf("%w: row %d is missing", schema.ErrCorrupt, known)
	}
	return all, nil
}
