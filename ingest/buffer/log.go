package buffer

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// logBytes bounds the encoded entries that one call of Log returns; at least one block comes whatever its size.
const logBytes = 4 << 20

// Log returns up to limit entries of p's log, in order, beginning with from. It returns none at the log's end, and ErrGone
// before its beginning.
func (s *Store) Log(p schema.Partition, from schema.Emit, limit int) ([]Entry, error) {
	return s.log(p, from, limit, false)
}

// LogPacked is Log for who wants the clicks as they lie in the log, and pays for decoding only what it looks at: they are in
// Entry.Packed instead of Part.Clicks, and their bytes are not checked. Entries that an earlier format wrote come as from Log.
func (s *Store) LogPacked(p schema.Partition, from schema.Emit, limit int) ([]Entry, error) {
	return s.log(p, from, limit, true)
}

func (s *Store) log(p schema.Partition, from schema.Emit, limit int, packed bool) (entries []Entry, err error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	m := s.Partition(p) // what is not published may not be synced
	switch {
	case from < m.FirstEmit:
		return nil, fmt.Errorf("buffer: %w", goneError(p, from, m.FirstEmit))
	case from >= m.NextEmit || limit <= 0:
		return nil, nil
	}
	size := 0
	next := from
	err = s.blocks(p, from, m.NextEmit, func(b *block) (bool, error) {
		if b.first > next {
			return false, s.missing(p, next)
		}
		if packed {
			b.packed, b.body = true, bytes.Clone(b.body) // the entries keep it
		}
		err := b.all(int(next-b.first), func(e *Entry) bool {
			entries = append(entries, *e)
			next++
			return len(entries) < limit && next < m.NextEmit
		})
		size += len(b.body)
		return len(entries) < limit && size < logBytes, err
	})
	if err == nil && len(entries) == 0 {
		err = s.missing(p, from)
	}
	if err != nil {
		return nil, fmt.Errorf("buffer: %w", err)
	}
	return entries, nil
}

// missing says why entry emit of p is not there.
func (s *Store) missing(p schema.Partition, emit schema.Emit) error {
	if first := s.begin(p).first; emit < first { // it was removed meanwhile
		return goneError(p, emit, first)
	}
	return fmt.Errorf("%s: %w: it is missing", nameOf(logKey(nil, p, emit)), ErrCorrupt)
}

// blocks calls f with the block that has entry from, if there is one, and with those behind it that begin before end, until
// f returns false. The block is valid during the call.
func (s *Store) blocks(p schema.Partition, from, end schema.Emit, f func(b *block) (more bool, err error)) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: spaceOf(nil, spaceLog, p), UpperBound: logKey(nil, p, end)})
	if err != nil {
		return fmt.Errorf("read the log of partition %d: %w", p, err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	valid := it.SeekLT(logKey(nil, p, from+1)) // the last block that does not begin behind from
	if !valid {
		valid = it.First()
	}
	for first := true; valid; first, valid = false, it.Next() {
		emit, _ := lastNumber(it.Key())
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read %s: %w", nameOf(it.Key()), err)
		}
		b, err := openBlock(value, p, schema.Emit(emit))
		if err != nil {
			return err
		}
		if first && b.first+schema.Emit(b.n) <= from {
			continue // from begins the next block
		}
		if more, err := f(&b); err != nil || !more {
			return err
		}
	}
	return it.Error()
}

// timeOf returns what the due of no entry of p's log from emit on is below.
func (s *Store) timeOf(p schema.Partition, emit schema.Emit) (at schema.EventTime, err error) {
	m := s.Partition(p)
	if emit >= m.NextEmit {
		return m.Window.Watermark, nil
	}
	found := false
	err = s.blocks(p, emit, emit+1, func(b *block) (bool, error) {
		if b.first > emit {
			return false, nil
		}
		var err error
		at, err = b.time(int(emit - b.first))
		found = true
		return false, err
	})
	if err == nil && !found {
		err = s.missing(p, emit)
	}
	return at, err
}

// Order compares parts by (epoch, due, partition, emit): the order in which partitions are merged.
func Order(a, b schema.Part) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Due, b.Due), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Emit, b.Emit))
}
