package model

import (
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// pieceRows is how many rows EachRows copies at a time: some megabytes.
const pieceRows = 16 * chunkRows

// EachRows calls f with tables of rows, rising and without holes between them: of all, or of those that changed since Saved. A table holds what it does only during the
// call. The first error ends it.
func (m *Model) EachRows(all bool, f func(schema.Table) error) error {
	if !all {
		slices.Sort(m.unsaved.rows)
		for piece := range slices.Chunk(m.unsaved.rows, pieceRows) {
			if err := f(m.rowsTable(piece)); err != nil {
				return err
			}
		}
		return nil
	}
	piece := make([]Row, 0, pieceRows)
	for from := 0; from < m.items.n; from += pieceRows {
		piece = piece[:0]
		for r := from; r < min(from+pieceRows, m.items.n); r++ {
			piece = append(piece, Row(r))
		}
		if err := f(m.rowsTable(piece)); err != nil {
			return err
		}
	}
	return nil
}

// Changed returns how many rows changed since Saved.
func (m *Model) Changed() int { return len(m.unsaved.rows) }

// Saved says that what EachRows gives now is durable.
func (m *Model) Saved() { m.unsaved.clear() }

// rowsTable is what a checkpoint has of some rows.
func (m *Model) rowsTable(rows []Row) schema.Table {
	c := m.copyRows(rows, &m.items.table)
	clicks := make([]int64, len(rows))
	for i, r := range rows {
		clicks[i] = int64(m.lives.lastClick[r])
	}
	columns := []schema.Column{
		{Name: "item_id", Data: c.ids}, {Name: "row", Data: c.rows}, {Name: "category", Data: c.categories},
		{Name: "vector", Data: schema.Vectors{Dim: m.cfg.Dim, Values: c.vectors}}, {Name: "bias", Data: c.biases},
		{Name: "last_click", Data: clicks},
	}
	columns = append(columns, m.rowState.columns(rows, m.cfg.Dim)...)
	if m.net.teacher != nil {
		columns = append(columns, m.net.teacher.columns(rows)...)
	}
	return schema.Table{Columns: append(columns, c.moreColumns()...), Meta: m.meta(m.items.n)}
}

// columns is the optimiser's state of some rows.
func (s *rowState) columns(rows []Row, dim int) []schema.Column {
	if s.full {
		return []schema.Column{
			{Name: "first", Data: schema.Vectors{Dim: dim, Values: gathered(s.first, rows, dim)}},
			{Name: "second", Data: schema.Vectors{Dim: dim, Values: gathered(s.second, rows, dim)}},
			{Name: "bias_moments", Data: schema.Vectors{Dim: 2, Values: gathered(s.biasMoments, rows, 2)}},
		}
	}
	columns := []schema.Column{{Name: "acc", Data: gathered(s.acc, rows, 1)}, {Name: "bias_acc", Data: gathered(s.accBias, rows, 1)}}
	if s.forgets {
		columns = append(columns, schema.Column{Name: "row_step", Data: gathered(s.steps, rows, 1)})
	}
	return columns
}

// gathered copies the numbers of some rows, width each, out of chunks.
func gathered[T any](chunks [][]T, rows []Row, width int) []T {
	out := make([]T, 0, len(rows)*width)
	for _, r := range rows {
		out = append(out, chunks[int(r)/chunkRows][int(r)%chunkRows*width:][:width]...)
	}
	return out
}

// scatter copies the numbers of some rows into chunks.
func scatter[T any](chunks [][]T, rows []int32, width int, values []T) {
	for i, r := range rows {
		copy(chunks[int(r)/chunkRows][int(r)%chunkRows*width:][:width], values[i*width:])
	}
}

// restore fills the state of rows, which grow has made room for.
func (s *rowState) restore(t schema.Table, rows []int32, dim int) error {
	n := len(rows)
	if !s.full {
		acc, err := accumulators(t, "acc", n)
		if err != nil {
			return err
		}
		accBias, err := accumulators(t, "bias_acc", n)
		if err != nil {
			return err
		}
		scatter(s.acc, rows, 1, acc)
		scatter(s.accBias, rows, 1, accBias)
		if s.forgets {
			steps, err := schema.Col[[]uint64](t, "row_step")
			if err != nil {
				return err
			}
			if len(steps) != n {
				return fmt.Errorf("%w: row_step has %d rows, want %d", schema.ErrCorrupt, len(steps), n)
			}
			scatter(s.steps, rows, 1, steps)
		}
		return nil
	}
	for _, c := range []struct {
		name string
		dim  int
		to   [][]float32
	}{{"first", dim, s.first}, {"second", dim, s.second}, {"bias_moments", 2, s.biasMoments}} {
		v, err := schema.Col[schema.Vectors](t, c.name)
		if err != nil {
			return err
		}
		if v.Dim != c.dim || len(v.Values) != n*c.dim || firstBad(v.Values) >= 0 {
			return fmt.Errorf("%w: %s has %d numbers of width %d, want %d of width %d, all finite", schema.ErrCorrupt, c.name, len(v.Values), v.Dim, n*c.dim, c.dim)
		}
		scatter(c.to, rows, c.dim, v.Values)
	}
	return nil
}
