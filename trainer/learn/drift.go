package learn

import (
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/model"
)

// The choices of Config.Drift.
const (
	DriftWatch = "watch" // drifts are counted
	DriftAdapt = "adapt" // and behind each the fast lane takes larger steps for a while
)

// How the fast lane adapts: its rates begin at adaptPace times their own, and come back to them in a straight line over adaptSteps steps. Twice is what a rate may be
// wrong by without harm; 200 micro-batches are some minutes of a stream, the time in which a memory of evaluate.Drift's length begins to know the new level.
const (
	adaptPace  = 2
	adaptSteps = 200
)

// drift watches the loss of the fast lane's steps. It is a part of State.
type drift struct {
	evaluate.Drift
	Last  schema.EventTime `json:"last,omitempty"`  // due time of the batch that showed the last drift
	Paced int              `json:"paced,omitempty"` // steps of the adaptation that are to come
}

// Drifts are the drifts of the loss so far.
type Drifts struct {
	Detections int64
	Last       schema.EventTime // due time of the batch that showed the last one; 0 for none
}

// Drifts returns what has been seen.
func (l *Learner) Drifts() Drifts { return Drifts{Detections: l.drift.Drifts, Last: l.drift.Last} }

// pace is what the rates of the next step of the fast lane are multiplied by.
func (d *drift) pace() float64 { return 1 + (adaptPace-1)*float64(d.Paced)/adaptSteps }

// watch takes a step of the fast lane into account, of parts due at most at due. A step on nothing, or one that was not taken, shows nothing; nor does one without a fast
// lane: what a network that stands still loses is not what it is to be judged by.
func (l *Learner) watch(stats model.StepStats, due schema.EventTime) {
	d := &l.drift
	if !l.cfg.Recency.Fast || stats.Skipped || stats.Examples == 0 {
		return
	}
	d.Paced = max(0, d.Paced-1)
	if !d.Add(stats.Loss) {
		return
	}
	d.Last = due
	if l.cfg.Drift == DriftAdapt {
		d.Paced = adaptSteps
	}
}
