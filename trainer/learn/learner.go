package learn

import (
	"slices"
	"sync"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// History is where the users and their earlier parts are read.
type History = recency.Source

// Learner is a model and all that is learned beside it. It belongs to one goroutine.
type Learner struct {
	cfg     Config
	history History

	model    *model.Model
	live     *baseline.Live
	blend    *blend
	eval     *evaluate.Evaluation
	held     *evaluate.Sessions
	schedule *recency.Schedule
	lane     *recency.Lane
	counts   Counts
	position schema.Position
	latest   schema.EventTime // due time of the latest part
	credit   int64            // of scores that tests may cost
	share    float64          // of the lane of runs, as the last batch's decision has it
	drift    drift

	askers []*asker
	heard  []heard   // of a batch
	lists  []list    // of one test, by arm of the blend
	raw    [][]int32 // of one test, by arm

	follower *Learner // of the same model; see Behind
	follows  bool     // it is one

	// Tested, if not nil, is told of every test of a part once all arms have ranked its targets. It keeps nothing of the test.
	Tested func(*schema.Part, *evaluate.Test)
}

// New returns a learner that has seen nothing.
func New(cfg Config, history History) (*Learner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := model.New(cfg.Model)
	if err != nil {
		return nil, err
	}
	return around(cfg, history, m), nil
}

// around returns a learner of m that has seen nothing else.
func around(cfg Config, history History, m *model.Model) *Learner {
	l := &Learner{
		cfg: cfg, history: history, model: m, live: baseline.New(cfg.Baseline), blend: newBlend(blended), eval: evaluate.New(evaluation()), lists: make([]list, blended),
		schedule: recency.NewSchedule(cfg.Recency), lane: recency.NewLane(cfg.Recency), position: schema.Position{}, latest: schema.BeginningOfTime,
	}
	l.held = evaluate.NewSessions(l.eval, evaluate.DefaultSessions, cfg.Gap)
	l.model.Attach(l.live)
	return l
}

// Model is the model. It is the learner's to train.
func (l *Learner) Model() *model.Model { return l.model }

// Live is the tables. They are the learner's to teach.
func (l *Learner) Live() *baseline.Live { return l.live }

// Evaluation is what has been found so far.
func (l *Learner) Evaluation() *evaluate.Evaluation { return l.eval }

// Train tests every arm on a batch, steps as the decision says, and lets the tables learn.
func (l *Learner) Train(b Batch, d recency.Decision) model.StepStats {
	known := l.model.Items()
	requests := l.requests(&b, true)
	tests := l.tests(len(requests), known, d.Level)
	l.leave(requests, tests, d)
	examples := l.ask(requests, tests)
	var stats model.StepStats
	if len(examples) > 0 {
		l.model.Forward(examples)
		l.test(requests, known, tests)
		stats = l.step(requests, examples, d)
	}
	l.observe(b, requests)
	l.account(b, stats, d)
	return stats
}

// Test tests every arm on a batch, of which nothing is learned now: nothing but the evaluation changes, and the weights of the blend.
func (l *Learner) Test(b Batch) {
	requests := l.requests(&b, false)
	known := l.model.Items()
	tests := l.tests(len(requests), known, recency.Normal)
	if examples := l.ask(requests, tests); len(examples) > 0 {
		l.model.Forward(examples)
		l.test(requests, known, tests)
	}
	l.tell(requests)
}

// Learn is Train without the tests.
func (l *Learner) Learn(b Batch, d recency.Decision) model.StepStats {
	requests := l.requests(&b, true)
	var stats model.StepStats
	l.leave(requests, 0, d)
	if examples := l.ask(requests, 0); len(examples) > 0 {
		l.model.Forward(examples)
		stats = l.step(requests, examples, d)
	}
	l.observe(b, requests)
	l.account(b, stats, d)
	return stats
}

// keepsAll says whether a decision has every part of a batch stepped on.
func (l *Learner) keepsAll(requests []request, d recency.Decision) bool {
	return !l.cfg.Recency.Fast || d.Keep >= 1 && (len(requests) == 0 || requests[0].part.Due >= d.Begin)
}

// leave marks what is not stepped on: parts from before a new model's beginning, and those that give way. Where they are not tested either, nothing is asked of them, and the
// tables alone learn from them: that is what makes room.
func (l *Learner) leave(requests []request, tests int, d recency.Decision) {
	if l.keepsAll(requests, d) {
		return
	}
	at := 0
	for i := range requests {
		r := &requests[i]
		if len(r.example.Past) == 0 {
			continue
		}
		switch {
		case r.part.Due < d.Begin:
			r.left = true
			l.counts.Early++
		case !l.cfg.Recency.KeepsPart(r.part.Partition, r.part.Emit, d.Keep):
			r.left = true
			l.counts.Shed.Parts++
		}
		r.idle = r.left && at >= tests
		at++
	}
}

// step takes the step of the fast lane on the batch of the last Forward. Without a fast lane the terms' weights learn alone: they are of the tables, which are
// always live.
func (l *Learner) step(requests []request, examples []model.Example, d recency.Decision) model.StepStats {
	l.model.Pace(l.drift.pace())
	if !l.cfg.Recency.Fast {
		return l.model.StepTerms()
	}
	if l.keepsAll(requests, d) {
		return l.model.Step()
	}
	kept, at := examples[:0:0], 0
	for i := range requests {
		r := &requests[i]
		if !r.asks() {
			continue
		}
		if !r.left {
			kept = append(kept, examples[at])
		}
		at++
	}
	if len(kept) == 0 {
		return model.StepStats{}
	}
	return l.model.Learn(kept)
}

// ask gives the requests that have a past their marks, and returns them as the model takes them. To the first of them, so many as are tested, the arms beside the
// model say what they recommend: that and the marks are made of the same neighbours.
func (l *Learner) ask(requests []request, tests int) []model.Example {
	l.model.Attach(l.live) // a learner behind this one may have come between
	var asks []*request
	for i := range requests {
		if r := &requests[i]; r.asks() {
			asks = append(asks, r)
		}
	}
	if len(l.heard) < len(asks) {
		l.heard = append(l.heard, make([]heard, len(asks)-len(l.heard))...)
	}
	for len(l.askers) < l.cfg.Model.Lanes {
		l.askers = append(l.askers, &asker{tables: l.live.Asker()})
	}
	var wg sync.WaitGroup
	for lane, a := range l.askers {
		wg.Go(func() { // a part of the requests each: what one is told does not depend on the others
			a.marks = a.marks[:0]
			for i := len(asks) * lane / len(l.askers); i < len(asks)*(lane+1)/len(l.askers); i++ {
				a.ask(l, asks[i], &l.heard[i], l.cfg.Others && i < tests)
			}
		})
	}
	wg.Wait()
	examples := make([]model.Example, len(asks))
	for i, r := range asks {
		examples[i] = r.example
	}
	return examples
}

// asker asks the tables, in one goroutine.
type asker struct {
	tables *baseline.Asker
	marks  []model.Mark // of its requests of a batch
	votes  []baseline.Scored
}

// ask gives a request its marks, and where it is tested lets the arms beside the model say what they recommend.
func (a *asker) ask(l *Learner, r *request, h *heard, tested bool) {
	asked := r.asked(l.cfg.kinds())
	if tested && len(r.items) > 0 {
		a.hear(h, r, asked)
		r.heard, asked.Heard = h, true
	}
	if l.cfg.Model.Terms {
		from := len(a.marks)
		a.marks = a.tables.Marks(a.marks, asked)
		r.example.Marks = slices.Clip(a.marks[from:])
	}
}

// tell says what was clicked to the tests of whole sessions. It comes before the tables learn: what is known of a target is from before its click.
func (l *Learner) tell(requests []request) {
	for i := range requests {
		r := &requests[i]
		l.held.Expire(r.part.Due)
		for _, c := range r.clicks {
			l.held.Click(r.part.UserID, c.at, l.model.ID(c.row), int32(c.row), l.targetOf(r, target{row: c.row, seen: c.seen, action: c.action}))
		}
	}
}

// observe lets the tables learn the clicks of requests.
func (l *Learner) observe(b Batch, requests []request) {
	l.tell(requests)
	var before []model.Row
	for i := range requests {
		r := &requests[i]
		key := r.key()
		earlier := rowsOf(nil, r.history)
		before = rowsOf(before[:0], r.session)
		for _, c := range r.clicks {
			l.live.Learn(baseline.Click{Row: c.row, At: c.at, Session: key, First: len(before) == 0, Before: before, Earlier: earlier})
			before = append(before, c.row)
		}
	}
	l.sweep(b)
}

// sweep lets rows go that nobody clicks, and what the tables know of them: behind the batch, so that within one a row is one item's.
func (l *Learner) sweep(b Batch) {
	now := schema.BeginningOfTime
	for i := range b.Parts {
		now = max(now, b.Parts[i].Due)
	}
	if l.follows {
		return // the first lets rows go, at its own time
	}
	given := l.model.Sweep(now)
	l.live.Forget(given)
	if l.follower != nil {
		l.follower.live.Forget(given)
	}
}

func rowsOf(dst []model.Row, clicks []click) []model.Row {
	for _, c := range clicks {
		dst = append(dst, c.row)
	}
	return dst
}
