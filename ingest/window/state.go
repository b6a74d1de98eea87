package window

import (
	"slices"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Causes lists every cause of a part in the order in which Counts holds them and codecs number them: it grows at its end.
var Causes = []schema.Cause{schema.CauseAge, schema.CauseClicks, schema.CauseGap, schema.CauseMax, schema.CauseEnd, schema.CauseFull}

// Counts says what became of the records of a partition since its beginning. In = Emitted + Pending + all Rejected (I7).
type Counts struct {
	Taken    uint64    // clicks that were taken into a session
	Emitted  uint64    // of them, those in emitted parts
	Rejected [6]uint64 // records that were not taken, in the order of schema.Reasons
	Parts    [6]uint64 // emitted parts, in the order of Causes
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

// AfterEnd returns the watermark that an end leaves: a click at the latest event time is late from then on.
func (m Meta) AfterEnd() schema.EventTime {
	if m.MaxSeen == schema.BeginningOfTime {
		return m.Watermark
	}
	return max(m.Watermark, m.MaxSeen.Add(time.Millisecond))
}

// Meta returns the state apart from the sessions.
func (w *Windower) Meta() Meta { return w.meta }

// OpenSessions returns the number of open sessions.
func (w *Windower) OpenSessions() int { return w.open }
