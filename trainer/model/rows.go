package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/freshet-ml/freshet/schema"
)

// lives is what is kept of the rows as places that items come to and go from (Monolith, arXiv 2209.07663, §2.1: a table without collisions whose rows are
// filtered and expire). A row without a name is free.
type lives struct {
	lastClick  []schema.EventTime // of each row
	generation []int32            // of each row: how often it was given up
	free       []Row              // falling: the lowest is given to the next item
	given      []Row              // free rows that an item was given since the last Sweep, rising
	freed      []Row              // by the last Sweep
	swept      schema.EventTime   // when rows expired last
	sightings  *sketch            // of names without a row; nil where the first sighting is enough
}

// Items returns how many rows there are, free ones included.
func (m *Model) Items() int { return m.items.n }

// Live returns how many items have a row.
func (m *Model) Live() int { return m.items.n - len(m.lives.free) }

// ID returns the name of the item in row r, "" where the row is free.
func (m *Model) ID(r Row) string { return m.ids[r] }

// Row returns the row of an item.
func (m *Model) Row(id string) (Row, bool) {
	return m.index.find(id, m.ID)
}

// Admit counts a click on an item at a time and returns its row. An item without one gets it with its Config.AdmitAfter-th click, as far as the sketch remembers, if there
// is room (Sweep); ok says whether it has one. A fresh row is a small random vector that depends on the seed and the row alone, and no bias: with what was
// learned of its side information it stands where the items of its category do. Side information is kept, each field as last seen. The row counts as
// changed: what is published beside the weights, its popularity, changes when it is clicked.
func (m *Model) Admit(id string, info schema.ItemInfo, at schema.EventTime) (r Row, ok bool) {
	if r, ok = m.Row(id); !ok {
		if m.lives.sightings != nil && m.lives.sightings.see(id) < m.cfg.AdmitAfter {
			return 0, false
		}
		if r, ok = m.settle(id); !ok {
			return 0, false
		}
	}
	m.lives.lastClick[r] = max(m.lives.lastClick[r], at)
	sides, category := *m.items.sidesOf(r), m.categories[r]
	m.describe(r, &info)
	if info.Category != "" && m.categories[r] != info.Category {
		m.categories[r] = m.categoryOf(r, info.Category)
	}
	if sides != *m.items.sidesOf(r) || category != m.categories[r] || !m.cfg.Terms { // with terms the live tables say what is popular
		m.retell(r)
	}
	m.touch(r)
	return r, true
}

// settle gives an item a row, a free one if there is any.
func (m *Model) settle(id string) (r Row, ok bool) {
	switch last := len(m.lives.free) - 1; {
	case last >= 0:
		r = m.lives.free[last]
		m.lives.free, m.lives.given = m.lives.free[:last], append(m.lives.given, r)
		m.renamed = true
	case m.cfg.MaxItems > 0 && m.items.n >= m.cfg.MaxItems:
		return 0, false
	default:
		r = m.appendRow()
	}
	m.ids[r] = strings.Clone(id) // not a part of the message it came in
	m.retell(r)
	m.index.add(m.ids[r], r, m.ID)
	rng := rand.New(rand.NewPCG(m.cfg.Seed, uint64(m.lives.generation[r])<<32|uint64(r)))
	vector := m.items.vector(r)
	for i := range vector {
		vector[i] = float32(rng.NormFloat64() * m.cfg.InitStd)
	}
	return r, true
}

// appendRow makes a row without a name at the end of the tables.
func (m *Model) appendRow() Row {
	if m.items.n == math.MaxInt32 {
		panic("model: admit: no row is left")
	}
	r := Row(m.items.n)
	m.rowState.grow(m.items.n, m.cfg.Dim)
	m.items.grow()
	m.ids, m.categories = append(m.ids, ""), append(m.categories, "")
	m.lives.lastClick, m.lives.generation = append(m.lives.lastClick, schema.BeginningOfTime), append(m.lives.generation, 0)
	m.frequency = append(m.frequency, 0)
	if m.net.teacher != nil {
		m.net.teacher.reach(&m.items)
	}
	m.unpublished.grow()
	m.unsaved.grow()
	return r
}

// giveUp makes a row free: nothing is left in it of the item that had it.
func (m *Model) giveUp(r Row) {
	m.index.remove(m.ids[r], m.ID)
	m.ids[r], m.categories[r] = "", ""
	clear(m.items.vector(r))
	m.items.biasOf(r)[0] = 0
	*m.items.sidesOf(r) = sides{}
	m.rowState.clear(r, m.cfg.Dim)
	if m.net.teacher != nil {
		m.net.teacher.forget(r)
	}
	m.lives.lastClick[r] = schema.BeginningOfTime
	m.lives.generation[r]++
	m.lives.freed = append(m.lives.freed, r)
	m.retell(r)
	m.touch(r)
}

// Given says whether r was free at the last Sweep and has an item now. To what was computed before, that item is as unknown as one beyond the rows of
// then.
func (m *Model) Given(r Row) bool {
	_, found := slices.BinarySearch(m.lives.given, r)
	return found
}

// Renamed says whether a row was given to another item since the last Snapshot, or since the model was made or restored. What speaks of rows, and was published since,
// would be read as of the item before.
func (m *Model) Renamed() bool { return m.renamed }

// drawsForLive bounds the draws for a row that is not free.
const drawsForLive = 64

// drawLive draws an item's row: all are equally likely. Where nearly all rows are free it gives up and takes the next that is not.
func (m *Model) drawLive() Row {
	n := m.items.n
	r := m.rng.IntN(n)
	for range drawsForLive {
		if m.ids[r] != "" {
			return Row(r)
		}
		r = m.rng.IntN(n)
	}
	for m.ids[r] == "" { // there is one: what is learned from has a row
		r = (r + 1) % n
	}
	return Row(r)
}

// rowSet is a set of rows that is emptied at once.
type rowSet struct {
	in   []bool // of each row
	rows []Row  // in the order of their coming
}

func (s *rowSet) grow() { s.in = append(s.in, false) }

func (s *rowSet) add(r Row) {
	if !s.in[r] {
		s.in[r] = true
		s.rows = append(s.rows, r)
	}
}

func (s *rowSet) clear() {
	for _, r := range s.rows {
		s.in[r] = false
	}
	s.rows = s.rows[:0]
}

// touch says that a row has changed since it was published and saved.
func (m *Model) touch(r Row) {
	m.unpublished.add(r)
	m.unsaved.add(r)
}

// categoryOf returns the name of r's category as the side table has it, so that the items of one share it.
func (m *Model) categoryOf(r Row, name string) string {
	if s := m.items.sidesOf(r)[fieldCategory]; s != 0 && m.sideKeys[s-1].value == name {
		return m.sideKeys[s-1].value
	}
	return strings.Clone(name)
}
