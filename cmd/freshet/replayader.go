package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
	"github.com/freshet-ml/freshet/trainer/replay"
)

// ader trains the arms up to each period, and tests them on the next.
func (c *ReplayCmd) ader(ctx context.Context, a *app) (err error) {
	arms, faults := replay.ParsePeriodArms(c.Arm)
	if err := flat(faults, c.needFile(), c.readable(a), c.only(replay.AderProtocol), c.mayWrite()); err != nil {
		return err
	}
	data, err := c.readPeriods(ctx, a)
	if err != nil {
		return interrupted(ctx, err, "while the file was read")
	}
	e := &replay.PeriodExperiment{Data: data, Arms: arms, Limit: c.Limit, Every: c.Every}
	plan := e.Plan()
	if c.DryRun {
		if c.JSON {
			return json.NewEncoder(a.stdout).Encode(plan)
		}
		_, err := fmt.Fprintf(a.stdout, "%s: %s\nNothing was trained: this was --dry-run.\n", c.Source, plan.Table())
		return err
	}
	a.log.Info("replay", "protocol", c.Protocol, "file", c.Source, "sessions", data.Sessions(), "items", data.Items(), "events", data.Events(), "cycles", plan.Cycles, "arms", len(arms), "blas", nn.Backend())
	bar := a.periodBar(plan.Total)
	e.Watch, e.Tested = bar.show, bar.tested
	report, err := e.Run(ctx)
	bar.Close()
	if report != nil && len(report.Arms) > 0 {
		err = errors.Join(err, c.write(a, report))
	}
	return interrupted(ctx, err, "and what was finished until then is printed")
}

// needFile says that the protocol reads a file, where none is given.
func (c *ReplayCmd) needFile() error {
	kind := config.Source{From: c.Source}.Kind()
	if c.Source == "" || kind != config.KindFile {
		return fmt.Errorf("--protocol %s reads a file: name one", c.Protocol)
	}
	return nil
}

// only says which flags the protocol has no use for.
func (c *ReplayCmd) only(protocol string) error {
	var faults []error
	refuse := func(given bool, flag, instead string) {
		if given {
			faults = append(faults, fmt.Errorf("%s is not for --protocol %s: %s", flag, protocol, instead))
		}
	}
	leave, ader := protocol == replay.Protocol, protocol == replay.AderProtocol
	const whole = "it reads the whole file"
	refuse((leave || ader) && c.DataDirectory != "", "--data-dir", "it reads a file")
	refuse((leave || ader) && c.KeepLog != "", "--keep-log", "it makes no log")
	refuse((leave || ader) && c.From != (when{}), "--from", whole)
	refuse((leave || ader) && c.Until != (when{}), "--until", whole)
	refuse((leave || ader) && c.PartClicks != "", "--part-clicks", "it has no windows")
	refuse((leave || ader) && c.Sort != "", "--sort", "it puts events in order itself")
	refuse(leave && c.Limit != 0, "--limit", whole)
	refuse(leave && c.Parquet != "", "--parquet", "it has no figures over time; --csv has each evaluation")
	refuse(leave && c.Report != "", "--report", "it has no figures over time")
	refuse(!ader && c.Every != 0, "--every", "it is for ader")
	refuse(!ader && c.Period != "", "--period", "it is for ader")
	refuse(!leave && c.Validate, "--validate", "it is for leave-one-out")
	refuse(!leave && c.Repeats, "--repeats", "repeats are always candidates here")
	if c.Limit < 0 {
		faults = append(faults, fmt.Errorf("--limit %d: must be positive; leave it out for all", c.Limit))
	}
	if c.Every < 0 {
		faults = append(faults, fmt.Errorf("--every %d: must be positive; leave it out for all", c.Every))
	}
	return errors.Join(faults...)
}

// readPeriods reads a CSV file whose rows have a period beside what rows of clicks have.
func (c *ReplayCmd) readPeriods(ctx context.Context, a *app) (_ *replay.Periods, err error) {
	column := cmp.Or(c.Period, "period")
	fields := map[string]string{}
	maps.Copy(fields, a.cfg.Source.Fields)
	fields["scene"] = column // a file of clicks has no field for it, and this protocol none for scenes
	format, err := config.Source{From: c.Source, Format: a.cfg.Source.Format}.FileFormat()
	if err != nil {
		return nil, err
	}
	if format != "csv" {
		return nil, fmt.Errorf("--protocol %s reads a csv file with a column %s, and %s is %s", c.Protocol, column, c.Source, format)
	}
	stream, err := source.OpenFile(c.Source, format, source.Options{Fields: fields})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	decoder, err := decode.New(decode.Config{Format: decode.FormatJSON, Actions: a.cfg.Source.Actions})
	if err != nil {
		return nil, err
	}
	if p, ok := stream.(source.Progress); ok {
		defer a.showReading(p)()
	}
	var b replay.PeriodBuilder
	for n := 0; ; n++ {
		if n%checkEvery == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		record, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		var click schema.Click
		fault := decoder.Decode(record.Value, &click)
		if fault != nil {
			fault = errors.New("want the columns of the others, with a user, an item, and a time in seconds, milliseconds or RFC 3339")
		}
		period := 0
		switch {
		case fault != nil:
		case click.ItemID == "":
			fault = errors.New("it has no item")
		case click.Scene == "" && n == 0:
			return nil, fmt.Errorf("%s has no column %s: the protocol trains up to one period and tests on the next; add the column, or say with --period how it is called", c.Source, column)
		default:
			if period, err = strconv.Atoi(strings.TrimSpace(click.Scene)); err != nil {
				fault = fmt.Errorf("its %s is %.40q: want a whole number", column, click.Scene)
			}
		}
		if fault != nil {
			line := ""
			if numbered, ok := stream.(source.Numbered); ok {
				line = fmt.Sprintf(" line %d:", numbered.Line())
			}
			return nil, fmt.Errorf("%s:%s %.80q: %w: correct or remove it", c.Source, line, record.Value, fault)
		}
		session := click.SessionID
		if session == "" {
			session = click.UserID
		}
		if click.Action != schema.ActionExposure {
			b.AddAt(session, click.ItemID, period, click.EventTime)
		}
	}
	data, err := b.Finish()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Source, err)
	}
	return data, nil
}

// periodBar shows how far a PeriodExperiment is.
type periodBar struct{ *trainingBar }

func (a *app) periodBar(total int64) periodBar { return periodBar{a.trainingBar("items", total)} }

func (b periodBar) show(m replay.CycleMoment) {
	note := fmt.Sprintf("%s cycle %d/%d, test%s", m.Arm, m.Cycle, m.Cycles, b.hr)
	if m.Epoch > 0 {
		note = fmt.Sprintf("%s cycle %d/%d epoch %d/%d, loss %.2f%s", m.Arm, m.Cycle, m.Cycles, m.Epoch, m.Epochs, m.Loss, b.hr)
	}
	if note != b.note {
		b.note = note
		b.Note(note)
	}
	b.Add(m.Done - b.shown)
	b.shown = m.Done
}

func (b periodBar) tested(r replay.CycleResult) error {
	b.hr = fmt.Sprintf(", recall@20 %.4f", r.Metrics.Recall20())
	if b.log != nil {
		b.log.Info("tested", "arm", r.Arm, "cycle", r.Cycle, "period", r.Period, "tests", r.Tests, "recall_at_20", figure(r.Metrics.Recall20()),
			"mrr_at_20", figure(r.Metrics.MRR20()), "loss", figure(r.Loss), "seconds", figure(r.Took.Seconds()))
	}
	return nil
}
