package learn

import (
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/model"
)

// History is where the earlier parts of a user are read.
type History interface {
	// History returns up to n parts with clicks of a user on partition p emitted before the given place, oldest first.
	History(p schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error)
}

// Learner is a model and all that is learned beside it. It belongs to one goroutine.
type Learner struct {
	cfg     Config
	history History

	model *model.Model
	live  *baseline.Live
	blend *blend
	eval  *evaluate.Evaluation
	held  *evaluate.Sessions

	marks []model.Mark // of a batch
	lists []list       // of one test, by arm of the blend
	votes []baseline.Scored
	raw   [][]int32 // of one test, by arm
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
	l := &Learner{cfg: cfg, history: history, model: m, live: baseline.New(cfg.Baseline), blend: newBlend(blended), eval: evaluate.New(evaluation()), lists: make([]list, blended)}
	l.held = evaluate.NewSessions(l.eval, evaluate.DefaultSessions, cfg.Gap)
	l.model.Attach(l.live)
	return l, nil
}

// Model is the model. It is the learner's to train.
func (l *Learner) Model() *model.Model { return l.model }

// Live is the tables. They are the learner's to teach.
func (l *Learner) Live() *baseline.Live { return l.live }

// Evaluation is what has been found so far.
func (l *Learner) Evaluation() *evaluate.Evaluation { return l.eval }

// Train tests every arm on a batch, steps, and lets the tables learn.
func (l *Learner) Train(b Batch) model.StepStats {
	known := l.model.Items()
	requests := l.requests(&b, true)
	examples := l.ask(requests)
	var stats model.StepStats
	if len(examples) > 0 {
		l.model.Forward(examples)
		l.test(requests, known)
		stats = l.model.Step()
	}
	l.observe(b, requests)
	return stats
}

// Test tests every arm on a batch that something else than the state of before it will be trained on: nothing but the evaluation changes, and the weights of the blend.
func (l *Learner) Test(b Batch) {
	requests := l.requests(&b, false)
	if examples := l.ask(requests); len(examples) > 0 {
		l.model.Forward(examples)
		l.test(requests, l.model.Items())
	}
}

// Learn is Train without the tests.
func (l *Learner) Learn(b Batch) model.StepStats {
	requests := l.requests(&b, true)
	var stats model.StepStats
	if examples := l.ask(requests); len(examples) > 0 {
		stats = l.model.Learn(examples)
	}
	l.observe(b, requests)
	return stats
}

// ask gives the requests that have a past their marks, and returns them as the model takes them.
func (l *Learner) ask(requests []request) []model.Example {
	examples := make([]model.Example, 0, len(requests))
	l.marks = l.marks[:0]
	ends := make([]int, 0, len(requests))
	for i := range requests {
		r := &requests[i]
		if len(r.example.Past) == 0 {
			continue
		}
		if l.cfg.Model.Terms {
			l.marks = l.live.Marks(l.marks, r.asked(l.cfg.kinds()))
		}
		ends = append(ends, len(l.marks))
		examples = append(examples, r.example)
	}
	from := 0
	for i, to := range ends {
		examples[i].Marks = l.marks[from:to:to]
		from = to
	}
	return examples
}

// observe lets the tables learn the clicks of requests.
func (l *Learner) observe(b Batch, requests []request) {
	for i := range b.Parts {
		l.held.Expire(b.Parts[i].Due)
	}
	var before []model.Row
	for i := range requests {
		r := &requests[i]
		key := r.key()
		earlier := rowsOf(nil, r.history)
		before = rowsOf(before[:0], r.session)
		for _, c := range r.clicks {
			// told before it is learned: what is known of a target is from before its click
			l.held.Click(r.part.UserID, c.at, l.model.ID(c.row), int32(c.row), l.targetOf(r, target{row: c.row, seen: c.seen, action: c.action}))
			l.live.Learn(baseline.Click{Row: c.row, At: c.at, Session: key, First: len(before) == 0, Before: before, Earlier: earlier})
			before = append(before, c.row)
		}
	}
}

func rowsOf(dst []model.Row, clicks []click) []model.Row {
	for _, c := range clicks {
		dst = append(dst, c.row)
	}
	return dst
}
