package baseline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// Served are the tables of one publication. They never change and may be used by many goroutines; versions share what no delta between them touched. They give
// the terms and marks that the Live gave when it published, bit for bit.
//
// Tables may be newer than the weights they are used with: marks may name rows that the model does not have yet.
type Served struct {
	view
	config string
	pool   *sync.Pool // of scratch; shared by all versions
}

var _ model.Live = (*Served)(nil)

// LoadServed reads the objects of a full publication. Faults are ErrCorrupt.
func LoadServed(objects map[string]schema.Table) (*Served, error) {
	s := &Served{pool: &sync.Pool{New: func() any { return &scratch{} }}}
	s.config = objects[ObjectCounts].MetaValue(metaConfig)
	if err := json.Unmarshal([]byte(s.config), &s.cfg); err != nil {
		return nil, fmt.Errorf("load live tables: %w: config: %v", schema.ErrCorrupt, err)
	}
	if err := s.cfg.Validate(); err != nil {
		return nil, fmt.Errorf("load live tables: %w: %w", schema.ErrCorrupt, err)
	}
	next, err := s.with(objects)
	if err != nil {
		return nil, fmt.Errorf("load live tables: %w", err)
	}
	return next, nil
}

// Apply returns the tables after a delta; s stays as it is. Faults are ErrCorrupt.
func (s *Served) Apply(objects map[string]schema.Table) (*Served, error) {
	next, err := s.with(objects)
	if err != nil {
		return nil, fmt.Errorf("apply live tables: %w", err)
	}
	return next, nil
}

func (s *Served) with(objects map[string]schema.Table) (*Served, error) {
	next := &Served{view: s.view, config: s.config, pool: s.pool}
	if err := next.withCounts(&s.counts, objects[ObjectCounts]); err != nil {
		return nil, fmt.Errorf("%s: %w", ObjectCounts, err)
	}
	if err := next.withTransitions(s, objects[ObjectTransitions]); err != nil {
		return nil, fmt.Errorf("%s: %w", ObjectTransitions, err)
	}
	if s.cfg.Neighbours {
		if err := next.withNeighbours(&s.sessions, objects[ObjectNeighbours], objects[ObjectPostings]); err != nil {
			return nil, fmt.Errorf("%s: %w", ObjectNeighbours, err)
		}
	}
	return next, nil
}

// followOn checks that the lines of a delta rise and leave no hole behind n entries, and that there are want afterwards.
func followOn(lines []int32, n, want int) error {
	if !rising(lines) {
		return fmt.Errorf("%w: the lines do not rise", schema.ErrCorrupt)
	}
	for _, r := range lines {
		if int(r) > n {
			return fmt.Errorf("%w: row %d is missing: the delta does not follow on this version", schema.ErrCorrupt, n)
		}
		n = max(n, int(r)+1)
	}
	if n != want {
		return fmt.Errorf("%w: there are to be %d rows, the update makes %d", schema.ErrCorrupt, want, n)
	}
	return nil
}

func (s *Served) withCounts(before *counts, t schema.Table) error {
	config, n, err := s.readMeta(t)
	if err != nil {
		return err
	}
	if config != s.config {
		return fmt.Errorf("%w: the config is not that of the version before", schema.ErrCorrupt)
	}
	rows, err := schema.Col[[]int32](t, "row")
	if err != nil {
		return err
	}
	all, err := countsOf(t)
	if err != nil {
		return err
	}
	if err := followOn(rows, before.n, n); err != nil {
		return err
	}
	s.counts.chunked = before.sharing()
	for k := range before.top {
		s.counts.top[k] = slices.Clone(before.top[k])
	}
	forgotten := false
	for i, r := range rows {
		own := s.counts.own(int(r), &before.chunked)
		fell := all[i].clicks < own.clicks
		for k := range own.log2 {
			fell = fell || own.clicks > 0 && all[i].log2[k] < own.log2[k]
		}
		forgotten = forgotten || fell
		*own = all[i]
		if own.clicks > 0 && !forgotten {
			s.counts.promote(model.Row(r))
		}
	}
	if forgotten { // places may have come free
		s.counts.rechart()
	}
	return nil
}

func (s *Served) withTransitions(before *Served, t schema.Table) error {
	arrival, err := schema.Col[[]int32](t, "arrival")
	if err != nil {
		return err
	}
	rows, err := schema.Col[[]int32](t, "row")
	if err != nil {
		return err
	}
	whole, err := wholeOf(t, len(rows))
	if err != nil {
		return err
	}
	lists, err := listsOf(t, whole)
	if err != nil {
		return err
	}
	if len(arrival) != len(rows) || len(lists) != len(rows) {
		return fmt.Errorf("%w: %d arrivals, %d rows, %d lists", schema.ErrCorrupt, len(arrival), len(rows), len(lists))
	}
	split := len(arrival)
	for i, a := range arrival {
		if a != 0 && a != 1 || i > 0 && a < arrival[i-1] {
			return fmt.Errorf("%w: arrivals and others are mixed", schema.ErrCorrupt)
		}
		if a == 1 {
			split = min(split, i)
		}
	}
	for i, r := range rows {
		if whole(i) {
			continue
		}
		was := before.next.get(int(r))
		if arrival[i] == 1 {
			was = before.arrivals.get(int(r))
		}
		if lists[i] = was.changed(lists[i]); len(lists[i].rows) > maxSuccessors {
			return fmt.Errorf("%w: row %d has %d successors", schema.ErrCorrupt, r, len(lists[i].rows))
		}
	}
	for _, of := range []struct {
		to, before *chunked[list]
		rows       []int32
		lists      []list
		want       string
	}{
		{&s.next.chunked, &before.next.chunked, rows[:split], lists[:split], metaRows},
		{&s.arrivals.chunked, &before.arrivals.chunked, rows[split:], lists[split:], metaArrivals},
	} {
		if err := apply(of.to, of.before, of.rows, of.lists, t.MetaValue(of.want)); err != nil {
			return err
		}
	}
	return nil
}

// wholeOf says of each of n lines of transitions whether it takes the place of what was there; without the column all do.
func wholeOf(t schema.Table, n int) (func(i int) bool, error) {
	if !t.Has("whole") {
		return func(int) bool { return true }, nil
	}
	whole, err := schema.Col[[]int32](t, "whole")
	if err != nil {
		return nil, err
	}
	if len(whole) != n || slices.ContainsFunc(whole, func(w int32) bool { return w != 0 && w != 1 }) {
		return nil, fmt.Errorf("%w: whole of %d lines for %d, or one is neither 0 nor 1", schema.ErrCorrupt, len(whole), n)
	}
	return func(i int) bool { return whole[i] == 1 }, nil
}

// postsAfter returns the lists of rows: those that are not whole are what was there before without what is gone, and what is new behind it.
func postsAfter(before *chunked[[]int32], t schema.Table, rows []int32, posts [][]int32) ([][]int32, error) {
	whole, err := wholeOf(t, len(rows))
	if err != nil {
		return nil, err
	}
	gone := make([][]int32, len(rows))
	if t.Has("gone") {
		if gone, err = schema.Col[[][]int32](t, "gone"); err != nil {
			return nil, err
		}
	}
	if len(posts) != len(rows) || len(gone) != len(rows) {
		return nil, fmt.Errorf("%w: %d lists of sessions and %d of those gone for %d rows", schema.ErrCorrupt, len(posts), len(gone), len(rows))
	}
	next := make([][]int32, len(rows))
	for i, r := range rows {
		if next[i] = posts[i]; whole(i) {
			continue
		}
		next[i] = nil
		for _, slot := range before.get(int(r)) {
			if !slices.Contains(gone[i], slot) {
				next[i] = append(next[i], slot)
			}
		}
		next[i] = append(next[i], posts[i]...)
	}
	return next, nil
}

// apply makes a table of before and the lines of a delta.
func apply[T any](to, before *chunked[T], lines []int32, values []T, want string) error {
	n, err := strconv.Atoi(want)
	if err != nil {
		return fmt.Errorf("%w: the number of rows is %q", schema.ErrCorrupt, want)
	}
	if err := followOn(lines, before.n, n); err != nil {
		return err
	}
	*to = before.sharing()
	for i, r := range lines {
		*to.own(int(r), before) = values[i]
	}
	return nil
}

func (s *Served) withNeighbours(before *sessions, t, postings schema.Table) error {
	slots, err := schema.Col[[]int32](t, "slot")
	if err != nil {
		return err
	}
	heads, clicks, err := sessionsOf(t, s.cfg.SessionClicks)
	if err != nil {
		return err
	}
	rows, err := schema.Col[[]int32](postings, "row")
	if err != nil {
		return err
	}
	posts, err := postingsOf(postings, s.cfg.Sample)
	if err != nil {
		return err
	}
	if err := apply(&s.sessions.heads, &before.heads, slots, heads, t.MetaValue(metaSlots)); err != nil {
		return err
	}
	if err := apply(&s.sessions.rows, &before.rows, slots, clicks, t.MetaValue(metaSlots)); err != nil {
		return err
	}
	if posts, err = postsAfter(&before.posts, postings, rows, posts); err != nil {
		return err
	}
	for i, p := range posts {
		if len(p) > s.cfg.Sample {
			return fmt.Errorf("%w: row %d is in %d sessions", schema.ErrCorrupt, rows[i], len(p))
		}
		for _, slot := range p {
			if slot < 0 || int(slot) >= s.sessions.heads.n {
				return fmt.Errorf("%w: there is no session in slot %d", schema.ErrCorrupt, slot)
			}
		}
	}
	return apply(&s.sessions.posts, &before.posts, rows, posts, postings.MetaValue(metaRows))
}

// ItemTerms sets dst to the terms of the rows from, from+1, ….   dst (rows, ItemTerms)
func (s *Served) ItemTerms(dst []float32, from model.Row) { s.counts.ItemTerms(dst, from) }

// ItemTermsOf sets dst to the terms of some rows.   dst (len(rows), ItemTerms)
func (s *Served) ItemTermsOf(dst []float32, rows []model.Row) { s.counts.ItemTermsOf(dst, rows) }

// Marks appends the marks of a request, by rising row, then kind. Those of neighbours are there under Config.Neighbours.
func (s *Served) Marks(dst []model.Mark, r Request) []model.Mark {
	memory := s.pool.Get().(*scratch)
	defer s.pool.Put(memory)
	return s.marks(memory, dst, &r)
}

// Popular appends the items that are clicked most with HalfLife1, Places at most: what is shown to those of whom nothing is known.
func (s *Served) Popular(dst []Scored) []Scored {
	return Votes{v: &s.view, s: &scratch{}}.Top(dst, ArmPopular1)
}
