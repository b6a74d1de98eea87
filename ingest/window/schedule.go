package window

import "github.com/freshet-ml/freshet/schema"

// A session has two dues. The end of its gap only grows with its clicks. The other is the first of all else that may
// happen to it, and matters while it is before the end of the gap.
//
// No due is below floor, the watermark before the present advance: by the argument of doc.go none would be, but a session
// restored under a smaller gap or maximum may have been due before, and a due must not fall even then.

// gapDue returns when the gap of s ends.
func (w *Windower) gapDue(s *session) (schema.EventTime, bool) {
	return max(later(s.last, w.limits.gap), w.floor), true
}

// otherDue returns when something is due with s before the end of its gap, and whether there is such a thing.
func (w *Windower) otherDue(s *session) (schema.EventTime, bool) {
	return max(s.other, w.floor), s.other < later(s.last, w.limits.gap)
}

// schedule sets the other due of session r. Of two things due at the same time the one that makes the other needless comes
// first. full is what fullAt says.
func (w *Windower) schedule(r ref, s *session, full schema.EventTime) {
	l := &w.limits
	s.other, s.kind = min(later(s.start, l.maxAge), full), kindMax
	if l.partClicks > 0 && s.pending >= l.partClicks {
		if t := w.timeOf(s, l.partClicks-1); t < s.other {
			s.other, s.kind = t, kindClicks
		}
	}
	if l.PartAge > 0 && s.pending > 0 {
		if t := later(w.timeOf(s, 0), l.partAge); t < s.other {
			s.other, s.kind = t, kindAge
		}
	}
	if due, is := w.otherDue(s); is {
		w.other.advance(r, due)
	}
}

// fullAt returns the time of the pending click that makes s full, or the end of time when none does yet. Where an earlier
// click did, in a part that is emitted, the session is closed in the same advance; one that is still here was restored
// under a smaller maximum, and is due at once.
func (w *Windower) fullAt(s *session) schema.EventTime {
	switch most := w.limits.maxClicks; {
	case s.emitted >= most:
		return schema.BeginningOfTime
	case s.emitted+s.pending < most:
		return schema.EndOfTime
	default:
		return w.timeOf(s, most-1-s.emitted)
	}
}
