package learn

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/freshet-ml/freshet/trainer/recency"
)

// shopParts is a log in memory.
type shopParts struct{ parts []schema.Part }

func (s shopParts) Users(schema.Partition, string, int, func([]byte) bool) ([]string, error) {
	return nil, nil
}

func (s shopParts) History(_ schema.Partition, user string, before schema.Emit, n int) (out []schema.Part, err error) {
	for i := int(before) - 1; i >= 0 && len(out) < n; i-- {
		if s.parts[i].UserID == user {
			out = append([]schema.Part{s.parts[i]}, out...)
		}
	}
	return out, nil
}

// drawSwitch gives parts of a click each, of 10 users who go from item to item by a map, which is another one from the part switched on.
func drawSwitch(n, switched int) shopParts {
	rng := rand.New(rand.NewPCG(5, 5))
	const items = 16
	follows, at := rng.Perm(items), make([]int, 10)
	s := shopParts{make([]schema.Part, n)}
	for i := range s.parts {
		if i == switched {
			follows = rng.Perm(items)
		}
		u, due := rng.IntN(len(at)), schema.EventTime(1_700_000_000_000+1000*i)
		at[u] = follows[at[u]]
		user := fmt.Sprint("u", u)
		s.parts[i] = schema.Part{Emit: schema.Emit(i), Due: due, UserID: user, SessionStart: due,
			Clicks: []schema.Click{{UserID: user, ItemID: fmt.Sprint("i", at[u]), Action: schema.ActionClick, EventTime: due}}}
	}
	return s
}

func driftConfig(does string) Config {
	c := DefaultConfig()
	c.Drift, c.Others, c.TestScores, c.HistoryParts = does, false, 0, 4
	c.Recency.Buckets = 0
	c.Model.Dim, c.Model.Blocks, c.Model.NegativesUniform, c.Model.NegativesRecent, c.Model.MaxSessions = 8, 1, 8, 8, 4
	return c
}

const driftBatch = 8

// learnBatches goes through batches from to to.
func learnBatches(t *testing.T, l *Learner, log shopParts, from, to, history int) {
	t.Helper()
	for b := from; b < to; b++ {
		batch, err := l.Prepare(log.parts[b*driftBatch:][:driftBatch], history)
		if err != nil {
			t.Fatal(err)
		}
		l.Learn(batch, recency.Decision{BatchParts: driftBatch, HistoryParts: history, Keep: 1})
	}
}

// saved is a state as a checkpoint has it: the bytes of everything, and what a learner is made of again.
type saved struct {
	state  []byte
	tables map[string]schema.Table
	rows   []schema.Table
	sum    string // of all
	model  string // of the tables and rows alone
}

func save(t *testing.T, l *Learner) (s saved) {
	t.Helper()
	var err error
	if s.state, err = json.Marshal(l.State()); err != nil {
		t.Fatal(err)
	}
	shared, err := l.Shared()
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	add := func(table schema.Table) schema.Table {
		b, err := table.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		h.Write(b)
		again, err := schema.DecodeTable(b)
		if err != nil {
			t.Fatal(err)
		}
		return again
	}
	s.tables = map[string]schema.Table{}
	for _, n := range shared {
		s.tables[n.Name] = add(n.Table)
	}
	if err := l.Model().EachRows(true, func(table schema.Table) error { s.rows = append(s.rows, add(table)); return nil }); err != nil {
		t.Fatal(err)
	}
	s.model = fmt.Sprintf("%x", h.Sum(nil))
	h.Write(s.state)
	s.sum = fmt.Sprintf("%x", h.Sum(nil))
	return s
}

func (s saved) restore(t *testing.T, c Config, log shopParts) *Learner {
	t.Helper()
	var state State
	if err := json.Unmarshal(s.state, &state); err != nil {
		t.Fatal(err)
	}
	l, err := RestoreRows(c, log, state, s.tables, func(yield func(schema.Table, error) bool) {
		for _, r := range s.rows {
			if !yield(r, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestDriftIsSeenAndAdaptedTo lets what follows what change in the middle of a stream. The drift must be seen then and not before; to adapt must make another model
// of the rest, and end. A restart in the midst of it must give the same bytes.
func TestDriftIsSeenAndAdaptedTo(t *testing.T) {
	const batches, switched = 900, 600
	log := drawSwitch(batches*driftBatch, switched*driftBatch)
	learners := map[string]*Learner{}
	for _, does := range []string{DriftWatch, DriftAdapt} {
		l, err := New(driftConfig(does), log)
		if err != nil {
			t.Fatal(err)
		}
		learners[does] = l
		learnBatches(t, l, log, 0, switched, 4)
		if d := l.Drifts(); d.Detections != 0 || d.Last != 0 {
			t.Fatalf("%s: %+v before anything changed", does, d)
		}
	}
	watch, adapt := learners[DriftWatch], learners[DriftAdapt]
	if a, b := save(t, watch), save(t, adapt); a.sum != b.sum {
		t.Fatal("before a drift it matters what one would lead to")
	}
	at := switched
	for ; adapt.Drifts().Detections == 0; at++ {
		if at == batches {
			t.Fatal("the drift was not seen")
		}
		learnBatches(t, watch, log, at, at+1, 4)
		learnBatches(t, adapt, log, at, at+1, 4)
	}
	if last := adapt.Drifts().Last; last != log.parts[at*driftBatch-1].Due {
		t.Errorf("the drift is of %d, and was seen in the batch that ends at %d", last, log.parts[at*driftBatch-1].Due)
	}
	if p := adapt.drift.pace(); p != adaptPace || watch.drift.pace() != 1 {
		t.Errorf("the pace is %v, and %v of one that watches", p, watch.drift.pace())
	}
	learnBatches(t, watch, log, at, at+40, 4)
	learnBatches(t, adapt, log, at, at+40, 4)
	middle := save(t, adapt)
	if adapt.drift.Paced == 0 || save(t, watch).model == middle.model {
		t.Fatal("the drift led to nothing")
	}
	again := middle.restore(t, driftConfig(DriftAdapt), log)
	learnBatches(t, adapt, log, at+40, batches, 4)
	learnBatches(t, again, log, at+40, batches, 4)
	if whole, restarted := save(t, adapt), save(t, again); whole.sum != restarted.sum {
		t.Errorf("restarted in the midst of the adaptation:\n%s\nin one go:\n%s", restarted.state, whole.state)
	}
	if adapt.drift.Paced != 0 || adapt.drift.pace() != 1 {
		t.Errorf("%d batches later the pace is still %v", batches-at, adapt.drift.pace())
	}
}

// TestStepsThatShowNothing: a step on nothing and one that was not taken leave the drift alone, and so does every step without a fast lane.
func TestStepsThatShowNothing(t *testing.T) {
	l, err := New(driftConfig(DriftAdapt), shopParts{})
	if err != nil {
		t.Fatal(err)
	}
	before := l.drift
	l.watch(model.StepStats{Loss: 3}, 7)
	l.watch(model.StepStats{Loss: 3, Examples: 1, Skipped: true}, 7)
	l.cfg.Recency.Fast = false
	l.watch(model.StepStats{Loss: 3, Examples: 1}, 7)
	if l.drift != before {
		t.Errorf("%+v", l.drift)
	}
	l.cfg.Recency.Fast = true
	if l.watch(model.StepStats{Loss: 3, Examples: 1}, 7); l.drift.Seen != 1 {
		t.Errorf("a step that shows something: %+v", l.drift)
	}
}

// TestShedHistoryIsCounted: of each history that was cut short, what a whole one has more.
func TestShedHistoryIsCounted(t *testing.T) {
	log := drawSwitch(20*driftBatch, -1)
	l, err := New(driftConfig(DriftWatch), log)
	if err != nil {
		t.Fatal(err)
	}
	learnBatches(t, l, log, 0, 10, 4)
	if n := l.Counts().Shed.HistoryParts; n != 0 {
		t.Fatalf("%d parts were shed of whole histories", n)
	}
	learnBatches(t, l, log, 10, 20, 1)
	want := int64(0)
	for i := 10 * driftBatch; i < 20*driftBatch; i++ {
		if h, _ := log.History(0, log.parts[i].UserID, schema.Emit(i), 1); len(h) == 1 {
			want += 4 - 1
		}
	}
	if n := l.Counts().Shed.HistoryParts; n != want || want == 0 {
		t.Errorf("%d parts of histories were shed, want %d", n, want)
	}
}
