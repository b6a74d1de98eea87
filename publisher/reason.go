package publisher

import (
	"context"
	"errors"
)

// Reason says why a version was not published; it is a label of freshet_publish_failures_total.
type Reason string

// The reasons.
const (
	ReasonNotFinite Reason = "not_finite" // a number in it is not finite: the guard holds it back
	ReasonMetric    Reason = "metric"     // its metric fell by more than max_drop: the guard holds it back
	ReasonUpdate    Reason = "update"     // a mistake of the caller
	ReasonLine      Reason = "line"       // another writer has the line
	ReasonLost      Reason = "lost"       // NATS has lost the line; the next version begins it again
	ReasonStore     Reason = "store"      // NATS did not answer, or not in time
	ReasonStopped   Reason = "stopped"    // the process was told to end
)

var reasons = []Reason{ReasonNotFinite, ReasonMetric, ReasonUpdate, ReasonLine, ReasonLost, ReasonStore, ReasonStopped}

// ReasonOf returns the reason of an error of Publish.
func ReasonOf(err error) Reason {
	for _, of := range []struct {
		err    error
		reason Reason
	}{
		{ErrNotFinite, ReasonNotFinite}, {ErrMetric, ReasonMetric}, {ErrUpdate, ReasonUpdate}, {ErrLine, ReasonLine}, {ErrNoHead, ReasonLost},
		{context.Canceled, ReasonStopped},
	} {
		if errors.Is(err, of.err) {
			return of.reason
		}
	}
	return ReasonStore
}
