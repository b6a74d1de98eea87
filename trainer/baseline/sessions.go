package baseline

import (
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// sessions are recent sessions and, by item, which of them it is in: where neighbours are found. A session stands in a slot; the slots are a ring.
type sessions struct {
	heads chunked[head]        // by slot
	rows  chunked[[]model.Row] // by slot: the session's items in the order of its clicks
	posts chunked[[]int32]     // by row: slots of sessions, in the order in which the item came into them
	ever  int64                // how many sessions began, with one click or more
}

// SessionKey names the session of a user that began with a click at start. It is never 0, which is no session.
func SessionKey(user string, start schema.EventTime) uint64 {
	return max(xxh3.HashString(user)^uint64(start)*0x9e3779b97f4a7c15, 1)
}

// head is what is read of a session before it is known to be a neighbour.
type head struct {
	key      uint64
	at       schema.EventTime // of its newest click
	distinct int32            // items; 0 in a slot that is free
}

// index is sessions that are being recorded. A session enters with its second click and grows with each. When the ring is full, the oldest makes room; when a
// session is, its first click; when the list of an item is, the session that it came into first.
type index struct {
	*sessions
	capacity, clicks, sample int

	next    int               // the slot of the next session
	slots   map[uint64]int32  // by key
	changed *changes          // slots
	posted  *changes          // rows
	news    chunked[postNews] // by row
}

// postNews is what happened to the list of an item since it was published: some at its end are new, and some before them are gone, maxGone at most.
type postNews struct {
	added int
	gone  []int32
	anew  bool // more are gone, or the list began anew: all of it is to be published
}

// remove takes place i from the list of a row.
func (x *index) remove(row, i int) {
	x.news.grow(row)
	posts, news := x.posts.at(row), x.news.at(row)
	switch {
	case i >= len(*posts)-news.added:
		news.added--
	case len(news.gone) < maxGone && !news.anew:
		news.gone = append(news.gone, (*posts)[i])
	default:
		news.anew, news.gone = true, nil
	}
	*posts = slices.Delete(*posts, i, i+1)
	x.posted.add(row)
}

// learn records a click at the end of a session whose clicks so far are before.
func (x *index) learn(key uint64, before []model.Row, row model.Row, at schema.EventTime) {
	if len(before) == 0 {
		return
	}
	slot, ok := x.slots[key]
	if !ok {
		slot = x.enter(key)
		for _, r := range before[max(0, len(before)-x.clicks):] {
			x.add(slot, r)
		}
	}
	x.add(slot, row)
	x.heads.at(int(slot)).at = at
	x.changed.add(int(slot))
}

// enter gives a session a slot, of which the session that had it is removed.
func (x *index) enter(key uint64) int32 {
	slot := x.next
	x.next = (x.next + 1) % x.capacity
	x.heads.grow(slot)
	x.rows.grow(slot)
	h, rows := x.heads.at(slot), x.rows.at(slot)
	if h.distinct > 0 || len(*rows) > 0 {
		for i, r := range *rows {
			if !slices.Contains((*rows)[:i], r) {
				x.unpost(int32(slot), r)
			}
		}
	}
	if was, ok := x.slots[h.key]; ok && int(was) == slot {
		delete(x.slots, h.key)
	}
	*h, *rows = head{key: key}, (*rows)[:0]
	x.slots[key] = int32(slot)
	return int32(slot)
}

func (x *index) add(slot int32, row model.Row) {
	h, rows := x.heads.at(int(slot)), x.rows.at(int(slot))
	if len(*rows) == x.clicks {
		first := (*rows)[0]
		*rows = slices.Delete(*rows, 0, 1)
		if !slices.Contains(*rows, first) {
			h.distinct--
			x.unpost(slot, first)
		}
	}
	if !slices.Contains(*rows, row) {
		h.distinct++
		x.posts.grow(int(row))
		posts := x.posts.at(int(row))
		if len(*posts) == x.sample {
			x.remove(int(row), 0)
		}
		*posts = append(*posts, slot)
		x.news.grow(int(row))
		x.news.at(int(row)).added++
		x.posted.add(int(row))
	}
	*rows = append(*rows, row)
}

// unpost takes a session off the list of an item, if it is on it still.
func (x *index) unpost(slot int32, row model.Row) {
	if i := slices.Index(*x.posts.at(int(row)), slot); i >= 0 {
		x.remove(int(row), i)
	}
}

// forget removes rows from all sessions. gone is by row.
func (x *index) forget(gone []bool) {
	for slot := range x.rows.n {
		rows := x.rows.at(slot)
		left := slices.DeleteFunc(*rows, func(r model.Row) bool { return int(r) < len(gone) && gone[r] })
		if len(left) < len(*rows) {
			*rows = left
			h := x.heads.at(slot)
			h.distinct = distinct(left)
			x.changed.add(slot)
		}
	}
	for r := range min(len(gone), x.posts.n) {
		if posts := x.posts.at(r); gone[r] && len(*posts) > 0 {
			*posts = nil
			x.news.grow(r)
			*x.news.at(r) = postNews{anew: true}
			x.posted.add(r)
		}
	}
}

func distinct(rows []model.Row) (n int32) {
	for i, r := range rows {
		if !slices.Contains(rows[:i], r) {
			n++
		}
	}
	return n
}
