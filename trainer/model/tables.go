package model

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// NamedTable is a table of a checkpoint, or an object of an update.
type NamedTable struct {
	Name  string
	Table schema.Table
}

// Object is what is published of a Snapshot.
type Object = NamedTable

// The tables of a checkpoint. Together they are all that the next step depends on (I3).
//
//	items    item_id, row, category, vector, bias, last_click, side_category, side_price, generation where one is not 0, and acc, bias_acc
//	         (Adagrad's; row_step under row_memory) or first, second, bias_moments (Adam's)
//	                                                                 one line a row, in order; a free row has no name
//	params   name, shape, values                                     the shared weights and the side table; Meta: form, digest
//	sides    field, value, acc, bias_acc                             the side table's rows but the first, in order
//	moments  name, first, second                                     AdamW's
//	recent   row                                                     the ring of targets, oldest first
//	scenes   requests                                                of each scene so far, fading
//	lives    sightings                                               the sketch, eight counters a number. Meta: swept, sightings
//	plasticity  row, gradient                                        of the last step, under plasticity. Meta: rate
//	teacher  name, shape, values                                     as params, of the teacher, where there is one. Meta: weight, too; its rows are items' columns
//	                                                                 teacher_vector, teacher_bias, teacher_known (0 or 1)
//	random   step, state                                             one line; state is the sampler's, in hex. Meta: config
const (
	tableItems   = "items"
	tableParams  = "params"
	tableSides   = "sides"
	tableMoments = "moments"
	tableRecent  = "recent"
	tableScenes  = "scenes"
	tableLives   = "lives"
	tableRandom  = "random"

	tablePlasticity = "plasticity"
	tableTeacher    = "teacher"

	metaForm   = "form"
	metaDigest = "digest"
	metaConfig = "config"
	metaItems  = "items"
	metaWeight = "weight"
)

// Tables returns everything that Restore needs to go on as if nothing had happened. They share no memory with m.
func (m *Model) Tables() ([]NamedTable, error) {
	shared, err := m.Shared()
	return append([]NamedTable{{tableItems, m.rowsTable(m.allRows())}}, shared...), err
}

// Shared returns the tables but that of the rows, which EachRows gives a piece at a time. They share no memory with m.
func (m *Model) Shared() ([]NamedTable, error) {
	names, first, second := make([]string, 0, len(m.specs)), make([][]float32, 0, len(m.specs)), make([][]float32, 0, len(m.specs))
	at := 0
	for i := range m.specs {
		n := m.specs[i].size()
		names = append(names, m.specs[i].name)
		first, second = append(first, slices.Clone(m.first[at:at+n])), append(second, slices.Clone(m.second[at:at+n]))
		at += n
	}
	recent := make([]int32, 0, len(m.ring))
	for i := range m.ring {
		recent = append(recent, int32(m.recent(i)))
	}
	random, err := m.source.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("save the sampler's state: %w", err)
	}
	config, err := json.Marshal(m.cfg)
	if err != nil {
		return nil, fmt.Errorf("save the model's config: %w", err)
	}
	shared := []NamedTable{
		{tableParams, paramsTable(m.specs, slices.Clone(m.w.arena), copySide(&m.items.side), m.meta(m.items.n))},
		{tableSides, m.sidesTable()},
		{tableMoments, schema.Table{Columns: []schema.Column{{Name: "name", Data: names}, {Name: "first", Data: first}, {Name: "second", Data: second}}}},
		{tableRecent, schema.Table{Columns: []schema.Column{{Name: "row", Data: recent}}}},
		{tableScenes, schema.Table{Columns: []schema.Column{{Name: "requests", Data: slices.Clone(m.scenes)}}}},
		{tableLives, m.livesTable()},
		{tablePlasticity, m.plasticity.table(m.cfg.Dim)},
		{tableRandom, schema.Table{
			Columns: []schema.Column{{Name: "step", Data: []uint64{m.step}}, {Name: "state", Data: []string{hex.EncodeToString(random)}}},
			Meta:    [][2]string{{metaConfig, string(config)}},
		}},
	}
	if m.net.teacher != nil {
		shared = append(shared, NamedTable{tableTeacher, m.teacherTable()})
	}
	return shared, nil
}

func (m *Model) meta(items int) [][2]string {
	return [][2]string{{metaForm, m.cfg.form()}, {metaDigest, m.cfg.Digest()}, {metaItems, fmt.Sprint(items)}}
}

// paramsTable names the parts of an arena, and of the side table. It keeps both.
func paramsTable(specs []spec, arena []float32, side sideCopy, meta [][2]string) schema.Table {
	names, shapes, values := make([]string, 0, len(specs)), make([][]int32, 0, len(specs)), make([][]float32, 0, len(specs))
	for i := range specs {
		n := specs[i].size()
		names, shapes, values = append(names, specs[i].name), append(shapes, specs[i].shape), append(values, arena[:n:n])
		arena = arena[n:]
	}
	n := int32(len(side.biases))
	names, shapes, values = append(names, nameSide, nameSideBias), append(shapes, []int32{n, int32(len(side.vectors)) / n}, []int32{n}), append(values, side.vectors, side.biases)
	return schema.Table{
		Columns: []schema.Column{{Name: "name", Data: names}, {Name: "shape", Data: shapes}, {Name: "values", Data: values}},
		Meta:    meta,
	}
}

// readParams fills arena and side from params of the same config. before, if not nil, has the side table before them, and then arena what it was: params may hold some rows
// of the tensors alone.
func readParams(c *Config, arena []float32, side, before *table[float32], t schema.Table) error {
	if got := t.MetaValue(metaDigest); got != c.Digest() {
		return fmt.Errorf("%w: params: digest %.12s of another config, want %.12s", schema.ErrCorrupt, got, c.Digest())
	}
	names, err := schema.Col[[]string](t, "name")
	if err != nil {
		return fmt.Errorf("params: %w", err)
	}
	shapes, err := schema.Col[[][]int32](t, "shape")
	if err != nil {
		return fmt.Errorf("params: %w", err)
	}
	values, err := numbersOf(t)
	if err != nil {
		return fmt.Errorf("params: %w", err)
	}
	specs := append(c.specs(), spec{name: nameSide}, spec{name: nameSideBias})
	last := len(specs) - 1
	if len(names) != len(specs) || len(shapes) != len(specs) || len(values) != len(specs) || len(shapes[last]) != 1 {
		return fmt.Errorf("%w: params: %d tensors, want %d", schema.ErrCorrupt, len(names), len(specs))
	}
	n := shapes[last][0] // of the side table: the one size that the config does not say
	if n < 1 || n > maxSideRows {
		return fmt.Errorf("%w: params: %d rows of side information, want 1 to %d", schema.ErrCorrupt, n, maxSideRows)
	}
	specs[last-1].shape, specs[last].shape = []int32{n, int32(c.Dim)}, []int32{n}
	if t.Has(columnRows) {
		if values, err = overlaid(specs, arena, before, t, values); err != nil {
			return fmt.Errorf("params: %w", err)
		}
	}
	for i := range specs {
		s := &specs[i]
		if names[i] != s.name || !slices.Equal(shapes[i], s.shape) || len(values[i]) != s.size() {
			return fmt.Errorf("%w: params: tensor %d is %q %v with %d numbers, want %q %v", schema.ErrCorrupt, i, names[i], shapes[i], len(values[i]), s.name, s.shape)
		}
		if j := firstBad(values[i]); j >= 0 {
			return fmt.Errorf("%w: params: %q: number %d is %v", schema.ErrCorrupt, s.name, j, values[i][j])
		}
		if i < len(specs)-2 {
			copy(arena, values[i])
			arena = arena[len(values[i]):]
		}
	}
	return readSide(c.Dim, side, values[len(values)-2], values[len(values)-1])
}

// firstBad returns the place of the first number that is not finite, or -1.
func firstBad(x []float32) int {
	return slices.IndexFunc(x, func(v float32) bool { return math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) })
}

// itemColumns are the columns that a checkpoint and an update share, checked for shape and for finite numbers.
type itemColumns struct {
	ids, categories []string
	rows            []int32
	vectors, biases []float32
	sides           [len(sideFields)][]int32
	generations     []int32 // of each line
}

// readItems reads items whose side information is in the first sideRows rows of the side table.
func readItems(c *Config, sideRows int, t schema.Table) (in itemColumns, err error) {
	fail := func(err error) (itemColumns, error) { return itemColumns{}, fmt.Errorf("items: %w", err) }
	if got := t.MetaValue(metaDigest); got != c.Digest() {
		return fail(fmt.Errorf("%w: digest %.12s of another config, want %.12s", schema.ErrCorrupt, got, c.Digest()))
	}
	if in.ids, err = schema.Col[[]string](t, "item_id"); err != nil {
		return fail(err)
	}
	if in.categories, err = schema.Col[[]string](t, "category"); err != nil {
		return fail(err)
	}
	if in.rows, err = schema.Col[[]int32](t, "row"); err != nil {
		return fail(err)
	}
	if in.biases, err = schema.Col[[]float32](t, "bias"); err != nil {
		return fail(err)
	}
	vectors, err := vectorsOf(t)
	if err != nil {
		return fail(err)
	}
	n := len(in.ids)
	if vectors.Dim != c.Dim || len(vectors.Values) != n*c.Dim || len(in.rows) != n || len(in.biases) != n || len(in.categories) != n {
		return fail(fmt.Errorf("%w: %d items, %d rows, %d biases, %d categories, %d numbers of width %d, want width %d",
			schema.ErrCorrupt, n, len(in.rows), len(in.biases), len(in.categories), len(vectors.Values), vectors.Dim, c.Dim))
	}
	in.vectors = vectors.Values
	if j := firstBad(in.vectors); j >= 0 {
		return fail(fmt.Errorf("%w: the vector of row %d has %v", schema.ErrCorrupt, in.rows[j/c.Dim], in.vectors[j]))
	}
	if j := firstBad(in.biases); j >= 0 {
		return fail(fmt.Errorf("%w: the bias of row %d is %v", schema.ErrCorrupt, in.rows[j], in.biases[j]))
	}
	if in.generations, err = generationsOf(t, n); err != nil {
		return fail(err)
	}
	for i, id := range in.ids {
		if id == "" && in.generations[i] == 0 || len(id) > schema.MaxIDBytes {
			return fail(fmt.Errorf("%w: row %d has a name of %d bytes", schema.ErrCorrupt, in.rows[i], len(id)))
		}
		if in.rows[i] < 0 || (i > 0 && in.rows[i] <= in.rows[i-1]) {
			return fail(fmt.Errorf("%w: row %d comes where a larger one must", schema.ErrCorrupt, in.rows[i]))
		}
	}
	for f := range sideFields {
		if in.sides[f], err = schema.Col[[]int32](t, sideColumn+sideFields[f].name); err != nil {
			return fail(err)
		}
		if len(in.sides[f]) != n {
			return fail(fmt.Errorf("%w: %d rows of side information for %d items", schema.ErrCorrupt, len(in.sides[f]), n))
		}
		for i, s := range in.sides[f] {
			if s < 0 || int(s) >= sideRows {
				return fail(fmt.Errorf("%w: the %s of row %d is row %d of a side table of %d", schema.ErrCorrupt, sideFields[f].name, in.rows[i], s, sideRows))
			}
		}
	}
	return in, nil
}

// generationsOf reads how often the rows of n lines were given up: a row without a name was at least once.
func generationsOf(t schema.Table, n int) ([]int32, error) {
	if !slices.ContainsFunc(t.Columns, func(c schema.Column) bool { return c.Name == generationColumn }) {
		return make([]int32, n), nil
	}
	generations, err := schema.Col[[]int32](t, generationColumn)
	if err != nil {
		return nil, err
	}
	if len(generations) != n || slices.ContainsFunc(generations, func(g int32) bool { return g < 0 }) {
		return nil, fmt.Errorf("%w: %d generations for %d items, or one is negative", schema.ErrCorrupt, len(generations), n)
	}
	return generations, nil
}
