package model

import (
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// The side table in what is published and in a checkpoint: two tensors of params, and a column of items for each field.
const (
	nameSide     = "side"      // (rows, dim); row 0 is zero
	nameSideBias = "side_bias" // (rows)
	sideColumn   = "side_"     // and the field: the row of the item's value, 0 for none
)

// generationColumn says how often a row was given up. Tables without it are of rows that never were.
const generationColumn = "generation"

// sideCopy is the side table, copied.
type sideCopy struct{ vectors, biases []float32 }

func copySide(side *table[float32]) sideCopy {
	n, d := side.n, side.dim
	c := sideCopy{make([]float32, n*d), make([]float32, n)}
	for s := range n {
		copy(c.vectors[s*d:][:d], side.vector(Row(s)))
		c.biases[s] = side.biasOf(Row(s))[0]
	}
	return c
}

// readSide fills an empty table. Row 0, no value, must be zero.   vectors (n,dim)  biases (n)
func readSide(dim int, to *table[float32], vectors, biases []float32) error {
	if biases[0] != 0 || slices.ContainsFunc(vectors[:dim], func(v float32) bool { return v != 0 }) {
		return fmt.Errorf("%w: params: row 0 of the side table is not zero", schema.ErrCorrupt)
	}
	to.dim, to.n, to.vectors, to.bias = dim, 0, nil, nil
	for s := range biases {
		vector, bias := to.grow()
		copy(vector, vectors[s*dim:][:dim])
		bias[0] = biases[s]
	}
	return nil
}

// moreColumns are those that come with the side information, and the generations.
func (c *rowCopies) moreColumns() []schema.Column {
	var columns []schema.Column
	for f := range sideFields {
		columns = append(columns, schema.Column{Name: sideColumn + sideFields[f].name, Data: c.sides[f]})
	}
	if c.generations != nil {
		columns = append(columns, schema.Column{Name: generationColumn, Data: c.generations})
	}
	return columns
}

// sidesOf returns the side rows of line i.
func (in *itemColumns) sidesOf(i int) (of sides) {
	for f := range of {
		of[f] = in.sides[f][i]
	}
	return of
}

func (m *Model) sidesTable() schema.Table {
	fields, values := make([]string, len(m.sideKeys)), make([]string, len(m.sideKeys))
	for i, k := range m.sideKeys {
		fields[i], values[i] = sideFields[k.field].name, k.value
	}
	return schema.Table{Columns: []schema.Column{
		{Name: "field", Data: fields}, {Name: "value", Data: values},
		{Name: "acc", Data: slices.Clone(m.sideAcc)}, {Name: "bias_acc", Data: slices.Clone(m.sideAccBias)},
	}}
}

// restoreSides names the rows of the side table, which readParams has filled.
func (m *Model) restoreSides(t schema.Table) error {
	fields, err := schema.Col[[]string](t, "field")
	if err != nil {
		return err
	}
	values, err := schema.Col[[]string](t, "value")
	if err != nil {
		return err
	}
	n := m.items.side.n - 1
	if len(fields) != n || len(values) != n {
		return fmt.Errorf("%w: %d fields and %d values for %d rows", schema.ErrCorrupt, len(fields), len(values), n)
	}
	if m.sideAcc, err = accumulators(t, "acc", n); err != nil {
		return err
	}
	if m.sideAccBias, err = accumulators(t, "bias_acc", n); err != nil {
		return err
	}
	for i := range fields {
		field := -1
		for f := range sideFields {
			if sideFields[f].name == fields[i] {
				field = f
			}
		}
		key := sideKey{field, values[i]}
		if _, twice := m.sideIndex[key]; twice || field < 0 || values[i] == "" {
			return fmt.Errorf("%w: row %d is the value %q of the field %q, which is unknown, empty or there twice", schema.ErrCorrupt, i+1, values[i], fields[i])
		}
		m.sideKeys, m.sideIndex[key] = append(m.sideKeys, key), int32(i+1)
	}
	return nil
}
