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
	found, err := s.find(p, user, m.FirstEmit, before, n)
	if err != nil {
		return nil, fmt.Errorf("buffer: read the history of a user in partition %d: %w", p, err)
	}
	for _, at := range found {
		part, err := s.part(p, at)
		if errors.Is(err, ErrGone) {
			break // removed since it was found, and so is all before it
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

// part returns the part which the user index says is there.
func (s *Store) part(p schema.Partition, at located) (schema.Part, error) {
	name := func() string { return nameOf(logKey(nil, p, at.emit)) }
	if schema.Emit(at.place) > at.emit {
		return schema.Part{}, fmt.Errorf("%s: %w: the user index says that it is at place %d", name(), ErrCorrupt, at.place)
	}
	first := at.emit - schema.Emit(at.place)
	value, closer, err := s.db.Get(logKey(nil, p, first))
	if errors.Is(err, pebble.ErrNotFound) {
		return schema.Part{}, s.missing(p, at.emit)
	}
	if err != nil {
		return schema.Part{}, fmt.Errorf("read %s: %w", name(), err)
	}
	b, err := openBlock(value, p, first)
	var e Entry
	switch {
	case err != nil:
	case int(at.place) >= b.n:
		err = s.missing(p, at.emit)
	default:
		if e, err = b.entry(int(at.place)); err == nil && e.Kind != KindPart {
			err = fmt.Errorf("%s: %w: the user index says that it is a part", name(), ErrCorrupt)
		}
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
