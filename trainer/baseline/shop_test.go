package baseline_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

const items = 40

// shop makes clicks for tests: a few users among a few items, in sessions.
type shop struct {
	now      schema.EventTime
	sessions uint64
	users    [6]struct {
		clicks []model.Row
		begin  int
		key    uint64
	}
}

func newShop() *shop { return &shop{now: 1_700_000_000_000} }

// click draws the next one.
func (s *shop) click(t *rapid.T) baseline.Click {
	s.now += schema.EventTime(rapid.IntRange(1, 400_000).Draw(t, "pause"))
	u := &s.users[rapid.IntRange(0, len(s.users)-1).Draw(t, "user")]
	first := u.key == 0 || rapid.IntRange(0, 4).Draw(t, "ends") == 0
	if first {
		s.sessions++
		u.key, u.begin = s.sessions, len(u.clicks)
	}
	// squared, so that some items are popular
	x := rapid.IntRange(0, items-1).Draw(t, "row")
	c := baseline.Click{
		Row: model.Row(x * x / items), At: s.now, Session: u.key, First: first,
		Before: u.clicks[u.begin:len(u.clicks):len(u.clicks)], Earlier: u.clicks[:u.begin:u.begin],
	}
	u.clicks = append(u.clicks, c.Row)
	return c
}

// request is what some user would ask now.
func (s *shop) request(user int) baseline.Request {
	u := &s.users[user%len(s.users)]
	r := baseline.Request{Clicks: u.clicks, Begin: u.begin, Session: u.key, Now: s.now + 5000, Kinds: baseline.AllKinds}
	if user >= len(s.users) { // as at the first click of a session
		r.Begin, r.Session = len(u.clicks), s.sessions+1
	}
	return r
}

// forget draws rows and takes them from users' clicks, as a trainer would that gives them to other items.
func (s *shop) forget(t *rapid.T) []model.Row {
	gone := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) model.Row { return model.Row(rapid.IntRange(0, items).Draw(t, "row")) }), 1, 3).Draw(t, "gone")
	for i := range s.users {
		u := &s.users[i]
		var kept []model.Row
		begin := 0
		for j, r := range u.clicks {
			if j == u.begin {
				begin = len(kept)
			}
			if !has(gone, r) {
				kept = append(kept, r)
			}
		}
		if u.begin >= len(u.clicks) {
			begin = len(kept)
		}
		u.clicks, u.begin = kept, begin
	}
	return gone
}

func has(rows []model.Row, row model.Row) bool {
	for _, r := range rows {
		if r == row {
			return true
		}
	}
	return false
}

// small is a config whose bounds a short stream reaches.
func small() baseline.Config {
	c := baseline.DefaultConfig()
	c.Neighbours, c.EarlierTransitions = true, true
	c.Sessions, c.SessionClicks, c.Sample = 12, 4, 5
	c.VSKNN.K, c.STAN.K, c.VSTAN.K = 3, 4, 3
	c.STAN.Age, c.VSTAN.Age = time.Hour, 2*time.Hour
	c.Transitions, c.Repeats, c.Earlier = 8, 6, 3
	return c
}

// seen is all that readers are told.
func seen(s *shop, of interface {
	model.Live
	Marks([]model.Mark, baseline.Request) []model.Mark
}) (terms []float32, marks [][]model.Mark) {
	terms = make([]float32, (items+3)*model.ItemTerms)
	of.ItemTerms(terms, 0)
	for user := range 2 * len(s.users) {
		marks = append(marks, of.Marks(nil, s.request(user)))
	}
	return terms, marks
}

func encoded(t *rapid.T, tables []model.NamedTable) map[string]schema.Table {
	out := map[string]schema.Table{}
	for _, n := range tables {
		b, err := n.Table.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if out[n.Name], err = schema.DecodeTable(b); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestRestoredIsAsNeverStopped stops anywhere: what goes on from the tables learns, answers and is saved as what never stopped.
func TestRestoredIsAsNeverStopped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, l := newShop(), baseline.New(small())
		for range rapid.IntRange(0, 150).Draw(t, "clicks before") {
			l.Learn(s.click(t))
		}
		if rapid.Bool().Draw(t, "forget") {
			l.Forget(s.forget(t))
		}
		tables, err := l.Tables()
		if err != nil {
			t.Fatal(err)
		}
		restored, err := baseline.Restore(small(), encoded(t, tables))
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 60).Draw(t, "clicks after") {
			c := s.click(t)
			l.Learn(c)
			restored.Learn(c)
		}
		terms, marks := seen(s, l)
		termsToo, marksToo := seen(s, restored)
		if diff := cmp.Diff(terms, termsToo) + cmp.Diff(marks, marksToo); diff != "" {
			t.Fatalf("the restored one says otherwise:\n%s", diff)
		}
		for arm := range baseline.Arm(baseline.Arms) {
			if diff := cmp.Diff(l.Votes(s.request(0)).Top(nil, arm), restored.Votes(s.request(0)).Top(nil, arm)); diff != "" {
				t.Fatalf("%s votes otherwise:\n%s", arm, diff)
			}
		}
		one, err := l.Tables()
		if err != nil {
			t.Fatal(err)
		}
		other, err := restored.Tables()
		if err != nil {
			t.Fatal(err)
		}
		for i := range one {
			a, err := one[i].Table.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			b, err := other[i].Table.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a, b) {
				t.Fatalf("table %s has other bytes:\n%s", one[i].Name, cmp.Diff(one[i].Table, other[i].Table))
			}
		}
	})
}

// TestServedSaysTheSame publishes now and then: what is served says what the trainer said then, bit for bit, and goes on saying it after the next version.
func TestServedSaysTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := small()
		cfg.Neighbours = rapid.Bool().Draw(t, "neighbours")
		s, l := newShop(), baseline.New(cfg)
		var before, served *baseline.Served
		var terms []float32
		var marks [][]model.Mark
		asked := *s
		for range rapid.IntRange(1, 5).Draw(t, "versions") {
			for range rapid.IntRange(0, 60).Draw(t, "clicks") {
				l.Learn(s.click(t))
			}
			if rapid.IntRange(0, 3).Draw(t, "forget") == 0 {
				l.Forget(s.forget(t))
			}
			full := served == nil || rapid.IntRange(0, 4).Draw(t, "full") == 0
			objects, err := l.Publish(full)
			if err != nil {
				t.Fatal(err)
			}
			before = served
			if full {
				served, err = baseline.LoadServed(encoded(t, objects))
			} else {
				served, err = served.Apply(encoded(t, objects))
			}
			if err != nil {
				t.Fatal(err)
			}
			if before != nil {
				termsThen, marksThen := seen(&asked, before)
				if diff := cmp.Diff(terms, termsThen) + cmp.Diff(marks, marksThen); diff != "" {
					t.Fatalf("a version changed after it was served:\n%s", diff)
				}
			}
			terms, marks = seen(s, l)
			termsServed, marksServed := seen(s, served)
			if diff := cmp.Diff(terms, termsServed) + cmp.Diff(marks, marksServed); diff != "" {
				t.Fatalf("served (+) is not what the trainer has (-):\n%s", diff)
			}
			if diff := cmp.Diff(l.Votes(s.request(0)).Top(nil, baseline.ArmPopular1), served.Popular(nil)); diff != "" {
				t.Fatalf("the most popular, trainer (-) and served (+):\n%s", diff)
			}
			asked = *s
		}
	})
}

// TestDeltaHoldsOnlyWhatChanged learns one click between two publications.
func TestDeltaHoldsOnlyWhatChanged(t *testing.T) {
	cfg := small()
	l := baseline.New(cfg)
	for i := range model.Row(30) {
		l.Learn(baseline.Click{Row: i, At: schema.EventTime(1_700_000_000_000 + int64(i)*1000), Session: uint64(i/2 + 1), First: i%2 == 0, Before: []model.Row{i - i%2}[:i%2]})
	}
	if _, err := l.Publish(true); err != nil {
		t.Fatal(err)
	}
	l.Learn(baseline.Click{Row: 5, At: 1_700_000_100_000, Session: 99, Before: []model.Row{3}})
	objects, err := l.Publish(false)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]int32{baseline.ObjectCounts: {5}, baseline.ObjectTransitions: {3}, baseline.ObjectPostings: {3, 5}}
	for _, o := range objects {
		if o.Name == baseline.ObjectNeighbours {
			continue
		}
		got, err := schema.Col[[]int32](o.Table, "row")
		if err != nil {
			t.Fatal(err)
		}
		// the session that made room had two items of its own
		if o.Name == baseline.ObjectPostings {
			if !slices.Contains(got, 3) || !slices.Contains(got, 5) || len(got) > 4 {
				t.Errorf("postings of %v", got)
			}
			continue
		}
		if diff := cmp.Diff(want[o.Name], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", o.Name, diff)
		}
	}
}
