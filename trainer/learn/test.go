package learn

import (
	"math"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// The arms, in the order of their names. Best is an oracle that knows the true distribution of the next click; only the simulated shop has one.
const (
	ArmModel = iota
	ArmBlend
	ArmPopularity
	ArmItemToItem
	ArmVSKNN
	ArmSTAN
	ArmVSTAN
	ArmBest
)

// ArmNames are the names of the arms.
var ArmNames = []string{"model", "blend", "popularity", "item_to_item", "v_sknn", "stan", "vstan", "best"}

// others are the arms beside the model, as the tables know them, in the order of the arms behind the blend.
var others = [...]baseline.Arm{baseline.ArmPopular1, baseline.ArmItemToItem, baseline.ArmVSKNN, baseline.ArmSTAN, baseline.ArmVSTAN}

const firstOther = 2

// blended is how many arms the blend puts together: the model and the others.
const blended = 1 + len(others)

// places is how long lists are.
const places = baseline.Places

func evaluation() evaluate.Config { return evaluate.Config{Arms: ArmNames} }

// kinds are the marks that a request is given.
func (c *Config) kinds() baseline.Kinds {
	if c.Baseline.Neighbours {
		return baseline.AllKinds
	}
	return baseline.AllKinds &^ baseline.KindsOf(model.MarkNeighbour)
}

// asked is the request as the tables take it.
func (r *request) asked(kinds baseline.Kinds) baseline.Request {
	clicks := rowsOf(make([]model.Row, 0, len(r.history)+len(r.session)), r.history)
	return baseline.Request{Clicks: rowsOf(clicks, r.session), Begin: len(r.history), Session: r.key(), Now: r.example.At, Kinds: kinds}
}

// key names the session of the request.
func (r *request) key() uint64 {
	return baseline.SessionKey(r.part.UserID, r.part.SessionStart)
}

// test puts the tests of a batch to all arms. The last Forward was of the requests that have a past.
func (l *Learner) test(requests []request, known, bound int) {
	if known == 0 {
		return
	}
	ranks, tops := l.model.Judge(known, places, bound)
	asked := 0
	for i := range requests {
		r := &requests[i]
		if !r.asks() {
			l.eval.Untested(evaluate.NextPart, 1)
			continue
		}
		at := asked
		asked++
		if len(r.items) == 0 {
			continue // only shown: nothing to predict
		}
		if at >= bound {
			l.eval.Untested(evaluate.NextPart, 1)
			continue
		}
		l.testOne(r, ranks[at], tops[at], known)
	}
}

// testOne puts one test to all arms.
func (l *Learner) testOne(r *request, ranks []int32, top []model.ScoredRow, known int) {
	var pooled []model.Row
	l.listen(top, r.heard)
	if l.cfg.Others {
		pooled = l.blend.pool(l.lists, r.gap(), known)
	}

	of := make([][]int, len(ArmNames))
	targets := make([]evaluate.Target, 0, len(r.items))
	clicked := make([]model.Row, 0, len(r.items))
	oracle, next := true, 0
	for i, t := range r.items {
		rank := 0
		if t.row != noRow {
			rank = int(ranks[next])
			next++
		}
		targets = append(targets, l.targetOf(r, t))
		oracle = oracle && t.oracle > 0
		of[ArmBest] = append(of[ArmBest], t.oracle)
		if !t.seen {
			for arm := range l.arms() {
				of[arm] = append(of[arm], 0)
			}
			continue
		}
		clicked = append(clicked, t.row)
		of[ArmModel] = append(of[ArmModel], rank)
		if !l.cfg.Others {
			continue
		}
		of[ArmBlend] = append(of[ArmBlend], int(l.blend.rank(t.row)))
		for a := range others {
			of[firstOther+a] = append(of[firstOther+a], r.heard.ranks[a][i])
		}
	}
	if !oracle {
		of[ArmBest] = nil
	}
	lists := l.rawLists(pooled)
	test := evaluate.Test{
		At: r.example.At, Kind: evaluate.NextPart, Scene: r.example.Scene, Place: 1 + len(r.session), Targets: targets, Ranks: of,
		Lists: lists, Catalogue: known, AgeOf: func(row int32) time.Duration { return l.age(model.Row(row), r.example.At) },
	}
	l.judge(r.part, &test)
	if len(r.session) > 0 { // what is clicked next, as far as the part says
		for arm := range of {
			of[arm] = of[arm][:min(1, len(of[arm]))]
		}
		l.judge(r.part, &evaluate.Test{At: test.At, Kind: evaluate.NextClick, Scene: test.Scene, Place: test.Place, Targets: targets[:1], Ranks: of})
	} else {
		l.held.Open(r.part.UserID, r.example.At, r.example.Scene, lists)
	}
	if l.cfg.Others {
		l.blend.learn(clicked, r.gap())
	}
}

// judge gives a test to the evaluation, and to who listens.
func (l *Learner) judge(p *schema.Part, t *evaluate.Test) {
	l.eval.Add(t)
	if l.Tested != nil {
		l.Tested(p, t)
	}
}

// arms is how many arms are tested, of the first.
func (l *Learner) arms() int {
	if l.cfg.Others {
		return ArmBest
	}
	return ArmModel + 1
}

// behindTests is how many parts of a batch are tested while training is behind.
const behindTests = 4

// tests is how many of so many requests are tested. What is only measured gives way before anything that is learned.
func (l *Learner) tests(of, known int, level recency.Level) int {
	if known == 0 {
		return 0
	}
	n := of
	if l.cfg.TestParts > 0 {
		n = min(n, l.cfg.TestParts)
	}
	if level > recency.Normal {
		n = min(n, behindTests)
	}
	// Each batch earns a budget of scores; where the catalogue is larger than it, tests wait for enough of it and come together, so that one look at all items is
	// many tests.
	cost := int64(n) * int64(known)
	if cost <= int64(l.cfg.TestScores) {
		return n
	}
	if l.credit += int64(l.cfg.TestScores); l.credit < cost {
		return 0
	}
	l.credit -= cost
	return n
}

// heard is what the arms beside the model say to one request.
type heard struct {
	lists [len(others)]list
	ranks [len(others)][]int // of the request's items
}

// hear asks the arms beside the model.
func (a *asker) hear(h *heard, r *request, asked baseline.Request) {
	votes := a.tables.Votes(asked)
	for o, arm := range others {
		to := &h.lists[o]
		to.rows, to.scores, h.ranks[o] = to.rows[:0], to.scores[:0], h.ranks[o][:0]
		a.votes = votes.Top(a.votes[:0], arm)
		for _, v := range a.votes {
			to.rows, to.scores = append(to.rows, v.Row), append(to.scores, float32(v.Score))
		}
		for _, t := range r.items {
			rank := 0
			if t.seen {
				rank = votes.Rank(arm, t.row)
			}
			h.ranks[o] = append(h.ranks[o], rank)
		}
	}
}

// listen puts what the arms of the blend say side by side. The model's scores become probabilities among its list.
func (l *Learner) listen(top []model.ScoredRow, h *heard) {
	to := &l.lists[0]
	to.rows, to.scores = to.rows[:0], to.scores[:0]
	for _, s := range top {
		to.rows, to.scores = append(to.rows, s.Row), append(to.scores, float32(math.Exp(float64(s.Score-top[0].Score))))
	}
	if h != nil {
		copy(l.lists[1:], h.lists[:])
	}
}

// rawLists returns the lists of all arms but the oracle's, which has none, as the evaluation takes them.
func (l *Learner) rawLists(pooled []model.Row) [][]int32 {
	if l.raw == nil {
		l.raw = make([][]int32, len(ArmNames))
	}
	set := func(arm int, rows []model.Row) {
		l.raw[arm] = l.raw[arm][:0]
		for _, r := range rows[:min(places, len(rows))] {
			l.raw[arm] = append(l.raw[arm], int32(r))
		}
	}
	set(ArmModel, l.lists[0].rows)
	if !l.cfg.Others {
		return l.raw
	}
	set(ArmBlend, pooled)
	for a := range others {
		set(firstOther+a, l.lists[1+a].rows)
	}
	return l.raw
}

// targetOf is what is known of a target before it is clicked.
func (l *Learner) targetOf(r *request, t target) evaluate.Target {
	out := evaluate.Target{Unseen: !t.seen, Action: t.action}
	if !t.seen {
		return out
	}
	out.Clicks, out.Age = l.live.Clicks(t.row), l.age(t.row, r.example.At)
	is := func(c click) bool { return c.row == t.row }
	out.InSession, out.Earlier = slices.ContainsFunc(r.session, is), slices.ContainsFunc(r.history, is)
	return out
}

// age is the time since an item's first click.
func (l *Learner) age(row model.Row, at schema.EventTime) time.Duration {
	if first := l.live.Span(row).First; first != 0 {
		return time.Duration(at-first) * time.Millisecond
	}
	return 0
}

// gap is the bucket of the time since the user's last click.
func (r *request) gap() int {
	past := r.example.Past
	return model.GapBucket(past[len(past)-1].At, r.example.At)
}
