package model

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/freshet-ml/freshet/schema"
)

// Restore returns the model that Tables described. Everything is checked before it returns; faults are ErrCorrupt and name the table.
// All rows count as changed since the last Snapshot, and as changed since Saved.
func Restore(cfg Config, tables map[string]schema.Table) (*Model, error) {
	return RestoreRows(cfg, tables, func(yield func(schema.Table, error) bool) { yield(tables[tableItems], nil) })
}

// RestoreRows is Restore from tables and pieces of the rows, as EachRows gave them: all first, then those that changed, in the order of the changes.
func RestoreRows(cfg Config, tables map[string]schema.Table, pieces iter.Seq2[schema.Table, error]) (*Model, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := empty(cfg)
	if err := readParams(&m.cfg, m.w.arena, &m.items.side, nil, tables[tableParams]); err != nil {
		return nil, err
	}
	if err := m.restoreSides(tables[tableSides]); err != nil {
		return nil, fmt.Errorf("sides: %w", err)
	}
	if err := m.restoreTeacher(tables); err != nil {
		return nil, fmt.Errorf("teacher: %w", err)
	}
	for piece, err := range pieces {
		if err == nil {
			err = m.restoreItems(piece)
		}
		if err != nil {
			return nil, fmt.Errorf("items: %w", err)
		}
	}
	if err := m.nameRows(tables[tableParams].MetaValue(metaItems)); err != nil {
		return nil, fmt.Errorf("items: %w", err)
	}
	if err := m.restoreLives(tables[tableLives]); err != nil {
		return nil, fmt.Errorf("lives: %w", err)
	}
	if err := m.plasticity.restore(tables[tablePlasticity], &m.cfg, m.items.n); err != nil {
		return nil, fmt.Errorf("plasticity: %w", err)
	}
	if err := m.restoreMoments(tables[tableMoments]); err != nil {
		return nil, fmt.Errorf("moments: %w", err)
	}
	if err := m.restoreRecent(tables[tableRecent]); err != nil {
		return nil, fmt.Errorf("recent: %w", err)
	}
	if err := m.restoreScenes(tables[tableScenes]); err != nil {
		return nil, fmt.Errorf("scenes: %w", err)
	}
	if err := m.restoreRandom(tables[tableRandom]); err != nil {
		return nil, fmt.Errorf("random: %w", err)
	}
	return m, nil
}

// restoreItems fills the rows of a piece: those that are there, or the next.
func (m *Model) restoreItems(t schema.Table) error {
	in, err := readItems(&m.cfg, m.items.side.n, t)
	if err != nil {
		return err
	}
	clicks, err := schema.Col[[]int64](t, "last_click")
	if err != nil {
		return err
	}
	if len(clicks) != len(in.ids) {
		return fmt.Errorf("%w: %d last clicks for %d items", schema.ErrCorrupt, len(clicks), len(in.ids))
	}
	for i, id := range in.ids {
		r := Row(in.rows[i])
		switch {
		case int(r) > m.items.n:
			return fmt.Errorf("%w: row %d is missing", schema.ErrCorrupt, m.items.n)
		case int(r) == m.items.n:
			m.appendRow()
		}
		copy(m.items.vector(r), in.vectors[i*m.cfg.Dim:][:m.cfg.Dim])
		m.items.biasOf(r)[0] = in.biases[i]
		m.ids[r], m.categories[r] = id, in.categories[i]
		*m.items.sidesOf(r) = in.sidesOf(i)
		m.lives.lastClick[r], m.lives.generation[r] = schema.EventTime(clicks[i]), in.generations[i]
		m.touch(r)
	}
	if err := restoreTaught(m.net.teacher, t, in.rows); err != nil {
		return fmt.Errorf("teacher: %w", err)
	}
	return m.rowState.restore(t, in.rows, m.cfg.Dim)
}

// nameRows makes the index and the list of free rows. want is how many rows there are.
func (m *Model) nameRows(want string) error {
	if got := fmt.Sprint(m.items.n); got != want {
		return fmt.Errorf("%w: %s rows, the model has %q", schema.ErrCorrupt, got, want)
	}
	m.index = newRowIndex(m.items.n)
	for i := m.items.n - 1; i >= 0; i-- {
		r, id := Row(i), m.ids[i]
		if id == "" {
			m.lives.free = append(m.lives.free, r)
			continue
		}
		if other, ok := m.Row(id); ok {
			return fmt.Errorf("%w: item %q has the rows %d and %d", schema.ErrCorrupt, id, r, other)
		}
		if s := m.items.sidesOf(r)[fieldCategory]; s != 0 && m.sideKeys[s-1].value == m.categories[r] {
			m.categories[r] = m.sideKeys[s-1].value // the items of a category share its name
		}
		m.index.add(id, r, m.ID)
	}
	return nil
}

// livesTable is what a checkpoint has of the coming and going of rows beside the rows themselves.
func (m *Model) livesTable() schema.Table {
	words, added := []uint64{}, 0
	if s := m.lives.sightings; s != nil {
		words, added = s.words(), s.added
	}
	return schema.Table{
		Columns: []schema.Column{{Name: "sightings", Data: words}},
		Meta:    [][2]string{{"swept", fmt.Sprint(int64(m.lives.swept))}, {"sightings", fmt.Sprint(added)}},
	}
}

func (m *Model) restoreLives(t schema.Table) error {
	words, err := schema.Col[[]uint64](t, "sightings")
	if err != nil {
		return err
	}
	swept, err := strconv.ParseInt(t.MetaValue("swept"), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: swept: %v", schema.ErrCorrupt, err)
	}
	added, err := strconv.Atoi(t.MetaValue("sightings"))
	if err != nil || added < 0 {
		return fmt.Errorf("%w: %q sightings", schema.ErrCorrupt, t.MetaValue("sightings"))
	}
	m.lives.swept = schema.EventTime(swept)
	s := m.lives.sightings
	if s == nil && len(words) == 0 {
		return nil
	}
	if s == nil || len(words) != len(s.counters)/8 {
		return fmt.Errorf("%w: a sketch of %d counters", schema.ErrCorrupt, 8*len(words))
	}
	s.restore(words)
	s.added = added
	return nil
}

func accumulators(t schema.Table, name string, n int) ([]float32, error) {
	acc, err := schema.Col[[]float32](t, name)
	if err != nil {
		return nil, err
	}
	if len(acc) != n {
		return nil, fmt.Errorf("%w: %s has %d rows, want %d", schema.ErrCorrupt, name, len(acc), n)
	}
	if j := firstBad(acc); j >= 0 || slices.ContainsFunc(acc, func(v float32) bool { return v < 0 }) {
		return nil, fmt.Errorf("%w: %s has numbers that are negative or not finite", schema.ErrCorrupt, name)
	}
	return acc, nil
}

func (m *Model) restoreMoments(t schema.Table) error {
	names, err := schema.Col[[]string](t, "name")
	if err != nil {
		return err
	}
	first, err := schema.Col[[][]float32](t, "first")
	if err != nil {
		return err
	}
	second, err := schema.Col[[][]float32](t, "second")
	if err != nil {
		return err
	}
	if len(names) != len(m.specs) || len(first) != len(m.specs) || len(second) != len(m.specs) {
		return fmt.Errorf("%w: %d tensors, want %d", schema.ErrCorrupt, len(names), len(m.specs))
	}
	at := 0
	for i := range m.specs {
		n := m.specs[i].size()
		if names[i] != m.specs[i].name || len(first[i]) != n || len(second[i]) != n {
			return fmt.Errorf("%w: tensor %d is %q with %d and %d numbers, want %q with %d", schema.ErrCorrupt, i, names[i], len(first[i]), len(second[i]), m.specs[i].name, n)
		}
		if firstBad(first[i]) >= 0 || firstBad(second[i]) >= 0 {
			return fmt.Errorf("%w: %q has numbers that are not finite", schema.ErrCorrupt, names[i])
		}
		copy(m.first[at:], first[i])
		copy(m.second[at:], second[i])
		at += n
	}
	return nil
}

func (m *Model) restoreScenes(t schema.Table) error {
	requests, err := schema.Col[[]float64](t, "requests")
	if err != nil {
		return err
	}
	if len(requests) != len(m.scenes) {
		return fmt.Errorf("%w: %d scenes, want %d", schema.ErrCorrupt, len(requests), len(m.scenes))
	}
	for i, n := range requests {
		if !(n >= 0) || !finite(n) {
			return fmt.Errorf("%w: scene %d has %v requests", schema.ErrCorrupt, i, n)
		}
	}
	copy(m.scenes, requests)
	return nil
}

func (m *Model) restoreRecent(t schema.Table) error {
	rows, err := schema.Col[[]int32](t, "row")
	if err != nil {
		return err
	}
	if len(rows) > m.cfg.RecentWindow {
		return fmt.Errorf("%w: %d targets, recent_window is %d", schema.ErrCorrupt, len(rows), m.cfg.RecentWindow)
	}
	for _, r := range rows {
		if r < 0 || int(r) >= m.items.n || m.ids[r] == "" {
			return fmt.Errorf("%w: there is no item in row %d", schema.ErrCorrupt, r)
		}
		m.ring = append(m.ring, Row(r))
		m.frequency[r]++
	}
	return nil
}

func (m *Model) restoreRandom(t schema.Table) error {
	var config Config
	if err := json.Unmarshal([]byte(t.MetaValue(metaConfig)), &config); err != nil {
		return fmt.Errorf("%w: config: %v", schema.ErrCorrupt, err)
	}
	if config != m.cfg {
		return fmt.Errorf("%w: it was trained with another model config %+v, want %+v", schema.ErrCorrupt, config, m.cfg)
	}
	step, err := schema.Col[[]uint64](t, "step")
	if err != nil {
		return err
	}
	state, err := schema.Col[[]string](t, "state")
	if err != nil {
		return err
	}
	if len(step) != 1 || len(state) != 1 {
		return fmt.Errorf("%w: %d lines, want 1", schema.ErrCorrupt, len(step))
	}
	random, err := hex.DecodeString(state[0])
	if err != nil {
		return fmt.Errorf("%w: %v", schema.ErrCorrupt, err)
	}
	if err := m.source.UnmarshalBinary(random); err != nil {
		return fmt.Errorf("%w: %v", schema.ErrCorrupt, err)
	}
	m.step = step[0]
	return nil
}
