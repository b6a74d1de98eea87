package window

import (
	"container/heap"
	"slices"
	"sort"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/zeebo/xxh3"
)

// Windower is the windowing state of one partition. It is not safe for concurrent use: its partition's owner calls it.
type Windower struct {
	limits limits
	meta   Meta
	floor  schema.EventTime      // the watermark before the present advance; between advances, the watermark
	users  map[string][]*session // sorted by start; more than the gap lies between two of them
	queue  queue
	dirty  []*session // changed since the last Committed
	gone   []Key      // stored keys that no session has any more
	out    []schema.Part
}

// limits is the Config by another name: it says that only the windower changes its meaning.
type limits = Config

// New returns an empty Windower, or the faults of c.
func New(c Config) (*Windower, error) { return Restore(c, NewMeta(), nil) }

// Add takes one click: it advances the watermark, and returns the parts that became due and, where the click was not
// taken, why. The click must be valid (schema.Click.Validate). The parts are the caller's.
//
// The advance comes before the click finds its session. For the gap the order does not matter, since a click that pushes
// the watermark beyond last + gap is itself beyond; for max_session it makes the click begin the next session.
func (w *Windower) Add(click schema.Click) ([]schema.Part, schema.Reason) {
	w.meta.Ended = false
	if click.EventTime < w.meta.Watermark {
		return nil, w.Reject(schema.ReasonLate)
	}
	if click.EventTime > w.meta.MaxSeen {
		w.meta.MaxSeen = click.EventTime
		w.advance(click.EventTime.Add(-w.limits.LatenessBound))
	}
	reason := w.place(click)
	if reason != "" {
		w.Reject(reason)
	} else {
		w.meta.Counts.Taken++
	}
	return w.flush(), reason
}

// Reject counts a record that did not become a click, so that the partition's counts are in one place. It returns reason.
func (w *Windower) Reject(reason schema.Reason) schema.Reason {
	w.meta.Ended = false
	w.meta.Counts.Rejected[slices.Index(schema.Reasons, reason)]++
	return reason
}

// Tick advances the watermark to t, if it is not there yet, without a click: time has passed on an idle partition.
func (w *Windower) Tick(t schema.EventTime) []schema.Part {
	w.advance(t)
	return w.flush()
}

// End says that the bounded input has ended: every session closes with one final part, cause end, and the epoch becomes
// next, which must be greater. More input may follow: it begins after everything seen so far.
//
// The parts come in the order of what would have been due next, under the present epoch. Their dues are cut at the latest
// event time seen, or the watermark if ticks brought it further: no due is then below the watermark, as doc.go promises,
// and no due lies in a future that the stream never reached.
func (w *Windower) End(next schema.Epoch) []schema.Part {
	if next <= w.meta.Epoch {
		panic("window: end: the epoch must grow")
	}
	latest := max(w.meta.MaxSeen, w.meta.Watermark)
	for len(w.queue) > 0 {
		s := w.queue[0]
		s.due, s.cause = min(s.due, latest), schema.CauseEnd
		w.emit(s, len(s.Pending), true)
		w.remove(s)
	}
	if w.meta.MaxSeen != schema.BeginningOfTime {
		w.meta.Watermark = max(w.meta.Watermark, w.meta.MaxSeen.Add(time.Millisecond))
	}
	w.floor = w.meta.Watermark
	w.meta.Epoch, w.meta.Ended = next, true
	return w.flush()
}

// advance moves the watermark up to t and emits all that becomes due.
func (w *Windower) advance(t schema.EventTime) {
	if t <= w.meta.Watermark {
		return
	}
	w.meta.Watermark = t
	for len(w.queue) > 0 && w.queue[0].due < t {
		w.happen(w.queue[0])
	}
	w.floor = t
}

// happen does what is due with s.
func (w *Windower) happen(s *session) {
	closing := s.cause == schema.CauseGap || s.cause == schema.CauseMax
	w.emit(s, s.sealed(w.meta.Watermark), closing)
	if !closing {
		w.touch(s)
		s.schedule(&w.limits, w.floor)
		heap.Fix(&w.queue, s.at)
		return
	}
	w.remove(s)
	if rest := s.Pending; len(rest) > 0 { // max_session left clicks that are not sealed: they begin the next session
		w.open(&session{Session: Session{
			UserID: s.UserID, Start: rest[0].EventTime, Last: s.Last, Pending: rest, EventIDs: idsOf(rest),
		}})
	}
}

// emit puts out a part with the first n pending clicks of s.
func (w *Windower) emit(s *session, n int, final bool) {
	w.out = append(w.out, schema.Part{
		Epoch: w.meta.Epoch, Due: s.due, UserID: s.UserID, SessionStart: s.Start, Number: s.Number,
		Final: final, Cause: s.cause, Clicks: s.take(n, &w.limits),
	})
	s.Number++
	w.meta.Counts.Emitted += uint64(n)
	w.meta.Counts.Parts[slices.Index(Causes, s.cause)]++
}

// place puts click into its session, or says why not. At most two sessions are within the gap of a click: the one before
// it and the one after it.
func (w *Windower) place(click schema.Click) schema.Reason {
	sessions := w.users[click.UserID]
	t, gap := click.EventTime, w.limits.Gap
	near := len(sessions) // the first session that is within the gap, if any
	for near > 0 && sessions[near-1].Last.Add(gap) >= t {
		near--
	}
	var id uint64
	if click.EventID != "" {
		id = xxh3.HashString(click.EventID)
	}
	var home, later *session
	for _, s := range sessions[near:] {
		if s.Start.Add(-gap) > t {
			break
		}
		if s.has(&click, id) {
			return schema.ReasonDuplicate
		}
		if home == nil {
			home = s
		} else {
			later = s
		}
	}
	if w.full(sessions) {
		return schema.ReasonOverflow
	}
	if home == nil {
		s := &session{Session: Session{UserID: click.UserID, Start: t, Last: t}}
		s.insert(click, id)
		w.open(s)
		return ""
	}
	home.insert(click, id)
	if later != nil {
		home.join(later)
		w.remove(later)
	}
	w.touch(home)
	home.schedule(&w.limits, w.floor)
	heap.Fix(&w.queue, home.at)
	return ""
}

// full reports whether a user with these sessions may not have another click that is not sealed. It bounds the memory that
// one user can take: sealed clicks are bounded by max_session, the others by this.
func (w *Windower) full(sessions []*session) bool {
	bound, pending := unsealedPerClick*w.limits.MaxSessionClicks, 0
	for _, s := range sessions {
		pending += len(s.Pending)
	}
	if pending < bound {
		return false
	}
	for _, s := range sessions {
		pending -= s.sealed(w.meta.Watermark)
	}
	return pending >= bound
}

// open adds s to its user and to the queue.
func (w *Windower) open(s *session) {
	sessions := w.users[s.UserID]
	i := sort.Search(len(sessions), func(i int) bool { return sessions[i].Start > s.Start })
	w.users[s.UserID] = slices.Insert(sessions, i, s)
	w.touch(s)
	s.schedule(&w.limits, w.floor)
	heap.Push(&w.queue, s)
}

// remove takes s out: it is closed, or joined to another.
func (w *Windower) remove(s *session) {
	heap.Remove(&w.queue, s.at)
	sessions := w.users[s.UserID]
	if len(sessions) == 1 {
		delete(w.users, s.UserID)
	} else {
		i := slices.Index(sessions, s)
		w.users[s.UserID] = slices.Delete(sessions, i, i+1)
	}
	s.closed = true
	if s.isStored {
		w.gone = append(w.gone, Key{UserID: s.UserID, Start: s.stored})
	}
}

// touch notes that s must be written by the next commit.
func (w *Windower) touch(s *session) {
	if !s.dirty {
		s.dirty = true
		w.dirty = append(w.dirty, s)
	}
}

func (w *Windower) flush() []schema.Part {
	out := w.out
	w.out = nil
	return out
}
