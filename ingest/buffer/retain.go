package buffer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// ErrGone says that entries of a log are no longer, or never were, in this store.
var ErrGone = errors.New("no longer in the log")

func goneError(p schema.Partition, want, first schema.Emit) error {
	return fmt.Errorf("%w: entry %d of partition %d is wanted, and the log begins at %d: let the reader begin anew, or give its node a log that goes back as far (log_age, log_bytes)",
		ErrGone, want, p, first)
}

// retainEntries is about how many entries a step of retention removes: rarely and many at once, because every range
// tombstone in an in-memory table makes reading it slower.
const retainEntries = 4096

// begin is where a partition's log begins, and the bytes of all blocks that were before. It has a key of its own, so that
// retention needs no agreement with the partition's owner, who writes its meta.
//
//	uvarint first emit, trimmed bytes
type begin struct {
	first   schema.Emit
	trimmed uint64
}

func appendBegin(b []byte, at begin) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(at.first)), at.trimmed)
}

func (s *Store) loadBegins() error {
	return s.eachPartition(spaceBegin, func(p schema.Partition, value []byte) error {
		r := newReader(value)
		s.begins[p] = begin{first: schema.Emit(r.uvarint()), trimmed: r.uvarint()}
		return r.done()
	})
}

func (s *Store) begin(p schema.Partition) begin {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.begins[p]
}

func (s *Store) setBegin(p schema.Partition, at begin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begins[p] = at
}

// retain removes a step of what the logs need no longer keep, after a commit of states.
//
// An entry is kept while its due is not before the partition's watermark, nor before that of any entry which a held reader
// has yet to consume, less LogAge. History ends at the due of the place it is asked for, less LogAge: so what it may
// return to a held reader is always there, and whether more is there does not show (I4).
//
// A step that fails stops the retention of its partition until the store is opened again; what was committed is not in
// doubt for it.
func (s *Store) retain(states []state) {
	if s.opts.LogAge == 0 && s.opts.LogBytes == 0 {
		return
	}
	s.trimming.Lock()
	defer s.trimming.Unlock()
	failed := func(p schema.Partition, err error) {
		s.notBefore[p] = schema.EndOfTime
		s.opts.Log.Error("the log of a partition cannot be shortened, and grows until the next start", "partition", p, "error", err)
	}
	if s.opts.LogAge > 0 {
		for i := range states {
			if err := s.retainAge(states[i].Partition); err != nil {
				failed(states[i].Partition, err)
			}
		}
	}
	if s.opts.LogBytes > 0 {
		if p, err := s.retainBytes(); err != nil {
			failed(p, err)
		}
	}
}

// retainAge removes a step of p's log if a whole one is old enough.
func (s *Store) retainAge(p schema.Partition) error {
	st := s.state(p)
	cut := st.Window.Watermark.Add(-s.opts.LogAge)
	step := st.FirstEmit + s.retainStep
	if notBefore, ok := s.notBefore[p]; ok && cut <= notBefore || step > st.NextEmit {
		return nil
	}
	least, at, err := s.held(p)
	if err != nil {
		return err
	}
	if cut = min(cut, at.Add(-s.opts.LogAge)); step > least {
		return nil
	}
	last, err := s.timeOf(p, step-1)
	if err != nil {
		return err
	}
	if last >= cut {
		s.notBefore[p] = last
		return nil
	}
	return s.removeStep(p, least, cut)
}

// retainBytes removes a step of the longest log that has one which no reader needs. It returns whose.
func (s *Store) retainBytes() (schema.Partition, error) {
	s.mu.RLock()
	total, metas := int64(0), make([]Meta, 0, len(s.states))
	for p := range s.states {
		m := s.stateLocked(p).Meta
		total += int64(m.LogBytes)
		metas = append(metas, m)
	}
	s.mu.RUnlock()
	if total <= s.opts.LogBytes {
		return 0, nil
	}
	slices.SortFunc(metas, func(a, b Meta) int {
		return cmp.Or(cmp.Compare(b.LogBytes, a.LogBytes), cmp.Compare(a.Partition, b.Partition))
	})
	for i := range metas {
		p, first := metas[i].Partition, metas[i].FirstEmit
		if s.notBefore[p] == schema.EndOfTime {
			continue
		}
		least, _, err := s.held(p)
		if err != nil {
			return p, err
		}
		if first+s.retainStep <= least {
			return p, s.removeStep(p, least, schema.EndOfTime)
		}
	}
	return 0, nil
}

// removeStep removes whole blocks of p's log from its beginning on, until a step is done, and none that reaches beyond end or
// has an entry due at cut or later.
func (s *Store) removeStep(p schema.Partition, end schema.Emit, cut schema.EventTime) error {
	at := s.begin(p)
	first := at.first
	return s.putAnyway(pebble.NoSync, func(w *writer) error {
		err := scan(s.db, logKey(nil, p, first), logKey(nil, p, end), func(key, value []byte) error {
			if n, _ := lastNumber(key); schema.Emit(n) != at.first {
				return s.missing(p, at.first)
			}
			b, err := openBlock(value, p, at.first)
			if err != nil {
				return err
			}
			last, err := b.time(b.n - 1)
			if err != nil {
				return err
			}
			if b.first+schema.Emit(b.n) > end || at.first-first >= s.retainStep || last >= cut {
				return errStop
			}
			at.first += schema.Emit(b.n)
			at.trimmed += uint64(len(value))
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			return err
		}
		if at.first == first {
			return nil
		}
		if err := s.sweepIndex(w, p, at.first); err != nil {
			return err
		}
		w.deleteRange(logKey(nil, p, first), logKey(nil, p, at.first))
		w.set(beginKey(w.key[:0], p), appendBegin(nil, at))
		s.setBegin(p, at) // before the entries go, so that who misses one finds why
		return nil
	})
}
