package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest/feed"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
	"github.com/freshet-ml/freshet/trainer/replay"
)

// prequential lets the arms go through a log, each part asked for before it is learned.
func (c *ReplayCmd) prequential(ctx context.Context, a *app) (err error) {
	var closers closers
	defer closers.close(&err)
	arms, faults := replay.ParseStreamArms(c.Arm, defaultStreamArm(a.cfg.Config))
	if err := flat(faults, c.needInput(a), c.only(replay.StreamProtocol), c.mayWrite()); err != nil {
		return err
	}
	log, err := c.openLog(ctx, a, &closers)
	if err != nil {
		return interrupted(ctx, err, "while the input was read")
	}
	c.inputName = log.name
	log.tellAside(a.log)
	e := &replay.StreamExperiment{Open: log.open, Arms: arms, Bounds: replay.Bounds{Limit: int64(c.Limit)}, Last: c.Last}
	if c.DataDirectory != "" { // elsewhere the log was made of what is within them
		newest, err := log.newest()
		if err != nil {
			return err
		}
		e.Bounds.From, e.Bounds.Until = schema.EventTime(c.From.ms(newest)), schema.EventTime(c.Until.ms(newest))
	}
	f, err := log.open()
	if err != nil {
		return err
	}
	if e.Survey, err = replay.Look(ctx, f, e.Bounds); err != nil {
		return interrupted(ctx, err, "while the log was looked at")
	}
	if e.Survey.Clicks == 0 {
		return fmt.Errorf("%s: %w", log.name, errEmptyRange)
	}
	plan := e.Plan()
	if c.DryRun {
		if c.JSON {
			return json.NewEncoder(a.stdout).Encode(plan)
		}
		_, err := fmt.Fprintf(a.stdout, "%s: %s\nNothing was trained: this was --dry-run.\n", log.name, plan.Table())
		return err
	}
	a.log.Info("replay", "protocol", c.Protocol, "input", log.name, "clicks", e.Survey.Clicks, "parts", e.Survey.Parts, "arms", len(arms), "blas", nn.Backend())
	bar := a.streamBar(plan.Total)
	e.Watch = bar.show
	report, err := e.Run(ctx)
	bar.Close()
	if len(report.Arms) > 0 {
		err = errors.Join(err, c.write(a, report))
	}
	return interrupted(ctx, err, "and what was finished until then is printed")
}

// needInput says that nothing, or too much, is named to be read.
func (c *ReplayCmd) needInput(a *app) error {
	switch {
	case c.Source == "" && c.DataDirectory == "":
		return errors.New("there is nothing to read: name a file, --source kafka or sim, or --data-dir")
	case c.Source != "" && c.DataDirectory != "":
		return fmt.Errorf("both %s and --data-dir are given: name one", c.Source)
	case c.KeepLog != "" && c.DataDirectory != "":
		return errors.New("--keep-log is for a log that is made, and --data-dir has one: leave one out")
	}
	return c.readable(a)
}

// readable says what is wrong with the file before anything else is begun.
func (c *ReplayCmd) readable(a *app) error {
	if a.cfg.Source.Kind() != config.KindFile || c.Source == "" {
		return nil
	}
	_, err := a.cfg.Source.FileFormat()
	if c.Source == "-" {
		return err
	}
	f, unreadable := os.Open(c.Source)
	if unreadable != nil {
		return flat(err, unreadable)
	}
	return flat(err, f.Close())
}

// boundedFeed is a log that nobody writes any more.
type boundedFeed struct{ *feed.Feed }

// Next ends where the log does. It does not wait: all there is to read is there.
func (f boundedFeed) Next(ctx context.Context, limit int) ([]schema.Part, schema.Progress, error) {
	if err := ctx.Err(); err != nil {
		return nil, schema.Progress{}, err
	}
	now, cancel := context.WithCancel(ctx)
	cancel()
	parts, progress, err := f.Feed.Next(now, limit)
	if errors.Is(err, context.Canceled) {
		err = io.EOF
	}
	return parts, progress, err
}

// open begins a reading of the log.
func (l *replayLog) open() (replay.Feed, error) {
	f, err := feed.New(l.store, schema.Position{})
	if err != nil {
		return nil, err
	}
	return boundedFeed{f}, nil
}

// tellAside says which records are in no part: a file whose rows are out of order would else lose most of them without a word.
func (l *replayLog) tellAside(log *slog.Logger) {
	counts := l.store.Totals().Counts
	for i, reason := range schema.Reasons {
		n := counts.Rejected[i]
		switch {
		case n == 0:
		case reason == schema.ReasonLate:
			log.Warn("records are left out: they come later than window.lateness allows; --sort yes puts the rows of a file in order", "records", n, "of", counts.In())
		default:
			log.Info("records are left out", "reason", reason, "records", n, "of", counts.In())
		}
	}
}

// newest is the time of the newest click in the log, in ms.
func (l *replayLog) newest() (int64, error) {
	metas, err := l.store.Partitions()
	if err != nil {
		return 0, err
	}
	newest := schema.BeginningOfTime
	for _, m := range metas {
		newest = max(newest, m.Window.MaxSeen)
	}
	return int64(newest), nil
}

// streamBar shows how far a StreamExperiment is.
type streamBar struct {
	*trainingBar
	told time.Time
	now  func() time.Time
}

func (a *app) streamBar(total int64) *streamBar {
	return &streamBar{trainingBar: a.trainingBar("clicks", total), told: a.now(), now: a.now}
}

func (b *streamBar) show(m replay.StreamMoment) {
	note := fmt.Sprintf("%s, loss %.2f, recall@20 %.3f", m.Arm, m.Loss, m.Recall20)
	if note != b.note {
		b.note = note
		b.Note(note)
	}
	b.Add(m.Done - b.shown)
	b.shown = m.Done
	if now := b.now(); b.log != nil && now.Sub(b.told) > 10*time.Second {
		b.told = now
		b.log.Info("replaying", "arm", m.Arm, "clicks", m.Clicks, "at", m.At.Time().Format(time.RFC3339), "items", m.Items, "loss", figure(m.Loss), "recall_at_20", figure(m.Recall20))
	}
}
