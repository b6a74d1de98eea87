package buffer

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// Bounds of held positions. Each is looked at with every step of retention.
const (
	maxHolds        = 64
	maxHoldNameSize = 256
)

// hold is the position of a reader.
type hold struct {
	position schema.Position
	// times are what the dues of no entries from the position on are below, of the partitions that retention asked for.
	times map[schema.Partition]schema.EventTime
}

// Hold says how far the reader of that name has come: retention keeps what it has not consumed, and what its histories need.
// A partition that position does not name is kept whole. The reader calls it once before it reads, and then whenever its
// position has become durable on its side. Positions are kept over a restart of the store, until Release.
//
// It returns an error if entries that position wants are gone.
func (s *Store) Hold(name string, position schema.Position) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	if name == "" || len(name) > maxHoldNameSize {
		return fmt.Errorf("buffer: hold %q: a name has from 1 to %d bytes", name, maxHoldNameSize)
	}
	s.trimming.Lock() // nothing is trimmed between the check and the hold
	defer s.trimming.Unlock()
	s.mu.RLock()
	old, known := s.holds[name]
	n := len(s.holds)
	s.mu.RUnlock()
	if !known && n >= maxHolds {
		return fmt.Errorf("buffer: hold %q: %d readers hold positions already: release those that are gone", name, n)
	}
	back := !known
	for p, emit := range position {
		if first := s.state(p).FirstEmit; emit < first {
			return fmt.Errorf("buffer: hold %q: %w", name, goneError(p, emit, first))
		}
		back = back || emit < old.position[p]
	}
	o := pebble.NoSync // to lose it keeps more
	if back {
		o = pebble.Sync
	}
	position = position.Clone()
	err = s.putAnyway(o, func(w *writer) error {
		w.set(holdKey(nil, name), appendPosition(nil, position))
		return nil
	})
	if err != nil {
		return fmt.Errorf("buffer: hold %q: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds[name] = hold{position: position, times: map[schema.Partition]schema.EventTime{}}
	return nil
}

// Release forgets the position of the reader of that name, if there is one: nothing is kept for it any more.
func (s *Store) Release(name string) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	err = s.putAnyway(pebble.NoSync, func(w *writer) error {
		w.delete(holdKey(nil, name))
		return nil
	})
	if err != nil {
		return fmt.Errorf("buffer: release %q: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.holds, name)
	return nil
}

// Holds returns the held positions by name.
func (s *Store) Holds() map[string]schema.Position {
	s.mu.RLock()
	defer s.mu.RUnlock()
	positions := make(map[string]schema.Position, len(s.holds))
	for name, h := range s.holds {
		positions[name] = h.position.Clone()
	}
	return positions
}

func (s *Store) loadHolds() error {
	return s.scan([]byte{spaceHold}, func(key, value []byte) error {
		position, err := decodePosition(value)
		if err != nil {
			return fmt.Errorf("%s: %w", nameOf(key), err)
		}
		s.holds[string(key[1:])] = hold{position: position, times: map[schema.Partition]schema.EventTime{}}
		return nil
	})
}

// A position: uvarint n, then n × uvarint partition, emit, in the order of the partitions.
func appendPosition(b []byte, position schema.Position) []byte {
	b = binary.AppendUvarint(b, uint64(len(position)))
	for _, p := range position.Partitions() {
		b = binary.AppendUvarint(b, uint64(p))
		b = binary.AppendUvarint(b, uint64(position[p]))
	}
	return b
}

func decodePosition(b []byte) (schema.Position, error) {
	r := newReader(b)
	position := schema.Position{}
	for range r.count(2) {
		p := schema.Partition(r.bounded(MaxPartitions))
		position[p] = schema.Emit(r.uvarint())
	}
	if r.err == nil && !slices.Equal(appendPosition(nil, position), b) {
		r.fail("a partition twice, or out of order")
	}
	return position, r.done()
}

// held returns the first entry of p that a reader has not consumed, at most the log's end, and what the due of no such entry
// is below. The caller holds trimming, which guards the times.
func (s *Store) held(p schema.Partition) (schema.Emit, schema.EventTime, error) {
	s.mu.RLock()
	st, holds := s.stateLocked(p), slices.Collect(maps.Values(s.holds))
	s.mu.RUnlock()
	least, at := st.NextEmit, st.Window.Watermark
	for _, h := range holds {
		emit := max(h.position[p], st.FirstEmit)
		if emit >= st.NextEmit {
			continue
		}
		least = min(least, emit)
		if s.opts.LogAge == 0 {
			continue
		}
		t, ok := h.times[p]
		if !ok {
			var err error
			if t, err = s.timeOf(p, emit); err != nil {
				return 0, 0, err
			}
			h.times[p] = t // if the position is before the log's first entry, nothing is trimmed, and that stays the first
		}
		at = min(at, t)
	}
	return least, at, nil
}
