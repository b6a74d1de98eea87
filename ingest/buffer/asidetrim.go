package buffer

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// trimmed counts what the bounds took away from aside. Stored as two uvarints.
type trimmed struct{ records, bytes uint64 }

func (s *Store) loadTrimmed() error {
	key := []byte{spaceTrimmed}
	value, ok, err := s.get(key)
	if err != nil || !ok {
		return err
	}
	r := newReader(value)
	s.trimmed = trimmed{records: r.uvarint(), bytes: r.uvarint()}
	if err := r.done(); err != nil {
		return fmt.Errorf("%s: %w", nameOf(key), err)
	}
	return nil
}

// kept returns how much is aside now: what was ever put there, less what was trimmed.
func (s *Store) kept() trimmed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var k trimmed
	for _, st := range s.states {
		k.records += st.Aside
		k.bytes += st.AsideBytes
	}
	// A trim may meet records whose commit is applied and not yet published, so for a moment more may be gone than was put.
	k.records -= min(k.records, s.trimmed.records)
	k.bytes -= min(k.bytes, s.trimmed.bytes)
	return k
}

// trimAside deletes the records aside that arrived first, over all partitions, when there are a sixteenth more than the
// bounds allow, down to the bounds: rarely and many at once, so that a range tombstone for each partition does it. It needs
// no sync: what it deletes and what it counts are one batch.
func (s *Store) trimAside() error {
	s.trimming.Lock()
	defer s.trimming.Unlock()
	k := s.kept()
	records, bytes := uint64(s.opts.AsideRecords), uint64(s.opts.AsideBytes)
	if k.records <= records+records/16 && k.bytes <= bytes+bytes/16 {
		return nil
	}
	s.mu.RLock()
	done := s.trimmed
	s.mu.RUnlock()
	ends := map[schema.Partition]schema.Offset{} // behind the last record that goes
	err := s.oldestAside(func(p schema.Partition, o schema.Offset, size int) bool {
		if k.records <= records && k.bytes <= bytes {
			return false
		}
		k.records--
		k.bytes -= min(k.bytes, uint64(size))
		done.records++
		done.bytes += uint64(size)
		ends[p] = o + 1
		return k.records > 0
	})
	if err == nil {
		err = s.putAnyway(pebble.NoSync, func(w *writer) error {
			for p, end := range ends {
				w.deleteRange(asideKey(nil, p, 0), asideKey(nil, p, end))
			}
			w.set([]byte{spaceTrimmed}, binary.AppendUvarint(binary.AppendUvarint(nil, done.records), done.bytes))
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("buffer: trim aside: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trimmed = done
	return nil
}

// oldestAside calls f with the records aside in the order of their arrival, those of one partition in the order of their
// offsets, until it returns false.
func (s *Store) oldestAside(f func(p schema.Partition, o schema.Offset, size int) bool) (err error) {
	var heads asideHeads
	s.mu.RLock()
	for p, st := range s.states {
		if st.Aside > 0 {
			heads = append(heads, &asideHead{partition: p})
		}
	}
	s.mu.RUnlock()
	all := heads
	defer func() {
		for _, h := range all {
			if h.it != nil {
				err = errors.Join(err, h.it.Close())
			}
		}
	}()
	heads = make(asideHeads, 0, len(all))
	for _, h := range all {
		space := spaceOf(nil, spaceAside, h.partition)
		if h.it, err = s.db.NewIter(&pebble.IterOptions{LowerBound: space, UpperBound: after(space)}); err != nil {
			return err
		}
		h.it.First()
		if there, err := h.read(); err != nil {
			return err
		} else if there {
			heads = append(heads, h)
		}
	}
	heap.Init(&heads)
	for len(heads) > 0 && f(heads[0].partition, heads[0].offset, heads[0].size) {
		heads[0].it.Next()
		there, err := heads[0].read()
		switch {
		case err != nil:
			return err
		case there:
			heap.Fix(&heads, 0)
		default:
			heap.Pop(&heads)
		}
	}
	return nil
}

// asideHead is the first record aside of a partition that has not been looked at.
type asideHead struct {
	partition schema.Partition
	it        *pebble.Iterator
	arrived   schema.ArrivalTime
	offset    schema.Offset
	size      int
}

// read reads the record at the iterator's place, if there is one.
func (h *asideHead) read() (there bool, err error) {
	if !h.it.Valid() {
		return false, h.it.Error()
	}
	value, err := h.it.ValueAndErr()
	if err != nil {
		return false, err
	}
	r, err := decodeAside(h.it.Key(), value)
	if err != nil {
		return false, fmt.Errorf("%s: %w", nameOf(h.it.Key()), err)
	}
	h.arrived, h.offset, h.size = r.ArrivedAt, r.Offset, len(value)
	return true, nil
}

// asideHeads is a heap by arrival.
type asideHeads []*asideHead

func (q asideHeads) Len() int { return len(q) }

func (q asideHeads) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].arrived, q[j].arrived), cmp.Compare(q[i].partition, q[j].partition)) < 0
}

func (q asideHeads) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is for container/heap.
func (q *asideHeads) Push(h any) { *q = append(*q, h.(*asideHead)) }

// Pop is for container/heap.
func (q *asideHeads) Pop() any {
	old := *q
	h := old[len(old)-1]
	*q = old[:len(old)-1]
	return h
}
