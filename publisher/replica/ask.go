package replica

import (
	"cmp"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

// replayAge is how far the training must lie behind the wall clock to be a replay of an old stream: its clock then counts.
const replayAge = 24 * time.Hour

// asked is a request as a version takes it: what the model reads, and what the live tables do. Requests use the memory of those before them.
type asked struct {
	query   model.Query // without marks
	closed  []partID    // of query.Past, the first ones: parts of the history, which never change
	request baseline.Request

	events []model.ServedEvent // of query.Past
	marks  []model.Mark
}

// recommender scores a query: a version all of it, a memory what it has not read yet.
type recommender interface {
	Recommend(q model.Query, k int) (best []model.Scored, ok bool)
}

var _, _ recommender = (*model.Served)(nil), (*model.Memory)(nil)

// answer returns the best k items of a version.
func (q *asked) answer(from built, k int) ([]model.Scored, bool) {
	return q.behind(0, from.served, from.tables, k)
}

// behind is answer by what may have read so many of the past sessions, with the marks that the tables give the request now.
func (q *asked) behind(read int, by recommender, tables *baseline.Served, k int) ([]model.Scored, bool) {
	query := q.query
	query.Past = query.Past[read:]
	if tables != nil {
		q.marks = tables.Marks(q.marks[:0], q.request)
		query.Marks = q.marks
	}
	return by.Recommend(query, k)
}

// ask puts the known history and the request's clicks together in out, and returns the items in them as well, where they are not to be recommended. It reads of them what the trainer reads of a part's user, so
// that the same past gives the same scores: the newest parts, as many as the trainer looks back on. A click that the history has already is not counted twice.
func (r *Replica) ask(out *asked, v *version, q Request) (seen map[string]bool) {
	parts, known, at := r.past(q)
	at = max(at, r.clock(v))
	if q.ExcludeSeen {
		seen = map[string]bool{}
		for i := range parts {
			for j := range parts[i].Clicks {
				seen[parts[i].Clicks[j].ItemID] = true
			}
		}
	}
	older := max(0, len(parts)-v.served.Sessions()) // than what is read
	parts, known = parts[older:], max(0, known-older)
	clicks := 0
	for i := range parts {
		clicks += len(parts[i].Clicks)
	}
	out.query = model.Query{At: at, Scene: q.Scene, User: q.UserID, Past: out.query.Past[:0]}
	out.closed, out.events = out.closed[:0], slices.Grow(out.events[:0], clicks)
	for i := range parts {
		s := model.ReadServedSession(out.events, parts[i].Clicks)
		if len(s.Events) == 0 {
			continue
		}
		out.events = out.events[:len(out.events)+len(s.Events)]
		out.query.Past = append(out.query.Past, s)
		if i < known {
			out.closed = append(out.closed, partID{parts[i].Partition, parts[i].Emit})
		}
	}
	if v.tables == nil {
		return seen
	}
	start, open := r.session(parts, at)
	out.request = baseline.Request{Clicks: out.request.Clicks[:0], Session: baseline.SessionKey(q.UserID, start), Now: at, Kinds: baseline.AllKinds}
	add := func(current bool) {
		for i := range parts {
			if (open && parts[i].SessionStart == start) != current {
				continue
			}
			for j := range parts[i].Clicks {
				if c := &parts[i].Clicks[j]; c.Action != schema.ActionExposure {
					if row, ok := v.served.Row(c.ItemID); ok {
						out.request.Clicks = append(out.request.Clicks, row)
					}
				}
			}
		}
	}
	add(false)
	out.request.Begin = len(out.request.Clicks)
	add(true)
	return seen
}

// past returns the known parts of the user and behind them those that the windows would make of live clicks and of the request's own, oldest first, how many are
// known, and when the newest click was.
func (r *Replica) past(q Request) (parts []schema.Part, recorded int, newest schema.EventTime) {
	if r.histories != nil && q.UserID != "" {
		var err error
		if parts, err = r.histories.Recent(q.UserID, r.cfg.MaxHistory); err != nil {
			r.metrics.failures.WithLabelValues("history").Inc()
			r.cfg.Log.Warn("replica cannot read a history and answers from the request alone", "err", err)
		}
	}
	for i := range parts {
		for j := range parts[i].Clicks {
			newest = max(newest, parts[i].Clicks[j].EventTime)
		}
	}
	parts = slices.Clip(parts) // it is of others
	recorded = len(parts)
	for _, c := range r.since(q, parts, newest) {
		start, open := r.session(parts, c.at)
		if !open || len(parts) == recorded { // of a session that the history has begun, it is another part
			parts = append(parts, schema.Part{UserID: q.UserID, SessionStart: start})
		}
		last := &parts[len(parts)-1]
		last.Clicks = append(last.Clicks, schema.Click{UserID: q.UserID, ItemID: c.item, Action: c.action, EventTime: c.at, Scene: c.scene})
		newest = max(newest, c.at)
	}
	return parts, recorded, newest
}

// since returns the live clicks of the user and those of the request that neither a part nor, before them, a live click has, in order of time. Live clicks that are in the log are given up:
// those that are in a part, and those from before the newest click of one, because the windows let go what is sealed in order of time.
func (r *Replica) since(q Request, parts []schema.Part, newest schema.EventTime) []liveClick {
	fresh := r.cfg.Live.of(q.UserID)
	if len(fresh)+len(q.Clicks) == 0 {
		return nil
	}
	known := map[liveClick]bool{}
	for i := range parts {
		for j := range parts[i].Clicks {
			c := &parts[i].Clicks[j]
			known[liveClick{item: c.ItemID, action: c.Action, at: c.EventTime}] = true
		}
	}
	inLog := func(c liveClick) bool { return c.at < newest || known[c.key()] }
	if slices.ContainsFunc(fresh, inLog) {
		r.cfg.Live.drop(q.UserID, inLog)
		fresh = slices.DeleteFunc(fresh, inLog)
	}
	fresh = slices.DeleteFunc(fresh, func(c liveClick) bool { // one may come again
		was := known[c.key()]
		known[c.key()] = true
		return was
	})
	for _, c := range q.Clicks {
		if own := (liveClick{item: c.ItemID, action: c.Action, at: c.Timestamp}); !known[own] {
			own.scene = q.Scene
			fresh = append(fresh, own)
		}
	}
	slices.SortStableFunc(fresh, func(a, b liveClick) int { return cmp.Compare(a.at, b.at) })
	return fresh
}

// session returns the start of the session that a click at a moment belongs to, and whether parts have begun it: their newest session, where no more than the gap
// lies between, else a new one.
func (r *Replica) session(parts []schema.Part, at schema.EventTime) (start schema.EventTime, open bool) {
	for i := len(parts) - 1; i >= 0; i-- {
		p := &parts[i]
		if len(p.Clicks) == 0 {
			continue
		}
		if p.Final || at > p.Clicks[len(p.Clicks)-1].EventTime.Add(r.cfg.Gap) {
			break
		}
		return p.SessionStart, true
	}
	return at, false
}

// clock returns the moment of a request: now, or, where the model was trained on an old stream, how far it has come in it. A
// request would else seem to come years after the user's last click.
func (r *Replica) clock(v *version) schema.EventTime {
	now := schema.EventTime(r.cfg.Now().UnixMilli())
	if through := v.manifest.TrainedThrough.EventTime; through >= schema.EarliestEventTime && through < now.Add(-replayAge) {
		return through
	}
	return now
}
