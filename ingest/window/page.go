package window

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
)

// A page is the format version, a byte, and open sessions one behind the other:
//
//	string   user                            its uvarint length and its bytes
//	varint   start
//	uvarint  last, ms after start
//	uvarint  number of the next part
//	uvarint  emitted clicks
//	uvarint  n, then n × u64 little-endian   xxh3 of the event ids, of emitted clicks too
//	uvarint  n, uvarint bytes, then bytes    n pending clicks (package packed)

// Session is the state of an open session in plain form, for what does not come from a Windower's own Pages.
type Session struct {
	UserID   string
	Start    schema.EventTime // of its first click
	Last     schema.EventTime // of its last click
	Number   int32            // of its next part
	Emitted  int              // clicks in its earlier parts
	EventIDs []uint64         // xxh3 of the event ids of all its clicks, emitted ones too
	Pending  []schema.Click   // in event-time order; equal times in offset order
}

// AppendSession appends s to a page, and begins the page if it is empty.
func AppendSession(page []byte, s *Session) []byte {
	if len(page) == 0 {
		page = append(page, codecVersion)
	}
	page = append(binary.AppendUvarint(page, uint64(len(s.UserID))), s.UserID...)
	page = binary.AppendVarint(page, int64(s.Start))
	page = binary.AppendUvarint(page, uint64(s.Last-s.Start))
	page = binary.AppendUvarint(page, uint64(s.Number))
	page = binary.AppendUvarint(page, uint64(s.Emitted))
	page = binary.AppendUvarint(page, uint64(len(s.EventIDs)))
	for _, id := range s.EventIDs {
		page = binary.LittleEndian.AppendUint64(page, id)
	}
	var clicks []byte
	for i := range s.Pending {
		clicks = packed.Append(clicks, &s.Pending[i])
	}
	page = binary.AppendUvarint(page, uint64(len(s.Pending)))
	page = binary.AppendUvarint(page, uint64(len(clicks)))
	return append(page, clicks...)
}

func (w *Windower) appendSession(page []byte, s *session) []byte {
	if len(page) == 0 {
		page = append(page, codecVersion)
	}
	block := w.arena.bytes(s.block, s.class)
	page = append(binary.AppendUvarint(page, uint64(s.user)), block[:s.user]...)
	page = binary.AppendVarint(page, int64(s.start))
	page = binary.AppendUvarint(page, uint64(s.last-s.start))
	page = binary.AppendUvarint(page, uint64(s.number))
	page = binary.AppendUvarint(page, uint64(s.emitted))
	page = binary.AppendUvarint(page, uint64(s.ids))
	page = append(page, block[len(block)-int(s.ids)*idBytes:]...)
	page = binary.AppendUvarint(page, uint64(s.pending))
	page = binary.AppendUvarint(page, uint64(s.size))
	return append(page, w.pendingOf(s)...)
}

// Pages calls yield with all open sessions, in pages of about size bytes: one that is full ends with the session that
// filled it. With Meta they are the state of w. A page is valid during its call. The error is that of yield.
func (w *Windower) Pages(size int, yield func(page []byte) error) error {
	if len(w.journal) > 0 {
		panic("window: pages: there are operations that are not committed")
	}
	page := make([]byte, 0, size+size/8)
	for r := ref(1); r < w.slab.used; r++ {
		s := w.slab.at(r)
		if s.block == none {
			continue
		}
		if page = w.appendSession(page, s); len(page) >= size {
			if err := yield(page); err != nil {
				return err
			}
			page = page[:0]
		}
	}
	if len(page) > 0 {
		return yield(page)
	}
	return nil
}

// New returns an empty Windower, or the faults of c.
func New(c Config) (*Windower, error) { return Restore(c, NewMeta(), nil) }

// Restore returns a Windower with the state that m and pages describe. It refuses a state that no Windower can have
// reached, so that damage shows here and not as a wrong session. It keeps nothing of a page.
func Restore(c Config, m Meta, pages iter.Seq2[[]byte, error]) (*Windower, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("window: config: %w", err)
	}
	w := newWindower(c, m)
	pending := uint64(0)
	if pages != nil {
		for page, err := range pages {
			if err != nil {
				return nil, fmt.Errorf("window: restore: %w", err)
			}
			r := reader{b: page, size: len(page)}
			r.version()
			for r.err == nil && len(r.b) > 0 {
				pending += w.restore(&r)
			}
			if r.err != nil {
				return nil, fmt.Errorf("window: restore: %w", r.err)
			}
		}
	}
	if pending != m.Counts.Pending() {
		return nil, fmt.Errorf("window: restore: %w: %d clicks are pending, but the counts say %d", ErrCorrupt, pending, m.Counts.Pending())
	}
	return w, nil
}

// restore reads a session, and returns the number of its pending clicks.
func (w *Windower) restore(r *reader) uint64 {
	user := r.string()
	start := schema.EventTime(r.varint())
	last := start + schema.EventTime(r.number(math.MaxInt64))
	number, emitted := r.number(math.MaxInt32), r.number(math.MaxInt32)
	ids := r.number(uint64(len(r.b) / idBytes))
	hashes := r.bytes(ids * idBytes)
	pending := r.number(uint64(len(r.b) / packed.MinBytes))
	size := r.number(maxUserBytes)
	clicks := packed.Clicks{N: int(pending), Bytes: r.bytes(size)}
	if r.err != nil {
		return 0
	}
	if err := clicks.Check(); err != nil {
		r.fail(err.Error())
		return 0
	}
	newest, fault := examine(clicks.Bytes, start, last)
	switch {
	case fault != "":
	case start > last || last > w.meta.MaxSeen || w.meta.Watermark == schema.BeginningOfTime:
		fault = "it is not in the time that the partition has seen"
	case emitted > 0 && number == 0 || emitted+pending == 0 || ids > emitted+pending || emitted == 0 && pending > 0 && packed.Time(clicks.Bytes) != start:
		fault = fmt.Sprintf("%d event ids, %d clicks in %d parts and %d pending cannot be", ids, emitted, number, pending)
	}
	hash := w.hash(user)
	for o, i := w.users.next(hash, w.users.first(hash)); o != 0 && fault == ""; o, i = w.users.next(hash, i) {
		if s := w.slab.at(o); string(w.userOf(s)) == string(user) && start <= s.last && last >= s.start {
			fault = "it overlaps another one"
		}
	}
	if fault != "" {
		r.fail(fmt.Sprintf("session of %q from %d to %d: %s", user, start, last, fault))
		return 0
	}

	o, s := w.slab.add()
	s.hash, s.start, s.last, s.user = hash, start, last, uint16(len(user))
	s.number, s.emitted, s.ids = uint32(number), uint32(emitted), uint32(ids)
	s.pending, s.size, s.newest = uint32(pending), uint32(size), newest
	s.block, s.class = w.arena.alloc(len(user) + len(clicks.Bytes) + len(hashes))
	block := w.arena.bytes(s.block, s.class)
	copy(block[copy(block, user):], clicks.Bytes)
	copy(block[len(block)-len(hashes):], hashes)
	w.link(o, s)
	w.schedule(o, s, w.fullAt(s))
	return pending
}

// examine demands that clicks are in order, from start to last and up to it, and returns where those of time last begin.
func examine(clicks []byte, start, last schema.EventTime) (newest uint32, fault string) {
	before := start
	for at := 0; at < len(clicks); at += packed.Len(clicks[at:]) {
		t := packed.Time(clicks[at:])
		if t < before || t > last {
			return 0, "its clicks are out of order"
		}
		if t > before || at == 0 {
			newest = uint32(at)
		}
		before = t
	}
	if len(clicks) > 0 && before != last {
		return 0, "its last click is not the last one"
	}
	return newest, ""
}
