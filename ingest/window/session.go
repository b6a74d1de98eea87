package window

import (
	"slices"
	"sort"

	"github.com/freshet-ml/freshet/schema"
	"github.com/zeebo/xxh3"
)

// session is an open session.
//
// Its id, user and start, is stable from the first part on: a part holds only sealed clicks, the first click is sealed
// with the first part at the latest, and a click before it would be before the watermark, hence late.
type session struct {
	Session
	due   schema.EventTime // when the next thing happens to it, and what
	cause schema.Cause
	at    int // its place in the queue

	// fullAt is the time of the click that made the session full, once that click has been emitted in an early part. It
	// lives only within one advance, because the session closes in it.
	fullAt schema.EventTime

	dirty  bool // it is in Windower.dirty
	closed bool
	// stored is the start under which the last commit wrote it; see Windower.Changes.
	stored   schema.EventTime
	isStored bool
}

// schedule sets due and cause. Of two things due at the same time the one that makes the other needless comes first.
// No due is below floor, the watermark before the present advance: by the argument of doc.go none would be, but a session
// restored under a smaller gap or maximum may have been due before, and a due must not fall even then.
func (s *session) schedule(c *limits, floor schema.EventTime) {
	due, cause := s.Last.Add(c.Gap), schema.CauseGap
	if d := s.Start.Add(c.MaxSessionAge); d < due {
		due, cause = d, schema.CauseMax
	}
	switch {
	case s.Emitted >= c.MaxSessionClicks:
		if s.fullAt < due {
			due, cause = s.fullAt, schema.CauseMax
		}
	case s.Emitted+len(s.Pending) >= c.MaxSessionClicks:
		if d := s.Pending[c.MaxSessionClicks-1-s.Emitted].EventTime; d < due {
			due, cause = d, schema.CauseMax
		}
	}
	if c.PartClicks > 0 && len(s.Pending) >= c.PartClicks {
		if d := s.Pending[c.PartClicks-1].EventTime; d < due {
			due, cause = d, schema.CauseClicks
		}
	}
	if c.PartAge > 0 && len(s.Pending) > 0 {
		if d := s.Pending[0].EventTime.Add(c.PartAge); d < due {
			due, cause = d, schema.CauseAge
		}
	}
	s.due, s.cause = max(due, floor), cause
}

// sealed returns how many of the pending clicks are before w.
func (s *session) sealed(w schema.EventTime) int {
	n := len(s.Pending)
	if n == 0 || s.Pending[n-1].EventTime < w {
		return n
	}
	return sort.Search(n, func(i int) bool { return s.Pending[i].EventTime >= w })
}

// take removes the first n pending clicks and returns them. The rest moves to memory of its own, so that the part that
// keeps the taken ones owns theirs.
func (s *session) take(n int, c *limits) []schema.Click {
	if s.Emitted < c.MaxSessionClicks && s.Emitted+n >= c.MaxSessionClicks {
		s.fullAt = s.Pending[c.MaxSessionClicks-1-s.Emitted].EventTime
	}
	taken := s.Pending[:n:n]
	if n == len(s.Pending) {
		s.Pending = nil
	} else {
		s.Pending = slices.Clone(s.Pending[n:])
	}
	s.Emitted += n
	return taken
}

// has reports whether click is in s already: by event id, or where it has none, by item, action and time.
//
// Without an event id only pending clicks need a look: the original has the same event time as click, click is not late,
// so the original is not sealed, so it has not been emitted.
func (s *session) has(click *schema.Click, id uint64) bool {
	if click.EventID != "" {
		return slices.Contains(s.EventIDs, id)
	}
	for i := s.after(click.EventTime) - 1; i >= 0 && s.Pending[i].EventTime == click.EventTime; i-- {
		p := &s.Pending[i]
		if p.EventID == "" && p.ItemID == click.ItemID && p.Action == click.Action {
			return true
		}
	}
	return false
}

// after returns the place behind the last pending click that is not later than t: clicks of one time keep offset order.
func (s *session) after(t schema.EventTime) int {
	n := len(s.Pending)
	if n == 0 || s.Pending[n-1].EventTime <= t {
		return n
	}
	return sort.Search(n, func(i int) bool { return s.Pending[i].EventTime > t })
}

// insert adds click, which is within the gap of s and not a duplicate.
func (s *session) insert(click schema.Click, id uint64) {
	s.Start, s.Last = min(s.Start, click.EventTime), max(s.Last, click.EventTime)
	s.Pending = slices.Insert(s.Pending, s.after(click.EventTime), click)
	if click.EventID != "" {
		s.EventIDs = append(s.EventIDs, id)
	}
}

// join appends later, which a click has just connected to s. All of later's clicks come after that click, so none is
// sealed and none has been emitted: s keeps its start and its part numbers, and nothing that was emitted changes.
func (s *session) join(later *session) {
	s.Last = later.Last
	s.Pending = append(s.Pending, later.Pending...)
	s.EventIDs = append(s.EventIDs, later.EventIDs...)
}

// idsOf returns the hashes of the event ids of clicks.
func idsOf(clicks []schema.Click) []uint64 {
	var ids []uint64
	for i := range clicks {
		if id := clicks[i].EventID; id != "" {
			ids = append(ids, xxh3.HashString(id))
		}
	}
	return ids
}
