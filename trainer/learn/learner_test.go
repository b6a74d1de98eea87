package learn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// pastParts is a log of one partition in memory.
type pastParts []schema.Part

func (l pastParts) History(_ schema.Partition, user string, before schema.Emit, n int) (out []schema.Part, err error) {
	for _, p := range l[:before] {
		if p.UserID == user && len(p.Clicks) > 0 {
			out = append(out, p)
		}
	}
	return out[max(0, len(out)-n):], nil
}

func (l pastParts) Users(_ schema.Partition, after string, n int, keep func(user []byte) bool) (users []string, err error) {
	for _, p := range l {
		if p.UserID > after && keep([]byte(p.UserID)) && !slices.Contains(users, p.UserID) {
			users = append(users, p.UserID)
		}
	}
	slices.Sort(users)
	return users[:min(n, len(users))], nil
}

// drawLog draws parts of one or two clicks, among them exposures, in sessions that end after half an hour. Some items follow each other.
func drawLog(seed uint64, n int) (log pastParts) {
	rng := rand.New(rand.NewPCG(seed, 1))
	type visit struct {
		start, last schema.EventTime
		item        int
	}
	users := map[string]*visit{}
	at := schema.EventTime(1_700_000_000_000)
	for i := range n {
		at += schema.EventTime(rng.IntN(20_000))
		user := fmt.Sprint("u", rng.IntN(80))
		v := users[user]
		if v == nil || at > v.last+1_800_000 {
			v = &visit{start: at, item: rng.IntN(60)}
			users[user] = v
		}
		v.last = at
		p := schema.Part{Emit: schema.Emit(i), Due: at, UserID: user, SessionStart: v.start}
		for range 1 + rng.IntN(2) {
			if v.item = (v.item + 1) % 60; rng.IntN(3) == 0 {
				v.item = rng.IntN(60)
			}
			action := []schema.Action{schema.ActionClick, schema.ActionClick, schema.ActionExposure, schema.ActionPurchase}[rng.IntN(4)]
			p.Clicks = append(p.Clicks, schema.Click{UserID: user, ItemID: fmt.Sprint("i", v.item), Action: action, EventTime: at})
		}
		log = append(log, p)
	}
	return log
}

func smallConfig() Config {
	c := DefaultConfig()
	c.Model.Dim, c.Model.NegativesUniform, c.Model.NegativesRecent, c.TestParts = 8, 16, 16, 0
	c.Recency.Buckets, c.Recency.Period, c.Recency.Window = 3, 10*time.Minute, 3
	return c
}

// trainOn trains on a log, sixteen parts at a time, and returns how many tokens were read.
func trainOn(t *testing.T, l *Learner, log pastParts, d recency.Decision) (tokens int) {
	t.Helper()
	for parts := range slices.Chunk(log, 16) {
		batch, err := l.Prepare(parts, 20)
		if err != nil {
			t.Fatal(err)
		}
		tokens += l.Train(batch, d).Tokens
	}
	return tokens
}

func encoded(t *testing.T, l *Learner) (out map[string][]byte) {
	t.Helper()
	out = map[string][]byte{}
	rows, err := l.model.Tables()
	if err != nil {
		t.Fatal(err)
	}
	shared, err := l.Shared()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range append(rows, shared...) {
		b, err := n.Table.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		out[n.Name] = b
	}
	return out
}

// TestTrainIsTestThenLearn puts the same batches to two learners: one trains, which looks at a batch once for the test and the step, the other tests a batch and then
// learns it. All items are known by then: one that a batch brings is input to its later parts for the first learner, and for the second only once it has learned.
func TestTrainIsTestThenLearn(t *testing.T) {
	const seed = 11
	log := drawLog(seed, 900)
	d := recency.Decision{BatchParts: 16, HistoryParts: 20, Keep: 1}
	open := func() *Learner {
		l, err := New(smallConfig(), log)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a, b := open(), open()
	for parts := range slices.Chunk(log, 16) {
		batch, err := a.Prepare(parts, 20)
		if err != nil {
			t.Fatal(err)
		}
		a.Train(batch, d)
		if parts[0].Emit < 300 {
			b.Train(batch, d)
			continue
		}
		b.Test(batch)
		b.Learn(batch, d)
	}
	for _, k := range []evaluate.Kind{evaluate.NextClick, evaluate.NextPart, evaluate.NextSession} {
		if a.eval.Whole(k).Tests == 0 {
			t.Fatalf("seed %d: there were no tests of %s", seed, k)
		}
	}
	want, got := encoded(t, a), encoded(t, b)
	for name := range want {
		if !bytes.Equal(want[name], got[name]) {
			t.Errorf("seed %d: %s is another table", seed, name)
		}
	}
}

// TestTestsBoundsCost: the first parts of a batch are tested, fewer while training is behind, and what is not tested is counted.
func TestTestsBoundsCost(t *testing.T) {
	log := drawLog(3, 600)
	count := func(change func(*Config), level recency.Level) (tests, untested int64) {
		c := smallConfig()
		change(&c)
		l, err := New(c, log)
		if err != nil {
			t.Fatal(err)
		}
		trainOn(t, l, log, recency.Decision{Level: level, BatchParts: 16, HistoryParts: 20, Keep: 1})
		for _, k := range l.eval.Report().Kinds {
			if k.Kind == evaluate.NextPart {
				return k.Whole.Tests, k.Untested
			}
		}
		return 0, 0
	}
	all, cold := count(func(*Config) {}, recency.Normal)
	half, left := count(func(c *Config) { c.TestParts = 8 }, recency.Normal)
	behind, _ := count(func(*Config) {}, recency.NoRuns)
	none, _ := count(func(c *Config) { c.TestScores = 0 }, recency.Normal)
	if all < 300 || half >= all || behind >= half || none != 0 {
		t.Errorf("tests: %d of all, %d of eight parts a batch, %d while behind, %d without a budget", all, half, behind, none)
	}
	if half+left != all+cold {
		t.Errorf("%d tested and %d not, of %d and %d", half, left, all, cold)
	}
}

// TestOthersCanBeLeftOut: the model's own tests are the same with and without the arms beside it.
func TestOthersCanBeLeftOut(t *testing.T) {
	log := drawLog(5, 500)
	scores := func(others bool) (s evaluate.Scores) {
		c := smallConfig()
		c.Others = others
		l, err := New(c, log)
		if err != nil {
			t.Fatal(err)
		}
		trainOn(t, l, log, recency.Decision{BatchParts: 16, HistoryParts: 20, Keep: 1})
		whole := l.eval.Whole(evaluate.NextPart)
		if _, ok := whole.Arm("stan"); ok != others {
			t.Errorf("others %v: STAN has scores: %v", others, ok)
		}
		s, _ = whole.Arm("model")
		return s
	}
	if with, without := scores(true), scores(false); with != without || with.Recall20 == 0 {
		t.Errorf("with the others %+v\nwithout %+v", with, without)
	}
}

// TestFrozenNetworkLearnsItsTerms: without a fast lane the network stays as it is, and the terms' weights do not.
func TestFrozenNetworkLearnsItsTerms(t *testing.T) {
	log := drawLog(7, 400)
	c := smallConfig()
	c.Recency.Fast = false
	l, err := New(c, log)
	if err != nil {
		t.Fatal(err)
	}
	terms := func() []byte { return encoded(t, l)["params"] }
	before := terms()
	if tokens := trainOn(t, l, log, recency.Decision{BatchParts: 16, HistoryParts: 20, Keep: 1}); tokens != 0 {
		t.Errorf("the steps read %d tokens", tokens)
	}
	if slices.Equal(before, terms()) {
		t.Error("the terms' weights are as they were")
	}
	if c := l.Counts(); c.Steps != 0 || c.Tokens != 0 {
		t.Errorf("counts %+v of a network that was never trained", c)
	}
}
