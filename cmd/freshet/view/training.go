package view

import (
	"fmt"
	"strings"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// Training is what the trainer does about recency: how far it is behind, what gives way for that, what runs over earlier clicks there were, and whether the stream drifts.
type Training struct {
	Level      recency.Level `json:"level"`
	GivesWay   string        `json:"gives_way"`   // the level in words
	LagSeconds Number        `json:"lag_seconds"` // event time between what the log has and what has been trained on
	Runs       int64         `json:"runs"`        // over buckets of users that came due
	RunSteps   int64         `json:"run_steps"`   // of the steps, theirs
	Shed       recency.Shed  `json:"shed"`        // what gave way so far
	Drift      Drift         `json:"drift"`
}

// Drift is what has been seen of a lasting rise of the loss.
type Drift struct {
	Detections int64            `json:"detections"`
	Last       schema.EventTime `json:"last,omitempty"` // ms since 1970; there where there was one
}

// note is a row about training: what it is called, its figure, and what is said of it. warn says that it is one to look at now.
type note struct {
	name, figure, text string
	warn               bool
}

// notes are the rows that there is something to say in.
func (t Training) notes() (notes []note) {
	if t.Runs > 0 {
		notes = append(notes, note{"runs", count(t.Runs), fmt.Sprintf("came due, over earlier clicks, in %s steps", count(t.RunSteps)), false})
	}
	if t.Level > recency.Normal {
		notes = append(notes, note{"behind", seconds(t.LagSeconds), t.Level.String(), true})
	}
	if shed := t.shed(); shed != "" {
		notes = append(notes, note{"shed", "", shed, false}) // what is of three kinds has no sum
	}
	if t.Drift.Detections > 0 {
		notes = append(notes, note{"drifts", count(t.Drift.Detections), "of the loss, last " + t.Drift.Last.Time().UTC().Format("2006-01-02 15:04:05"), false})
	}
	return notes
}

// shed says what gave way so far.
func (t Training) shed() string {
	var parts []string
	for _, s := range []struct {
		n    int64
		what string
	}{{t.Shed.Runs, "runs"}, {t.Shed.HistoryParts, "parts of histories at most"}, {t.Shed.Parts, "parts"}} {
		if s.n > 0 {
			parts = append(parts, count(s.n)+" "+s.what)
		}
	}
	return strings.Join(parts, ", ")
}
