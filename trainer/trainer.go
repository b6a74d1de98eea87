package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/learn"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// nextParts bounds how many parts are taken from the feed at once.
const nextParts = 256

// Trainer trains one model. One goroutine, the one in Run, owns its state.
type Trainer struct {
	cfg   Config
	saved *checkpoints
	log   *slog.Logger
	now   func() time.Time
	feed  Feed
	fresh *Freshness

	trained   json.RawMessage // the config that the weights depend on
	learner   *learn.Learner
	batches   *learn.Batcher
	decisions *decisions
	begun     []recency.Decision // of the batches that are begun and not trained on
	announced recency.Decision   // the last that was made, of which the log may speak
	deciding  error              // what kept a decision from being written down
	took      time.Duration      // the last batch
	parts     int                // of the last batch
	pending   arrivals           // of clicks trained on since the last version
	outbox    chan work          // to the publishing goroutine; holds one

	finishing context.Context // ended by finish
	finish    context.CancelFunc

	mu       sync.Mutex // guards what follows: Run writes it, Stats reads it
	counts   learn.Counts
	level    recency.Level
	lag      time.Duration // when the last batch began; less than 0 where it was not measured
	drifts   learn.Drifts
	scores   Scores
	items    int
	digest   string
	loss     float64
	position schema.Position
	through  schema.EventTime
	last     schema.Version
	behind   bool // there is something that no version holds yet
	stale    bool // there are weights that no version holds yet
	busy     bool // the publishing goroutine has work

	weighed weighed // the newest version with weights
}

// Open makes a trainer that goes on from the newest whole checkpoint in dir, or starts anew where there is none.
func Open(dir string, cfg Config, fresh *Freshness, log *slog.Logger, now func() time.Time) (*Trainer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("trainer config: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open trainer: %w", err)
	}
	t := &Trainer{
		cfg: cfg, log: log, now: now, fresh: fresh,
		pending: arrivals{},
		outbox:  make(chan work, 1),
		behind:  true, stale: true, // a trainer that starts publishes what it has: replicas may hold an older line
	}
	t.batches, t.lag = learn.NewBatcher(t.decide, cfg.BatchSpan), -1
	t.finishing, t.finish = context.WithCancel(context.Background())
	trained, err := cfg.trained()
	if err != nil {
		return nil, err
	}
	t.trained = trained
	if t.saved, err = openCheckpoints(dir, cfg.KeepCheckpoints, disk{}, log); err != nil {
		return nil, err
	}
	found, err := t.saved.restore(t.restore)
	if err != nil {
		return nil, err
	}
	if !found {
		if t.learner, err = learn.New(cfg.Learn, lookback{t}); err != nil {
			return nil, err
		}
	} else {
		n := t.learner.Counts()
		log.Info("trainer goes on from its checkpoint", "steps", n.Steps, "clicks", n.Clicks, "items", t.learner.Model().Items())
	}
	t.learner.Model().Publishes(cfg.Publishing)
	t.look()
	governor := recency.NewGovernor(cfg.Learn.Recency, cfg.BatchParts, cfg.Learn.HistoryParts)
	if t.decisions, err = openDecisions(dir, governor, t.counts.Batches, log); err != nil {
		return nil, err
	}
	t.announced = governor.Base()
	return t, nil
}

// look copies what Stats reads from the learner.
func (t *Trainer) look() {
	t.counts, t.items, t.scores, t.position, t.through = t.learner.Counts(), t.learner.Model().Items(), scoresOf(t.learner), t.learner.Position(), t.learner.Latest()
	t.drifts = t.learner.Drifts()
}

// Position is where in the log the trainer goes on.
func (t *Trainer) Position() schema.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.position.Clone()
}

// Finish tells Run to end once all that the feed has now, up to its end, is trained and published. It is called after the
// input has ended; it may be called again.
func (t *Trainer) Finish() { t.finish() }

// finishPause is the wait for parts once Finish was called: what there is to read is there.
const finishPause = 10 * time.Millisecond

// Run trains on feed and publishes to pub until ctx ends, or the end after Finish. It writes a checkpoint before it returns,
// also when it ends early; parts of a micro-batch that was not complete are read again next time.
func (t *Trainer) Run(ctx context.Context, feed Feed, pub Publisher) error {
	t.feed = feed
	if err := t.holdLog(feed); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.publishing(ctx, pub) })
	g.Go(func() error {
		defer close(t.outbox)
		err := t.training(ctx, pub)
		if unsaved := t.checkpoint(); unsaved != nil { // told to stop or not, this is a failure
			return unsaved
		}
		return err
	})
	err := g.Wait()
	if closed := t.decisions.close(); err == nil {
		err = closed
	}
	return err
}

func (t *Trainer) training(ctx context.Context, pub Publisher) error {
	nextPublish, nextWeights, nextCheckpoint := t.now(), t.now(), t.now().Add(t.cfg.CheckpointEvery)
	publish := func() error {
		now := t.now()
		if now.Before(nextPublish) {
			return nil
		}
		offered, weights, err := t.offer(pub, !now.Before(nextWeights))
		if offered {
			nextPublish = now.Add(t.cfg.PublishEvery)
		}
		if weights {
			nextWeights = now.Add(t.cfg.WeightsEvery)
		}
		return err
	}
	after := func() error {
		if err := publish(); err != nil {
			return err
		}
		if now := t.now(); !now.Before(nextCheckpoint) {
			if err := t.checkpoint(); err != nil {
				return err
			}
			nextCheckpoint = t.now().Add(t.cfg.CheckpointEvery)
		}
		return ctx.Err()
	}
	if err := t.turns(after); err != nil { // those behind the batch of the checkpoint
		return err
	}
	for {
		// Asked before the feed is read: an end that was read before Finish may be that of an earlier input, which this one
		// went on behind.
		finishing := t.finishing.Err() != nil
		parts, progress, err := t.next(ctx, finishing)
		if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)) {
			return fmt.Errorf("read the feed: %w", err)
		}
		var complete [][]schema.Part
		for _, p := range parts {
			complete = append(complete, t.batches.Add(p)...)
		}
		if err == nil {
			if last := t.batches.Advance(progress); last != nil {
				complete = append(complete, last)
			}
		}
		if t.deciding != nil {
			return t.deciding
		}
		for _, batch := range complete {
			d := t.begun[0]
			if err := t.train(batch, d); err != nil {
				return err
			}
			t.begun = t.begun[1:]
			if err := after(); err != nil {
				return err
			}
			if err := t.turns(after); err != nil {
				return err
			}
		}
		if err := publish(); err != nil {
			return err
		}
		if finishing && progress.Ended { // whether or not that is news
			return t.publishLast(ctx, pub)
		}
	}
}

// turns gives the lane of runs the turns that it has earned.
func (t *Trainer) turns(after func() error) error {
	for t.learner.Pending() {
		if err := t.learner.Turn(); err != nil {
			return err
		}
		t.publishable()
		if err := after(); err != nil {
			return err
		}
	}
	return nil
}

// publishable says that the learner's weights have changed, and its tables not.
func (t *Trainer) publishable() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.look()
	t.stale = true
}

// next waits for parts or progress. Without them a version that is due must still go out, so the wait ends when the next one
// is due; and when Finish is called.
func (t *Trainer) next(ctx context.Context, finishing bool) ([]schema.Part, schema.Progress, error) {
	pause := t.cfg.PublishEvery
	if finishing {
		pause = finishPause
	}
	wait, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	if !finishing {
		defer context.AfterFunc(t.finishing, cancel)()
	}
	return t.feed.Next(wait, nextParts)
}

// publishLast returns when a version holds all that was trained on. A publication that fails is tried again until ctx ends.
func (t *Trainer) publishLast(ctx context.Context, pub Publisher) error {
	for {
		if _, _, err := t.offer(pub, true); err != nil {
			return err
		}
		t.mu.Lock()
		done := !t.busy && !t.behind && !t.stale
		t.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// train tests a micro-batch, steps, and lets the tables learn.
func (t *Trainer) train(parts []schema.Part, d recency.Decision) error {
	began := t.now()
	batch, err := t.learner.Prepare(parts, d.HistoryParts)
	if err != nil {
		return err
	}
	drifts := t.learner.Drifts().Detections
	stats := t.learner.Train(batch, d)
	if t.learner.Drifts().Detections > drifts {
		t.log.Info("the stream drifts: the loss has risen and stays risen", "step", t.learner.Counts().Steps, "does", t.cfg.Learn.Drift)
	}
	if stats.Skipped {
		t.log.Warn("step skipped: a number is not finite", "where", stats.Where)
	}
	t.took, t.parts = t.now().Sub(began), len(parts)

	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range parts {
		for j := range parts[i].Clicks {
			t.pending.add(parts[i].Clicks[j].ArrivedAt)
		}
	}
	t.look()
	t.behind, t.stale, t.level = true, true, d.Level
	if stats.Examples > 0 && !stats.Skipped {
		t.loss = stats.Loss
	}
	return nil
}

// Scores are those of all arms on the tests of parts: of all of them, and of the last third.
type Scores struct{ Whole, Third evaluate.Group }

func scoresOf(l *learn.Learner) Scores {
	e := l.Evaluation()
	return Scores{Whole: e.Whole(evaluate.NextPart), Third: e.Last(evaluate.NextPart, 1./3)}
}

// lookback is the feed as the learner reads it: it is known only in Run.
type lookback struct{ t *Trainer }

func (l lookback) Users(p schema.Partition, after string, n int, keep func(user []byte) bool) ([]string, error) {
	return l.t.feed.Users(p, after, n, keep)
}

func (l lookback) History(p schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error) {
	return l.t.feed.History(p, user, before, n)
}

// Stats is what a person wants to know of a trainer.
type Stats struct {
	learn.Counts
	Items   int
	Loss    float64       // of the last step
	Level   recency.Level // what gives way, where training is behind
	Lag     time.Duration // event time that training was behind the log when the last micro-batch began; less than 0 where it was not measured
	Drifts  learn.Drifts  // of the loss
	Through schema.EventTime
	Version schema.Version // the newest published
	Digest  string         // of the state in the newest checkpoint
	Scores                 // what the prequential evaluation has found
}

// Stats may be called while Run runs.
func (t *Trainer) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Stats{Counts: t.counts, Items: t.items, Loss: t.loss, Level: t.level, Lag: t.lag, Drifts: t.drifts, Through: t.through, Version: t.last, Digest: t.digest, Scores: t.scores}
}
