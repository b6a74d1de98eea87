package buffer

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// Users returns up to n users who have parts with clicks in p's log and whom keep accepts, in the order of the index: shorter
// ids first, those of one length by their bytes. It begins behind after; "" begins with the first. Fewer than n say that there
// are no more. A user whose parts have all gone may be among them while retention is at work; the history is empty then.
//
// The bytes that keep is given are valid during the call, which must not call the store.
func (s *Store) Users(p schema.Partition, after string, n int, keep func(user []byte) bool) ([]string, error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	s.mu.RLock()
	t := s.tails[p]
	s.mu.RUnlock()
	if t == nil || n <= 0 { // nothing was ever emitted
		return nil, nil
	}
	first := s.Partition(p).FirstEmit
	late := t.following(after, first, n, keep) // before the keys, so that what is written meanwhile is in one of them
	kept, err := s.indexedUsers(p, after, first, n, keep)
	if err != nil {
		return nil, fmt.Errorf("buffer: walk the users of partition %d: %w", p, err)
	}
	return firstUsers(append(kept, late...), n), nil
}

// compareUsers orders users as their keys are.
func compareUsers[A, B []byte | string](a A, b B) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(string(a), string(b)))
}

// indexedUsers is Users for those that have keys. A user has a key for each 64 parts, or for fewer: it is looked at once, and
// what more the user has is stepped over or, where that is much, passed by with a seek.
func (s *Store) indexedUsers(p schema.Partition, from string, first schema.Emit, n int, keep func([]byte) bool) (kept []string, err error) {
	space := spaceOf(nil, spaceUser, p)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: space, UpperBound: after(space)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	prefix := appendUser(slices.Clip(space), from) // of the user before, with the length
	var key []byte
	valid := it.SeekGE(after(prefix))
	for valid && len(kept) < n {
		user, emit, ok := splitUser(it.Key())
		if !ok {
			return nil, fmt.Errorf("%s: %w: it is none of a user", nameOf(it.Key()), ErrCorrupt)
		}
		prefix = append(prefix[:0], it.Key()[:len(it.Key())-8]...)
		if accepted := keep(user); accepted {
			name := string(user)
			if emit < first { // the newest key tells whether there is anything left
				key = binary.BigEndian.AppendUint64(append(key[:0], prefix...), uint64(first))
				valid = it.SeekGE(key)
				accepted = valid && bytes.HasPrefix(it.Key(), prefix)
			}
			if accepted {
				kept = append(kept, name)
			}
		}
		for range stepsToNextUser {
			if !valid || !bytes.HasPrefix(it.Key(), prefix) {
				break
			}
			valid = it.Next()
		}
		if valid && bytes.HasPrefix(it.Key(), prefix) {
			key = binary.BigEndian.AppendUint64(append(key[:0], prefix...), uint64(1<<64-1))
			valid = it.SeekGE(key)
			if valid && bytes.Equal(it.Key(), key) {
				valid = it.Next()
			}
		}
	}
	return kept, it.Error()
}

// stepsToNextUser is how many keys of a user are stepped over before a seek, which costs about as much.
const stepsToNextUser = 4

// splitUser returns the user and the emit in a key of the user index.
func splitUser(key []byte) (user []byte, emit schema.Emit, ok bool) {
	_, rest, ok := splitPartition(key)
	if !ok || len(rest) < 2+8 || len(rest) != 2+int(binary.BigEndian.Uint16(rest))+8 {
		return nil, 0, false
	}
	return rest[2 : len(rest)-8], schema.Emit(binary.BigEndian.Uint64(rest[len(rest)-8:])), true
}

// following returns the first n users of t behind from, in the order of the keys, that have a part at first or later and that
// keep accepts.
func (t *tail) following(from string, first schema.Emit, n int, keep func([]byte) bool) []string {
	var found []string
	last, bounded := "", false // none behind last is among the first n
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := range t.parts {
		part := &t.parts[i]
		if part.emit < first {
			continue
		}
		if part.before > 0 {
			if b := &t.parts[part.before-1]; b.user == part.user && b.emit >= first {
				continue // a later part of one that was looked at
			}
		}
		user := t.userOf(part)
		if compareUsers(user, from) <= 0 || bounded && compareUsers(user, last) >= 0 || !keep(user) {
			continue
		}
		if found = append(found, string(user)); len(found) >= 2*n+tailUsers { // bounded, however many there are
			found = firstUsers(found, n)
			if bounded = len(found) == n; bounded {
				last = found[n-1]
			}
		}
	}
	return firstUsers(found, n)
}

// tailUsers is how many users beyond 2·n are gathered from a tail before the first n of them are chosen.
const tailUsers = 1 << 10

// firstUsers returns the first n of users, each once.
func firstUsers(users []string, n int) []string {
	slices.SortFunc(users, compareUsers[string, string])
	users = slices.Compact(users)
	return users[:min(n, len(users))]
}
