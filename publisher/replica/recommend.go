package replica

import (
	"math"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// sessionGap cuts a request's clicks into sessions, as the windows of the stream are cut by default.
const sessionGap = 30 * time.Minute

// replayAge is how far the training must lie behind the wall clock to be a replay of an old stream: its clock then counts.
const replayAge = 24 * time.Hour

// Answer is what a replica recommends.
type Answer struct {
	Model  AnswerModel `json:"model"`
	UserID string      `json:"user_id"`
	Items  []Item      `json:"items"` // best first
}

// AnswerModel says which version an answer was computed from: all of it from this one (I8).
type AnswerModel struct {
	Name           string           `json:"name"`
	Version        schema.Version   `json:"version"`
	TrainedThrough schema.EventTime `json:"trained_through"` // ms; 0 of a version that has seen no click
	AgeMillis      int64            `json:"age_ms"`          // since the version was made
}

// Item is one recommended item.
type Item struct {
	ItemID string  `json:"item_id"`
	Score  float32 `json:"score"`
	Source Source  `json:"source"`
}

// Source says what an item's score was computed by; the scores of two sources do not compare.
type Source string

// The sources.
const (
	SourceModel    Source = "model"
	SourceBaseline Source = "baseline" // popular items, for a user of whom the version knows nothing
)

// recommend answers q from v and nothing else.
func (r *Replica) recommend(v *version, q Request) Answer {
	query, seen := r.query(v, q)
	exclude := make(map[string]bool, len(q.Exclude))
	for _, id := range q.Exclude {
		exclude[id] = true
	}
	categories := make(map[string]bool, len(q.Filter.Category))
	for _, c := range q.Filter.Category {
		categories[c] = true
	}
	var keep func(id, category string) bool // nil = all
	if len(exclude) > 0 || len(categories) > 0 || q.ExcludeSeen && len(seen) > 0 {
		keep = func(id, category string) bool {
			return !exclude[id] && !(q.ExcludeSeen && seen[id]) && (len(categories) == 0 || categories[category])
		}
	}
	source := SourceModel
	scored, known := v.served.Recommend(query, q.K, keep)
	if known {
		r.queries.add(query)
	} else {
		source, scored = SourceBaseline, v.served.Popular(q.K, keep)
		// Popularity is published as a logarithm that counts from 1970; a caller gets the share of the most popular item's.
		for i := len(scored) - 1; i >= 0; i-- {
			scored[i].Score = float32(math.Exp2(float64(scored[i].Score - scored[0].Score)))
		}
	}
	r.metrics.served.WithLabelValues(string(source)).Inc()
	through := v.manifest.TrainedThrough.EventTime
	if through < schema.EarliestEventTime {
		through = 0
	}
	answer := Answer{
		Model:  AnswerModel{Name: v.manifest.Model, Version: v.manifest.Version, TrainedThrough: through, AgeMillis: r.age(v).Milliseconds()},
		UserID: q.UserID, Items: make([]Item, len(scored)),
	}
	for i, s := range scored {
		answer.Items[i] = Item{s.ItemID, s.Score, source}
	}
	return answer
}

// query puts the known history and the request's clicks together, and returns the items in them. A click that the history
// has already is not counted twice.
func (r *Replica) query(v *version, q Request) (model.Query, map[string]bool) {
	type key struct {
		item   string
		action schema.Action
		at     schema.EventTime
	}
	known, seen := map[key]bool{}, map[string]bool{}
	query := model.Query{At: r.clock(v), Scene: q.Scene, User: q.UserID}
	add := func(clicks []schema.Click) {
		for _, c := range clicks {
			known[key{c.ItemID, c.Action, c.EventTime}], seen[c.ItemID] = true, true
			query.At = max(query.At, c.EventTime)
		}
		if s := model.NewServedSession(clicks); len(s.Events) > 0 {
			query.Past = append(query.Past, s)
		}
	}
	if r.histories != nil && q.UserID != "" {
		parts, err := r.histories.Recent(q.UserID, r.cfg.MaxHistory)
		if err != nil {
			r.metrics.failures.WithLabelValues("history").Inc()
			r.cfg.Log.Warn("replica cannot read a history and answers from the request alone", "err", err)
		}
		for i := range parts {
			add(parts[i].Clicks)
		}
	}
	var session []schema.Click
	for _, c := range q.Clicks { // in order of time
		if known[key{c.ItemID, c.Action, c.Timestamp}] {
			continue
		}
		if n := len(session); n > 0 && c.Timestamp > session[n-1].EventTime.Add(sessionGap) {
			add(session)
			session = nil
		}
		session = append(session, schema.Click{UserID: q.UserID, ItemID: c.ItemID, Action: c.Action, EventTime: c.Timestamp, Scene: q.Scene})
	}
	if len(session) > 0 {
		add(session)
	}
	return query, seen
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
