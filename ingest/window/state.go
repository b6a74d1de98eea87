package window

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// Causes lists every cause of a part in the order in which Counts holds them.
var Causes = []schema.Cause{schema.CauseAge, schema.CauseClicks, schema.CauseGap, schema.CauseMax, schema.CauseEnd}

// Counts says what became of the records of a partition since its beginning. In = Emitted + Pending + all Rejected (I7).
type Counts struct {
	Taken    uint64    // clicks that were taken into a session
	Emitted  uint64    // of them, those in emitted parts
	Rejected [6]uint64 // records that were not taken, in the order of schema.Reasons
	Parts    [5]uint64 // emitted parts, in the order of Causes
}

// In returns the number of records that were read.
func (c Counts) In() uint64 {
	n := c.Taken
	for _, r := range c.Rejected {
		n += r
	}
	return n
}

// Pending returns the number of clicks that wait in open sessions.
func (c Counts) Pending() uint64 { return c.Taken - c.Emitted }

// ByReason returns the number of records that were rejected for r.
func (c Counts) ByReason(r schema.Reason) uint64 { return c.Rejected[slices.Index(schema.Reasons, r)] }

// ByCause returns the number of parts that were emitted for cause.
func (c Counts) ByCause(cause schema.Cause) uint64 { return c.Parts[slices.Index(Causes, cause)] }

// Plus returns the sum of c and d.
func (c Counts) Plus(d Counts) Counts {
	c.Taken += d.Taken
	c.Emitted += d.Emitted
	for i := range c.Rejected {
		c.Rejected[i] += d.Rejected[i]
	}
	for i := range c.Parts {
		c.Parts[i] += d.Parts[i]
	}
	return c
}

// Meta is the state of a Windower apart from its sessions.
type Meta struct {
	Watermark schema.EventTime // no click before it is expected any more
	MaxSeen   schema.EventTime // the latest event time of an accepted or duplicate click
	Epoch     schema.Epoch     // the number of ends so far
	Ended     bool             // no record has come since the last end
	Counts    Counts
}

// NewMeta returns the Meta of a partition that has had no record.
func NewMeta() Meta {
	return Meta{Watermark: schema.BeginningOfTime, MaxSeen: schema.BeginningOfTime}
}

// Key names an open session.
type Key struct {
	UserID string
	Start  schema.EventTime
}

// Session is the durable state of an open session. Emitted clicks have left it: their number and the hashes of their event
// ids are all that later clicks can need.
type Session struct {
	UserID   string
	Start    schema.EventTime // of its first click
	Last     schema.EventTime // of its last click
	Number   int32            // of its next part
	Emitted  int              // clicks in its earlier parts
	EventIDs []uint64         // xxh3 of the event ids of all its clicks, emitted ones too, in order of arrival
	Pending  []schema.Click   // in event-time order; equal times in offset order
}

// Changes is what a commit must write to bring the stored sessions up to date: first delete Gone, then set Open. A key may
// be in both.
type Changes struct {
	Open []Session
	Gone []Key
}

// Meta returns the state apart from the sessions.
func (w *Windower) Meta() Meta { return w.meta }

// OpenSessions returns the number of open sessions.
func (w *Windower) OpenSessions() int { return len(w.queue) }

// Changes returns what has changed since the last call of Committed. The slices are valid until the next call of w.
func (w *Windower) Changes() Changes {
	c := Changes{Gone: slices.Clone(w.gone)}
	for _, s := range w.dirty {
		if s.closed {
			continue
		}
		if s.isStored && s.stored != s.Start {
			c.Gone = append(c.Gone, Key{UserID: s.UserID, Start: s.stored})
		}
		c.Open = append(c.Open, s.Session)
	}
	return c
}

// Committed says that the last Changes are durable.
func (w *Windower) Committed() {
	for _, s := range w.dirty {
		s.dirty, s.isStored, s.stored = false, true, s.Start
	}
	clear(w.dirty)
	w.dirty, w.gone = w.dirty[:0], w.gone[:0]
}

// Restore returns a Windower with the state that m and sessions describe. It refuses a state that no Windower can have
// reached, so that damage shows here and not as a wrong session.
func Restore(c Config, m Meta, sessions []Session) (*Windower, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("window: config: %w", err)
	}
	w := &Windower{limits: c, meta: m, floor: m.Watermark, users: make(map[string][]*session, len(sessions))}
	pending := uint64(0)
	for _, state := range sessions {
		if err := state.check(); err != nil {
			return nil, fmt.Errorf("window: restore session of %q at %d: %w", state.UserID, state.Start, err)
		}
		s := &session{Session: state, isStored: true, stored: state.Start}
		s.schedule(&w.limits, w.floor)
		heap.Push(&w.queue, s)
		w.users[s.UserID] = append(w.users[s.UserID], s)
		pending += uint64(len(s.Pending))
	}
	for _, s := range w.users {
		slices.SortFunc(s, func(a, b *session) int { return cmp.Compare(a.Start, b.Start) })
	}
	if pending != m.Counts.Pending() {
		return nil, fmt.Errorf("window: restore: %d clicks are pending, but the counts say %d", pending, m.Counts.Pending())
	}
	return w, nil
}

func (s *Session) check() error {
	switch {
	case s.Start > s.Last:
		return fmt.Errorf("it ends at %d, before it starts", s.Last)
	case s.Number < 0 || s.Emitted < 0 || s.Emitted > 0 && s.Number == 0:
		return fmt.Errorf("%d clicks in %d parts cannot be", s.Emitted, s.Number)
	case s.Emitted == 0 && len(s.Pending) == 0:
		return fmt.Errorf("it has no clicks")
	}
	for i := range s.Pending {
		t := s.Pending[i].EventTime
		if t < s.Start || t > s.Last || i > 0 && t < s.Pending[i-1].EventTime {
			return fmt.Errorf("its clicks are out of order")
		}
	}
	return nil
}
