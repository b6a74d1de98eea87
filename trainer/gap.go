package trainer

import (
	"errors"
	"fmt"

	"github.com/freshet-ml/freshet/schema"
)

// ErrGone is what Hold of a Feed returns where the log begins behind the position.
var ErrGone = errors.New("the log no longer reaches back")

// GapError says that the log begins behind the place where the checkpoint goes on: what is between was not trained on, and can't be any more.
type GapError struct {
	Position schema.Position  // of the checkpoint
	Through  schema.EventTime // the latest moment that it was trained on
	Cause    error            // an ErrGone
}

func (e *GapError) Error() string {
	return fmt.Sprintf("the log no longer reaches back to the checkpoint, which was trained through %s (%v): "+
		"set train.on_gap to continue to go on without what is between, or stop here and bring back a log, or a later checkpoint, that closes the gap",
		e.Through.Time().Format("2006-01-02 15:04:05"), e.Cause)
}

func (e *GapError) Unwrap() error { return e.Cause }

// holdLog keeps the log from the oldest restore point on that it reaches back to, at the latest from where the training goes on.
func (t *Trainer) holdLog(feed Feed) error {
	positions := append(t.saved.holds(), t.learner.Hold())
	for i, position := range positions {
		err := feed.Hold(position)
		if !errors.Is(err, ErrGone) {
			return err
		}
		if i == len(positions)-1 {
			return &GapError{t.learner.Position(), t.learner.Latest(), err}
		}
	}
	panic("trainer: no position was held")
}

// Skip moves the place where the training goes on to where the log of some partitions begins, after a GapError, before Run. What is between is lost to this
// model; the next checkpoint is of another state than that of a trainer that saw it.
func (t *Trainer) Skip(begins schema.Position) {
	before := t.learner.Position()
	for _, p := range t.learner.Skip(begins) {
		t.log.Warn("going on without a part of the log that is gone", "partition", p, "from", before[p], "to", begins[p])
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.look()
}
