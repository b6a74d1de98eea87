package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"

	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/trainer/nn"
	"github.com/freshet-ml/freshet/trainer/replay"
)

// Run trains the arms and prints how they compare.
func (c *ReplayCmd) Run(ctx context.Context, a *app) error {
	c.began = a.now()
	if c.InputFrom != "" {
		if c.Source != "" {
			return fmt.Errorf("both %s and --source %s are given: name one", c.Source, c.InputFrom)
		}
		c.Source = c.InputFrom
	}
	a.cfg.Source.From, c.inputName = c.Source, c.Source
	if c.Format != "" {
		a.cfg.Source.Format = c.Format
	}
	switch c.Protocol {
	case replay.Protocol:
		return c.leaveOneOut(ctx, a)
	case replay.AderProtocol:
		return c.ader(ctx, a)
	}
	return c.prequential(ctx, a)
}

// leaveOneOut trains on all but the last item of each user.
func (c *ReplayCmd) leaveOneOut(ctx context.Context, a *app) (err error) {
	file := &sequenceFile{path: c.Source, format: c.Format, fields: a.cfg.Source.Fields, actions: a.cfg.Source.Actions}
	arms, faults := replay.ParseArms(c.Arm)
	if err := flat(faults, c.needFile(), file.check(), c.mayWrite(), c.only("leave-one-out")); err != nil {
		return err
	}
	data, err := file.read(ctx, a)
	if err != nil {
		return interrupted(ctx, err, "while the file was read")
	}
	e := &replay.Experiment{Data: data, Arms: arms, Validate: c.Validate, Repeats: c.Repeats}
	plan, err := e.Plan()
	if err != nil {
		return err
	}
	if c.DryRun {
		return c.tellPlan(a.stdout, plan, file)
	}
	a.log.Info("replay", "file", file.name(), "format", file.format, "users", plan.Users, "left_out", plan.LeftOut, "items", plan.Items,
		"events", plan.Events, "exposures_left_out", file.exposures, "arms", len(arms), "blas", nn.Backend())
	bar := a.trainingBar("items", plan.Total)
	e.Watch, e.Evaluated = bar.show, bar.evaluated
	if c.CSV != "" {
		table, failed := c.createCSV()
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, table.Close()) }()
		e.Evaluated = func(r replay.Result) error { return errors.Join(bar.evaluated(r), table.add(r)) }
	}
	report, err := e.Run(ctx)
	bar.Close()
	if told := c.tell(a.stdout, report, file); told != nil {
		return told
	}
	return interrupted(ctx, err, "and what was finished until then is printed")
}

// figure cuts a number to what is read in a log.
func figure(x float64) float64 { return math.Round(x*1e4) / 1e4 }

// flat joins faults, of which some are joined already, into one list.
func flat(errs ...error) error {
	var all []error
	for _, err := range errs {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			all = append(all, joined.Unwrap()...)
		} else if err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// interrupted says so of an err that is the end of ctx; faults that came before it stay. There is nothing to go on with: the next run begins anew.
func interrupted(ctx context.Context, err error, when string) error {
	if ctx.Err() == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	var before []error
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		before = slices.DeleteFunc(slices.Clone(joined.Unwrap()), func(e error) bool { return errors.Is(e, context.Canceled) })
	}
	return errors.Join(append(before, fmt.Errorf("interrupted, %s: the same command begins anew", when))...)
}

// tell prints the report.
func (c *ReplayCmd) tell(w io.Writer, r *replay.Report, file *sequenceFile) error {
	if len(r.Results) > 0 {
		if _, err := fmt.Fprint(w, r.Table(), file.leftOut()); err != nil {
			return err
		}
	}
	if c.JSON {
		return json.NewEncoder(w).Encode(r)
	}
	return nil
}

func (c *ReplayCmd) tellPlan(w io.Writer, p replay.Plan, file *sequenceFile) error {
	if c.JSON {
		return json.NewEncoder(w).Encode(p)
	}
	_, err := fmt.Fprintf(w, "%s (%s): %d users, %d items, %d events; %d users with fewer than 3 items are left out\n%s\n%s\nNothing was trained: this was --dry-run.\n",
		file.name(), file.format, p.Users, p.Items, p.Events, p.LeftOut, file.leftOut(), p.Table())
	return err
}

// leftOut says which rows were, or nothing.
func (f *sequenceFile) leftOut() string {
	if f.exposures == 0 {
		return ""
	}
	return fmt.Sprintf("Rows left out, because to be shown an item is not to choose it: %d.\n", f.exposures)
}

// resultsFile is the CSV file of the evaluations.
type resultsFile struct {
	f *os.File
	w *csv.Writer
}

func (c *ReplayCmd) createCSV() (*resultsFile, error) {
	f, err := os.Create(c.CSV)
	if err != nil {
		return nil, fmt.Errorf("--csv: %w: name a place that is writable", err)
	}
	t := &resultsFile{f: f, w: csv.NewWriter(f)}
	if err := t.write(replay.Columns()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return t, nil
}

func (t *resultsFile) add(r replay.Result) error { return t.write(r.Record()) }

// write writes a row at once: an experiment takes hours, and may be killed.
func (t *resultsFile) write(row []string) error {
	_ = t.w.Write(row) // Error has it
	t.w.Flush()
	if err := t.w.Error(); err != nil {
		return fmt.Errorf("--csv: %w", err)
	}
	return nil
}

func (t *resultsFile) Close() error { return t.f.Close() }

// trainingBar shows how far the training is, and what the last evaluation found: a bar on a terminal, log lines elsewhere.
type trainingBar struct {
	*view.Progress
	shown int64
	note  string
	hr    string       // of the last evaluation
	log   *slog.Logger // nil where there is a bar, which a line would tear
}

func (a *app) trainingBar(unit string, total int64) *trainingBar {
	if a.drawn {
		return &trainingBar{Progress: view.NewProgressOf(unit, a.stderr, a.log, "replay", total, a.now)}
	}
	return &trainingBar{Progress: view.NewProgressOf(unit, nil, a.log, "replay", total, a.now), log: a.log}
}

func (b *trainingBar) show(m replay.Moment) {
	note := fmt.Sprintf("%s %d/%d, loss %.2f%s", m.Arm, m.Epoch, m.Epochs, m.Loss, b.hr)
	if m.Evaluates {
		note = fmt.Sprintf("%s %d/%d, evaluation%s", m.Arm, m.Epoch, m.Epochs, b.hr)
	}
	if note != b.note {
		b.note = note
		b.Note(note)
	}
	b.Add(m.Done - b.shown)
	b.shown = m.Done
}

func (b *trainingBar) evaluated(r replay.Result) error {
	b.hr = fmt.Sprintf(", HR@10 %.4f", r.Metrics.HRAt10)
	if r.Epoch == r.Epochs {
		b.hr = "" // what follows is another arm's
	}
	if b.log != nil {
		b.log.Info("evaluated", "arm", r.Arm, "epoch", r.Epoch, "of", r.Epochs, "hr_at_10", figure(r.Metrics.HRAt10), "ndcg_at_10", figure(r.Metrics.NDCGAt10), "loss", figure(r.Loss))
	}
	return nil
}
