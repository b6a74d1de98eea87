package window

import (
	"bytes"
	"math"
	"math/bits"

	"github.com/freshet-ml/freshet/schema"
)

// calendar orders sessions by when something is due with them, exactly by (due, user, start), at a cost that does not grow
// with their number. It knows two parts of time. Near time is up to the end of the present day, a day being 1 << shift ms:
// its sessions are in a heap, which is small. Far time is days days from there: a session is in the list of its day,
// unordered. When near time is empty, the next day that has a list becomes the present one.
//
// A due that grows needs nothing: the session stays where it is, and is moved when it comes up. A due that falls moves the
// session at once. So a session has one place at most, and nothing stale is left behind. A session beyond the last day is
// filed under the last one, and filed again when that comes up.
//
// There are two calendars of the same sessions, and a session has a place in each: one for the end of the gap, one for
// all else.
type calendar struct {
	w     *Windower
	which int // the index of its places in session.place
	shift uint
	today int64                                   // the present day: event time >> shift
	first int64                                   // no day before it, after today, has a list
	near  []appointment                           // a heap
	far   [days]ref                               // the first session of each day's list, at day % days
	used  [days / 64]uint64                       // a bit for each list that is not empty
	count int                                     // sessions in far
	due   func(*session) (schema.EventTime, bool) // when, and whether at all
}

const days = 4096

// appointment is a session in near time. Its due may have grown since.
type appointment struct {
	due schema.EventTime
	ref ref
}

// place is where a session is in a calendar.
type place struct {
	is         position
	next, prev ref // in the list of its day
}

// position is the place in near, from 0 on; or nowhere; or inFar - the place in far.
type position int32

const (
	nowhere position = -1
	inFar   position = -2
)

// noDay is after all days that a calendar can name.
const noDay = math.MaxInt64

func (c *calendar) day(t schema.EventTime) int64 { return int64(t) >> c.shift }

// from returns when day begins.
func (c *calendar) from(day int64) schema.EventTime {
	if day > int64(schema.EndOfTime)>>c.shift {
		return schema.EndOfTime
	}
	return schema.EventTime(day << c.shift)
}

func (c *calendar) place(r ref) *place { return &c.w.slab.at(r).place[c.which] }

// put gives r, which is in no place, its place for due.
func (c *calendar) put(r ref, due schema.EventTime) {
	day := c.day(due)
	if day <= c.today {
		c.near = append(c.near, appointment{due, r})
		c.up(len(c.near) - 1)
		return
	}
	day = min(day, c.today+days-1)
	c.first = min(c.first, day)
	i := day & (days - 1)
	p := c.place(r)
	*p = place{is: inFar - position(i), next: c.far[i]}
	if p.next != 0 {
		c.place(p.next).prev = r
	}
	c.far[i] = r
	c.used[i/64] |= 1 << (i % 64)
	c.count++
}

// remove takes r out, if it is in.
func (c *calendar) remove(r ref) {
	p := c.place(r)
	switch {
	case p.is == nowhere:
		return
	case p.is >= 0:
		c.removeNear(int(p.is))
		return
	}
	i := int64(inFar - p.is)
	if p.next != 0 {
		c.place(p.next).prev = p.prev
	}
	if p.prev != 0 {
		c.place(p.prev).next = p.next
	} else if c.far[i] = p.next; p.next == 0 {
		c.used[i/64] &^= 1 << (i % 64)
	}
	c.count--
	*p = place{is: nowhere}
}

// advance moves r, whose due is now due: at once if that is earlier than its place says. It puts r in if it is nowhere.
func (c *calendar) advance(r ref, due schema.EventTime) {
	p := c.place(r)
	switch {
	case p.is == nowhere:
		c.put(r, due)
	case p.is >= 0:
		if a := &c.near[p.is]; due < a.due {
			a.due = due
			c.up(int(p.is))
		}
	default:
		filed := c.today + 1 + (int64(inFar-p.is)-c.today-1)&(days-1)
		if c.day(due) < filed {
			c.remove(r)
			c.put(r, due)
		}
	}
}

// next returns the first session of the order, if its due is before t. It stays in its place.
func (c *calendar) next(t schema.EventTime) (ref, schema.EventTime) {
	for {
		for len(c.near) > 0 {
			a := c.near[0]
			if a.due >= t {
				return 0, 0
			}
			due, is := c.due(c.w.slab.at(a.ref))
			if is && due == a.due {
				return a.ref, due
			}
			switch {
			case !is:
				c.removeNear(0)
			case c.day(due) <= c.today:
				c.near[0].due = due
				c.down(0)
			default:
				c.removeNear(0)
				c.put(a.ref, due)
			}
		}
		if !c.turn(t) {
			return 0, 0
		}
	}
}

// turn makes the next day that has a list the present one, unless all of it is at or after t.
func (c *calendar) turn(t schema.EventTime) bool {
	if c.count == 0 {
		c.first = noDay
	} else if c.from(c.first) < t {
		c.first = c.nextDay()
	}
	if c.from(c.first) >= t {
		if t != schema.EndOfTime {
			c.today = max(c.today, min(c.day(t), c.first-1))
		}
		return false
	}
	c.today = c.first
	i := c.today & (days - 1)
	r := c.far[i]
	c.far[i] = 0
	c.used[i/64] &^= 1 << (i % 64)
	if c.used == [days / 64]uint64{} { // nothing lies between: no need to come by every few days
		first := int64(math.MaxInt64)
		for o := r; o != 0; o = c.place(o).next {
			if due, is := c.due(c.w.slab.at(o)); is {
				first = min(first, c.day(due))
			}
		}
		if first != math.MaxInt64 {
			c.today = max(c.today, min(first, c.day(t)))
		}
	}
	c.first = c.today + 1
	for r != 0 {
		s := c.w.slab.at(r)
		p := &s.place[c.which]
		next := p.next
		*p = place{is: nowhere}
		c.count--
		if due, is := c.due(s); is {
			c.put(r, due)
		}
		r = next
	}
	return true
}

// nextDay returns the first day after today that has a list. There must be one.
func (c *calendar) nextDay() int64 {
	first := (c.today + 1) & (days - 1)
	word, bit := first/64, uint(first%64)
	if rest := c.used[word] >> bit; rest != 0 {
		return c.today + 1 + int64(bits.TrailingZeros64(rest))
	}
	at := c.today + 1 + int64(64-bit)
	for range days / 64 {
		word = (word + 1) % (days / 64)
		if rest := c.used[word]; rest != 0 {
			return at + int64(bits.TrailingZeros64(rest))
		}
		at += 64
	}
	panic("window: calendar: sessions are filed under no day")
}

// begin moves an empty calendar to the day of t.
func (c *calendar) begin(t schema.EventTime) { c.today, c.first = c.day(t), noDay }

// less says whether a comes before b. The order is total: two sessions of one user differ in their start.
func (c *calendar) less(a, b appointment) bool {
	if a.due != b.due {
		return a.due < b.due
	}
	return c.w.before(a.ref, b.ref)
}

// before orders sessions that are due at the same time: by user and start.
func (w *Windower) before(a, b ref) bool {
	s, t := w.slab.at(a), w.slab.at(b)
	if order := bytes.Compare(w.userOf(s), w.userOf(t)); order != 0 {
		return order < 0
	}
	return s.start < t.start
}

func (c *calendar) removeNear(i int) {
	c.place(c.near[i].ref).is = nowhere
	last := len(c.near) - 1
	moved := c.near[last]
	c.near = c.near[:last]
	if i == last {
		return
	}
	c.near[i] = moved
	if !c.up(i) {
		c.down(i)
	}
}

// up moves the appointment at i to where it belongs above, and reports whether it moved.
func (c *calendar) up(i int) bool {
	a, from := c.near[i], i
	for i > 0 {
		parent := (i - 1) / 2
		if !c.less(a, c.near[parent]) {
			break
		}
		c.set(i, c.near[parent])
		i = parent
	}
	c.set(i, a)
	return i != from
}

// down moves the appointment at i to where it belongs below.
func (c *calendar) down(i int) {
	a := c.near[i]
	for {
		child := 2*i + 1
		if child >= len(c.near) {
			break
		}
		if right := child + 1; right < len(c.near) && c.less(c.near[right], c.near[child]) {
			child = right
		}
		if !c.less(c.near[child], a) {
			break
		}
		c.set(i, c.near[child])
		i = child
	}
	c.set(i, a)
}

func (c *calendar) set(i int, a appointment) {
	c.near[i] = a
	c.place(a.ref).is = position(i)
}
