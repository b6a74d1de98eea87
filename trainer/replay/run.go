package replay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// Experiment trains arms on the same sequences and asks each the same.
type Experiment struct {
	Data *Sequences
	Arms []Arm
	// Validate asks for the last item but one, and then neither it nor the last is trained on: what is chosen by that may be
	// reported on the last.
	Validate bool
	// Repeats leaves the items that a user had before among the candidates.
	Repeats bool
	// Watch, if not nil, is called often, by the goroutine that trains.
	Watch func(Moment)
	// Evaluated, if not nil, is called after each evaluation.
	Evaluated func(Result) error
	// Now is the clock by which training is timed; nil is time.Now.
	Now func() time.Time
	// Peak measures what the machine could do, in floating point operations per second; nil is nn.Peak on all its processors.
	Peak func() float64
}

// Moment says how far an experiment is.
type Moment struct {
	Arm           string
	Epoch, Epochs int
	Evaluates     bool
	Loss          float64 // of the epoch so far
	Done          int64   // items read, in training and evaluation, out of Plan.Total
}

// Result is what an evaluation of an arm found.
type Result struct {
	Arm             string
	Epoch, Epochs   int // trained, out of
	Metrics         Metrics
	Loss            float64 // mean of the epoch, in nats
	TokensPerSecond float64 // items read in training, by the clock of training alone
	PeakShare       float64 // of the machine's peak that the model's matrix products reached in training; 0 if not known
	Seconds         float64 // of training, without evaluations: TokensPerSecond is per one of these
	Skipped         int     // steps that moved nothing, because a number was not finite
	Digest          string  // sha256 of the weights
}

// Plan is what an experiment would do.
type Plan struct {
	Users, LeftOut, Items, Events int

	Arms  []PlannedArm
	Total int64 // items read by all arms, in training and evaluation
}

// PlannedArm is what an arm would do.
type PlannedArm struct {
	Arm            Arm
	Parameters     int
	TokensPerEpoch int
	StepsPerEpoch  int
	evaluations    int
	evaluated      int // items read in an evaluation
}

func (e *Experiment) split() split {
	s := split{data: e.Data, holdOut: 1, repeats: e.Repeats}
	if e.Validate {
		s.holdOut = 2
	}
	return s
}

// Plan says what Run would do, and finds what it would fail on at once.
func (e *Experiment) Plan() (Plan, error) {
	p := Plan{Users: e.Data.Users(), LeftOut: e.Data.LeftOut, Items: e.Data.Items(), Events: e.Data.Events()}
	s := e.split()
	for _, arm := range e.Arms {
		n, err := newNetwork(arm.Model, e.Data.Names)
		if err != nil {
			return Plan{}, fmt.Errorf("arm %s: %w", arm.Name, err)
		}
		a := PlannedArm{Arm: arm}
		if a.Parameters, _, err = n.Weights(); err != nil {
			return Plan{}, fmt.Errorf("arm %s: %w", arm.Name, err)
		}
		var users []int32
		if users, a.TokensPerEpoch = s.learners(arm.Training.Length); len(users) == 0 {
			return Plan{}, errors.New("no user has two items to train on: with --validate a user needs four")
		}
		a.StepsPerEpoch = (len(users) + arm.Training.Batch - 1) / arm.Training.Batch
		for epoch := 1; epoch <= arm.Training.Epochs; epoch++ {
			if arm.Training.evaluates(epoch) {
				a.evaluations++
			}
		}
		for u := range int32(e.Data.Users()) {
			q, _ := s.asked(u, arm.Training.Length)
			a.evaluated += len(q.past)
		}
		p.Total += int64(arm.Training.Epochs)*int64(a.TokensPerEpoch) + int64(a.evaluations)*int64(a.evaluated)
		p.Arms = append(p.Arms, a)
	}
	return p, nil
}

// evaluates says whether there is an evaluation behind an epoch.
func (t Training) evaluates(epoch int) bool {
	return epoch == t.Epochs || t.EvalEvery > 0 && epoch%t.EvalEvery == 0
}

// Run trains the arms, one after the other. Where ctx ends or an arm fails, the report has what was finished: of an arm that
// was stopped, its last evaluation. An arm that diverges does not keep the others from being trained.
func (e *Experiment) Run(ctx context.Context) (*Report, error) {
	s := e.split()
	report := &Report{
		Users: e.Data.Users(), LeftOut: e.Data.LeftOut, Items: e.Data.Items(), Events: e.Data.Events(), Again: s.again(),
		Validate: e.Validate, Repeats: e.Repeats, Threads: runtime.GOMAXPROCS(0),
	}
	now, peak := e.Now, e.Peak
	if now == nil {
		now = time.Now
	}
	if peak == nil {
		peak = func() float64 { return nn.Peak(report.Threads, 300*time.Millisecond) }
	}
	var err error
	if report.Popularity, err = s.evaluate(ctx, s.popularity(), 1, 1024, func(int) {}); err != nil {
		return report, err
	}
	var faults []error
	var done int64
	for _, arm := range e.Arms {
		r := &run{e: e, split: s, arm: arm, now: now, done: done}
		err := r.train(ctx, peak)
		done, report.Peak = r.done, max(report.Peak, r.peak)
		if r.evaluated {
			report.Results = append(report.Results, r.result)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("arm %s: %w", arm.Name, err))
		}
		if ctx.Err() != nil || errors.Is(err, errEvaluated) {
			break
		}
	}
	return report, errors.Join(faults...)
}

// errEvaluated marks a fault of Experiment.Evaluated, after which no arm can be reported.
var errEvaluated = errors.New("keep the result")

// run is one arm in training.
type run struct {
	e     *Experiment
	split split
	arm   Arm
	now   func() time.Time

	learner   learner
	done      int64
	peak      float64
	tokens    int64
	steps     int
	flops     float64
	took      time.Duration
	skipped   int
	result    Result // of the last evaluation
	evaluated bool   // that there was one
}

func (r *run) train(ctx context.Context, peak func() float64) error {
	var err error
	if r.learner, err = newNetwork(r.arm.Model, r.e.Data.Names); err != nil {
		return err
	}
	r.peak = peak()
	users, _ := r.split.learners(r.arm.Training.Length)
	for epoch := 1; epoch <= r.arm.Training.Epochs; epoch++ {
		loss, err := r.epoch(ctx, epoch, users)
		if err != nil {
			return err
		}
		if !r.arm.Training.evaluates(epoch) {
			continue
		}
		if epoch == r.arm.Training.Epochs {
			r.peak = max(r.peak, peak()) // the higher: a machine that was busy for a moment does not flatter the share
		}
		if err := r.evaluate(ctx, epoch, loss); err != nil {
			return err
		}
	}
	return nil
}

// epoch trains on all users once, and returns the mean loss.
func (r *run) epoch(ctx context.Context, epoch int, users []int32) (float64, error) {
	t := r.arm.Training
	rng := rand.New(rand.NewPCG(r.arm.Model.Seed, 0x65706f6368000000+uint64(epoch))) // "epoch"
	length := func(u int32) int { q, _ := r.split.training(u, t.Length); return len(q.past) }
	began := r.now()
	defer func() { r.took += r.now().Sub(began) }()
	var sum learned
	var batch []sequence
	steps := t.Epochs * ((len(users) + t.Batch - 1) / t.Batch)
	for _, some := range batches(users, length, t.Batch, rng) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		batch = batch[:0]
		for _, u := range some {
			q, _ := r.split.training(u, t.Length)
			batch = append(batch, q)
		}
		l := r.learner.Learn(batch, t.paceOf(r.steps, steps))
		r.steps += l.steps
		sum.add(l)
		r.tokens += int64(l.tokens)
		r.flops += l.flops
		r.done += int64(l.tokens)
		r.watch(Moment{Epoch: epoch, Loss: sum.mean()})
	}
	r.skipped += sum.skipped
	return sum.mean(), sum.stuck(epoch)
}

func (r *run) watch(m Moment) {
	if r.e.Watch == nil {
		return
	}
	m.Arm, m.Epochs, m.Done = r.arm.Name, r.arm.Training.Epochs, r.done
	r.e.Watch(m)
}

func (r *run) evaluate(ctx context.Context, epoch int, loss float64) error {
	t := r.arm.Training
	r.watch(Moment{Epoch: epoch, Loss: loss, Evaluates: true})
	metrics, err := r.split.evaluate(ctx, r.learner, t.Length, t.Batch, func(items int) {
		r.done += int64(items)
		r.watch(Moment{Epoch: epoch, Loss: loss, Evaluates: true})
	})
	if err != nil {
		return err
	}
	_, digest, err := r.learner.Weights()
	if err != nil {
		return err
	}
	seconds := max(r.took.Seconds(), 1e-9)
	r.result = Result{
		Arm: r.arm.Name, Epoch: epoch, Epochs: t.Epochs, Metrics: metrics, Loss: loss, TokensPerSecond: float64(r.tokens) / seconds,
		Seconds: r.took.Seconds(), Skipped: r.skipped, Digest: digest,
	}
	if r.peak > 0 {
		r.result.PeakShare = r.flops / seconds / r.peak
	}
	r.evaluated = true
	if r.e.Evaluated != nil {
		if err := r.e.Evaluated(r.result); err != nil {
			return fmt.Errorf("%w: %w", errEvaluated, err)
		}
	}
	return nil
}
