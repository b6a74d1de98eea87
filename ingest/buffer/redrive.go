package buffer

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// What was sent again and is no longer aside is counted apart from what the bounds took away, in two uvarints as well.
func (s *Store) loadResent() error {
	key := []byte{spaceResent}
	value, ok, err := s.get(key)
	if err != nil || !ok {
		return err
	}
	r := newReader(value)
	s.resent = trimmed{records: r.uvarint(), bytes: r.uvarint()}
	if err := r.done(); err != nil {
		return fmt.Errorf("%s: %w", nameOf(key), err)
	}
	return nil
}

// RemoveAside takes records of p away from aside, because they were sent to the topic again, and returns how many of them
// were there. When it returns they are gone for good: a crash does not bring back what would then be sent twice.
func (s *Store) RemoveAside(p schema.Partition, offsets ...schema.Offset) (removed int, err error) {
	release, err := s.use()
	if err != nil {
		return 0, err
	}
	defer release()
	offsets = slices.Clone(offsets)
	slices.Sort(offsets)
	s.trimming.Lock() // a trim counts what it takes
	defer s.trimming.Unlock()
	s.mu.RLock()
	done := s.resent
	s.mu.RUnlock()
	if err := s.intact(); err != nil { // there is always room for this: it makes room, and what was sent cannot be unsent
		return 0, err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	w := writer{batch: batch}
	for _, o := range slices.Compact(offsets) {
		value, ok, err := s.get(asideKey(nil, p, o))
		if err != nil {
			return 0, err
		}
		if ok {
			w.delete(asideKey(w.key[:0], p, o))
			done.records++
			done.bytes += uint64(len(value))
			removed++
		}
	}
	if removed == 0 {
		return 0, nil
	}
	w.set([]byte{spaceResent}, binary.AppendUvarint(binary.AppendUvarint(nil, done.records), done.bytes))
	if err = w.err; err == nil {
		err = s.write(batch, pebble.Sync)
	}
	if err != nil {
		return 0, fmt.Errorf("buffer: remove records aside of partition %d: %w", p, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resent = done
	return removed, nil
}
