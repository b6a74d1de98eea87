package buffer

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// snapshotBytes is the least journal that is worth a snapshot. Until there is as much of it as there was of the last
// snapshot, a snapshot costs less than was written since, however many sessions are open; and a restart reads at most the
// snapshot and as much again.
const snapshotBytes = 16 << 20

// pageBytes is about the size of a page. It bounds the memory that a snapshot and its reading take.
const pageBytes = 256 << 10

// SnapshotDue says that the journal of p has become long enough for a Snapshot.
func (s *Store) SnapshotDue(p schema.Partition) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, ok := s.headers[p]
	return ok && s.states[p].journalBytes >= max(snapshotBytes, h.bytes)
}

// Snapshot writes the windows of p whole, and drops their journal: w must be as of p's last commit. The pages are written
// beside the old snapshot, without a sync; one synced batch then makes them the snapshot. A crash before leaves the old
// snapshot and its journal, and pages that the next Open removes.
//
// After an error the old snapshot counts, unless the store is broken (Commit).
func (s *Store) Snapshot(p schema.Partition, w *window.Windower) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	h, ok := s.header(p)
	if !ok || !h.hasConfig {
		return fmt.Errorf("buffer: snapshot of partition %d: it was not loaded from this store", p)
	}
	if err := s.snapshot(p, w, h.config); err != nil {
		return fmt.Errorf("buffer: snapshot of partition %d: %w", p, err)
	}
	return nil
}

func (s *Store) snapshot(p schema.Partition, w *window.Windower, c window.Config) error {
	st := s.state(p)
	if w.Meta() != st.Window || len(w.Journal()) > 0 {
		return errors.New("the windows are not those of its last commit")
	}
	old, _ := s.header(p)
	h := header{generation: old.generation + 1, journal: st.journal, window: st.Window, config: c, hasConfig: true}
	// What an attempt that failed has left of this generation goes first.
	err := s.put(pebble.NoSync, func(w *writer) error {
		w.deleteRange(pageKey(nil, p, h.generation, 0), pageKey(nil, p, h.generation+1, 0))
		return nil
	})
	if err != nil {
		return err
	}
	err = w.Pages(pageBytes, func(page []byte) error {
		if err := s.writable(); err != nil {
			return err
		}
		n := h.pages
		h.pages++
		h.bytes += uint64(len(page))
		return s.put(pebble.NoSync, func(w *writer) error {
			w.set(pageKey(nil, p, h.generation, n), page)
			return nil
		})
	})
	if err != nil {
		return err
	}
	st.journalBytes = 0
	err = s.put(pebble.Sync, func(w *writer) error {
		w.set(headerKey(nil, p), appendHeader(nil, &h))
		w.meta(&st)
		w.deleteRange(pageKey(nil, p, 0, 0), pageKey(nil, p, h.generation, 0))
		w.deleteRange(journalKey(nil, p, 0), journalKey(nil, p, st.journal))
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headers[p], s.states[p] = h, st
	return nil
}

// dropLeftovers deletes what snapshots and imports that were never finished have left.
func (s *Store) dropLeftovers() error {
	if err := errors.Join(s.dropPages(), s.dropJournals()); err != nil {
		return fmt.Errorf("remove what was not finished: %w", err)
	}
	return nil
}

// dropPages deletes the pages of all generations but the ones that count.
func (s *Store) dropPages() (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spacePage}, UpperBound: []byte{spacePage + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; {
		key := it.Key()
		p, generation, ok2 := splitPage(key)
		if !ok2 {
			return fmt.Errorf("%s: %w", nameOf(key), ErrCorrupt)
		}
		next := pageKey(nil, p, generation+1, 0)
		if h, has := s.headers[p]; !has || h.generation != generation || h.pages == 0 {
			if err := s.db.DeleteRange(pageKey(nil, p, generation, 0), next, pebble.NoSync); err != nil {
				return err
			}
		}
		ok = it.SeekGE(next)
	}
	return it.Error()
}

// dropJournals deletes pieces behind the ends of the journals.
func (s *Store) dropJournals() (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceJournal}, UpperBound: []byte{spaceJournal + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; {
		p, rest, whole := splitPartition(it.Key())
		if !whole || len(rest) != 8 {
			return fmt.Errorf("%s: %w", nameOf(it.Key()), ErrCorrupt)
		}
		from, end := journalKey(nil, p, s.states[p].journal), after(spaceOf(nil, spaceJournal, p))
		if ok = it.SeekGE(from); ok && bytes.Compare(it.Key(), end) < 0 {
			if err := s.db.DeleteRange(from, end, pebble.NoSync); err != nil {
				return err
			}
			ok = it.SeekGE(end)
		}
	}
	return it.Error()
}
