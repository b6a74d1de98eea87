package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// A record put aside. Partition and offset are in its key.
//
//	varint arrived
//	string reason, topic, detail, key, value    a string is its uvarint length and its bytes
func appendAside(b []byte, r *schema.Rejected) []byte {
	b = binary.AppendVarint(b, int64(r.ArrivedAt))
	b = appendString(b, r.Reason)
	b = appendString(b, r.Topic)
	b = appendString(b, r.Detail)
	b = appendString(b, r.Key)
	return appendString(b, r.Value)
}

func decodeAside(key, value []byte) (schema.Rejected, error) {
	p, offset, ok := splitAside(key)
	if !ok {
		return schema.Rejected{}, ErrCorrupt
	}
	r := newReader(value)
	rejected := schema.Rejected{
		Partition: p, Offset: offset, ArrivedAt: schema.ArrivalTime(r.varint()),
		Reason: schema.Reason(r.string()), Topic: r.string(), Detail: r.string(), Key: []byte(r.string()), Value: []byte(r.string()),
	}
	return rejected, r.done()
}

// errStop ends a scan early.
var errStop = errors.New("stop")

// Aside yields the records put aside that arrived at from or later, by partition and offset. It ends after the first error.
func (s *Store) Aside(from schema.ArrivalTime) iter.Seq2[schema.Rejected, error] {
	return func(yield func(schema.Rejected, error) bool) {
		release, err := s.use()
		if err != nil {
			yield(schema.Rejected{}, err)
			return
		}
		defer release()
		err = s.scan([]byte{spaceAside}, func(key, value []byte) error {
			r, err := decodeAside(key, value)
			if err != nil {
				return fmt.Errorf("buffer: %s: %w", nameOf(key), err)
			}
			if r.ArrivedAt >= from && !yield(r, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(schema.Rejected{}, err)
		}
	}
}

// AsideFrom returns up to n records of p that were put aside, with offset from or later, by offset. Those that were
// trimmed are passed over.
func (s *Store) AsideFrom(p schema.Partition, from schema.Offset, n int) ([]schema.Rejected, error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	var records []schema.Rejected
	end := s.Partition(p).NextOffset // not beyond: what is not published may not be synced
	if n <= 0 || from >= end {
		return nil, nil
	}
	err = scan(s.db, asideKey(nil, p, max(from, 0)), asideKey(nil, p, end), func(key, value []byte) error {
		r, err := decodeAside(key, value)
		if err != nil {
			return fmt.Errorf("buffer: %s: %w", nameOf(key), err)
		}
		if records = append(records, r); len(records) == n {
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	return records, nil
}

// Forwarded returns the offset from which on p's records aside have not been forwarded, to a dead-letter topic say.
func (s *Store) Forwarded(p schema.Partition) (schema.Offset, error) {
	release, err := s.use()
	if err != nil {
		return 0, err
	}
	defer release()
	key := forwardKey(nil, p)
	value, ok, err := s.get(key)
	if err != nil || !ok {
		return 0, err
	}
	r := newReader(value)
	next := schema.Offset(r.bounded(math.MaxInt64))
	if err := r.done(); err != nil {
		return 0, fmt.Errorf("buffer: %s: %w", nameOf(key), err)
	}
	return next, nil
}

// SetForwarded notes durably that p's records aside with offsets below next have been forwarded.
func (s *Store) SetForwarded(p schema.Partition, next schema.Offset) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	if next < 0 {
		return fmt.Errorf("buffer: forwarded to offset %d of partition %d: it is negative", next, p)
	}
	err = s.put(pebble.Sync, func(w *writer) error {
		w.set(forwardKey(nil, p), binary.AppendUvarint(nil, uint64(next)))
		return nil
	})
	if err != nil {
		return fmt.Errorf("buffer: note what of partition %d was forwarded: %w", p, err)
	}
	return nil
}
