package buffer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// History returns the last n parts with clicks that user has in p's log before the entry before, oldest first.
//
// With Options.LogAge it goes back as far from the due of that entry, and no further, also where retention has yet to
// remove what is older; so for a reader whose position is held it is a function of the log and the place (I4). Without a
// held position, and with LogBytes, it may be shorter.
func (s *Store) History(p schema.Partition, user string, before schema.Emit, n int) (parts []schema.Part, err error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	m := s.Partition(p)
	before = min(before, m.NextEmit)
	if n <= 0 || before <= m.FirstEmit {
		return nil, nil
	}
	cut := schema.BeginningOfTime
	if s.opts.LogAge > 0 {
		if cut, err = s.timeOf(p, before); err != nil {
			return nil, fmt.Errorf("buffer: read the history of a user: %w", err)
		}
		cut = cut.Add(-s.opts.LogAge)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: userKey(nil, p, user, m.FirstEmit), UpperBound: userKey(nil, p, user, before)})
	if err != nil {
		return nil, fmt.Errorf("buffer: read the history of a user in partition %d: %w", p, err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.Last(); it.Valid() && len(parts) < n; it.Prev() {
		emit, _ := lastNumber(it.Key())
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("buffer: read the history of a user in partition %d: %w", p, err)
		}
		part, err := s.part(p, schema.Emit(emit), value)
		if errors.Is(err, ErrGone) {
			break // removed since the iterator was made, and so is all before it
		}
		if err != nil {
			return nil, fmt.Errorf("buffer: %w", err)
		}
		if part.Due < cut {
			break
		}
		parts = append(parts, part)
	}
	slices.Reverse(parts)
	return parts, nil
}

// part returns the part at emit, where the user index says that there is one, at the given place of its block.
func (s *Store) part(p schema.Partition, emit schema.Emit, place []byte) (schema.Part, error) {
	r := newReader(place)
	at := uint64(0)
	if len(place) > 0 {
		at = r.bounded(uint64(emit))
	}
	if err := r.done(); err != nil {
		return schema.Part{}, fmt.Errorf("user index of %s: %w", nameOf(logKey(nil, p, emit)), err)
	}
	first := emit - schema.Emit(at)
	value, closer, err := s.db.Get(logKey(nil, p, first))
	if errors.Is(err, pebble.ErrNotFound) {
		return schema.Part{}, s.missing(p, emit)
	}
	if err != nil {
		return schema.Part{}, fmt.Errorf("read %s: %w", nameOf(logKey(nil, p, emit)), err)
	}
	b, err := openBlock(value, p, first)
	e := Entry{Kind: KindPart}
	switch {
	case err != nil:
	case int(at) >= b.n:
		err = s.missing(p, emit)
	default:
		e, err = b.entry(int(at))
	}
	if err == nil && e.Kind != KindPart {
		err = fmt.Errorf("%s: %w: the user index says that it is a part", nameOf(logKey(nil, p, emit)), ErrCorrupt)
	}
	return e.Part, errors.Join(err, closer.Close())
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
