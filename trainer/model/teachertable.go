package model

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/freshet-ml/freshet/schema"
)

// The columns of items that are the teacher's. Rows that were saved before there was a teacher have none; they came again when it had learned them.
const (
	columnTaught     = "teacher_vector"
	columnTaughtBias = "teacher_bias"
	columnKnown      = "teacher_known" // 0 or 1
)

// teacherTable is what a checkpoint has of the teacher beside its rows.
func (m *Model) teacherTable() schema.Table {
	t := m.net.teacher
	meta := append(m.meta(m.items.n), [2]string{metaWeight, strconv.FormatFloat(t.weight, 'g', -1, 64)})
	return paramsTable(m.specs, slices.Clone(t.w.arena), copySide(&t.items.side), meta)
}

// columns are the teacher's of some rows.
func (t *teacher[F]) columns(rows []Row) []schema.Column {
	vectors, biases, known := make([]float32, 0, len(rows)*t.items.dim), make([]float32, len(rows)), make([]int32, len(rows))
	for i, r := range rows {
		for _, v := range t.items.vector(r) {
			vectors = append(vectors, float32(v))
		}
		if biases[i] = float32(t.items.biasOf(r)[0]); t.known[r] {
			known[i] = 1
		}
	}
	return []schema.Column{{Name: columnTaught, Data: schema.Vectors{Dim: t.items.dim, Values: vectors}}, {Name: columnTaughtBias, Data: biases}, {Name: columnKnown, Data: known}}
}

// restoreTeacher makes the teacher that the tables have, if any, without its rows.
func (m *Model) restoreTeacher(tables map[string]schema.Table) error {
	from, ok := tables[tableTeacher]
	if !ok {
		return nil
	}
	t := newTeacher[float32](&m.cfg)
	var err error
	if t.weight, err = strconv.ParseFloat(from.MetaValue(metaWeight), 64); err != nil || !(t.weight >= 0) || !finite(t.weight) {
		return fmt.Errorf("%w: weight %q", schema.ErrCorrupt, from.MetaValue(metaWeight))
	}
	if err := readParams(&m.cfg, t.w.arena, &t.items.side, nil, from); err != nil {
		return err
	}
	if t.items.side.n != m.items.side.n {
		return fmt.Errorf("%w: %d rows of side information, the model has %d", schema.ErrCorrupt, t.items.side.n, m.items.side.n)
	}
	m.net.teacher = t
	return nil
}

// restoreTaught fills the teacher's rows of a piece, which there is room for.
func restoreTaught(t *teacher[float32], from schema.Table, rows []int32) error {
	if t == nil || !slices.ContainsFunc(from.Columns, func(c schema.Column) bool { return c.Name == columnKnown }) {
		return nil
	}
	vectors, err := schema.Col[schema.Vectors](from, columnTaught)
	if err != nil {
		return err
	}
	biases, err := schema.Col[[]float32](from, columnTaughtBias)
	if err != nil {
		return err
	}
	known, err := schema.Col[[]int32](from, columnKnown)
	if err != nil {
		return err
	}
	d := t.items.dim
	if vectors.Dim != d || len(vectors.Values) != len(rows)*d || len(biases) != len(rows) || len(known) != len(rows) {
		return fmt.Errorf("%w: %d numbers of width %d, %d biases and %d marks for %d rows", schema.ErrCorrupt, len(vectors.Values), vectors.Dim, len(biases), len(known), len(rows))
	}
	if firstBad(vectors.Values) >= 0 || firstBad(biases) >= 0 {
		return fmt.Errorf("%w: a row has numbers that are not finite", schema.ErrCorrupt)
	}
	for i, r := range rows {
		copy(t.items.vector(Row(r)), vectors.Values[i*d:][:d])
		t.items.biasOf(Row(r))[0], t.known[r] = biases[i], known[i] != 0
	}
	return nil
}
