package buffer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble"
	"github.com/freshet-ml/freshet/schema"
)

// logBytes bounds the encoded entries that one call of Log returns; at least one comes whatever its size.
const logBytes = 4 << 20

// Log returns up to limit entries of p's log, in order, beginning with from. It returns none at the log's end.
func (s *Store) Log(p schema.Partition, from schema.Emit, limit int) (entries []Entry, err error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	end := s.Partition(p).NextEmit // not beyond: what is not published may not be synced
	if from >= end || limit <= 0 {
		return nil, nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: logKey(nil, p, from), UpperBound: logKey(nil, p, end)})
	if err != nil {
		return nil, fmt.Errorf("buffer: read the log of partition %d: %w", p, err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	bytes := 0
	for it.First(); it.Valid() && len(entries) < limit && bytes < logBytes; it.Next() {
		emit, _ := lastEmit(it.Key())
		if want := from + schema.Emit(len(entries)); emit != want {
			return nil, fmt.Errorf("buffer: log entry %d of partition %d: %w: it is missing", want, p, ErrCorrupt)
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("buffer: read %s: %w", nameOf(it.Key()), err)
		}
		e, err := decodeEntry(value, p, emit)
		if err != nil {
			return nil, fmt.Errorf("buffer: %s: %w", nameOf(it.Key()), err)
		}
		bytes += len(value)
		entries = append(entries, e)
	}
	if len(entries) == 0 && it.Error() == nil {
		return nil, fmt.Errorf("buffer: log entry %d of partition %d: %w: it is missing", from, p, ErrCorrupt)
	}
	return entries, nil
}

// History returns the last n parts with clicks that user has in p's log before the entry before, oldest first.
func (s *Store) History(p schema.Partition, user string, before schema.Emit, n int) (parts []schema.Part, err error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	before = min(before, s.Partition(p).NextEmit)
	if n <= 0 || before == 0 {
		return nil, nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: userKey(nil, p, user, 0), UpperBound: userKey(nil, p, user, before)})
	if err != nil {
		return nil, fmt.Errorf("buffer: read the history of a user in partition %d: %w", p, err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.Last(); it.Valid() && len(parts) < n; it.Prev() {
		emit, _ := lastEmit(it.Key())
		part, err := s.part(p, emit)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	slices.Reverse(parts)
	return parts, nil
}

// part returns the part at emit, where the user index says that there is one.
func (s *Store) part(p schema.Partition, emit schema.Emit) (schema.Part, error) {
	key := logKey(nil, p, emit)
	value, closer, err := s.db.Get(key)
	if err != nil {
		return schema.Part{}, fmt.Errorf("buffer: read %s: %w", nameOf(key), err)
	}
	e, err := decodeEntry(value, p, emit)
	if err == nil && e.Kind != KindPart {
		err = fmt.Errorf("%w: the user index says that it is a part", ErrCorrupt)
	}
	if err = errors.Join(err, closer.Close()); err != nil {
		return schema.Part{}, fmt.Errorf("buffer: %s: %w", nameOf(key), err)
	}
	return e.Part, nil
}

// Recent returns the last n parts with clicks that user has in any partition of the store, oldest first.
func (s *Store) Recent(user string, n int) ([]schema.Part, error) {
	metas, err := s.Partitions()
	if err != nil {
		return nil, err
	}
	var parts []schema.Part
	for p, m := range metas {
		some, err := s.History(p, user, m.NextEmit, n)
		if err != nil {
			return nil, err
		}
		parts = append(parts, some...)
	}
	slices.SortFunc(parts, Order)
	return parts[max(0, len(parts)-n):], nil
}

// Order compares parts by (epoch, due, partition, emit): the order in which partitions are merged.
func Order(a, b schema.Part) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Due, b.Due), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Emit, b.Emit))
}
