package evaluate

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
)

const start = schema.EventTime(1_700_000_000_000)

// TestMetricsAsSorted compares with lists that are written out: scores are sorted, the best hundred are the list, and the metrics are read off it.
func TestMetricsAsSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.IntRange(1, 300).Draw(t, "items")
		order := rapid.Permutation(sequence(items)).Draw(t, "order") // order[i] is the score of item i: no ties
		targets := rapid.SliceOfNDistinct(rapid.IntRange(0, items-1), 1, min(items, 130), rapid.ID).Draw(t, "targets")
		list := sequence(items)
		sort.Slice(list, func(i, j int) bool { return order[list[i]] > order[list[j]] })

		ranks := make([]int, len(targets))
		for i, target := range targets {
			ranks[i] = slices.Index(list, target) + 1
		}
		e := New(Config{Arms: []string{"a"}})
		e.Add(&Test{At: start, Targets: make([]Target, len(targets)), Ranks: [][]int{ranks}})
		got, _ := e.Whole(NextClick).Arm("a")

		naive := func(k int) (recall, mrr, ndcg float64) {
			var dcg, ideal float64
			for place, item := range list[:min(k, len(list))] {
				if place < len(targets) {
					ideal += 1 / math.Log2(float64(place)+2)
				}
				if slices.Contains(targets, item) {
					recall++
					dcg += 1 / math.Log2(float64(place)+2)
					mrr = max(mrr, 1/float64(place+1))
				}
			}
			return recall / float64(min(k, len(targets))), mrr, dcg / ideal
		}
		want := Scores{Arm: "a"}
		want.Recall1, want.MRR1, want.NDCG1 = naive(1)
		want.Recall5, want.MRR5, want.NDCG5 = naive(5)
		want.Recall20, want.MRR20, want.NDCG20 = naive(20)
		want.Recall100, want.MRR100, want.NDCG100 = naive(100)
		if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-12)); diff != "" {
			t.Fatalf("scores (-want +got):\n%s", diff)
		}
	})
}

func TestRuleOfRanks(t *testing.T) {
	f := func(ranks []int, recall, mrr float64) {
		t.Helper()
		e := New(Config{Arms: []string{"a"}})
		e.Add(&Test{Targets: make([]Target, len(ranks)), Ranks: [][]int{ranks}})
		if s, _ := e.Whole(NextClick).Arm("a"); s.Recall20 != recall || s.MRR20 != mrr {
			t.Errorf("ranks %v: recall %v, MRR %v; want %v, %v", ranks, s.Recall20, s.MRR20, recall, mrr)
		}
	}
	f([]int{1}, 1, 1)
	f([]int{20}, 1, 1./20)
	f([]int{21}, 0, 0)
	f([]int{0}, 0, 0) // a miss
	f([]int{0, 4, 2, 90}, 2./4, 1./2)
	many := sequence(30) // more targets than places: finding 20 is all one can do
	for i := range many {
		many[i]++
	}
	f(many, 1, 1)
}

func sequence(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

var testArms = []string{"model", "popularity", "best"}

// stream makes tests. Every field takes values at and beyond the edges of its classes.
type stream struct {
	rng *rand.Rand
	at  schema.EventTime
	n   int
}

func newStream(seed uint64) *stream { return &stream{rng: rand.New(rand.NewPCG(seed, 1)), at: start} }

func (s *stream) next(t *Test) {
	s.n++
	s.at += schema.EventTime(s.rng.IntN(60_000))
	*t = Test{
		At: s.at - schema.EventTime(s.rng.IntN(2)*s.rng.IntN(7_200_000)), Kind: Kind(s.rng.IntN(int(kinds))),
		Scene: fmt.Sprint("scene ", min(s.rng.IntN(40), s.rng.IntN(40))), Place: 1 + s.rng.IntN(14),
		Targets: t.Targets[:0], Ranks: t.Ranks, Lists: t.Lists, Catalogue: 500,
		AgeOf: func(row int32) time.Duration { return time.Duration(row) * time.Hour },
	}
	targets := 1
	if t.Kind != NextClick {
		targets += s.rng.IntN(4)
	}
	for range targets {
		t.Targets = append(t.Targets, Target{
			Clicks: int64(s.rng.IntN(1 << s.rng.IntN(12))), Age: time.Duration(s.rng.Int64N(1<<s.rng.IntN(50)+1)) * 1000, Unseen: s.rng.IntN(20) == 0,
			Action: schema.Action([]string{"click", "cart", "purchase", "a", "b", "c", "d", "e", "f", "g"}[s.rng.IntN(10)]), InSession: s.rng.IntN(3) == 0, Earlier: s.rng.IntN(3) == 0,
		})
	}
	t.Ranks, t.Lists = slices.Grow(t.Ranks[:0], 3)[:3], slices.Grow(t.Lists[:0], 3)[:3]
	for arm := range t.Ranks {
		if t.Ranks[arm] = t.Ranks[arm][:0]; t.Ranks[arm] == nil {
			t.Ranks[arm] = []int{}
		}
		for range targets {
			t.Ranks[arm] = append(t.Ranks[arm], s.rng.IntN(1<<(1+s.rng.IntN(7+arm))))
		}
		t.Lists[arm] = t.Lists[arm][:0]
		for range s.rng.IntN(25) {
			t.Lists[arm] = append(t.Lists[arm], int32(s.rng.IntN(10+s.rng.IntN(490))))
		}
	}
}

// naiveOver adds up by hand the tests that keep says belong together; recall@20 and MRR@20 of an arm.
func naiveOver(tests []Test, arm int, keep func(t *Test) bool) (n int64, recall, mrr float64) {
	for i := range tests {
		t := &tests[i]
		if !keep(t) {
			continue
		}
		n++
		hits, best := 0, 0.0
		for _, r := range t.Ranks[arm] {
			if r >= 1 && r <= 20 {
				hits++
				best = max(best, 1/float64(r))
			}
		}
		recall += float64(hits) / float64(min(20, len(t.Targets)))
		mrr += best
	}
	return n, recall / float64(n), mrr / float64(n)
}

func clone(t Test) Test {
	t.Targets = slices.Clone(t.Targets)
	t.Ranks = slices.Clone(t.Ranks)
	for i := range t.Ranks {
		t.Ranks[i] = slices.Clone(t.Ranks[i])
	}
	t.Lists = slices.Clone(t.Lists)
	for i := range t.Lists {
		t.Lists[i] = slices.Clone(t.Lists[i])
	}
	return t
}

// TestGroupsAsCountedByHand takes 3000 tests apart in every way the report does, and compares with loops over the tests.
func TestGroupsAsCountedByHand(t *testing.T) {
	const seed = 5
	t.Logf("seed %d", seed)
	s, e := newStream(seed), New(Config{Arms: testArms, Fading: 0.99, Period: 24 * time.Hour}) // few enough days that no period is doubled
	var tests, targets []Test                                                                  // targets: each as a test of its own
	for range 3000 {
		var test Test
		s.next(&test)
		e.Add(&test)
		tests = append(tests, clone(test))
		for i, target := range test.Targets {
			one := Test{Kind: test.Kind, Targets: []Target{target}}
			for _, ranks := range test.Ranks {
				one.Ranks = append(one.Ranks, []int{ranks[i]})
			}
			targets = append(targets, one)
		}
	}
	compared := 0
	compare := func(what string, g Group, of []Test, keep func(t *Test) bool) {
		t.Helper()
		for arm, name := range testArms {
			n, recall, mrr := naiveOver(of, arm, keep)
			got, ok := g.Arm(name)
			if !ok || g.Tests != n || math.Abs(got.Recall20-recall) > 1e-9 || math.Abs(got.MRR20-mrr) > 1e-9 {
				t.Errorf("%s, %s: %d tests, recall %v, MRR %v; want %d, %v, %v", what, name, g.Tests, got.Recall20, got.MRR20, n, recall, mrr)
			}
			compared++
		}
	}
	for k := range kinds {
		ofKind := func(t *Test) bool { return t.Kind == k }
		compare("whole", e.Whole(k), tests, ofKind)
		compare("last 1", e.Last(k, 1), tests, ofKind)
		for _, p := range e.Over(k) {
			compare("over "+p.From.String(), p.Group, tests, func(t *Test) bool {
				at := t.At.Time()
				return t.Kind == k && !at.Before(p.From) && at.Before(p.To)
			})
		}
		scenes := map[string]bool{}
		for i := range tests { // in the order in which they came: 16, and the rest
			if tests[i].Kind == k && len(scenes) < maxScenes {
				scenes[tests[i].Scene] = true
			}
		}
		for _, sl := range e.Slices(k) {
			of := targets
			if sl.By == "place" || sl.By == "scene" {
				of = tests
			}
			if sl.By == "action" { // its bound is tested on scenes
				continue
			}
			compare(sl.By+" "+sl.Class, sl.Group, of, func(t *Test) bool {
				target := t.Targets[0]
				var class string
				switch sl.By {
				case "clicks":
					n := target.Clicks
					class = pick(n == 0, "0", n < 5, "1-4", n < 20, "5-19", n < 100, "20-99", n < 1000, "100-999", true, "1000+")
				case "age":
					h := target.Age.Hours()
					class = pick(h < 1./6, "<10m", h < 1, "<1h", h < 6, "<6h", h < 24, "<1d", h < 168, "<7d", true, "older")
				case "repeat":
					class = pick(target.InSession, "in_session", target.Earlier, "earlier", true, "new")
				case "place":
					n := t.Place
					class = pick(n <= 3, fmt.Sprint(n), n <= 5, "4-5", n <= 10, "6-10", true, "11+")
				case "scene":
					class = pick(scenes[t.Scene], t.Scene, true, "other")
				}
				return t.Kind == k && class == sl.Class
			})
		}
		var faded, weights float64 // the definition, not the recurrence
		var ofThisKind []Test
		for i := range tests {
			if tests[i].Kind == k {
				ofThisKind = append(ofThisKind, tests[i])
			}
		}
		for i := range ofThisKind {
			weight := math.Pow(0.99, float64(len(ofThisKind)-1-i))
			_, recall, _ := naiveOver(ofThisKind[i:i+1], 1, func(*Test) bool { return true })
			faded, weights = faded+weight*recall, weights+weight
		}
		if got, _ := e.Faded(k).Arm("popularity"); math.Abs(got.Recall20-faded/weights) > 1e-9 {
			t.Errorf("%v faded: %v, want %v", k, got.Recall20, faded/weights)
		}
	}
	if compared < 3*3*40 {
		t.Errorf("only %d groups compared", compared)
	}
}

// pick returns the string behind the first condition that holds.
func pick(of ...any) string {
	for i := 0; ; i += 2 {
		if of[i].(bool) {
			return of[i+1].(string)
		}
	}
}

func encoded(t testing.TB, table schema.Table) []byte {
	t.Helper()
	b, err := table.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func reencoded(t testing.TB, cfg Config, e *Evaluation) *Evaluation {
	t.Helper()
	table, err := schema.DecodeTable(encoded(t, e.Table()))
	if err != nil {
		t.Fatal(err)
	}
	restored, err := Restore(cfg, table)
	if err != nil {
		t.Fatal(err)
	}
	return restored
}

// TestStopAnywhere goes through a table after random numbers of tests; the bytes at the end are those of one that never stopped.
func TestStopAnywhere(t *testing.T) {
	cfg := Config{Arms: testArms, Period: time.Minute, CoveragePeriod: time.Minute}
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		stops := rapid.SliceOfN(rapid.IntRange(0, 800), 1, 3).Draw(rt, "stops")
		a, b, whole, parts := newStream(seed), newStream(seed), New(cfg), New(cfg)
		var test Test
		for i := range 800 {
			if slices.Contains(stops, i) {
				parts = reencoded(t, cfg, parts)
			}
			a.next(&test)
			whole.Add(&test)
			b.next(&test)
			parts.Add(&test)
			whole.Untested(NextPart, i%2)
			parts.Untested(NextPart, i%2)
		}
		if !bytes.Equal(encoded(t, whole.Table()), encoded(t, parts.Table())) {
			rt.Fatal("restored, it went another way")
		}
		if !reflect.DeepEqual(whole.Report(), parts.Report()) {
			rt.Fatal("the same bytes, and another report")
		}
	})
}

// TestStopAfterPointsWereJoined is TestStopAnywhere on a stream that is long enough for curve, periods and coverage to be joined.
func TestStopAfterPointsWereJoined(t *testing.T) {
	cfg := Config{Arms: testArms, Period: time.Minute, CoveragePeriod: time.Minute}
	a, b, whole, parts := newStream(31), newStream(31), New(cfg), New(cfg)
	var test Test
	for i := range 40_000 {
		if i%9973 == 0 {
			parts = reencoded(t, cfg, parts)
		}
		a.next(&test)
		test.Kind = NextPart
		whole.Add(&test)
		b.next(&test)
		test.Kind = NextPart
		parts.Add(&test)
	}
	if board := &whole.boards[NextPart]; board.curve.width == firstWidth || board.periods.lengthMs == 60_000 || whole.coverage.joined == 1 {
		t.Fatal("nothing was joined")
	}
	if !bytes.Equal(encoded(t, whole.Table()), encoded(t, parts.Table())) {
		t.Error("restored, it went another way")
	}
	if diff := cmp.Diff(whole.Report(), parts.Report()); diff != "" {
		t.Error(diff)
	}
}
