package model

import (
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// Row is the place of an item in the tables.
type Row int32

// Event is one item of a session.
type Event struct {
	Row    Row
	Action schema.Action
}

// Session is what a user did in one emitted part.
type Session struct {
	At     schema.EventTime // the part's first click
	Scene  string
	Events []Event // distinct items in the order of their first click
}

// Example is one request: what was known before it, and what followed. With Learn, the newest of the past sessions are learned from as well, each
// from what was before it: a whole history is one example. Only the request itself has terms, of items and of marks: the tables that
// gave those of a past moment are gone.
type Example struct {
	Past    []Session // oldest first
	At      schema.EventTime
	Scene   string
	User    string          // known to Config.UserRows only
	Targets []Row           // distinct; may be empty where nothing is to be learned
	Actions []schema.Action // of the targets; nil for clicks
	Learn   int             // how many of the newest past sessions are targets, too
	Marks   []Mark          // of the request, by rising Row, then Of; each pair once
	Weight  float64         // multiplies the loss of Targets; 0 is 1
	Weights []float64       // multiply the losses of Past, each that of its session; nil is 1 for all
}

// ServedEvent is one item of a session, by name.
type ServedEvent struct {
	ItemID string
	Action schema.Action
}

// ServedSession is a session whose items go by their names, for a model that may not know all of them.
type ServedSession struct {
	At     schema.EventTime
	Scene  string
	Events []ServedEvent
}

// NewServedSession reads the clicks of one part. Items are distinct, with their strongest action. Models without Config.Exposures pass over what was only
// shown.
func NewServedSession(clicks []schema.Click) ServedSession {
	return ReadServedSession(nil, clicks)
}

// fewEvents is up to how many items are compared with each other rather than looked up.
const fewEvents = 16

// ReadServedSession is NewServedSession with the events in the room behind those given, or in memory of their own where it does not suffice.
func ReadServedSession(room []ServedEvent, clicks []schema.Click) ServedSession {
	var s ServedSession
	if len(clicks) == 0 {
		return s
	}
	s.At, s.Scene = clicks[0].EventTime, clicks[0].Scene
	events := room[len(room):]
	var place map[string]int // of the events, where they are many
	for i := range clicks {
		c := &clicks[i]
		j, known := place[c.ItemID]
		if place == nil {
			j = slices.IndexFunc(events, func(e ServedEvent) bool { return e.ItemID == c.ItemID })
			known = j >= 0
		}
		if known {
			if actionIndex(c.Action) > actionIndex(events[j].Action) {
				events[j].Action = c.Action
			}
			continue
		}
		if place != nil {
			place[c.ItemID] = len(events)
		}
		events = append(events, ServedEvent{c.ItemID, c.Action})
		if len(events) == fewEvents {
			place = make(map[string]int, len(clicks))
			for j, e := range events {
				place[e.ItemID] = j
			}
		}
	}
	s.Events = slices.Clip(events)
	return s
}

// SessionOf reads the clicks of one part as NewServedSession does. Items without a row are left out: a part that is history was seen when it came, and an item that
// has no row since then, or any more, does not get one for what is long past.
func (m *Model) SessionOf(clicks []schema.Click) Session {
	named := NewServedSession(clicks)
	s := Session{At: named.At, Scene: named.Scene, Events: make([]Event, 0, len(named.Events))}
	for _, e := range named.Events {
		if r, ok := m.Row(e.ItemID); ok && m.Counts(e.Action) {
			s.Events = append(s.Events, Event{r, e.Action})
		}
	}
	return s
}

// Counts says whether an action is input and target: every one, but an exposure only under Config.Exposures.
func (m *Model) Counts(a schema.Action) bool { return m.cfg.counts(a) }

func (c *Config) counts(a schema.Action) bool { return c.Exposures || a != schema.ActionExposure }

// The actions, weakest first, as rows of the action table. Unknown ones are trained as a click.
const (
	actionExposure = iota
	actionClick
	actionCart
	actionPurchase
	actions
)

// Stronger says whether a says more of a user's interest than b.
func Stronger(a, b schema.Action) bool { return actionIndex(a) > actionIndex(b) }

func actionIndex(a schema.Action) uint8 {
	switch a {
	case schema.ActionExposure:
		return actionExposure
	case schema.ActionCart:
		return actionCart
	case schema.ActionPurchase:
		return actionPurchase
	}
	return actionClick
}
