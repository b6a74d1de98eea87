package window_test

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// naive is a Windower as one would write it down: a list of sessions, and a search of all of it for what is due next. It is
// what the fast one must equal, part by part.
type naive struct {
	c        window.Config
	meta     window.Meta
	floor    schema.EventTime
	sessions []*naiveSession
	out      []naivePart
}

type naiveSession struct {
	user    string
	clicks  []schema.Click // all of them
	emitted int            // of them
	number  int32
}

// naivePart is a part with its clicks.
type naivePart struct {
	schema.Part
	Clicks []schema.Click
}

func newNaive(c window.Config) *naive {
	return &naive{c: c, meta: window.NewMeta(), floor: schema.BeginningOfTime}
}

func (s *naiveSession) start() schema.EventTime { return s.clicks[0].EventTime }

func (s *naiveSession) last() schema.EventTime { return s.clicks[len(s.clicks)-1].EventTime }

// due returns when the next thing happens to s, and what. Of two at the same time the first one counts.
func (n *naive) due(s *naiveSession) (schema.EventTime, schema.Cause) {
	due, cause := s.last().Add(n.c.Gap), schema.CauseGap
	sooner := func(t schema.EventTime, c schema.Cause) {
		if t < due {
			due, cause = t, c
		}
	}
	sooner(s.start().Add(n.c.MaxSessionAge), schema.CauseMax)
	if k := n.c.MaxSessionClicks; len(s.clicks) >= k {
		sooner(s.clicks[k-1].EventTime, schema.CauseMax)
	}
	pending := s.clicks[s.emitted:]
	if k := n.c.PartClicks; k > 0 && len(pending) >= k {
		sooner(pending[k-1].EventTime, schema.CauseClicks)
	}
	if n.c.PartAge > 0 && len(pending) > 0 {
		sooner(pending[0].EventTime.Add(n.c.PartAge), schema.CauseAge)
	}
	return max(due, n.floor), cause
}

// first returns the session that is first by (what key says, user, start).
func (n *naive) first(key func(*naiveSession) schema.EventTime) *naiveSession {
	if len(n.sessions) == 0 {
		return nil
	}
	return slices.MinFunc(n.sessions, func(a, b *naiveSession) int {
		return cmp.Or(cmp.Compare(key(a), key(b)), cmp.Compare(a.user, b.user), cmp.Compare(a.start(), b.start()))
	})
}

func (n *naive) sealed(s *naiveSession) int {
	sealed := 0
	for _, c := range s.clicks[s.emitted:] {
		if c.EventTime < n.meta.Watermark {
			sealed++
		}
	}
	return sealed
}

func (n *naive) emit(s *naiveSession, clicks int, final bool, due schema.EventTime, cause schema.Cause) {
	n.out = append(n.out, naivePart{
		Part: schema.Part{
			Epoch: n.meta.Epoch, Due: due, UserID: s.user, SessionStart: s.start(), Number: s.number, Final: final, Cause: cause,
		},
		Clicks: slices.Clone(s.clicks[s.emitted : s.emitted+clicks]),
	})
	s.emitted += clicks
	s.number++
	n.meta.Counts.Emitted += uint64(clicks)
	n.meta.Counts.Parts[slices.Index(window.Causes, cause)]++
}

func (n *naive) remove(s *naiveSession) {
	i := slices.Index(n.sessions, s)
	n.sessions = slices.Delete(n.sessions, i, i+1)
}

func (n *naive) advance(t schema.EventTime) {
	if t <= n.meta.Watermark {
		return
	}
	n.meta.Watermark = t
	for {
		s := n.first(func(s *naiveSession) schema.EventTime { due, _ := n.due(s); return due })
		if s == nil {
			break
		}
		due, cause := n.due(s)
		if due >= t {
			break
		}
		final := cause == schema.CauseGap || cause == schema.CauseMax
		n.emit(s, n.sealed(s), final, due, cause)
		if final {
			n.remove(s)
			if rest := s.clicks[s.emitted:]; len(rest) > 0 {
				n.sessions = append(n.sessions, &naiveSession{user: s.user, clicks: slices.Clone(rest)})
			}
		}
	}
	n.floor = t
}

func (n *naive) flush() []naivePart {
	out := n.out
	n.out = nil
	return out
}

func (n *naive) Tick(t schema.EventTime) []naivePart {
	n.advance(t)
	return n.flush()
}

func (n *naive) End(epoch schema.Epoch) []naivePart {
	latest := max(n.meta.MaxSeen, n.meta.Watermark)
	for len(n.sessions) > 0 {
		s := n.first(func(s *naiveSession) schema.EventTime { due, _ := n.due(s); return due })
		due, _ := n.due(s)
		n.emit(s, len(s.clicks)-s.emitted, true, min(due, latest), schema.CauseEnd)
		n.remove(s)
	}
	if n.meta.MaxSeen != schema.BeginningOfTime {
		n.meta.Watermark = max(n.meta.Watermark, n.meta.MaxSeen+1)
	}
	n.floor = n.meta.Watermark
	n.meta.Epoch, n.meta.Ended = epoch, true
	return n.flush()
}

func (n *naive) Add(c schema.Click) ([]naivePart, schema.Reason) {
	n.meta.Ended = false
	reason := schema.ReasonLate
	if c.EventTime >= n.meta.Watermark {
		if c.EventTime > n.meta.MaxSeen {
			n.meta.MaxSeen = c.EventTime
			n.advance(c.EventTime.Add(-n.c.LatenessBound))
		}
		reason = n.place(c)
	}
	if reason == "" {
		n.meta.Counts.Taken++
	} else {
		n.meta.Counts.Rejected[slices.Index(schema.Reasons, reason)]++
	}
	return n.flush(), reason
}

func (n *naive) place(c schema.Click) schema.Reason {
	var near []*naiveSession
	unsealed := 0
	for _, s := range n.sessions {
		if s.user != c.UserID {
			continue
		}
		unsealed += len(s.clicks) - s.emitted - n.sealed(s)
		if s.last().Add(n.c.Gap) >= c.EventTime && c.EventTime.Add(n.c.Gap) >= s.start() {
			near = append(near, s)
		}
	}
	same := func(k schema.Click) bool {
		if c.EventID != "" {
			return k.EventID == c.EventID
		}
		return k.EventID == "" && k.ItemID == c.ItemID && k.Action == c.Action && k.EventTime == c.EventTime
	}
	for _, s := range near {
		if slices.ContainsFunc(s.clicks, same) {
			return schema.ReasonDuplicate
		}
	}
	if unsealed >= 4*n.c.MaxSessionClicks {
		return schema.ReasonOverflow
	}
	if len(near) == 0 {
		for n.c.MaxOpenSessions > 0 && len(n.sessions) >= n.c.MaxOpenSessions {
			s := n.first((*naiveSession).last)
			if s.last() >= n.meta.Watermark {
				return schema.ReasonOverflow
			}
			n.emit(s, len(s.clicks)-s.emitted, true, n.meta.Watermark, schema.CauseFull)
			n.remove(s)
		}
		n.sessions = append(n.sessions, &naiveSession{user: c.UserID, clicks: []schema.Click{c}})
		return ""
	}
	slices.SortFunc(near, func(a, b *naiveSession) int { return cmp.Compare(a.start(), b.start()) })
	home := near[0]
	home.clicks = append(home.clicks, c)
	for _, s := range near[1:] {
		if s.emitted > 0 {
			panic(fmt.Sprintf("a session of %q that is joined to an earlier one has emitted parts", s.user))
		}
		home.clicks = append(home.clicks, s.clicks...)
		n.remove(s)
	}
	slices.SortStableFunc(home.clicks, func(a, b schema.Click) int { return cmp.Compare(a.EventTime, b.EventTime) })
	return ""
}
