package evaluate

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

var update = flag.Bool("update", false, "write golden files that are not there yet")

// TestGoldenState holds the state after 5000 tests to the bytes that format 1 had first. Ranks are such that their logarithms are whole: no machine rounds them otherwise.
func TestGoldenState(t *testing.T) {
	cfg := Config{Arms: testArms, Period: time.Minute, CoveragePeriod: time.Minute}
	e, s := New(cfg), newStream(77)
	held := NewSessions(New(cfg), 50, gap)
	var test Test
	for range 5000 {
		s.next(&test)
		test.Targets = test.Targets[:1]
		for arm := range test.Ranks {
			test.Ranks[arm] = []int{1<<bits.Len(uint(test.Ranks[arm][0])) - 1}
		}
		e.Add(&test)
		visit(held, s.rng, s.at)
	}
	got := fmt.Sprintf("evaluation %x\nsessions %x\n", sha256.Sum256(encoded(t, e.Table())), sha256.Sum256(encoded(t, held.Table())))
	name := filepath.Join("testdata", "state.v1.sha256")
	if _, err := os.Stat(name); *update && os.IsNotExist(err) {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the state is now\n%swant\n%sA new layout needs a new tableFormat and a golden file of its own.", got, want)
	}
}

// TestBoundsHold adds a million tests with ever new scenes, actions, periods and rows.
func TestBoundsHold(t *testing.T) {
	e := New(Config{Arms: testArms, Period: time.Second, CoveragePeriod: time.Second})
	test := Test{Targets: make([]Target, 1), Ranks: [][]int{{1}, {0}, {3}}, Lists: [][]int32{{0}, {0}, {0}}, Catalogue: 1000}
	const tests = 1_000_000
	size := 0
	for i := range tests {
		test.At = start + schema.EventTime(i)*7_001
		if i < 10_000 {
			test.Scene = strings.Repeat("s", i%250)
			test.Targets[0].Action = schema.Action(strings.Repeat("a", i%250))
		}
		test.Ranks[1][0] = count(i >= tests*2/3) // never before, always since
		test.Lists[0][0] = int32(i % 1000)
		e.Add(&test)
		if i%100_000 == 50_000 {
			size = max(size, len(e.Table().Columns[0].Data.([]float64)))
		}
	}
	w := stride(len(testArms))
	b := &e.boards[NextClick]
	for name, n := range map[string][2]int{
		"points": {len(b.curve.points) / w, maxPoints}, "periods": {len(b.periods.numbers), maxPoints}, "coverage": {len(e.coverage.points) / len(e.coverage.open), maxPoints},
		"scenes": {len(b.slices[byScene].names), maxScenes + 1}, "actions": {len(b.slices[byAction].names), maxActions + 1},
	} {
		if n[0] > n[1] || n[0] < n[1]/2 {
			t.Errorf("%d %s, want up to %d", n[0], name, n[1])
		}
	}
	if limit := (2*maxPoints + 80) * w * 2; size > limit {
		t.Errorf("the state has %d numbers, want up to %d", size, limit)
	}
	if g := e.Last(NextClick, 1); g.Tests != tests || g.Tests != e.Whole(NextClick).Tests {
		t.Errorf("%d tests in the curve, %d in all", g.Tests, e.Whole(NextClick).Tests)
	}
	third := e.Last(NextClick, 1./3)
	if s, _ := third.Arm("popularity"); s.Recall20 < 0.99 || math.Abs(float64(third.Tests)/tests-1./3) > 2./maxPoints {
		t.Errorf("the last third: %d tests, recall %v", third.Tests, s.Recall20)
	}
	var over, lists int64
	var end time.Time
	for _, p := range e.Over(NextClick) {
		if p.From.Before(end) {
			t.Fatalf("the period from %v begins before the one before ends", p.From)
		}
		over, end = over+p.Tests, p.To
	}
	if first := e.Over(NextClick)[0]; first.From.After(start.Time()) || !first.To.After(start.Time()) || !end.After(test.At.Time()) || end.Sub(first.From) > 2*test.At.Time().Sub(start.Time()) {
		t.Errorf("the periods reach from %v to %v, the tests from %v to %v", first.From, end, start.Time(), test.At.Time())
	}
	for _, c := range e.Coverage() {
		lists += int64(math.Round(c.Lists * float64(c.Periods)))
	}
	if over != tests || lists != tests {
		t.Errorf("%d tests in the periods and %d lists in the coverage, want %d", over, lists, tests)
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	e, s := New(Config{Arms: testArms}), newStream(9)
	tests := make([]Test, 2000)
	for i := range tests {
		var test Test
		s.next(&test)
		tests[i] = clone(test)
		e.Add(&tests[i])
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() { e.Add(&tests[1000+i%1000]); i++ }); n > 0 {
		t.Errorf("%v allocations a test", n)
	}
}

// TestCoverageByHand: two periods of a day.
func TestCoverageByHand(t *testing.T) {
	e := New(Config{Arms: []string{"a", "b"}})
	add := func(hour int, a, b []int32) {
		e.Add(&Test{
			At: schema.EventTime(20_000*24*3_600_000 + hour*3_600_000), Targets: make([]Target, 1), Ranks: [][]int{{1}, {1}}, Lists: [][]int32{a, b}, Catalogue: 50 + hour,
			AgeOf: func(row int32) time.Duration { return time.Duration(row) * time.Hour },
		})
	}
	long := make([]int32, 30)
	for i := range long {
		long[i] = int32(i + 10)
	}
	add(1, []int32{1, 2, 3}, long) // of which 20 count: 10..29
	add(3, []int32{3, 100}, []int32{10})
	add(30, []int32{3, 5}, nil) // 3 is counted again: it is another day
	got := e.Coverage()
	if len(got) != 2 {
		t.Fatalf("%d periods, want 2", len(got))
	}
	first := got[0]
	if first.Lists != 2 || first.Catalogue != 53 || first.Arms[0] != (ArmCoverage{"a", 4, 4. / 53, 4. / 5}) || first.Arms[1] != (ArmCoverage{"b", 20, 20. / 53, 15. / 21}) {
		t.Errorf("first day: %+v", first)
	}
	if second := got[1]; second.Lists != 1 || second.Arms[0] != (ArmCoverage{"a", 2, 2. / 80, 1}) || second.Arms[1] != (ArmCoverage{"b", 0, 0, 0}) {
		t.Errorf("second day: %+v", second)
	}
}

// eightArms adds n tests of eight arms.
func eightArms(n int) (*Evaluation, *Test) {
	arms := []string{"model", "blend", "popularity", "item_to_item", "v_sknn", "stan", "vstan", "best"}
	e := New(Config{Arms: arms})
	test := &Test{At: start, Targets: make([]Target, 1), Ranks: make([][]int, len(arms)), Lists: make([][]int32, len(arms)), Catalogue: 100_000}
	for i := range arms {
		test.Ranks[i] = []int{i * 7}
		test.Lists[i] = make([]int32, 20)
		for j := range test.Lists[i] {
			test.Lists[i][j] = int32(j * 977)
		}
	}
	for i := range n {
		test.At += 5000
		test.Ranks[i%8][0] = i % 31
		e.Add(test)
	}
	return e, test
}

func BenchmarkAdd(b *testing.B) {
	e, test := eightArms(0)
	b.ReportAllocs()
	for b.Loop() {
		test.At += 500
		e.Add(test)
	}
}

// BenchmarkReport and BenchmarkTable are of an evaluation whose curves are full.
func BenchmarkReport(b *testing.B) {
	e, _ := eightArms(300_000)
	for b.Loop() {
		e.Report()
	}
}

func BenchmarkTable(b *testing.B) {
	e, _ := eightArms(300_000)
	var n int
	for b.Loop() {
		n = len(encoded(b, e.Table()))
	}
	b.ReportMetric(float64(n), "bytes")
}
