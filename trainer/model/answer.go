package model

import (
	"github.com/freshet-ml/freshet/schema"
)

// Query is a request: what the user did, and where they are now.
type Query struct {
	Past  []ServedSession // oldest first
	At    schema.EventTime
	Scene string
	User  string // known to Config.UserRows only
	Marks []Mark // by rising Row, then Of; each pair once. Rows that the version does not know are passed over

	Filter Filter // of what is recommended
	// Interests, from 2 to 4, gives each of so many groups of the items that the user clicked last a share of the answer; else all of it goes by what the network makes of them together.
	Interests int
}

// Scored is a recommended item.
type Scored struct {
	ItemID string
	Score  float32
}

// answer is the memory of one request.
type answer struct {
	pass    *pass[float32]
	layout  layout
	ins     gather[float32]
	example Example
	past    []Session // known items of the request's past
	joined  []Session
	events  []Event
	buckets []uint8
	since   uint8     // gap bucket of the request
	read    []Session // all that the request goes by
	scan    scan
}

// Recommend returns the k items that score highest, best first, equal scores in the order of their rows, among those that q.Filter keeps.
// It looks at every row: the answer is exact. Items that the version does not know are left out of the past; where that leaves
// nothing, ok is false, and Popular is the answer to give. Under Config.Terms the scores have the terms of q.Marks and of the tables of With.
func (s *Served) Recommend(q Query, k int) (best []Scored, ok bool) {
	a := s.lend()
	defer s.pools.answers.Put(a)
	a.name(s, q.Past)
	if len(a.past) == 0 {
		return nil, false
	}
	a.read = a.past
	z := a.whole(s, Example{Past: a.past, At: q.At, Scene: q.Scene, User: q.User})
	return s.best(a, z, &q, k), true
}

// name sets a.past to what the version knows of sessions.
func (a *answer) name(s *Served, past []ServedSession) {
	a.past, a.events = a.past[:0], a.events[:0]
	for i := range past {
		p := &past[i]
		from := len(a.events)
		for _, e := range p.Events {
			if r, ok := s.Row(e.ItemID); ok && s.cfg.counts(e.Action) {
				a.events = append(a.events, Event{r, e.Action})
			}
		}
		if len(a.events) > from {
			a.past = append(a.past, Session{At: p.At, Scene: p.Scene, Events: a.events[from:len(a.events):len(a.events)]})
		}
	}
}

// whole runs a sequence through the network and returns the query vector of its request.
func (a *answer) whole(s *Served, e Example) []float32 {
	a.layout.reset()
	a.ins.rows = a.ins.rows[:0]
	a.example = e
	a.layout.add(&s.cfg, &a.example, 0, a.place)
	a.ins.fetch(&s.items)
	a.since = a.layout.since[0]
	a.pass.forward(&a.layout, s.w, &a.ins, 0, 0)
	return a.pass.z[int(a.layout.request[0])*s.cfg.Dim:][:s.cfg.Dim]
}
