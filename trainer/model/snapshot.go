package model

import (
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// Snapshot is a copy of what changed since the one before: made quickly, because training waits for it, and encoded elsewhere.
type Snapshot struct {
	Full  bool // all rows, not only the changed ones
	Items int  // rows of the model, not of the snapshot

	copied     rowCopies
	popularity []float32
	params     schema.Table
	how        Publishing
	dim        int
	meta       [][2]string
}

// rowCopies are rows of the model, copied.
type rowCopies struct {
	rows            []int32
	ids, categories []string
	vectors, biases []float32
	sides           [len(sideFields)][]int32
	generations     []int32 // nil where none of the rows was ever given up
}

// copyRows copies rows of the model, their weights from those given.
func (m *Model) copyRows(rows []Row, weights *table[float32]) rowCopies {
	n, d := len(rows), m.cfg.Dim
	c := rowCopies{
		rows: make([]int32, n), ids: make([]string, n), categories: make([]string, n),
		vectors: make([]float32, n*d), biases: make([]float32, n),
	}
	for f := range c.sides {
		c.sides[f] = make([]int32, n)
	}
	for i, r := range rows {
		for f, s := range m.items.sidesOf(r) {
			c.sides[f][i] = s
		}
		c.rows[i], c.ids[i], c.categories[i] = int32(r), m.ids[r], m.categories[r]
		if g := m.lives.generation[r]; g > 0 {
			if c.generations == nil {
				c.generations = make([]int32, n)
			}
			c.generations[i] = g
		}
		copy(c.vectors[i*d:][:d], weights.vector(r))
		c.biases[i] = weights.biasOf(r)[0]
	}
	return c
}

// Snapshot copies the shared weights, the side table and the rows that changed since the last Snapshot, or all, as Publishes says. popularity gives what a replica ranks by
// where it knows nothing of the user; nil gives all items 0. What it says of rows that did not change stays as it was published.
func (m *Model) Snapshot(full bool, popularity func(Row) float32) Snapshot {
	rows := m.unpublished.rows
	if full {
		rows = m.allRows()
	} else {
		slices.Sort(rows)
	}
	out := m.tells(rows, full)
	for _, r := range out {
		for int(r) >= len(m.popularity) {
			m.popularity = append(m.popularity, 0)
		}
		if m.popularity[r] = 0; popularity != nil {
			m.popularity[r] = popularity(r)
		}
	}
	s := m.snapshot(out, full, &m.items.table)
	s.params = paramsTable(m.specs, slices.Clone(m.w.arena), copySide(&m.items.side), s.meta)
	m.tellsParams(&s.params, full)
	m.withhold(out)
	m.renamed = false
	return s
}

// Published copies all rows as the snapshots so far have left them at who applied them: a base that makes the very model that the last Snapshot, which was of what had
// changed, makes of the one before. It is to be called before anything is learned after that.
func (m *Model) Published() Snapshot {
	rows := &m.items.table
	if m.told != nil {
		rows = &m.told.rows
	}
	s := m.snapshot(m.allRows(), true, rows)
	s.params = paramsTable(m.specs, slices.Clone(m.w.arena), copySide(&m.items.side), s.meta)
	if m.told != nil {
		values := s.params.Columns[2].Data.([][]float32)
		for i, told := range m.told.params {
			values[i] = slices.Clone(told)
		}
	}
	return s
}

func (m *Model) allRows() []Row {
	rows := make([]Row, m.items.n)
	for i := range rows {
		rows[i] = Row(i)
	}
	return rows
}

// snapshot is all but params.
func (m *Model) snapshot(rows []Row, full bool, weights *table[float32]) Snapshot {
	s := Snapshot{Full: full, Items: m.items.n, copied: m.copyRows(rows, weights), popularity: make([]float32, len(rows)), how: m.publishing, dim: m.cfg.Dim, meta: m.meta(m.items.n)}
	for i, r := range rows {
		s.popularity[i] = m.popularity[r]
	}
	return s
}

// withhold leaves the rows marked that changed and are not among those published.
func (m *Model) withhold(published []Row) {
	changed := slices.Clone(m.unpublished.rows)
	m.unpublished.clear()
	if m.told == nil {
		return
	}
	for _, r := range changed {
		if _, found := slices.BinarySearch(published, r); !found {
			m.unpublished.add(r)
		}
	}
}

// Objects returns what is published: items (item_id, row, vector, or vector_int8 and scale, bias, popularity, category, and the rows of its side information, one column a
// field: side_category, side_price), by rising row, and params (name, shape, values or values_float16, and rows where only some of a tensor's are there), the last two of which are
// the side table, side and side_bias. Where a row was ever given up there is a column generation, too: how often. A free row has no name. Both carry the form of the model and
// its digest, and how many rows the model has.
func (s Snapshot) Objects() []Object {
	columns := []schema.Column{{Name: "item_id", Data: s.copied.ids}, {Name: "row", Data: s.copied.rows}}
	columns = append(columns, s.how.encodeRows(s.dim, s.copied.vectors)...)
	columns = append(columns, schema.Column{Name: "bias", Data: s.copied.biases}, schema.Column{Name: "popularity", Data: s.popularity},
		schema.Column{Name: "category", Data: s.copied.categories})
	params := s.params
	params.Columns = slices.Clone(params.Columns)
	s.how.shorten(&params)
	return []Object{
		{tableItems, schema.Table{Columns: append(columns, s.copied.moreColumns()...), Meta: s.meta}},
		{tableParams, params},
	}
}
