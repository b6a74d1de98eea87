package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// historyHead is what is kept of a user beside the parts, which are numbered from first on.
//
//	varint  due of the latest part
//	uvarint number of the first part
//	uvarint n, then n bytes that the parts take
type historyHead struct {
	seen  schema.EventTime
	first uint64
	sizes []int64

	was schema.EventTime // seen, as it is written
	had bool             // it is written
}

func (h *historyHead) bytes() (sum int64) {
	for _, n := range h.sizes {
		sum += n
	}
	return sum
}

func appendHistoryHead(b []byte, h *historyHead) []byte {
	b = binary.AppendVarint(b, int64(h.seen))
	b = binary.AppendUvarint(b, h.first)
	b = binary.AppendUvarint(b, uint64(len(h.sizes)))
	for _, n := range h.sizes {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func decodeHistoryHead(b []byte) (*historyHead, error) {
	r := newReader(b)
	h := &historyHead{seen: schema.EventTime(r.varint()), first: r.uvarint(), had: true}
	h.was = h.seen
	for range r.count(1) {
		h.sizes = append(h.sizes, int64(r.bounded(math.MaxInt64)))
	}
	return h, r.done()
}

// A part of a history: uvarint partition, emit; then the entry as it is in a log.
func appendHistoryPart(b []byte, p schema.Partition, e *Entry) []byte {
	b = binary.AppendUvarint(b, uint64(p))
	b = binary.AppendUvarint(b, uint64(e.Emit))
	return appendEntry(b, e)
}

func decodeHistoryPart(b []byte) (schema.Part, error) {
	r := newReader(b)
	p, emit := schema.Partition(r.bounded(MaxPartitions)), schema.Emit(r.uvarint())
	if r.err != nil {
		return schema.Part{}, r.err
	}
	e, err := decodeEntry(r.b, p, emit)
	if err == nil && e.Kind != KindPart {
		err = ErrCorrupt
	}
	return e.Part, err
}

// Totals: uvarint users, bytes.
func appendTotals(b []byte, s *HistoriesStats) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(s.Users)), uint64(s.Bytes))
}

func decodeTotals(b []byte) (s HistoriesStats, err error) {
	r := newReader(b)
	s.Users, s.Bytes = int64(r.bounded(math.MaxInt64)), int64(r.bounded(math.MaxInt64))
	return s, r.done()
}

func historySpace(b []byte, user string) []byte { return appendUser(append(b, spaceHistory), user) }

func historyKey(b []byte, user string, number uint64) []byte {
	return binary.BigEndian.AppendUint64(historySpace(b, user), number)
}

func headKey(b []byte, user string) []byte { return appendUser(append(b, spaceHead), user) }

func seenKey(b []byte, at schema.EventTime, user string) []byte {
	return appendUser(binary.BigEndian.AppendUint64(append(b, spaceSeen), uint64(at)^1<<63), user)
}

// splitSeen returns the time and the user in a key of users by when they were seen.
func splitSeen(key []byte) (at schema.EventTime, user string, ok bool) {
	if len(key) < 11 || len(key) != 11+int(binary.BigEndian.Uint16(key[9:])) {
		return 0, "", false
	}
	return schema.EventTime(binary.BigEndian.Uint64(key[1:]) ^ 1<<63), string(key[11:]), true
}

// adding is what one batch does to histories.
type adding struct {
	histories *Histories
	w         *writer
	heads     map[string]*historyHead
	stats     HistoriesStats // as they will be
}

// part adds a part of p to its user, whose oldest parts make room.
func (a *adding) part(p schema.Partition, e *Entry) error {
	if !slices.Contains(window.Causes, e.Part.Cause) {
		return fmt.Errorf("entry %d: unknown cause %q", e.Emit, e.Part.Cause)
	}
	user := e.Part.UserID
	head := a.heads[user]
	if head == nil {
		value, ok, err := a.histories.store.get(headKey(nil, user))
		if err != nil {
			return err
		}
		if head = (&historyHead{seen: schema.BeginningOfTime}); ok {
			if head, err = decodeHistoryHead(value); err != nil {
				return err
			}
		} else {
			a.stats.Users++
		}
		a.heads[user] = head
	}
	a.w.value = appendHistoryPart(a.w.value[:0], p, e)
	a.w.set(historyKey(a.w.key[:0], user, head.first+uint64(len(head.sizes))), a.w.value)
	size := int64(len(a.w.key) + len(a.w.value))
	head.sizes, head.seen = append(head.sizes, size), max(head.seen, e.Part.Due)
	a.histories.oldest = min(a.histories.oldest, head.seen)
	a.stats.Bytes += size
	for len(head.sizes) > 1 && (len(head.sizes) > a.histories.opts.Parts || head.bytes() > maxHistoryBytes) {
		a.w.delete(historyKey(a.w.key[:0], user, head.first))
		a.stats.Bytes -= head.sizes[0]
		a.stats.PartsOverParts++
		head.first++
		head.sizes = head.sizes[1:]
	}
	return nil
}

// finish writes the heads, and the totals.
func (a *adding) finish() error {
	for user, head := range a.heads {
		if head.had && head.was != head.seen {
			a.w.delete(seenKey(a.w.key[:0], head.was, user))
		}
		if !head.had || head.was != head.seen {
			a.w.set(seenKey(a.w.key[:0], head.seen, user), nil)
		}
		a.w.value = appendHistoryHead(a.w.value[:0], head)
		a.w.set(headKey(a.w.key[:0], user), a.w.value)
	}
	a.w.set([]byte{spaceTotals}, appendTotals(nil, &a.stats))
	return nil
}

// evictUsers bounds how many users one batch removes.
const evictUsers = 1024

// evict removes users until the rest is within the bounds, those seen least recently first. The caller holds writing, or nobody else has the histories yet.
func (h *Histories) evict() error {
	for {
		more, err := h.evictSome()
		if err != nil || !more {
			return err
		}
	}
}

func (h *Histories) evictSome() (more bool, err error) {
	cut := schema.BeginningOfTime
	if h.opts.Age > 0 {
		cut = h.store.watermark().Add(-h.opts.Age)
	}
	stats, users := h.Stats(), 0
	over := func(seen schema.EventTime) *uint64 { // what counts why a user has to go, or nil
		switch {
		case seen < cut:
			return &stats.UsersOverAge
		case h.opts.Bytes > 0 && stats.Bytes > h.opts.Bytes:
			return &stats.UsersOverBytes
		}
		return nil
	}
	if over(h.oldest) == nil {
		return false, nil
	}
	oldest := schema.EndOfTime
	err = h.store.putAnyway(pebble.NoSync, func(w *writer) error {
		err := scan(h.store.db, seenKey(nil, h.oldest, ""), after([]byte{spaceSeen}), func(key, _ []byte) error {
			seen, user, ok := splitSeen(key)
			if !ok {
				return ErrCorrupt
			}
			count := over(seen)
			if more = count != nil && users == evictUsers; count == nil || more {
				oldest = seen
				return errStop
			}
			value, ok, err := h.store.get(headKey(nil, user))
			if err != nil || !ok {
				return errors.Join(ErrCorrupt, err)
			}
			head, err := decodeHistoryHead(value)
			if err != nil {
				return err
			}
			for i, n := range head.sizes {
				w.delete(historyKey(w.key[:0], user, head.first+uint64(i)))
				stats.Bytes -= n
			}
			w.delete(headKey(w.key[:0], user))
			w.delete(seenKey(w.key[:0], seen, user))
			stats.Users--
			users++
			*count++
			return nil
		})
		if errors.Is(err, errStop) {
			err = nil
		}
		w.set([]byte{spaceTotals}, appendTotals(nil, &stats))
		return err
	})
	if err != nil {
		return false, err
	}
	h.oldest = oldest
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats = stats
	return more, nil
}

// watermark returns the newest of all partitions, or the beginning of time.
func (s *Store) watermark() schema.EventTime {
	s.mu.RLock()
	defer s.mu.RUnlock()
	newest := schema.BeginningOfTime
	for _, st := range s.states {
		newest = max(newest, st.Window.Watermark)
	}
	return newest
}
