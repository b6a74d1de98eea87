package window_test

import (
	"cmp"
	"slices"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// Two oracles stand beside the Windower, and none shares a line with it. The first is the definition of a session without a
// stream: it sees all clicks at once. The second is the stream without an idea: it keeps a list of clicks and works out
// everything again from that list at each step, so that it knows every part.

// op is one thing that happens to a partition: a click, a tick, or, where both are missing, an end.
type op struct {
	Click *schema.Click
	Tick  schema.EventTime
}

// cutSession is a session as the first oracle cuts it.
type cutSession struct {
	User   string
	Clicks []schema.Click
}

// cut returns the sessions of a partition's first epoch and what became of the clicks that are in none. A click that is
// there again must be equal to the first: what an event id means between sessions is up to the second oracle.
//
//   - W is the latest event time seen minus the lateness bound, or a later tick; a click before W is late.
//   - A user's clicks, in the order of their times, are cut where two neighbours are more than the gap apart.
//   - A session that reaches its maximum age or number at a time earlier than its last click + gap is closed by the first W
//     beyond that time, with the clicks before that W; the others begin the next one.
func cut(c window.Config, ops []op) (sessions []cutSession, rejected map[schema.Reason]int) {
	w, users, rejected := schema.BeginningOfTime, map[string][]schema.Click{}, map[schema.Reason]int{}
	var marks []schema.EventTime // the watermarks, as they rose
	for _, o := range ops {
		if o.Click == nil {
			w = max(w, o.Tick)
			marks = append(marks, w)
			continue
		}
		k := *o.Click
		if k.EventTime < w {
			rejected[schema.ReasonLate]++
			continue
		}
		w = max(w, k.EventTime-schema.EventTime(c.LatenessBound.Milliseconds()))
		marks = append(marks, w)
		unsealed := 0
		for _, other := range users[k.UserID] {
			if other.EventTime >= w {
				unsealed++
			}
		}
		switch {
		case slices.ContainsFunc(users[k.UserID], func(other schema.Click) bool { return gocmp.Equal(other, k) }):
			rejected[schema.ReasonDuplicate]++
		case unsealed >= 4*c.MaxSessionClicks:
			rejected[schema.ReasonOverflow]++
		default:
			users[k.UserID] = append(users[k.UserID], k)
		}
	}
	for user, clicks := range users {
		slices.SortStableFunc(clicks, func(a, b schema.Click) int { return cmp.Compare(a.EventTime, b.EventTime) })
		for len(clicks) > 0 {
			n := 1
			for n < len(clicks) && clicks[n].EventTime-clicks[n-1].EventTime <= schema.EventTime(c.Gap.Milliseconds()) {
				n++
			}
			closes := clicks[0].EventTime + schema.EventTime(c.MaxSessionAge.Milliseconds())
			if n >= c.MaxSessionClicks {
				closes = min(closes, clicks[c.MaxSessionClicks-1].EventTime)
			}
			if closes < clicks[n-1].EventTime+schema.EventTime(c.Gap.Milliseconds()) {
				if i := slices.IndexFunc(marks, func(w schema.EventTime) bool { return w > closes }); i >= 0 {
					before := slices.IndexFunc(clicks[:n], func(k schema.Click) bool { return k.EventTime >= marks[i] })
					if before >= 0 {
						n = before
					}
				}
			}
			sessions = append(sessions, cutSession{User: user, Clicks: clicks[:n:n]})
			clicks = clicks[n:]
		}
	}
	return sorted(sessions), rejected
}

func sorted(s []cutSession) []cutSession {
	slices.SortFunc(s, func(a, b cutSession) int {
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Clicks[0].EventTime, b.Clicks[0].EventTime))
	})
	return s
}

// stepwise is the second oracle.
type stepwise struct {
	c         window.Config
	w, newest schema.EventTime
	epoch     schema.Epoch
	open      []*held // clicks that are in no closed session, in order of arrival
	rejected  map[schema.Reason]int
}

// held is a click in an open session.
type held struct {
	schema.Click
	emitted bool
	parts   int32 // of a session's first click: the parts that it has had
}

func newStepwise(c window.Config) *stepwise {
	return &stepwise{c: c, w: schema.BeginningOfTime, newest: schema.BeginningOfTime, rejected: map[schema.Reason]int{}}
}

// sessions cuts the open clicks by the gap. What its user's neighbours are is all that a click's session depends on.
func (n *stepwise) sessions() (all [][]*held) {
	clicks := slices.Clone(n.open)
	slices.SortStableFunc(clicks, func(a, b *held) int {
		return cmp.Or(cmp.Compare(a.UserID, b.UserID), cmp.Compare(a.EventTime, b.EventTime))
	})
	for i, k := range clicks {
		if i == 0 || k.UserID != clicks[i-1].UserID || k.EventTime-clicks[i-1].EventTime > schema.EventTime(n.c.Gap.Milliseconds()) {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], k)
	}
	return all
}

// due says what happens next to session s, and when. Of two things at one time, closing comes first.
func (n *stepwise) due(s []*held) (schema.EventTime, schema.Cause) {
	due, cause := s[len(s)-1].EventTime.Add(n.c.Gap), schema.CauseGap
	earlier := func(t schema.EventTime, c schema.Cause) {
		if t < due {
			due, cause = t, c
		}
	}
	earlier(s[0].EventTime.Add(n.c.MaxSessionAge), schema.CauseMax)
	if len(s) >= n.c.MaxSessionClicks {
		earlier(s[n.c.MaxSessionClicks-1].EventTime, schema.CauseMax)
	}
	waiting := slices.DeleteFunc(slices.Clone(s), func(k *held) bool { return k.emitted })
	if n.c.PartClicks > 0 && len(waiting) >= n.c.PartClicks {
		earlier(waiting[n.c.PartClicks-1].EventTime, schema.CauseClicks)
	}
	if n.c.PartAge > 0 && len(waiting) > 0 {
		earlier(waiting[0].EventTime.Add(n.c.PartAge), schema.CauseAge)
	}
	return due, cause
}

// next returns the session that something happens to next.
func (n *stepwise) next() (s []*held, due schema.EventTime, cause schema.Cause) {
	due = schema.EndOfTime
	for _, candidate := range n.sessions() { // sorted by user and start, so that the first of equal dues is the right one
		if d, c := n.due(candidate); d < due {
			s, due, cause = candidate, d, c
		}
	}
	return s, due, cause
}

// emit puts out what session s has before t, and closes it or not.
func (n *stepwise) emit(s []*held, t, due schema.EventTime, cause schema.Cause, final bool) schema.Part {
	p := schema.Part{Epoch: n.epoch, Due: due, UserID: s[0].UserID, SessionStart: s[0].EventTime, Number: s[0].parts, Final: final, Cause: cause}
	s[0].parts++
	for _, k := range s {
		if k.EventTime < t && !k.emitted {
			p.Clicks = append(p.Clicks, k.Click)
			k.emitted = true
		}
	}
	if final {
		n.open = slices.DeleteFunc(n.open, func(k *held) bool { return k.EventTime < t && slices.Contains(s, k) })
	}
	return p
}

func (n *stepwise) tick(to schema.EventTime) (parts []schema.Part) {
	for to > n.w {
		s, due, cause := n.next()
		if due >= to {
			n.w = to
			break
		}
		parts = append(parts, n.emit(s, to, due, cause, cause == schema.CauseGap || cause == schema.CauseMax))
	}
	return parts
}

func (n *stepwise) end() (parts []schema.Part) {
	latest := max(n.newest, n.w)
	for len(n.open) > 0 {
		s, due, _ := n.next()
		parts = append(parts, n.emit(s, schema.EndOfTime, min(due, latest), schema.CauseEnd, true))
	}
	if n.newest != schema.BeginningOfTime {
		n.w = max(n.w, n.newest+1)
	}
	n.epoch++
	return parts
}

func (n *stepwise) add(k schema.Click) (parts []schema.Part, reason schema.Reason) {
	if k.EventTime < n.w {
		n.rejected[schema.ReasonLate]++
		return nil, schema.ReasonLate
	}
	if k.EventTime > n.newest {
		n.newest = k.EventTime
		parts = n.tick(k.EventTime.Add(-n.c.LatenessBound))
	}
	var full []schema.Part
	if full, reason = n.fault(k); reason != "" {
		n.rejected[reason]++
	} else {
		n.open = append(n.open, &held{Click: k})
	}
	return append(parts, full...), reason
}

// fault says why k is not taken. Where k needs a session that may not be open beside the others, those go whose last click is
// the oldest, as long as no click can come to them.
func (n *stepwise) fault(k schema.Click) (full []schema.Part, _ schema.Reason) {
	unsealed, alone := 0, true
	for _, s := range n.sessions() {
		if s[0].UserID != k.UserID {
			continue
		}
		near := s[0].EventTime.Add(-n.c.Gap) <= k.EventTime && k.EventTime <= s[len(s)-1].EventTime.Add(n.c.Gap)
		alone = alone && !near
		for _, other := range s {
			if near && k.EventID != "" && other.EventID == k.EventID ||
				k.EventID == "" && other.EventID == "" && other.ItemID == k.ItemID && other.Action == k.Action && other.EventTime == k.EventTime {
				return nil, schema.ReasonDuplicate
			}
			if other.EventTime >= n.w {
				unsealed++
			}
		}
	}
	if unsealed >= 4*n.c.MaxSessionClicks {
		return nil, schema.ReasonOverflow
	}
	for sessions := n.sessions(); alone && n.c.MaxOpenSessions > 0 && len(sessions) >= n.c.MaxOpenSessions; sessions = n.sessions() {
		oldest := slices.MinFunc(sessions, func(a, b []*held) int { return cmp.Compare(a[len(a)-1].EventTime, b[len(b)-1].EventTime) })
		if oldest[len(oldest)-1].EventTime >= n.w {
			return full, schema.ReasonOverflow
		}
		full = append(full, n.emit(oldest, n.w, n.w, schema.CauseFull, true))
	}
	return full, ""
}
