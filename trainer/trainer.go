package trainer

import (
	"bytes"
	"context"
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
	"github.com/freshet-ml/freshet/trainer/model"
)

// nextParts bounds how many parts are taken from the feed at once.
const nextParts = 256

// Trainer trains one model. One goroutine, the one in Run, owns its state.
type Trainer struct {
	cfg   Config
	dir   string
	log   *slog.Logger
	now   func() time.Time
	feed  Feed
	fresh *Freshness

	learner *learn.Learner
	batches *learn.Batcher
	pending arrivals  // of clicks trained on since the last version
	outbox  chan work // to the publishing goroutine; holds one

	finishing context.Context // ended by finish
	finish    context.CancelFunc

	mu     sync.Mutex // guards what follows: Run writes it, Stats reads it
	state  state
	scores Scores
	items  int
	digest string
	loss   float64
	last   schema.Version
	behind bool // there is something that no version holds yet
	busy   bool // the publishing goroutine has work
}

// work is a version for the publishing goroutine, and the arrivals of the clicks that are new in it.
type work struct {
	snapshot model.Snapshot
	version  Version
	clicks   arrivals
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
		cfg: cfg, dir: dir, log: log, now: now, fresh: fresh,
		batches: learn.NewBatcher(cfg.BatchParts, cfg.BatchSpan),
		pending: arrivals{},
		outbox:  make(chan work, 1),
		behind:  true, // a trainer that starts publishes what it has: replicas may hold an older line
	}
	t.finishing, t.finish = context.WithCancel(context.Background())
	trained, err := cfg.trained()
	if err != nil {
		return nil, err
	}
	s, tables, found, err := readCheckpoint(dir, log)
	if err != nil {
		return nil, err
	}
	if !found {
		t.state = state{Format: checkpointFormat, Config: trained, Position: schema.Position{}, Through: schema.BeginningOfTime}
		t.learner, err = learn.New(cfg.Learn, lookback{t})
		return t, err
	}
	if !bytes.Equal(s.Config, trained) {
		return nil, fmt.Errorf("the checkpoint in %s was trained with another config (%s): give the same one, or another data directory", dir, difference(s.Config, trained))
	}
	if t.learner, err = learn.Restore(cfg.Learn, lookback{t}, tables); err != nil {
		return nil, fmt.Errorf("restore checkpoint: %w", err)
	}
	t.state, t.items, t.scores = s, t.learner.Model().Items(), scoresOf(t.learner)
	log.Info("trainer goes on from its checkpoint", "steps", s.Steps, "clicks", s.Clicks, "items", t.items)
	return t, nil
}

// Position is where in the log the trainer goes on.
func (t *Trainer) Position() schema.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state.Position.Clone()
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
	if err := feed.Hold(t.state.Position); err != nil {
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
	return g.Wait()
}

func (t *Trainer) training(ctx context.Context, pub Publisher) error {
	nextPublish, nextCheckpoint := t.now(), t.now().Add(t.cfg.CheckpointEvery)
	publish := func() {
		if now := t.now(); !now.Before(nextPublish) && t.offer(pub) {
			nextPublish = now.Add(t.cfg.PublishEvery)
		}
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
		for _, batch := range complete {
			if err := t.train(batch); err != nil {
				return err
			}
			publish()
			if now := t.now(); !now.Before(nextCheckpoint) {
				if err := t.checkpoint(); err != nil {
					return err
				}
				nextCheckpoint = t.now().Add(t.cfg.CheckpointEvery)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		publish()
		if finishing && progress.Ended { // whether or not that is news
			return t.publishLast(ctx, pub)
		}
	}
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
		t.offer(pub)
		t.mu.Lock()
		done := !t.busy && !t.behind
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

// train tests a micro-batch, steps, and lets the tables learn; position and counters move with it.
func (t *Trainer) train(parts []schema.Part) error {
	batch, err := t.learner.Prepare(parts, t.cfg.Learn.HistoryParts)
	if err != nil {
		return err
	}
	stats := t.learner.Train(batch)
	if stats.Skipped {
		t.log.Warn("step skipped: a number is not finite", "where", stats.Where)
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range parts {
		p := &parts[i]
		t.state.Position[p.Partition] = p.Emit + 1
		t.state.Through = max(t.state.Through, p.Due)
		t.state.Parts++
		t.state.Clicks += int64(len(p.Clicks))
		for j := range p.Clicks {
			t.pending.add(p.Clicks[j].ArrivedAt)
		}
	}
	t.state.Batches++
	t.items, t.scores, t.behind = t.learner.Model().Items(), scoresOf(t.learner), true
	switch {
	case stats.Skipped:
		t.state.Skipped++
	case stats.Examples > 0:
		t.state.Steps++
		t.loss = stats.Loss
	}
	return nil
}

// checkpoint writes the state to disk.
func (t *Trainer) checkpoint() error {
	tables, err := t.learner.Tables()
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	all := make([]Table, 0, len(tables))
	for _, n := range tables {
		all = append(all, Table{n.Name, n.Table})
	}
	digest, err := writeCheckpoint(t.dir, t.state, all, t.cfg.KeepCheckpoints)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.digest = digest
	t.mu.Unlock()
	return t.feed.Hold(t.state.Position)
}

// offer hands a version to the publishing goroutine, if there is something new and it is not busy with the one before.
func (t *Trainer) offer(pub Publisher) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy || !t.behind {
		return false
	}
	kind := pub.NextKind()
	metrics := map[string]float64{"loss": t.loss}
	for _, arm := range t.scores.Third.Arms {
		metrics["recall_at_20_"+arm.Arm], metrics["mrr_at_20_"+arm.Arm] = arm.Recall20, arm.MRR20
	}
	m, live := t.learner.Model(), t.learner.Live()
	t.outbox <- work{
		snapshot: m.Snapshot(kind == schema.KindBase, live.Log2),
		version: Version{
			Kind:         kind,
			Through:      schema.TrainedThrough{EventTime: t.state.Through, Positions: t.state.Position.Clone()},
			Step:         t.state.Steps,
			Items:        m.Items(),
			Metrics:      metrics,
			ConfigDigest: t.cfg.Learn.Model.Digest(),
		},
		clicks: t.pending,
	}
	t.pending, t.busy, t.behind = arrivals{}, true, false
	return true
}

// publishing encodes and publishes versions, off the training goroutine. A version that cannot be published is given up:
// the next one is a base and holds all of it.
func (t *Trainer) publishing(ctx context.Context, pub Publisher) error {
	for w := range t.outbox {
		for _, o := range w.snapshot.Objects() {
			w.version.Tables = append(w.version.Tables, Table{o.Name, o.Table})
		}
		v, err := pub.Publish(ctx, w.version)
		t.mu.Lock()
		t.busy = false
		if err == nil {
			t.last = v
		} else {
			t.behind = t.behind || !errors.Is(err, ErrRefused)
			for at, clicks := range w.clicks { // they count from their arrival still, with the version that will hold them
				t.pending[at] += clicks
			}
		}
		t.mu.Unlock()
		switch {
		case err == nil:
			t.fresh.publish(v, w.clicks)
		case errors.Is(err, ErrFenced):
			return err
		case errors.Is(err, ErrRefused):
			t.log.Error("version refused; replicas keep the last good one", "step", w.version.Step, "error", err)
		case ctx.Err() == nil:
			t.log.Warn("version not published; the next one will hold it", "error", err)
		}
	}
	return nil
}

// What a Publisher returns that is not worth another try.
var (
	ErrFenced  = errors.New("another trainer publishes this model") // (I5): this one must stop
	ErrRefused = errors.New("version refused by the guard")         // this version; a later one may pass
)

// Scores are those of all arms on the tests of parts: of all of them, and of the last third.
type Scores struct{ Whole, Third evaluate.Group }

func scoresOf(l *learn.Learner) Scores {
	e := l.Evaluation()
	return Scores{Whole: e.Whole(evaluate.NextPart), Third: e.Last(evaluate.NextPart, 1./3)}
}

// lookback is the feed as the learner reads it: it is known only in Run.
type lookback struct{ t *Trainer }

func (l lookback) History(p schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error) {
	return l.t.feed.History(p, user, before, n)
}

// Stats is what a person wants to know of a trainer.
type Stats struct {
	Parts, Clicks int64 // trained on
	Steps         schema.Step
	SkippedSteps  int64
	Items         int
	Loss          float64 // of the last step
	Through       schema.EventTime
	Version       schema.Version // the newest published
	Digest        string         // sha256 of the newest checkpoint
	Scores                       // what the prequential evaluation has found
}

// Stats may be called while Run runs.
func (t *Trainer) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Stats{
		Parts: t.state.Parts, Clicks: t.state.Clicks, Steps: t.state.Steps, SkippedSteps: t.state.Skipped,
		Items: t.items, Loss: t.loss, Through: t.state.Through, Version: t.last, Digest: t.digest, Scores: t.scores,
	}
}
