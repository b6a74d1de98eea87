package baseline_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

// TestRanksAmongManyItems has more items than places. Clicks are of one moment, so that ties are many, and exact.
func TestRanksAmongManyItems(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const rows = 3 * baseline.Places
		l := baseline.New(small())
		var clicks [rows]int
		for range rapid.IntRange(0, 600).Draw(t, "clicks") {
			row := rapid.IntRange(0, rows-1).Draw(t, "row")
			clicks[row]++
			l.Learn(baseline.Click{Row: model.Row(row), At: 1_700_000_000_000})
		}
		if rapid.Bool().Draw(t, "forget") {
			row := rapid.IntRange(0, rows-1).Draw(t, "gone")
			l.Forget([]model.Row{model.Row(row)})
			clicks[row] = 0
		}
		votes := l.Votes(baseline.Request{})
		for row, n := range clicks {
			want := 0
			for _, m := range clicks {
				if m >= n {
					want++
				}
			}
			if n == 0 || want > baseline.Places {
				want = 0
			}
			if got := votes.Rank(baseline.ArmPopular2, model.Row(row)); got != want {
				t.Fatalf("row %d with %d clicks has rank %d, want %d", row, n, got, want)
			}
		}
		top := votes.Top(nil, baseline.ArmPopular2)
		sorted := slices.Clone(clicks[:])
		slices.SortFunc(sorted, func(a, b int) int { return b - a })
		for place, e := range top {
			if clicks[e.Row] != sorted[place] {
				t.Fatalf("place %d is row %d with %d clicks, want one with %d", place+1, e.Row, clicks[e.Row], sorted[place])
			}
		}
	})
}

// follow counts a transition from row 0.
func follow(l *baseline.Live, to model.Row) {
	l.Learn(baseline.Click{Row: to, At: 1_700_000_000_000, Before: []model.Row{0}})
}

func TestFullListLetsNewcomersIn(t *testing.T) {
	l := baseline.New(small())
	for range 3 {
		for to := range model.Row(256) {
			follow(l, 1+to)
		}
	}
	votes := func() []model.Row {
		var rows []model.Row
		for row := range model.Row(400) {
			if l.Votes(baseline.Request{Clicks: []model.Row{0}}).Rank(baseline.ArmItemToItem, row) > 0 {
				rows = append(rows, row)
			}
		}
		return rows
	}
	if n := len(votes()); n != 256 {
		t.Fatalf("%d successors before there are newcomers", n)
	}
	// A newcomer that is seen now and then, among others that are seen once: it must outlive them.
	for i := range model.Row(40) {
		follow(l, 300+i)
		if i%10 == 0 {
			follow(l, 299)
		}
	}
	rows := votes()
	if len(rows) != 256 || !slices.Contains(rows, 299) {
		t.Errorf("%d successors, of which 299 is one: %v", len(rows), slices.Contains(rows, 299))
	}
	for range 100 {
		follow(l, 299)
	}
	follow(l, 390)
	rows = votes()
	if len(rows) != 256 || !slices.Contains(rows, 390) || slices.Contains(rows, 300) {
		t.Errorf("%d successors; the newest is in: %v; the first of those that were seen once is still: %v", len(rows), slices.Contains(rows, 390), slices.Contains(rows, 300))
	}
	tables, err := l.Tables()
	if err != nil {
		t.Fatal(err)
	}
	saved := map[string]schema.Table{}
	for _, n := range tables {
		saved[n.Name] = n.Table
	}
	if _, err := baseline.Restore(small(), saved); err != nil { // which checks that the lists are whole
		t.Error(err)
	}
}

// TestForgottenIsAsNeverKnown gives a row to another item: nothing that is said, or saved, names it.
func TestForgottenIsAsNeverKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, l := newShop(), baseline.New(small())
		for range rapid.IntRange(0, 150).Draw(t, "clicks") {
			l.Learn(s.click(t))
		}
		gone := s.forget(t)
		l.Forget(gone)
		tables, err := l.Tables()
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range tables {
			for _, c := range table.Table.Columns {
				lists, ok := c.Data.([][]int32)
				if !ok {
					continue
				}
				for i, list := range lists {
					names := c.Name == "successors" || c.Name == "rows"
					for _, row := range list {
						if names && has(gone, model.Row(row)) {
							t.Fatalf("%s.%s[%d] still names row %d", table.Name, c.Name, i, row)
						}
					}
					if c.Name != "rows" && has(gone, model.Row(i)) && len(list) > 0 {
						t.Fatalf("%s.%s of row %d is %v", table.Name, c.Name, i, list)
					}
				}
			}
		}
		for _, row := range gone {
			if l.Clicks(row) != 0 || l.Span(row) != (baseline.Span{}) || l.Log2(row) != baseline.NeverClicked {
				t.Fatalf("row %d has %d clicks", row, l.Clicks(row))
			}
		}
		terms, marks := seen(s, l)
		for _, row := range gone {
			if terms[int(row)*model.ItemTerms+model.TermRare] != 1 {
				t.Fatalf("row %d has terms", row)
			}
			for _, of := range marks {
				if slices.ContainsFunc(of, func(m model.Mark) bool { return m.Row == row }) {
					t.Fatalf("row %d is marked", row)
				}
			}
		}
	})
}

// TestStrongestMarksStay bounds the marks of a request.
func TestStrongestMarksStay(t *testing.T) {
	cfg := small()
	cfg.Transitions = 5
	l := baseline.New(cfg)
	for to := range model.Row(20) {
		for range 1 + (to*7)%20 { // 1 to 20 times, each once
			follow(l, 1+to)
		}
	}
	marks := l.Marks(nil, baseline.Request{Clicks: []model.Row{0}, Kinds: baseline.KindsOf(model.MarkTransition)})
	if len(marks) != 5 {
		t.Fatalf("%d marks, want 5", len(marks))
	}
	for _, m := range marks {
		if n := 1 + ((m.Row-1)*7)%20; n <= 15 {
			t.Errorf("row %d, which followed %d times, is among the five strongest of 20", m.Row, n)
		}
	}
}

func TestSpans(t *testing.T) {
	l := baseline.New(small())
	for _, at := range []schema.EventTime{5000, 9000, 4000} { // the stream may step back
		l.Learn(baseline.Click{Row: 2, At: at})
	}
	if got := l.Span(2); got != (baseline.Span{First: 4000, Last: 9000}) || l.Span(1) != (baseline.Span{}) {
		t.Errorf("spans: %v %v", got, l.Span(1))
	}
}

// full returns tables of a stream that fills all of them, as a checkpoint or as a publication.
func full(t *testing.T) (*baseline.Live, map[string]schema.Table, map[string]schema.Table) {
	t.Helper()
	l := baseline.New(small())
	for i := range 200 {
		user, place := i%4, i/4%5
		var before, earlier []model.Row
		for p := range place {
			before = append(before, model.Row((user*3+p)%11))
		}
		for p := range i / 20 * 2 {
			earlier = append(earlier, model.Row(p%11))
		}
		l.Learn(baseline.Click{
			Row: model.Row((user*3 + place) % 11), At: schema.EventTime(1_700_000_000_000 + i*1000),
			Session: uint64(1 + user + i/20*4), First: place == 0, Before: before, Earlier: earlier,
		})
	}
	decoded := func(tables []model.NamedTable, err error) map[string]schema.Table {
		if err != nil {
			t.Fatal(err)
		}
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
	return l, decoded(l.Tables()), decoded(l.Publish(true))
}

// col finds a column to damage.
func col[T any](t *testing.T, tables map[string]schema.Table, table, name string) T {
	t.Helper()
	data, err := schema.Col[T](tables[table], name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// meta changes what a table says of itself.
func meta(tables map[string]schema.Table, table, key, value string) {
	t := tables[table]
	t.Meta = slices.Clone(t.Meta)
	for i := range t.Meta {
		if t.Meta[i][0] == key {
			t.Meta[i][1] = value
		}
	}
	tables[table] = t
}

func TestDamageIsRefused(t *testing.T) {
	type tables = map[string]schema.Table
	saved := map[string]func(tables){
		"no counts":                 func(x tables) { delete(x, "live_counts") },
		"no postings":               func(x tables) { delete(x, "live_postings") },
		"a column is missing":       func(x tables) { s := x["live_arrivals"]; s.Columns = s.Columns[:3]; x["live_arrivals"] = s },
		"negative clicks":           func(x tables) { col[[]int64](t, x, "live_counts", "clicks")[3] = -1 },
		"a popularity is not one":   func(x tables) { col[[]float64](t, x, "live_counts", "popularity_2")[0] = math.NaN() },
		"a total is not a number":   func(x tables) { meta(x, "live_counts", "popularity_1", "NaN") },
		"a row too few":             func(x tables) { meta(x, "live_counts", "rows", "12") },
		"no config":                 func(x tables) { meta(x, "live_counts", "config", "") },
		"successors do not rise":    func(x tables) { slices.Reverse(col[[][]int32](t, x, "live_transitions", "successors")[1]) },
		"a successor below 0":       func(x tables) { col[[][]int32](t, x, "live_transitions", "successors")[1][0] = -1 },
		"a weight of 0":             func(x tables) { col[[][]float32](t, x, "live_arrivals", "weights")[1][0] = 0 },
		"a weight too few":          func(x tables) { w := col[[][]float32](t, x, "live_arrivals", "weights"); w[1] = w[1][1:] },
		"an age too few":            func(x tables) { w := col[[][]int32](t, x, "live_transitions", "counted"); w[1] = w[1][1:] },
		"additions below 0":         func(x tables) { col[[]int64](t, x, "live_transitions", "additions")[1] = -1 },
		"a session too long":        func(x tables) { r := col[[][]int32](t, x, "live_sessions", "rows"); r[0] = []int32{1, 2, 3, 4, 5} },
		"a session of no item":      func(x tables) { col[[][]int32](t, x, "live_sessions", "rows")[0][0] = 4000 },
		"two sessions of one key":   func(x tables) { k := col[[]uint64](t, x, "live_sessions", "key"); k[1] = k[0] },
		"the next slot is not one":  func(x tables) { meta(x, "live_sessions", "next", "12") },
		"a posting beyond the ring": func(x tables) { col[[][]int32](t, x, "live_postings", "sessions")[1][0] = 12 },
		"a posting twice":           func(x tables) { p := col[[][]int32](t, x, "live_postings", "sessions"); p[1][1] = p[1][0] },
		"too many postings":         func(x tables) { p := col[[][]int32](t, x, "live_postings", "sessions"); p[1] = make([]int32, 6) },
	}
	for name, damage := range saved {
		_, x, _ := full(t)
		if _, err := baseline.Restore(small(), x); err != nil {
			t.Fatalf("undamaged: %v", err)
		}
		damage(x)
		if _, err := baseline.Restore(small(), x); !errors.Is(err, schema.ErrCorrupt) {
			t.Errorf("checkpoint, %s: %v", name, err)
		}
	}
	published := map[string]func(tables){
		"no counts":                 func(x tables) { delete(x, "counts") },
		"no transitions":            func(x tables) { delete(x, "transitions") },
		"no neighbours":             func(x tables) { delete(x, "neighbours") },
		"no postings":               func(x tables) { delete(x, "postings") },
		"a config that is none":     func(x tables) { meta(x, "counts", "config", "{}") },
		"rows do not rise":          func(x tables) { slices.Reverse(col[[]int32](t, x, "counts", "row")) },
		"a hole":                    func(x tables) { col[[]int32](t, x, "counts", "row")[10] = 12 },
		"a row too many":            func(x tables) { meta(x, "counts", "rows", "10") },
		"a huge row":                func(x tables) { r := col[[]int32](t, x, "transitions", "row"); r[len(r)-1] = 1 << 30 },
		"kinds are mixed":           func(x tables) { slices.Reverse(col[[]int32](t, x, "transitions", "arrival")) },
		"a kind that is none":       func(x tables) { a := col[[]int32](t, x, "transitions", "arrival"); a[len(a)-1] = 2 },
		"arrivals are too few":      func(x tables) { meta(x, "transitions", "arrivals", "20") },
		"a posting beyond the ring": func(x tables) { col[[][]int32](t, x, "postings", "sessions")[1][0] = 12 },
		"a slot is missing":         func(x tables) { meta(x, "neighbours", "slots", "13") },
	}
	for name, damage := range published {
		_, _, x := full(t)
		if _, err := baseline.LoadServed(x); err != nil {
			t.Fatalf("undamaged: %v", err)
		}
		damage(x)
		if _, err := baseline.LoadServed(x); !errors.Is(err, schema.ErrCorrupt) {
			t.Errorf("publication, %s: %v", name, err)
		}
	}
}

// TestDamageNeverPanics changes one number of a publication. What is still loaded must answer with finite numbers.
func TestDamageNeverPanics(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		_, _, x := full(t)
		name := rapid.SampledFrom([]string{"counts", "transitions", "neighbours", "postings"}).Draw(r, "object")
		table := x[name]
		value := rapid.SampledFrom([]int64{-1, 0, 1, 7, 11, 12, 300, 1 << 20, math.MaxInt32}).Draw(r, "value")
		at := rapid.IntRange(0, 1000).Draw(r, "line")
		switch c := table.Columns[rapid.IntRange(0, len(table.Columns)-1).Draw(r, "column")].Data.(type) {
		case []int32:
			c[at%len(c)] = int32(value)
		case []int64:
			c[at%len(c)] = value
		case []uint64:
			c[at%len(c)] = uint64(value)
		case []float64:
			c[at%len(c)] = float64(value)
		case [][]int32:
			if of := c[at%len(c)]; len(of) > 0 {
				of[at%len(of)] = int32(value)
			} else {
				c[at%len(c)] = []int32{int32(value)}
			}
		case [][]float32:
			c[at%len(c)] = append(c[at%len(c)], float32(value))
		default:
			r.Fatalf("a column of %T", c)
		}
		served, err := baseline.LoadServed(x)
		if err != nil {
			if !errors.Is(err, schema.ErrCorrupt) {
				r.Fatalf("not ErrCorrupt: %v", err)
			}
			return
		}
		terms := make([]float32, 20*model.ItemTerms)
		served.ItemTerms(terms, 0)
		for row := range model.Row(12) {
			for begin := range 2 {
				for _, m := range served.Marks(nil, baseline.Request{Clicks: []model.Row{3, row}, Begin: 2 * begin, Now: 1_700_000_300_000, Kinds: baseline.AllKinds}) {
					terms = append(terms, m.Value)
				}
			}
		}
		for _, x := range terms {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				r.Fatalf("a term is %v", x)
			}
		}
	})
}

// TestDeltaOfAnotherVersionIsRefused skips a version that brought new rows.
func TestDeltaOfAnotherVersionIsRefused(t *testing.T) {
	l, _, first := full(t)
	served, err := baseline.LoadServed(first)
	if err != nil {
		t.Fatal(err)
	}
	objects := func(row model.Row) map[string]schema.Table {
		l.Learn(baseline.Click{Row: row, At: 1_700_001_000_000})
		published, err := l.Publish(false)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]schema.Table{}
		for _, o := range published {
			out[o.Name] = o.Table
		}
		return out
	}
	second, third := objects(12), objects(14)
	if _, err := served.Apply(third); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("a version was skipped: %v", err)
	}
	next, err := served.Apply(second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next.Apply(third); err != nil {
		t.Error(err)
	}
}

func TestOtherHalfLivesAreRefused(t *testing.T) {
	_, x, _ := full(t)
	other := small()
	other.HalfLife1 *= 2
	if _, err := baseline.Restore(other, x); err == nil || errors.Is(err, schema.ErrCorrupt) || !strings.Contains(err.Error(), "new data directory") {
		t.Errorf("restored under other half-lives: %v", err)
	}
}

func TestConfigSaysAllFaults(t *testing.T) {
	if err := baseline.DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	c := baseline.DefaultConfig()
	c.HalfLife2, c.Kappa, c.Sample, c.VSTAN.Age, c.STAN.Place, c.NeighboursBy = time.Minute, 0, 0, 0, -1, "all"
	err := c.Validate()
	for _, key := range []string{"half_life_2", "kappa", "sample", "vstan.age", "stan.place", "neighbours_by"} {
		if !strings.Contains(fmt.Sprint(err), "baseline "+key+": ") {
			t.Errorf("no word of %s in %v", key, err)
		}
	}
}
