package window

import (
	"fmt"
	"hash/maphash"
	"math"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
	"github.com/zeebo/xxh3"
)

// maxUserBytes bounds the packed clicks that wait in the sessions of one user: 64 of the largest records.
const maxUserBytes = 64 << 20

// unsealedPerClick bounds the clicks of a user that are not before the watermark, as a multiple of MaxSessionClicks. It is
// above 1 because a burst within the lateness bound may hold the end of one session and the whole of the next ones.
const unsealedPerClick = 4

// incoming is a click on its way into a session.
type incoming struct {
	user  []byte
	text  []byte // packed
	time  schema.EventTime
	id    uint64 // hash of the event id
	hasID bool
}

// bytes is the room that c takes in a block.
func (c *incoming) bytes() int {
	if c.hasID {
		return len(c.text) + idBytes
	}
	return len(c.text)
}

// place puts the packed click text of user into its session, or says why not. At most two sessions are within the gap of a
// click: the one before it and the one after it.
func (w *Windower) place(user, text []byte) schema.Reason {
	c := incoming{user: user, text: text, time: packed.Time(text)}
	if id := packed.EventID(text); len(id) > 0 {
		c.id, c.hasID = xxh3.Hash(id), true
	}
	hash := w.hash(user)
	var home, next *session
	var homeRef, nextRef ref
	pending, size := uint64(0), uint64(len(text))
	for r, i := w.users.next(hash, w.users.first(hash)); r != 0; r, i = w.users.next(hash, i) {
		s := w.slab.at(r)
		if string(w.userOf(s)) == string(user) {
			pending += uint64(s.pending)
			size += uint64(s.size)
			if later(s.last, w.limits.gap) >= c.time && later(c.time, w.limits.gap) >= s.start {
				if w.has(s, &c) {
					return schema.ReasonDuplicate
				}
				switch {
				case s.start <= c.time && (home == nil || s.start > home.start):
					home, homeRef = s, r
				case s.start > c.time && (next == nil || s.start < next.start):
					next, nextRef = s, r
				}
			}
		}
	}
	if size > maxUserBytes || w.tooMany(pending, hash, user) {
		return schema.ReasonOverflow
	}
	if home == nil {
		home, homeRef, next = next, nextRef, nil
	}
	if home == nil {
		if !w.makeRoom() {
			return schema.ReasonOverflow
		}
		homeRef, home = w.add(hash, &c)
	}
	w.insert(home, &c)
	if next != nil {
		w.join(home, next)
		w.remove(nextRef)
	}
	w.schedule(homeRef, home, w.fullAt(home))
	w.meta.Counts.Taken++
	return ""
}

// hash returns what the table knows a user by. It differs from process to process, so that nobody can choose users that
// collide; nothing that is emitted or stored depends on it.
func (w *Windower) hash(user []byte) uint32 { return uint32(maphash.Bytes(w.seed, user)) }

// tooMany reports whether a user with that many pending clicks may not have another click that is not sealed. It bounds
// the memory that one user can take: sealed clicks are bounded by max_session, the others by this.
func (w *Windower) tooMany(pending uint64, hash uint32, user []byte) bool {
	bound := unsealedPerClick * uint64(w.limits.maxClicks)
	if pending < bound {
		return false
	}
	for r, i := w.users.next(hash, w.users.first(hash)); r != 0; r, i = w.users.next(hash, i) {
		if s := w.slab.at(r); string(w.userOf(s)) == string(user) {
			n, _ := w.sealed(s, w.meta.Watermark)
			pending -= uint64(n)
		}
	}
	return pending >= bound
}

// makeRoom closes sessions until one more may be open: those first whose last click is the oldest, of which the gap would
// end first. It closes only what is wholly sealed, so that nothing that was emitted changes and no click is cut from what
// may still come before it; it reports false where that does not make room. See doc.go for why the watermark is the due.
func (w *Windower) makeRoom() bool {
	for most := w.limits.MaxOpenSessions; most > 0 && w.open >= most; {
		r, _ := w.gaps.next(schema.EndOfTime)
		s := w.slab.at(r)
		if s.last >= w.meta.Watermark {
			return false
		}
		w.emit(s, s.pending, s.size, true, w.meta.Watermark, causeFull)
		w.remove(r)
	}
	return true
}

// add opens a session for c, in which c is not yet.
func (w *Windower) add(hash uint32, c *incoming) (ref, *session) {
	if len(c.user) > math.MaxUint16 {
		panic(fmt.Sprintf("window: add: user id of %d bytes", len(c.user)))
	}
	r, s := w.slab.add()
	s.hash, s.start, s.last, s.user = hash, c.time, c.time, uint16(len(c.user))
	s.block, s.class = w.arena.alloc(len(c.user) + c.bytes())
	copy(w.userOf(s), c.user)
	w.link(r, s)
	return r, s
}

// link makes s, which is at r and has its user, its start and its last click, one of the open sessions.
func (w *Windower) link(r ref, s *session) {
	w.users.add(s.hash, r)
	s.place[w.gaps.which].is, s.place[w.other.which].is = nowhere, nowhere
	due, _ := w.gapDue(s)
	w.gaps.put(r, due)
	w.open++
}

// remove takes r out: it is closed, or joined to another.
func (w *Windower) remove(r ref) {
	s := w.slab.at(r)
	w.gaps.remove(r)
	w.other.remove(r)
	w.users.remove(s.hash, r)
	w.arena.release(s.block, s.class)
	w.slab.remove(r)
	w.open--
}
