package replica

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

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
	Lane           Lane             `json:"lane"`
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

// recommend answers q from v, the version of lane, and nothing else.
func (r *Replica) recommend(ctx context.Context, v *version, lane Lane, q Request) Answer {
	began := time.Now()
	defer func() { r.metrics.computed.WithLabelValues(string(lane)).Observe(time.Since(began).Seconds()) }()
	end := r.traced(ctx, "history")
	asked := r.asks.Get().(*asked)
	defer r.asks.Put(asked)
	seen := r.ask(asked, v, q)
	end()
	filter := model.Filter{Categories: q.Filter.Category, Deny: q.Exclude}
	if len(q.Filter.Allow) > 0 { // an empty list restricts nothing
		filter.Allow = q.Filter.Allow
	}
	if q.ExcludeSeen {
		filter.Deny = slices.AppendSeq(slices.Clone(filter.Deny), maps.Keys(seen))
	}
	asked.query.Filter, asked.query.Interests = filter, q.Interests
	source := SourceModel
	end = r.traced(ctx, "retrieve")
	scored, known := r.answerUser(v.built, asked, q.K)
	end()
	if known {
		r.requests.add(q)
	} else {
		source, scored = SourceBaseline, v.served.Popular(q.K, filter)
		// Popularity is a logarithm, of a share or of a weight that counts from 1970; a caller gets the share of the most popular item's.
		for i := len(scored) - 1; i >= 0; i-- {
			scored[i].Score = float32(math.Exp2(float64(scored[i].Score - scored[0].Score)))
		}
	}
	r.metrics.served.WithLabelValues(string(source), string(lane)).Inc()
	through := v.manifest.TrainedThrough.EventTime
	if through < schema.EarliestEventTime {
		through = 0
	}
	answer := Answer{
		Model:  AnswerModel{Name: v.manifest.Model, Version: v.manifest.Version, Lane: lane, TrainedThrough: through, AgeMillis: r.age(v).Milliseconds()},
		UserID: q.UserID, Items: make([]Item, len(scored)),
	}
	for i, s := range scored {
		answer.Items[i] = Item{s.ItemID, s.Score, source}
	}
	return answer
}
