package buffer

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// Import makes the state of p that which Export wrote to from: this node goes on with the partition, where the other one was.
// It returns the meta, and ErrOlder when the partition is further here already. Until the stream has been read to its end,
// and its digest fits, nothing has changed; a crash leaves the old state or the new one.
//
// The log is not part of the stream. What is here of it stays if it ends where the new state begins, as a mirror's may; if
// it ends before that, it would have a gap, so it begins anew. If a mirror is further, it is cut there: the same entries
// come again from the same records (I1), and readers that have had them wait until they do (Meta.Reached). Records aside
// stay at the node that put them there.
func (s *Store) Import(p schema.Partition, from io.Reader) (Meta, error) {
	release, err := s.use()
	if err != nil {
		return Meta{}, err
	}
	defer release()
	m, err := s.importState(p, from)
	if err != nil {
		return Meta{}, fmt.Errorf("buffer: import partition %d: %w", p, err)
	}
	return m, nil
}

func (s *Store) importState(p schema.Partition, from io.Reader) (Meta, error) {
	r := frameReader{from: bufio.NewReaderSize(from, 64<<10), digest: sha256.New()}
	if err := r.begin(); err != nil {
		return Meta{}, err
	}
	tag, b, err := r.next()
	if err != nil {
		return Meta{}, err
	}
	if tag != framePartition {
		return Meta{}, fmt.Errorf("%w: it begins with frame %q", ErrCorrupt, tag)
	}
	st, err := decodePartition(b)
	here := s.state(p)
	switch {
	case err != nil:
		return Meta{}, err
	case st.Partition != p:
		return Meta{}, fmt.Errorf("it is the state of partition %d", st.Partition)
	case st.Mirror:
		return Meta{}, fmt.Errorf("%w: it is the state of a mirror", ErrCorrupt)
	case !here.Mirror && (st.NextOffset < here.NextOffset || st.NextOffset == here.NextOffset && st.NextEmit < here.NextEmit):
		return Meta{}, fmt.Errorf("%w: it has the records below offset %d and %d entries, and here are those below %d and %d: take a newer export, or go on from what is here",
			ErrOlder, st.NextOffset, st.NextEmit, here.NextOffset, here.NextEmit)
	}
	h, err := s.receive(&r, &here, &st)
	if err != nil {
		return Meta{}, err
	}
	return s.adopt(here, st, h)
}

// receive writes the pages and the journal of r beside those that are here, and returns their header, or none. It numbers
// the journal on from the one that is here.
func (s *Store) receive(r *frameReader, here, st *state) (*header, error) {
	p := here.Partition
	old, _ := s.header(p)
	generation := old.generation + 1
	pieces := st.journal
	var h *header
	err := s.put(pebble.NoSync, func(w *writer) error { // what an attempt that failed has left
		w.deleteRange(pageKey(nil, p, generation, 0), pageKey(nil, p, generation+1, 0))
		w.deleteRange(journalKey(nil, p, here.journal), after(spaceOf(nil, spaceJournal, p)))
		return nil
	})
	if err != nil {
		return nil, err
	}
	st.journal = here.journal
	pages, bytes := uint32(0), uint64(0)
	for {
		tag, b, err := r.next()
		if err != nil {
			return nil, err
		}
		var key []byte
		switch {
		case tag == frameHeader && h == nil:
			read, err := decodeHeader(b)
			if err != nil {
				return nil, fmt.Errorf("header: %w", err)
			}
			if h = &read; pieces < h.journal {
				return nil, fmt.Errorf("%w: the journal ends before the snapshot", ErrCorrupt)
			}
			pieces -= h.journal
			continue
		case tag == framePage && h != nil:
			key = pageKey(nil, p, generation, pages)
			pages++
			bytes += uint64(len(b))
		case tag == frameJournal && h != nil:
			key = journalKey(nil, p, st.journal)
			st.journal++
		case tag == frameEnd:
			if got := st.journal - here.journal; h == nil && pieces > 0 || h != nil && (pages != h.pages || bytes != h.bytes || got != pieces) {
				return nil, fmt.Errorf("%w: %d pages of %d bytes and %d pieces of the journal are not what it says", ErrCorrupt, pages, bytes, got)
			}
			if h != nil {
				h.generation, h.journal = generation, here.journal
			}
			return h, nil
		default:
			return nil, fmt.Errorf("%w: frame %q has no place here", ErrCorrupt, tag)
		}
		err = s.put(pebble.NoSync, func(w *writer) error {
			w.set(key, b)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
}

// adopt makes st and h the state of their partition, in one synced batch.
func (s *Store) adopt(here, st state, h *header) (Meta, error) {
	p := here.Partition
	s.trimming.Lock()
	defer s.trimming.Unlock()
	delete(s.notBefore, p)
	at, t := s.begin(p), s.tail(p)
	st.Reached = max(st.Reached, here.Reached, here.NextEmit)
	st.Aside, st.AsideBytes, st.appended = here.Aside, here.AsideBytes, here.appended
	err := s.put(pebble.Sync, func(w *writer) error {
		switch {
		case st.NextEmit > here.NextEmit:
			at = begin{first: st.NextEmit, trimmed: st.appended}
			w.deleteRange(spaceOf(nil, spaceLog, p), after(spaceOf(nil, spaceLog, p)))
			w.deleteRange(spaceOf(nil, spaceUser, p), after(spaceOf(nil, spaceUser, p)))
			w.set(indexedKey(nil, p), binary.AppendUvarint(nil, uint64(st.NextEmit)))
			t = newTail(st.NextEmit)
		case st.NextEmit < here.NextEmit:
			var err error
			if t, err = s.cutLog(w, &st, here.NextEmit); err != nil {
				return err
			}
			at.first = min(at.first, st.NextEmit)
		}
		w.set(beginKey(nil, p), appendBegin(nil, at))
		if h != nil {
			w.deleteRange(pageKey(nil, p, 0, 0), pageKey(nil, p, h.generation, 0))
			w.set(headerKey(nil, p), appendHeader(nil, h))
		} else {
			w.deleteRange(pageKey(nil, p, 0, 0), after(spaceOf(nil, spacePage, p)))
			w.deleteRange(headerKey(nil, p), after(headerKey(nil, p)))
		}
		w.deleteRange(journalKey(nil, p, 0), journalKey(nil, p, here.journal))
		w.meta(&st)
		return nil
	})
	if err != nil {
		return Meta{}, err
	}
	s.mu.Lock()
	s.begins[p], s.tails[p] = at, t
	delete(s.headers, p)
	if h != nil {
		s.headers[p] = *h
	}
	s.mu.Unlock()
	s.publish(st)
	if st.NextEmit > here.NextEmit && here.NextEmit > here.FirstEmit {
		s.opts.Log.Warn("the log of an imported partition begins anew, because it would have a gap", "partition", p,
			"ended_at", here.NextEmit, "begins_at", st.NextEmit)
	}
	return s.Partition(p), nil
}

// cutLog removes the entries of a log from st.NextEmit up to, without, end. It returns the tail of what is left.
func (s *Store) cutLog(w *writer, st *state, end schema.Emit) (*tail, error) {
	p, from := st.Partition, st.NextEmit
	users := map[string]bool{}
	err := s.blocks(p, from, end, func(b *block) (bool, error) {
		st.appended -= min(st.appended, uint64(b.size))
		err := b.users(func(at located, user string) {
			if at.emit >= from {
				users[user] = true
			}
		})
		if err != nil || b.first >= from {
			return true, err
		}
		return true, b.all(0, func(e *Entry) bool { // what is before the cut is written again, at the same places
			w.block.add(e)
			return e.Emit+1 < from
		})
	})
	if err != nil {
		return nil, err
	}
	w.deleteRange(logKey(nil, p, from), logKey(nil, p, end))
	w.flush(st)
	return s.cutIndex(w, p, from, users)
}
