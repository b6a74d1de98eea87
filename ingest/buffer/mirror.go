package buffer

import (
	"fmt"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// Append writes entries of another node's log into this store, durably, so that readers here have them: at their own emit
// numbers. Entries that are here already are skipped, so it may be called again with the same ones; a gap is an error. An
// empty log begins with the first entry that it is given or, where m's has none either, where that would go on.
//
// m is the meta of p at its node, as it was when the entries were read there or later. What it says of the windows is
// taken over once the entries have come as far as it: a watermark never promises more than can be read.
//
// The partition is a mirror from then on: it can neither be loaded nor committed to, until Import brings its state.
func (s *Store) Append(p schema.Partition, m Meta, entries []Entry) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	st := s.state(p)
	if _, windows := s.header(p); windows || !st.Mirror && (st.NextEmit > 0 || st.NextOffset > 0) {
		return fmt.Errorf("buffer: mirror partition %d: it is written on this node: let go of it first (Leave)", p)
	}
	first := st.FirstEmit
	if at := beginning(&m, entries); st.NextEmit == 0 && at > 0 {
		first = at
		st.NextEmit, st.Reached = first, first
	}
	var parts []indexed
	err = s.put(pebble.Sync, func(w *writer) error {
		if first != st.FirstEmit {
			w.set(beginKey(nil, p), appendBegin(nil, begin{first: first}))
		}
		err := w.mirror(&st, m, entries)
		parts = w.index
		return err
	})
	if err != nil {
		return fmt.Errorf("buffer: mirror partition %d: %w", p, err)
	}
	if first != st.FirstEmit {
		s.setBegin(p, begin{first: first})
	}
	s.index(parts)
	s.publish(st)
	return s.afterwards([]state{st}, false)
}

// beginning returns where an empty log begins.
func beginning(m *Meta, entries []Entry) schema.Emit {
	switch {
	case len(entries) > 0:
		return entries[0].Emit
	case m.FirstEmit == m.NextEmit: // it is as empty at its node
		return m.FirstEmit
	}
	return 0
}

// mirror writes those of entries that st does not have.
func (w *writer) mirror(st *state, m Meta, entries []Entry) error {
	st.Mirror = true
	if len(m.Grows) > len(st.Grows) {
		st.Grows, st.Partitions = m.Grows, m.Partitions
	}
	for i := range entries {
		e := entries[i] // the caller's stay as they are
		switch {
		case e.Emit < st.NextEmit:
			continue
		case e.Emit > st.NextEmit:
			return fmt.Errorf("entries %d to %d are missing: read them from its node, or begin the mirror anew in an empty directory", st.NextEmit, e.Emit-1)
		}
		e.Part.Partition, e.Part.Emit = st.Partition, e.Emit
		if err := w.append(st, &e); err != nil {
			return err
		}
	}
	w.flush(st)
	if st.NextEmit == m.NextEmit {
		st.NextOffset, st.Ticks, st.Window = m.NextOffset, m.Ticks, m.Window
	}
	w.meta(st)
	return nil
}

// Leave forgets the windows of p, which has moved to another node. Its log stays, as a mirror that Append goes on with.
func (s *Store) Leave(p schema.Partition) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	st := s.state(p)
	st.Mirror, st.journalBytes = true, 0
	err = s.put(pebble.Sync, func(w *writer) error {
		w.deleteRange(headerKey(nil, p), after(headerKey(nil, p)))
		w.deleteRange(spaceOf(nil, spacePage, p), after(spaceOf(nil, spacePage, p)))
		w.deleteRange(spaceOf(nil, spaceJournal, p), after(spaceOf(nil, spaceJournal, p)))
		w.meta(&st)
		return nil
	})
	if err != nil {
		return fmt.Errorf("buffer: leave partition %d: %w", p, err)
	}
	s.mu.Lock()
	delete(s.headers, p)
	s.mu.Unlock()
	s.publish(st)
	return nil
}
