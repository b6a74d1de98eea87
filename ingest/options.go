package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/freshet-ml/freshet/ingest/live"
	"github.com/freshet-ml/freshet/ingest/window"
)

// Options are the settings of a Node.
type Options struct {
	// Window says how clicks become sessions and parts.
	Window window.Config
	// Topic is the name of the click topic. It is written beside records that go aside.
	Topic string
	// MaxAhead is how much later than its arrival a click may claim to be. Default 10m: clocks of phones are wrong by minutes.
	// One click from the far future would make every following one late.
	MaxAhead time.Duration
	// IdleAfter is how long a partition has to have nothing new before time alone moves its watermark. 0 turns it off, as
	// replays need it; live, 30s is more than a healthy producer's pause between retries.
	IdleAfter time.Duration
	// Now is the clock for IdleAfter. Default time.Now.
	Now func() time.Time
	// Wait waits for d, or returns why ctx has ended. It is used while the store has no room. Default: a timer.
	Wait func(ctx context.Context, d time.Duration) error
	// Moves is where the state of partitions is left for other nodes. Default: they stay on this one.
	Moves Moves
	// Move says when what is left there.
	Move MoveOptions
	// Live is told of the clicks that a commit made durable and that the windows took. Default: nobody is.
	Live *live.Broadcast
	// OnCommit is told how long each commit took. Default: nobody is.
	OnCommit func(time.Duration)
	// Log takes warnings. Default: nothing is logged.
	Log *slog.Logger
}

// DefaultOptions returns the defaults named at the fields, for the live stream of topic.
func DefaultOptions(topic string) Options {
	return Options{Window: window.DefaultConfig(), Topic: topic, MaxAhead: 10 * time.Minute, IdleAfter: 30 * time.Second}
}

// Validate reports every fault of o at once, or nil.
func (o Options) Validate() error {
	var faults []error
	if err := o.Window.Validate(); err != nil {
		faults = append(faults, err)
	}
	if o.MaxAhead < 0 {
		faults = append(faults, fmt.Errorf("max_ahead %v: must not be negative", o.MaxAhead))
	}
	if o.IdleAfter < 0 {
		faults = append(faults, fmt.Errorf("idle_after %v: must not be negative", o.IdleAfter))
	}
	if err := o.Move.Validate(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}
