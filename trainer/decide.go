package trainer

import (
	"errors"
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// decide says what holds for the batch that begins, and how many parts it may have.
func (t *Trainer) decide() int {
	number := t.learner.Counts().Batches + int64(len(t.begun))
	lag, measured := time.Duration(-1), false
	d, err := t.decisions.at(number, func() recency.Signals {
		s, known := t.signals()
		if measured = true; known {
			lag = s.Lag
		}
		return s
	})
	t.deciding = errors.Join(t.deciding, err)
	if measured && err == nil { // what the journal says was announced when it was decided
		t.announce(d, max(0, lag))
	} else if err == nil {
		t.announced = d
	}
	t.mu.Lock()
	t.lag = lag
	t.mu.Unlock()
	t.begun = append(t.begun, d)
	return max(1, d.BatchParts)
}

// announce logs a decision where it is another one for a person: what gives way, or how large micro-batches may be. The lane's share also says whether anybody waits, which
// may change with every batch.
func (t *Trainer) announce(d recency.Decision, lag time.Duration) {
	before := t.announced
	t.announced = d
	lag = lag.Round(time.Second)
	switch {
	case d.Level > recency.Normal && d.Level != before.Level:
		t.log.Info(fmt.Sprintf("training is %v behind: %v", lag, d.Level), "batch", d.Batch)
	case d.Level != before.Level:
		t.log.Info(fmt.Sprintf("training has caught up: %v", d.Level), "batch", d.Batch)
	case d.BatchParts != before.BatchParts:
		t.log.Info(fmt.Sprintf("training is %v behind: micro-batches have up to %d parts", lag, d.BatchParts), "batch", d.Batch)
	}
}

// signals measures how far training is behind the log. Where nothing has been trained on, or the end of the log cannot be read, the lag is not known.
func (t *Trainer) signals() (s recency.Signals, known bool) {
	s = recency.Signals{Took: t.took, Parts: t.parts, Runs: t.learner.Runs()}
	through, entries, err := t.feed.Frontier()
	if err != nil {
		t.log.Warn("the end of the log cannot be read; training counts as not behind", "error", err)
		return s, false
	}
	for _, emit := range t.learner.Position() {
		entries -= int64(emit)
	}
	s.Begin = t.cfg.Learn.Recency.Begin(through)
	s.Backlog = int(max(0, entries))
	latest := t.learner.Latest()
	if latest == schema.BeginningOfTime {
		return s, false
	}
	s.Lag = max(0, time.Duration(through-latest)*time.Millisecond)
	return s, true
}
