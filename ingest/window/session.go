package window

import (
	"encoding/binary"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
)

// session is an open session. It has no pointers: its user, its pending clicks and its event ids lie in a block of the
// arena, and other sessions are named by their place in the slab.
//
// Its id, user and start, is stable from the first part on: a part holds only sealed clicks, the first click is sealed
// with the first part at the latest, and a click before it would be before the watermark, hence late.
//
// The block, from both ends:
//
//	user | pending clicks, packed, in event-time order, equal times in offset order | … free … | event ids, u64 each
//
// Emitted clicks have left it: their number and the hashes of their event ids are all that later clicks can need.
type session struct {
	start schema.EventTime // of its first click
	last  schema.EventTime // of its last click
	other schema.EventTime // when the next thing but the end of the gap is due; see schedule

	block   blockRef
	size    uint32 // bytes of the pending clicks
	newest  uint32 // where among them those of time last begin; 0 if nothing is pending
	pending uint32 // clicks
	ids     uint32 // event ids
	emitted uint32 // clicks in its earlier parts
	number  uint32 // of its next part
	hash    uint32 // of its user, for the table
	user    uint16 // bytes of the user id
	class   uint8  // of block
	kind    kind   // of other
	place   [2]place
}

// kind says what is due with a session.
type kind uint8

const (
	kindGap    kind = iota // the gap ends
	kindMax                // a maximum is reached
	kindClicks             // enough clicks wait
	kindAge                // the first click has waited long enough
)

// ref names a session by its place in the slab. 0 is none.
type ref uint32

const slabSize = 512 // sessions

// slab holds sessions in chunks that never move.
type slab struct {
	chunks []*[slabSize]session
	used   ref // places that were ever used, with place 0, which never is
	free   ref // the first free place; its first place.next is the next one
}

func (s *slab) at(r ref) *session { return &s.chunks[r/slabSize][r%slabSize] }

// add returns a place for a session, zeroed.
func (s *slab) add() (ref, *session) {
	if r := s.free; r != 0 {
		o := s.at(r)
		s.free = o.place[0].next
		*o = session{}
		return r, o
	}
	if s.used == 0 {
		s.used = 1
	}
	if int(s.used) == len(s.chunks)*slabSize || len(s.chunks) == 0 {
		s.chunks = append(s.chunks, new([slabSize]session))
	}
	r := s.used
	s.used++
	return r, s.at(r)
}

// remove frees place r.
func (s *slab) remove(r ref) {
	*s.at(r) = session{place: [2]place{{next: s.free}}}
	s.free = r
}

// idBytes is the size of an event id's hash.
const idBytes = 8

// userOf returns the bytes of s's user id.
func (w *Windower) userOf(s *session) []byte { return w.arena.bytes(s.block, s.class)[:s.user] }

// pendingOf returns the pending clicks of s.
func (w *Windower) pendingOf(s *session) []byte {
	return w.arena.bytes(s.block, s.class)[s.user : uint32(s.user)+s.size]
}

// room returns the block of s with at least n bytes free. What the caller held of the block before is no longer valid.
func (w *Windower) room(s *session, n int) []byte {
	block := w.arena.bytes(s.block, s.class)
	used := int(s.user) + int(s.size) + int(s.ids)*idBytes
	if used+n <= len(block) {
		return block
	}
	return w.move(s, block, used+n)
}

// move gives s a block of at least n bytes.
func (w *Windower) move(s *session, block []byte, n int) []byte {
	old, class := s.block, s.class
	s.block, s.class = w.arena.alloc(n)
	to := w.arena.bytes(s.block, s.class)
	copy(to, block[:uint32(s.user)+s.size])
	tail := int(s.ids) * idBytes
	copy(to[len(to)-tail:], block[len(block)-tail:])
	w.arena.release(old, class)
	return to
}

// insert adds c, which is within the gap of s and not a duplicate.
func (w *Windower) insert(s *session, c *incoming) {
	block := w.room(s, c.bytes())
	size, n := s.size, uint32(len(c.text))
	clicks := block[s.user:]
	switch {
	case s.pending == 0 || c.time > s.last:
		s.newest = size
		copy(clicks[size:], c.text)
	case c.time == s.last:
		copy(clicks[size:], c.text)
	default:
		at := after(clicks[:size], c.time)
		copy(clicks[at+int(n):], clicks[at:size])
		copy(clicks[at:], c.text)
		s.newest += n
	}
	s.size += n
	s.pending++
	s.start, s.last = min(s.start, c.time), max(s.last, c.time)
	if c.hasID {
		s.ids++
		binary.LittleEndian.PutUint64(block[len(block)-int(s.ids)*idBytes:], c.id)
	}
}

// after returns the place behind the last click that is not later than t: clicks of one time keep offset order.
func after(clicks []byte, t schema.EventTime) int {
	at := 0
	for at < len(clicks) && packed.Time(clicks[at:]) <= t {
		at += packed.Len(clicks[at:])
	}
	return at
}

// join appends later, which a click has just connected to s. All of later's clicks come after that click, so none is
// sealed and none has been emitted: s keeps its start and its part numbers, and nothing that was emitted changes.
func (w *Windower) join(s, later *session) {
	block := w.room(s, int(later.size)+int(later.ids)*idBytes)
	from := w.arena.bytes(later.block, later.class)
	copy(block[uint32(s.user)+s.size:], from[later.user:uint32(later.user)+later.size])
	tail := int(later.ids) * idBytes
	copy(block[len(block)-int(s.ids)*idBytes-tail:], from[len(from)-tail:])
	s.newest = s.size + later.newest
	s.size += later.size
	s.pending += later.pending
	s.ids += later.ids
	s.last = later.last
}

// sealed returns how many of the pending clicks are before t, and their bytes.
func (w *Windower) sealed(s *session, t schema.EventTime) (n, size uint32) {
	if s.last < t {
		return s.pending, s.size
	}
	clicks := w.pendingOf(s)
	for size < s.size && packed.Time(clicks[size:]) < t {
		size += uint32(packed.Len(clicks[size:]))
		n++
	}
	return n, size
}

// take removes the first n pending clicks, which have size bytes.
func (w *Windower) take(s *session, n, size uint32) {
	if n == 0 {
		return
	}
	block := w.arena.bytes(s.block, s.class)
	if n == s.pending {
		s.newest = 0
	} else {
		copy(block[s.user:], block[uint32(s.user)+size:uint32(s.user)+s.size])
		s.newest -= size
	}
	s.size -= size
	s.pending -= n
	s.emitted += n
	// A session that waits for its gap must not hold on to the room of a burst.
	if used := int(s.user) + int(s.size) + int(s.ids)*idBytes; len(block) >= 4*unit && used <= len(block)/2 {
		w.move(s, block, used)
	}
}

// has reports whether click is in s already: by the hash of its event id, or where it has none, by item, action and time.
//
// Without an event id only pending clicks need a look: the original has the same event time as click, click is not late,
// so the original is not sealed, so it has not been emitted.
func (w *Windower) has(s *session, c *incoming) bool {
	block := w.arena.bytes(s.block, s.class)
	if c.hasID {
		ids := block[len(block)-int(s.ids)*idBytes:]
		for ; len(ids) > 0; ids = ids[idBytes:] {
			if binary.LittleEndian.Uint64(ids) == c.id {
				return true
			}
		}
		return false
	}
	if s.pending == 0 || c.time > s.last {
		return false
	}
	clicks := block[s.user : uint32(s.user)+s.size]
	at := s.newest
	if c.time < s.last {
		at = 0
	}
	for ; at < s.size; at += uint32(packed.Len(clicks[at:])) {
		switch t := packed.Time(clicks[at:]); {
		case t > c.time:
			return false
		case t == c.time && packed.Same(clicks[at:], c.text):
			return true
		}
	}
	return false
}

// timeOf returns the event time of the pending click number i.
func (w *Windower) timeOf(s *session, i uint32) schema.EventTime {
	clicks := w.pendingOf(s)
	if i == s.pending-1 {
		return s.last
	}
	at := 0
	for ; i > 0; i-- {
		at += packed.Len(clicks[at:])
	}
	return packed.Time(clicks[at:])
}
