package buffer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// The user index says where the parts with clicks of a user are. It follows from the log, so it need not be written with
// it: the last parts of each log are indexed in memory, a tail, and many of them are written at once, in the order of the
// keys and those of one user together. Written one by one, in the order of the log, they were most of what a commit cost.
// Open makes the tails again from the log.

// tailParts is how many parts all tails together may have, about 40 bytes each with their users, before the longest are
// written. It bounds what Open has to read.
const tailParts = 1 << 17

// leastTail is the least tail that is worth writing, where there are many partitions.
const leastTail = 1 << 10

// listParts bounds the parts under one key, and maxPlace their places in blocks.
const (
	listParts = 64
	maxPlace  = 1<<8 - 1
)

// tail returns the tail of p, and makes one where there is none. It is for p's owner.
func (s *Store) tail(p schema.Partition) *tail {
	s.mu.RLock()
	t := s.tails[p]
	s.mu.RUnlock()
	if t == nil {
		t = newTail(0)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tails[p] = t
	}
	return t
}

// index adds the parts of a writer, which are durable, to the tails. It comes before they are published.
func (s *Store) index(parts []indexed) {
	for len(parts) > 0 {
		p := parts[0].partition
		t := s.tail(p)
		t.mu.Lock()
		for len(parts) > 0 && parts[0].partition == p {
			t.add(parts[0].user, parts[0].located)
			parts = parts[1:]
		}
		t.mu.Unlock()
	}
}

// indexed is a part that is to be indexed.
type indexed struct {
	partition schema.Partition
	user      string
	located
}

// find returns the last n parts with clicks of user in p's log from first on, before the entry before, newest first.
func (s *Store) find(p schema.Partition, user string, first, before schema.Emit, n int) (found []located, err error) {
	s.mu.RLock()
	t := s.tails[p]
	s.mu.RUnlock()
	if t == nil { // nothing was ever emitted
		return nil, nil
	}
	found, from := t.last(nil, user, before, n)
	if i := slices.IndexFunc(found, func(at located) bool { return at.emit < first }); i >= 0 {
		return found[:i], nil
	}
	if len(found) == n || first >= min(before, from) {
		return found, nil
	}
	before = min(before, from) // what was written since the look at the tail is in it
	space := userSpace(nil, p, user)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: userKey(nil, p, user, first), UpperBound: after(space)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	// The first list that ends behind the place may begin before it.
	valid := it.SeekGE(userKey(nil, p, user, before))
	if !valid {
		valid = it.Last()
	}
	for ; valid && len(found) < n; valid = it.Prev() {
		list, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		emit, _ := lastNumber(it.Key())
		err = eachOfList(schema.Emit(emit), list, func(at located) bool {
			if at.emit >= first && at.emit < before {
				found = append(found, at)
			}
			return len(found) < n && at.emit >= first
		})
		if err != nil {
			return nil, fmt.Errorf("user index of partition %d: %w", p, err)
		}
	}
	return found, it.Error()
}

// A list of parts of one user. The last one's emit is in the key; they come from the last one backward.
//
//	uvarint place of the last part                        an empty list says 0
//	n × uvarint emits back to the one before, its place
func appendList(b []byte, parts []located) []byte {
	b = binary.AppendUvarint(b, uint64(parts[0].place))
	for i, p := range parts[1:] {
		b = binary.AppendUvarint(b, uint64(parts[i].emit-p.emit))
		b = binary.AppendUvarint(b, uint64(p.place))
	}
	return b
}

// eachOfList calls f with the parts of a list, from the last one backward, until it returns false.
func eachOfList(last schema.Emit, list []byte, f func(located) bool) error {
	at := located{emit: last}
	r := newReader(list)
	if len(list) > 0 {
		at.place = uint8(r.bounded(maxPlace))
	}
	for f(at) && r.err == nil && len(r.b) > 0 {
		at.emit -= schema.Emit(r.between(1, uint64(at.emit)))
		at.place = uint8(r.bounded(maxPlace))
		if r.err != nil {
			break
		}
	}
	return r.err
}

// settleDue says that the tail of p has become long.
func (s *Store) settleDue(p schema.Partition) bool {
	t := s.tail(p)
	s.mu.RLock()
	most := max(min(leastTail, s.tailParts), s.tailParts/max(1, len(s.tails)))
	s.mu.RUnlock()
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.parts) >= most
}

// settle writes the tail of p, up to the published end of its log, and begins a new one. The caller is p's owner. It needs
// no sync: without it the tail is made again.
func (s *Store) settle(p schema.Partition) error {
	m := s.Partition(p)
	t := s.tail(p)
	lists := t.lists(m.FirstEmit) // only the owner writes, so there is no need of the lock
	err := s.putAnyway(pebble.NoSync, func(w *writer) error {
		for _, l := range lists {
			for parts := l.parts; len(parts) > 0; {
				n := min(len(parts), listParts)
				w.value = appendList(w.value[:0], parts[:n])
				w.set(userKey(w.key[:0], p, string(l.user), parts[0].emit), w.value)
				parts = parts[n:]
			}
		}
		w.set(indexedKey(w.key[:0], p), binary.AppendUvarint(nil, uint64(m.NextEmit)))
		return nil
	})
	if err != nil {
		return fmt.Errorf("buffer: write the user index of partition %d: %w", p, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.from, t.parts, t.users = m.NextEmit, t.parts[:0], t.users[:0]
	clear(t.heads)
	return nil
}

// loadTails makes the tails from the ends of the logs.
func (s *Store) loadTails() error {
	froms := map[schema.Partition]schema.Emit{}
	err := s.eachPartition(spaceIndexed, func(p schema.Partition, value []byte) error {
		r := newReader(value)
		froms[p] = schema.Emit(r.uvarint())
		return r.done()
	})
	if err != nil {
		return err
	}
	for p := range s.states {
		m := s.stateLocked(p).Meta // nobody else has the store yet
		t := newTail(froms[p])
		s.tails[p] = t
		from := max(t.from, m.FirstEmit)
		if from >= m.NextEmit {
			continue
		}
		err := s.blocks(p, from, m.NextEmit, func(b *block) (bool, error) {
			return true, b.users(func(at located, user string) {
				if at.emit >= from {
					t.add(user, at)
				}
			})
		})
		if err != nil {
			return fmt.Errorf("index the end of the log of partition %d: %w", p, err)
		}
	}
	return nil
}

// settleAll writes the tails, so that the next Open has nothing to read.
func (s *Store) settleAll() error {
	var errs []error
	for p, t := range maps.Clone(s.tails) {
		if len(t.parts) > 0 {
			errs = append(errs, s.settle(p))
		}
	}
	return errors.Join(errs...)
}

// cutIndex removes the parts of p from the given entry on from the index: the keys of users, which have some of them, and
// the tail. What the writer writes must be followed by the tail that it returns.
func (s *Store) cutIndex(w *writer, p schema.Partition, from schema.Emit, users map[string]bool) (*tail, error) {
	old := s.tail(p)
	t := newTail(min(old.from, from))
	for i := range old.parts {
		if part := &old.parts[i]; part.emit < from {
			t.add(string(old.userOf(part)), part.located)
		}
	}
	for user := range users {
		err := scan(s.db, userKey(nil, p, user, from), after(userSpace(nil, p, user)), func(key, list []byte) error {
			w.delete(append(w.key[:0], key...))
			last, _ := lastNumber(key)
			var rest []located
			err := eachOfList(schema.Emit(last), list, func(at located) bool {
				if at.emit < from {
					rest = append(rest, at)
				}
				return true
			})
			if err != nil || len(rest) == 0 {
				return err
			}
			w.value = appendList(w.value[:0], rest)
			w.set(userKey(w.key[:0], p, user, rest[0].emit), w.value)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	w.set(indexedKey(w.key[:0], p), binary.AppendUvarint(nil, uint64(t.from)))
	return t, nil
}

// sweepKeys is how many keys of the user index a step of retention looks at. It removes about three times as many parts of
// the log as there are keys for them.
const sweepKeys = retainEntries

// sweepIndex deletes keys of the user index whose parts have all gone, from where the last sweep of p ended: in the order of
// the keys, which is cheap, and not in the order of the log. Until it comes by they are passed over.
func (s *Store) sweepIndex(w *writer, p schema.Partition, first schema.Emit) error {
	space := spaceOf(nil, spaceUser, p)
	from, left := s.sweeps[p], sweepKeys
	if from == nil {
		from = space
	}
	var next []byte
	err := scan(s.db, from, after(space), func(key, _ []byte) error {
		if left--; left < 0 {
			next = bytes.Clone(key)
			return errStop
		}
		if last, ok := lastNumber(key); !ok || schema.Emit(last) < first {
			w.delete(append(w.key[:0], key...))
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return err
	}
	s.sweeps[p] = next // nil at the end: the next sweep begins anew
	return nil
}
