package buffer

import (
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// Load returns the windows of p as of its last commit: those of its snapshot, with the journal since then replayed. What
// comes out must have the Meta that the commit wrote, or it is ErrCorrupt.
//
// The journal is replayed under the config that it was written under. If c is another one, the windows go on under c: they
// are restored under it, and a snapshot says so.
func (s *Store) Load(p schema.Partition, c window.Config) (*window.Windower, error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	w, err := s.load(p, c)
	if err != nil {
		return nil, fmt.Errorf("buffer: load partition %d: %w", p, err)
	}
	return w, nil
}

func (s *Store) load(p schema.Partition, c window.Config) (*window.Windower, error) {
	if err := s.intact(); err != nil { // what is published may be behind what is durable
		return nil, err
	}
	st := s.state(p)
	h, ok := s.header(p)
	switch {
	case st.Mirror:
		return nil, errors.New("it is the mirror of another node's log, and its windows are there: import its state first")
	case !ok && (st.journal > 0 || st.Window != window.NewMeta()):
		return nil, fmt.Errorf("%w: it has no snapshot", ErrCorrupt)
	case !ok:
		h.window = window.NewMeta()
	}
	under := c
	if h.hasConfig {
		under = h.config
	}
	w, err := window.Restore(under, h.window, s.pages(p, &h))
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if err := s.replay(w, p, h.journal, st.journal); err != nil {
		return nil, err
	}
	if got := w.Meta(); got != st.Window {
		return nil, fmt.Errorf("%w: snapshot and journal make %+v, but the last commit says %+v", ErrCorrupt, got, st.Window)
	}
	switch {
	case !h.hasConfig:
		return w, s.setConfig(p, h, c)
	case h.config != c:
		s.opts.Log.Warn("the window config has changed: what is open goes on under the new one, and the log no longer is a function of the records and one config",
			"partition", p, "was", fmt.Sprintf("%+v", h.config), "is", fmt.Sprintf("%+v", c))
		if w, err = window.Restore(c, w.Meta(), pagesOf(w)); err != nil {
			return nil, fmt.Errorf("go on under another window config: %w", err)
		}
		return w, s.snapshot(p, w, c)
	}
	return w, nil
}

// pages yields the pages of the snapshot that h describes. They are valid until the next one.
func (s *Store) pages(p schema.Partition, h *header) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if h.pages == 0 {
			return
		}
		pages, bytes := uint32(0), uint64(0)
		err := scan(s.db, pageKey(nil, p, h.generation, 0), pageKey(nil, p, h.generation+1, 0), func(key, page []byte) error {
			pages++
			bytes += uint64(len(page))
			if !yield(page, nil) {
				return errStop
			}
			return nil
		})
		if err == nil && (pages != h.pages || bytes != h.bytes) {
			err = fmt.Errorf("%w: it has %d pages of %d bytes, and should have %d of %d", ErrCorrupt, pages, bytes, h.pages, h.bytes)
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}

// replay applies the journal from piece from up to, without, piece to.
func (s *Store) replay(w *window.Windower, p schema.Partition, from, to uint64) error {
	next := from
	err := scan(s.db, journalKey(nil, p, from), journalKey(nil, p, to), func(key, piece []byte) error {
		if n, _ := lastNumber(key); n != next {
			return fmt.Errorf("%s: %w: it is missing", nameOf(journalKey(nil, p, next)), ErrCorrupt)
		}
		next++
		if err := w.Replay(piece); err != nil {
			return fmt.Errorf("%s: %w: %w", nameOf(key), ErrCorrupt, err)
		}
		return nil
	})
	if err == nil && next != to {
		err = fmt.Errorf("%s: %w: it is missing", nameOf(journalKey(nil, p, next)), ErrCorrupt)
	}
	return err
}

// setConfig notes the config of a partition that had none: a new one, or one of format 1.
func (s *Store) setConfig(p schema.Partition, h header, c window.Config) error {
	h.config, h.hasConfig = c, true
	err := s.put(pebble.Sync, func(w *writer) error {
		w.set(headerKey(nil, p), appendHeader(nil, &h))
		return nil
	})
	if err != nil {
		return fmt.Errorf("note the window config: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headers[p] = h
	return nil
}

// pagesOf yields the pages of w.
func pagesOf(w *window.Windower) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		err := w.Pages(pageBytes, func(page []byte) error {
			if !yield(page, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}
