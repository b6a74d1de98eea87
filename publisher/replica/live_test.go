package replica_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

// counting is a trainee with live tables.
type counting struct {
	*trainee
	live *baseline.Live
	at   schema.EventTime
}

func newCounting(t testing.TB, items int) *counting {
	t.Helper()
	c := baseline.DefaultConfig()
	c.Neighbours, c.Sessions = true, 100
	return &counting{newTrainee(t, items), baseline.New(c), schema.EventTime(now.UnixMilli()) - 3_600_000}
}

// click lets the tables learn a session of items.
func (c *counting) click(rows ...model.Row) {
	c.at += 60_000
	for i, row := range rows {
		c.at += 1000
		c.live.Learn(baseline.Click{Row: row, At: c.at, Session: uint64(c.at / 60_000), First: i == 0, Before: rows[:i]})
	}
}

// tables returns a delta with the live tables alone.
func (c *counting) tables(t testing.TB) publisher.Update {
	t.Helper()
	u := publisher.Update{Kind: schema.KindDelta, Step: 1, Items: c.m.Items(), ConfigDigest: modelConfig().Digest(),
		TrainedThrough: schema.TrainedThrough{EventTime: c.at, Positions: schema.Position{0: 1}}}
	c.add(t, &u)
	return u
}

func (c *counting) add(t testing.TB, u *publisher.Update) {
	t.Helper()
	objects, err := c.live.Publish(u.Kind == schema.KindBase)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		u.Objects = append(u.Objects, publisher.Object{Name: o.Name, Table: o.Table})
	}
}

func (c *counting) base(t testing.TB) publisher.Update {
	t.Helper()
	u := c.update(t, schema.KindBase)
	c.add(t, &u)
	return u
}

func send(t testing.TB, p *publisher.Publisher, u publisher.Update) schema.Manifest {
	t.Helper()
	m, err := p.Publish(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestTablesAloneAreAdopted: what was clicked since the weights moves answers, of those who are known and of those who are not, and a replica that starts with NATS down
// has it all from its disk.
func TestTablesAloneAreAdopted(t *testing.T) {
	server := natstest.Start(t, t.TempDir(), 0)
	js := dial(t, server)
	c, p := newCounting(t, 60), newPublisher(t, js, nil)
	c.click(3, 4, 3, 5)
	held := send(t, p, c.base(t))
	cfg := config("r1")
	cfg.Dir = t.TempDir()
	r, stop := start(t, cfg, js, nil)
	serves(t, r, held.Version)
	cold := `{"user_id":"nobody","k":60}`
	if first := ask(t, r.Handler(), cold).Items; len(first) != 60 || first[0].ItemID != "i3" || first[0].Score != 1 || first[0].Source != replica.SourceBaseline {
		t.Fatalf("popular: %+v", first)
	}
	before := ask(t, r.Handler(), body(10, "i7")).Items
	for range 20 {
		c.click(7, 41)
	}
	m := send(t, p, c.tables(t))
	serves(t, r, m.Version)
	if first := ask(t, r.Handler(), cold).Items; len(first) != 60 || first[0].ItemID != "i41" && first[0].ItemID != "i7" {
		t.Errorf("popular after the clicks: %+v", first[:3])
	}
	after := ask(t, r.Handler(), body(10, "i7")).Items
	if after[0].ItemID != "i41" || after[0].Source != replica.SourceModel || before[0].ItemID == "i41" {
		t.Errorf("what follows on i7: %+v, before it was %+v", after[:2], before[:2])
	}
	// Exposures are not clicks, and a session that is over does not go on.
	long := schema.EventTime(now.UnixMilli()) - 31*60_000
	for what, request := range map[string]string{
		"shown":           `{"user_id":"u1","k":10,"clicks":[{"item_id":"i50"},{"item_id":"i7","action":"exposure"}]}`,
		"another session": fmt.Sprintf(`{"user_id":"u1","k":10,"clicks":[{"item_id":"i7","timestamp":%d}]}`, long),
	} {
		score := func(items []replica.Item) float32 {
			for _, i := range items {
				if i.ItemID == "i41" {
					return i.Score
				}
			}
			return float32(math.Inf(-1))
		}
		if got := ask(t, r.Handler(), request).Items; score(got) > score(after)-1 {
			t.Errorf("%s: i41 has %v, and %v where it follows", what, score(got), score(after))
		}
	}
	stop()
	again, _ := start(t, cfg, dial(t, natstest.Start(t, t.TempDir(), 0)), nil)
	serves(t, again, m.Version)
	if diff := cmp.Diff(after, ask(t, again.Handler(), body(10, "i7")).Items); diff != "" {
		t.Errorf("from the disk (-before +after the start):\n%s", diff)
	}
}

func TestDamagedTablesAreRefused(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	c, p := newCounting(t, 20), newPublisher(t, js, nil)
	r, _ := start(t, config("r1"), js, nil)
	drop := func(names ...string) func(u *publisher.Update) {
		return func(u *publisher.Update) {
			var left []publisher.Object
			for _, o := range u.Objects {
				if !strings.Contains(strings.Join(names, " "), o.Name) {
					left = append(left, o)
				}
			}
			u.Objects = left
		}
	}
	table := func(name string, change func(t *schema.Table)) func(u *publisher.Update) {
		return func(u *publisher.Update) {
			for i := range u.Objects {
				if u.Objects[i].Name == name {
					change(&u.Objects[i].Table)
				}
			}
		}
	}
	for name, tc := range map[string]struct {
		bare   bool // the base before has no tables
		change func(u *publisher.Update)
	}{
		"no counts":        {change: drop(baseline.ObjectCounts)},
		"no transitions":   {change: drop(baseline.ObjectTransitions)},
		"no neighbours":    {change: drop(baseline.ObjectNeighbours)},
		"no postings":      {change: drop(baseline.ObjectPostings)},
		"nothing known":    {change: func(u *publisher.Update) { u.Objects = []publisher.Object{{Name: "other", Table: u.Objects[0].Table}} }},
		"none before":      {bare: true, change: func(*publisher.Update) {}},
		"item count":       {change: func(u *publisher.Update) { u.Items++ }},
		"no meta":          {change: table(baseline.ObjectCounts, func(t *schema.Table) { t.Meta = nil })},
		"a missing row":    {change: table(baseline.ObjectCounts, func(t *schema.Table) { t.Columns[0].Data.([]int32)[0] += 1000 })},
		"another column":   {change: table(baseline.ObjectPostings, func(t *schema.Table) { t.Columns[1].Name = "x" })},
		"no such session":  {change: table(baseline.ObjectPostings, func(t *schema.Table) { t.Columns[1].Data.([][]int32)[0] = []int32{99} })},
		"negative clicks":  {change: table(baseline.ObjectCounts, func(t *schema.Table) { t.Columns[1].Data.([]int64)[0] = -1 })},
		"negative weights": {change: table(baseline.ObjectTransitions, func(t *schema.Table) { t.Columns[3].Data.([][]float32)[0][0] = -1 })},
		"items alone": {change: func(u *publisher.Update) {
			u.Objects = append(u.Objects, c.update(t, schema.KindDelta).Objects[0])
		}},
	} {
		c.click(1, 2, 3)
		base := c.base(t)
		if tc.bare {
			drop(baseline.ObjectCounts, baseline.ObjectTransitions, baseline.ObjectNeighbours, baseline.ObjectPostings)(&base)
		}
		held := send(t, p, base)
		serves(t, r, held.Version)
		want, before := ask(t, r.Handler(), body(10, "i1")).Items, rejected(t, r, replica.ReasonTable)
		c.click(1, 2, 3)
		bad := c.tables(t)
		tc.change(&bad)
		send(t, p, bad)
		eventually(t, name+" is refused", func() bool { return rejected(t, r, replica.ReasonTable) > before })
		if m, _ := r.Current(); m.Version != held.Version {
			t.Errorf("%s: version %d is served", name, m.Version)
		}
		if diff := cmp.Diff(want, ask(t, r.Handler(), body(10, "i1")).Items); diff != "" {
			t.Errorf("%s: the answer changed:\n%s", name, diff)
		}
	}
}

// Under load, while versions with weights and of tables alone are swapped in, each answer has the model, the tables and the marks of the one version that it names (I8).
func TestTablesSwapUnderLoad(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	c, p := newCounting(t, 50), newPublisher(t, js, nil)
	r, _ := start(t, config("r1"), js, nil)
	clicked := schema.EventTime(now.UnixMilli() - 1000)
	var tables *baseline.Served
	var answers sync.Map // version → its answer
	publish := func(v schema.Version) {
		c.click(model.Row(v)%50, 1, 7, model.Row(3*v)%50)
		var u publisher.Update
		switch {
		case p.NextKind() == schema.KindBase:
			u = c.base(t)
		case v%2 == 0:
			u = c.update(t, schema.KindDelta)
			c.add(t, &u)
		default:
			u = c.tables(t)
		}
		objects := map[string]schema.Table{}
		for _, o := range u.Objects {
			objects[o.Name] = o.Table
		}
		var err error
		if u.Kind == schema.KindBase {
			tables, err = baseline.LoadServed(objects)
		} else {
			tables, err = tables.Apply(objects)
		}
		if err != nil {
			t.Fatal(err)
		}
		q := model.Query{At: schema.EventTime(now.UnixMilli()), User: "u1"}
		q.Past = []model.ServedSession{model.NewServedSession([]schema.Click{{ItemID: "i1", Action: schema.ActionClick, EventTime: clicked}, {ItemID: "i7", Action: schema.ActionClick, EventTime: clicked}})}
		q.Marks = tables.Marks(nil, baseline.Request{Clicks: []model.Row{1, 7}, Session: baseline.SessionKey("u1", clicked), Now: q.At, Kinds: baseline.AllKinds})
		scored, _ := c.direct.With(tables).Recommend(q, 20)
		var want []replica.Item
		for _, s := range scored {
			want = append(want, replica.Item{ItemID: s.ItemID, Score: s.Score, Source: replica.SourceModel})
		}
		answers.Store(v, want)
		if m := send(t, p, u); m.Version != v {
			t.Fatalf("version %d, want %d", m.Version, v)
		}
		serves(t, r, v)
	}
	publish(1)
	stop := make(chan struct{})
	var asked atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				w := call(r.Handler(), "POST", "/v1/recommend", body(20, "i1", "i7"))
				var a replica.Answer
				if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
					t.Error(err)
					return
				}
				want, _ := answers.Load(a.Model.Version)
				if diff := cmp.Diff(want, any(a.Items)); diff != "" {
					t.Errorf("version %d: the answer is not that version's:\n%s", a.Model.Version, diff)
					return
				}
				asked.Add(1)
			}
		})
	}
	for v := schema.Version(2); v <= 24; v++ {
		publish(v)
	}
	close(stop)
	wg.Wait()
	if asked.Load() < 100 {
		t.Errorf("%d requests only", asked.Load())
	}
}
