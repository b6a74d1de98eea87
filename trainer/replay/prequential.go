package replay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/learn"
	"github.com/freshet-ml/freshet/trainer/model"
)

// StreamExperiment lets arms go through the same log, each on its own: every part is asked for before it is learned.
type StreamExperiment struct {
	Open   func() (Feed, error) // from the beginning of the log
	Bounds Bounds
	Survey Survey // as Look found it
	Arms   []StreamArm
	Last   float64 // the share of the tests, the last, that the tables are of; 0 is all
	// Watch, if not nil, is called after each micro-batch, by the goroutine that trains.
	Watch func(StreamMoment)
	Now   func() time.Time // nil is time.Now
}

// StreamMoment says how far an experiment is.
type StreamMoment struct {
	Arm           string
	Clicks        int64 // of the arm
	Done          int64 // of all arms, out of Survey.Clicks times their number
	At            schema.EventTime
	Loss          float64
	Recall20      float64 // of the model, faded
	Items, Tested int64
}

// StreamArmReport is what an arm found.
type StreamArmReport struct {
	Arm       StreamArm
	Own       evaluate.Report // of all that its learner ranks by
	Sessions  evaluate.Group  // its tests of whole sessions
	Clicks    int64
	Tokens    int64 // that its network read in training, in both lanes
	Flops     float64
	Steps     int64 // of both lanes
	Skipped   int64
	Items     int
	Took, CPU time.Duration // of everything: tests, tables and training
	Digest    string
}

// Run lets the arms go through the log, one after the other. Where ctx ends or an arm fails, the report has what was finished.
func (e *StreamExperiment) Run(ctx context.Context) (*StreamReport, error) {
	if !(e.Last >= 0 && e.Last <= 1) {
		return nil, fmt.Errorf("last %v: must be above 0 and at most 1, the share of the tests that the tables are of", e.Last)
	}
	report := &StreamReport{Survey: e.Survey, Threads: runtime.GOMAXPROCS(0), last: cmp.Or(e.Last, 1)}
	now := e.Now
	if now == nil {
		now = time.Now
	}
	var faults []error
	var all []*outcomes
	for i, arm := range e.Arms {
		r := &streamRun{e: e, arm: arm, before: int64(i) * e.Survey.Clicks, kept: keptOthers}
		if r.arm.Learn.Others = i == 0; i == 0 {
			r.kept = keptFirst
		}
		began, cpu := now(), cpuTime()
		if err := r.run(ctx); err != nil {
			faults = append(faults, fmt.Errorf("arm %s: %w", arm.Name, err))
			if ctx.Err() != nil || i == 0 { // without the first there is nothing to compare with
				break
			}
			continue
		}
		r.result.Took, r.result.CPU = now().Sub(began), cpuTime()-cpu
		report.Arms, all = append(report.Arms, r.result), append(all, &r.outcomes)
	}
	if len(all) > 0 {
		report.judge(all)
	}
	return report, errors.Join(faults...)
}

// cpuTime is how long the process has computed so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// streamRun is one arm under way.
type streamRun struct {
	e      *StreamExperiment
	arm    StreamArm
	before int64
	kept   []int

	learner *learn.Learner
	behind  *learn.Learner // learns what learner knows already, later; learner itself where all of it is late
	late    *reader        // of what is learned late; nil where nothing is
	waiting []schema.Part  // that late has read last and that is not due yet
	at      schema.EventTime

	clicks   int64
	parts    uint32
	current  []schema.Part // that is asked for
	loss     float64
	outcomes outcomes
	result   StreamArmReport
}

func (r *streamRun) reader() (*reader, error) {
	feed, err := r.e.Open()
	if err != nil {
		return nil, err
	}
	return &reader{feed: feed, bounds: r.e.Bounds, batcher: learn.NewBatcher(func() int { return r.arm.Online.BatchParts }, r.arm.Online.BatchSpan)}, nil
}

func (r *streamRun) run(ctx context.Context) error {
	now, err := r.reader()
	if err != nil {
		return err
	}
	if r.learner, err = learn.New(r.arm.Learn, now.feed); err != nil {
		return err
	}
	r.learner.Tested = r.tested
	r.behind = r.learner
	if r.arm.Online.WeightsDelay > 0 {
		r.behind = r.learner.Behind()
	}
	if r.arm.Online.late() > 0 {
		if r.late, err = r.reader(); err != nil {
			return err
		}
	}
	r.at = schema.BeginningOfTime
	for {
		parts, err := now.next(ctx)
		if err != nil {
			return err
		}
		if parts == nil {
			break
		}
		r.at = max(r.at, lastClick(parts))
		if err := r.batch(ctx, parts); err != nil {
			return err
		}
	}
	_, digest, err := weightsOf(r.learner.Model())
	if err != nil {
		return err
	}
	r.result.Arm, r.result.Own, r.result.Clicks, r.result.Items, r.result.Digest = r.arm, r.learner.Evaluation().Report(), r.clicks, r.learner.Model().Items(), digest
	r.result.Sessions = r.learner.Evaluation().Last(evaluate.NextSession, cmp.Or(r.e.Last, 1))
	counts := r.behind.Counts()
	r.result.Tokens, r.result.Flops, r.result.Steps, r.result.Skipped = counts.Tokens, counts.Flops, int64(counts.Steps)+counts.RunSteps, counts.Skipped
	return nil
}

// batch asks for parts, and learns what is due.
func (r *streamRun) batch(ctx context.Context, parts []schema.Part) error {
	if r.late != nil {
		if err := r.catchUp(ctx); err != nil {
			return err
		}
	}
	b, err := r.learner.Prepare(parts, r.arm.Online.HistoryParts)
	if err != nil {
		return err
	}
	r.current = parts
	switch {
	case r.arm.Online.Delay > 0:
		r.learner.Test(b)
	case r.arm.Online.WeightsDelay > 0 || r.frozen(parts):
		r.learner.Test(b)
		r.learner.Observe(b)
	default:
		if err := r.learned(ctx, r.learner, r.learner.Train(b, r.arm.decision())); err != nil {
			return err
		}
	}
	r.parts += uint32(len(parts))
	for i := range parts {
		r.clicks += int64(len(parts[i].Clicks))
	}
	if r.e.Watch != nil {
		faded, _ := r.learner.Evaluation().Faded(evaluate.NextPart).Arm(learn.ArmNames[learn.ArmModel])
		r.e.Watch(StreamMoment{Arm: r.arm.Name, Clicks: r.clicks, Done: r.before + r.clicks, At: r.at, Loss: r.loss, Recall20: faded.Recall20,
			Items: int64(r.learner.Model().Items()), Tested: int64(len(r.outcomes.tests))})
	}
	return nil
}

// frozen says that the weights do not learn parts any more.
func (r *streamRun) frozen(parts []schema.Part) bool {
	return r.arm.Online.FreezeAfter > 0 && lastClick(parts) >= r.e.Survey.First+schema.EventTime(r.arm.Online.FreezeAfter.Milliseconds())
}

// catchUp learns the batches that are due: those whose last click is at least the delay before the last click that is asked for now.
func (r *streamRun) catchUp(ctx context.Context) error {
	delay := schema.EventTime(r.arm.Online.late().Milliseconds())
	for {
		if r.waiting == nil {
			var err error
			if r.waiting, err = r.late.next(ctx); err != nil || r.waiting == nil {
				return err
			}
		}
		if lastClick(r.waiting)+delay > r.at {
			return nil
		}
		b, err := r.behind.Prepare(r.waiting, r.arm.Online.HistoryParts)
		if err != nil {
			return err
		}
		if r.frozen(r.waiting) {
			r.behind.Observe(b)
		} else {
			if err := r.learned(ctx, r.behind, r.behind.Learn(b, r.arm.decision())); err != nil {
				return err
			}
		}
		r.waiting = nil
	}
}

// learned notes a step of l, and gives its lane of runs the turns that it has earned.
func (r *streamRun) learned(ctx context.Context, l *learn.Learner, s model.StepStats) error {
	if s.Examples > 0 && !s.Skipped {
		r.loss = s.Loss
	}
	for l.Pending() {
		if err := errors.Join(ctx.Err(), l.Turn()); err != nil {
			return err
		}
	}
	return nil
}

// tested keeps what the arms of the learner ranked.
func (r *streamRun) tested(p *schema.Part, t *evaluate.Test) {
	for i := range r.current {
		if &r.current[i] == p {
			r.outcomes.add(r.parts+uint32(i), t, r.kept)
			return
		}
	}
	panic("replay: a test of a part that is not in the batch")
}

// StreamPlan is what a StreamExperiment would do.
type StreamPlan struct {
	Survey Survey
	Arms   []StreamArm
	Total  int64 // clicks that all arms read
}

// Plan says what Run would do.
func (e *StreamExperiment) Plan() StreamPlan {
	return StreamPlan{e.Survey, e.Arms, e.Survey.Clicks * int64(len(e.Arms))}
}

// Table writes the plan for a person.
func (p StreamPlan) Table() string {
	rows := [][]string{{"arm", "batch", "span", "later by", "of that", "frozen after"}}
	var settings strings.Builder
	for _, a := range p.Arms {
		late, of, frozen := "0", "-", "never"
		if d := a.Online.late(); d > 0 {
			late, of = d.String(), "everything"
			if a.Online.WeightsDelay > 0 {
				of = "weights"
			}
		}
		if a.Online.FreezeAfter > 0 {
			frozen = a.Online.FreezeAfter.String()
		}
		rows = append(rows, []string{a.Name, fmt.Sprint(a.Online.BatchParts), a.Online.BatchSpan.String(), late, of, frozen})
		fmt.Fprintf(&settings, "%s:%s\n", a.Name, a.Settings())
	}
	return fmt.Sprintf("%d clicks in %d parts, from %s to %s\n\n%s\n%s", p.Survey.Clicks, p.Survey.Parts,
		p.Survey.First.Time().Format(time.RFC3339), p.Survey.Last.Time().Format(time.RFC3339), aligned(rows), settings.String())
}

// MarshalJSON writes the plan for a program.
func (p StreamPlan) MarshalJSON() ([]byte, error) {
	type planned struct {
		Name     string `json:"name"`
		Settings string `json:"settings"`
	}
	arms := []planned{}
	for _, a := range p.Arms {
		arms = append(arms, planned{a.Name, a.Settings()})
	}
	return json.Marshal(struct {
		Protocol string           `json:"protocol"`
		DryRun   bool             `json:"dry_run"`
		Clicks   int64            `json:"clicks"`
		Parts    int64            `json:"parts"`
		First    schema.EventTime `json:"first"`
		Last     schema.EventTime `json:"last"`
		Arms     []planned        `json:"arms"`
	}{StreamProtocol, true, p.Survey.Clicks, p.Survey.Parts, p.Survey.First, p.Survey.Last, arms})
}
