package model

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/schema"
)

// liveExamples are randomExamples of items that have a row.
func liveExamples(m *Model, rng *rand.Rand, count, sessions, events int) []Example {
	var live []Row
	for r, id := range m.ids {
		if id != "" {
			live = append(live, Row(r))
		}
	}
	examples := randomExamples(rng, len(live), count, sessions, events)
	for i := range examples {
		e := &examples[i]
		for j := range e.Past {
			for k := range e.Past[j].Events {
				e.Past[j].Events[k].Row = live[e.Past[j].Events[k].Row]
			}
		}
		for j := range e.Targets {
			e.Targets[j] = live[e.Targets[j]]
		}
	}
	return examples
}

// churn is a model under a budget, and a stream of clicks whose items change.
type churn struct {
	m   *Model
	rng *rand.Rand
	at  schema.EventTime
}

func newChurn(tb testing.TB, cfg Config) *churn {
	tb.Helper()
	return &churn{m: filled(tb, cfg, 0), rng: rand.New(rand.NewPCG(5, 5)), at: 1_700_000_000_000}
}

// step sweeps, admits the items of 20 clicks and learns from them. It returns the rows that were given up.
func (c *churn) step(i int) []Row {
	freed := slices.Clone(c.m.Sweep(c.at))
	for range 20 {
		c.at += 1000
		id := i + c.rng.IntN(1+c.rng.IntN(60)) // what is popular moves on
		c.m.Admit(fmt.Sprint("item-", id), infoOf(id), c.at)
	}
	if c.m.Live() >= 10 {
		c.m.Learn(liveExamples(c.m, c.rng, 4, 3, 3))
	}
	return freed
}

// restored is m after a way through bytes.
func restored(tb testing.TB, m *Model) *Model {
	tb.Helper()
	tables, _ := saved(tb, m)
	out, err := Restore(m.cfg, tables)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func lifeConfigs() map[string]Config {
	budget := small()
	budget.MaxItems = 48
	expiry := small()
	expiry.ExpireAfter = 90 * time.Second
	all := budget
	all.AdmitAfter, all.AdmitSketch, all.ExpireAfter, all.RowMemory, all.Plasticity = 2, 1<<10, 200*time.Second, 30, 0.1
	moments := budget
	moments.RowOptimizer, moments.RowRate = adam, 1e-3
	few := budget
	few.NegativesUniform, few.NegativesRecent = 3, 3 // fewer than rows: negatives are drawn
	return map[string]Config{"budget": budget, "expiry": expiry, "all": all, "adam": moments, "few draws": few}
}

// TestFreedRowsAreEmpty looks at the model after every sweep of a stream whose items change: what was given up is as if it had never been, and nothing names it.
func TestFreedRowsAreEmpty(t *testing.T) {
	for name, cfg := range lifeConfigs() {
		t.Run(name, func(t *testing.T) {
			c := newChurn(t, cfg)
			m, freed := c.m, 0
			for i := range 300 {
				out := c.step(i)
				freed += len(out)
				if cfg.MaxItems > 0 && (m.Items() > cfg.MaxItems || m.Live() > cfg.MaxItems) {
					t.Fatalf("step %d: %d rows, %d of them live, under a budget of %d", i, m.Items(), m.Live(), cfg.MaxItems)
				}
				for _, r := range out {
					if m.ids[r] != "" && !m.Given(r) {
						t.Fatalf("step %d: row %d has an item and was not given", i, r)
					}
				}
				counts := make([]uint32, m.Items())
				for _, r := range m.ring {
					counts[r]++
				}
				if !slices.Equal(counts, m.frequency) {
					t.Fatalf("step %d: the ring and the frequencies differ", i)
				}
				for _, r := range m.lives.free {
					if chunk, at := int(r)/chunkRows, int(r)%chunkRows; !m.rowState.full && (m.rowState.acc[chunk][at] != 0 || m.rowState.accBias[chunk][at] != 0) ||
						m.rowState.full && (m.rowState.biasMoments[chunk][2*at+1] != 0 || slices.Max(m.rowState.second[chunk][at*cfg.Dim:][:cfg.Dim]) != 0) {
						t.Fatalf("step %d: the optimiser remembers row %d", i, r)
					}
					if m.ids[r] != "" || m.categories[r] != "" || slices.ContainsFunc(m.items.vector(r), func(v float32) bool { return v != 0 }) ||
						m.items.biasOf(r)[0] != 0 || *m.items.sidesOf(r) != (sides{}) || counts[r] != 0 {
						t.Fatalf("step %d: row %d is free and not empty", i, r)
					}
				}
				for r, id := range m.ids {
					if got, ok := m.Row(id); id != "" && (!ok || got != Row(r)) {
						t.Fatalf("step %d: %q is in row %d, the index has %d, %v", i, id, r, got, ok)
					}
				}
				if live := m.index.n; live != m.Live() {
					t.Fatalf("step %d: %d names in the index, %d rows live", i, live, m.Live())
				}
			}
			if freed < 100 {
				t.Errorf("only %d rows were given up", freed)
			}
		})
	}
}

// TestLivesRestore saves and restores a model under churn at every step and demands the bytes of one that never stopped (I3, I4).
func TestLivesRestore(t *testing.T) {
	for name, cfg := range lifeConfigs() {
		t.Run(name, func(t *testing.T) {
			straight, broken := newChurn(t, cfg), newChurn(t, cfg)
			for i := range 120 {
				a, b := straight.step(i), broken.step(i)
				if !slices.Equal(a, b) {
					t.Fatalf("step %d: %v were given up, after a restore %v", i, a, b)
				}
				broken.m = restored(t, broken.m)
			}
			_, want := saved(t, straight.m)
			if _, got := saved(t, broken.m); !bytes.Equal(got, want) {
				t.Error("the bytes of the two models differ")
			}
		})
	}
}

// TestPiecesAddUp restores from a whole and the rows that changed since, as a checkpoint on disk has them.
func TestPiecesAddUp(t *testing.T) {
	cfg := lifeConfigs()["all"]
	c := newChurn(t, cfg)
	var pieces []schema.Table
	keep := func(all bool) {
		t.Helper()
		if err := c.m.EachRows(all, func(p schema.Table) error {
			pieces = append(pieces, p)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		c.m.Saved()
	}
	for i := range 100 {
		c.step(i)
		if i%10 == 0 {
			keep(i == 0)
		}
	}
	keep(false)
	tables, want := saved(t, c.m)
	m, err := RestoreRows(cfg, tables, func(yield func(schema.Table, error) bool) {
		for _, p := range pieces {
			if !yield(p, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, got := saved(t, m); !bytes.Equal(got, want) {
		t.Error("the pieces do not add up to the whole")
	}
}

// TestTheLeastRecentlyClickedGo: at the budget the rows of the oldest clicks go, those of one moment in their order, and of expired ones all.
func TestTheLeastRecentlyClickedGo(t *testing.T) {
	cfg := small()
	cfg.MaxItems, cfg.ExpireAfter = 64, time.Hour
	m := filled(t, cfg, 0)
	hour := schema.EventTime(time.Hour.Milliseconds())
	m.Sweep(0)
	for i := range 70 { // six find no room
		r, ok := m.Admit(fmt.Sprint(i), schema.ItemInfo{}, schema.EventTime(i*37%64/2))
		if ok != (i < 64) || ok && int(r) != i {
			t.Fatalf("item %d: row %d, %v", i, r, ok)
		}
	}
	var want []Row
	for i := range 64 {
		if i*37%64 < 4 {
			want = append(want, Row(i))
		}
	}
	if diff := cmp.Diff(want, m.Sweep(100)); diff != "" {
		t.Errorf("given up at the budget (-want +got):\n%s", diff)
	}
	if again := m.Sweep(101); len(again) > 0 {
		t.Errorf("a sweep with room gives up %v", again)
	}
	m.Admit("5", schema.ItemInfo{}, hour/2)
	if m.Snapshot(false, nil); m.Renamed() {
		t.Error("a row that is free has another item")
	}
	r, _ := m.Admit("new", schema.ItemInfo{}, hour/2)
	if r != want[0] || !m.Given(r) {
		t.Errorf("the new item has row %d, want the lowest that is free, %d", r, want[0])
	}
	if !m.Renamed() {
		t.Error("a row has another item, and nothing says so")
	}
	if m.Snapshot(false, nil); m.Renamed() {
		t.Error("a snapshot does not hold the new name")
	}
	if n := len(m.Sweep(hour + 40)); n != 59 || m.Live() != 2 {
		t.Errorf("%d expired, %d live; want 59 and 2", n, m.Live())
	}
	if _, ok := m.Row("5"); !ok || m.Given(r) {
		t.Error("an item that was clicked went, or a row counts as given after a sweep")
	}
}

// TestAdmissionCounts: an item gets its row with its n-th click, and clicks of long ago do not count.
func TestAdmissionCounts(t *testing.T) {
	cfg := small()
	cfg.AdmitAfter, cfg.AdmitSketch = 3, 1<<14
	m := filled(t, cfg, 0)
	for click := 1; click <= 4; click++ {
		for i := range 200 {
			if _, ok := m.Admit(fmt.Sprint(i), schema.ItemInfo{}, 0); ok != (click >= 3) {
				t.Errorf("click %d on item %d: a row %v", click, i, ok)
			}
		}
	}
	m.Admit("seldom", schema.ItemInfo{}, 0)
	m.Admit("seldom", schema.ItemInfo{}, 0)
	early := 0
	for i := range 20_000 {
		if _, ok := m.Admit(fmt.Sprint("once ", i), schema.ItemInfo{}, 0); ok {
			early++
		}
	}
	if early > 20 { // measured: 2
		t.Errorf("%d of 20,000 items that were seen once have a row", early)
	}
	if _, ok := m.Admit("seldom", schema.ItemInfo{}, 0); ok {
		t.Error("two clicks of long ago and one now made three")
	}
}

// TestFreeAndGivenRowsAreNoCandidates: neither ranks nor negatives see them.
func TestFreeAndGivenRowsAreNoCandidates(t *testing.T) {
	cfg := small()
	cfg.MaxItems, cfg.NegativesUniform, cfg.NegativesRecent = 64, 20, 5
	m := filled(t, cfg, 64)
	m.Sweep(1) // row 0 to 3 go
	r, _ := m.Admit("given", schema.ItemInfo{}, 2)
	m.items.biasOf(r)[0] = 1e6 // it would be the best
	rng := rand.New(rand.NewPCG(1, 2))
	batch := randomExamples(rng, 50, 4, 3, 3)
	for i := range batch {
		for j := range batch[i].Past {
			for k := range batch[i].Past[j].Events {
				batch[i].Past[j].Events[k].Row += 10
			}
		}
		batch[i].Targets = []Row{r, 20, 21}
	}
	m.Forward(batch)
	best := int32(64)
	for _, ranks := range m.Ranks(m.Items()) {
		if ranks[0] != 0 || ranks[1] < 1 || ranks[1] > 60 {
			t.Errorf("ranks %v: want 0 for the given row, and one of 60 for the others", ranks)
		}
		best = min(best, ranks[1])
	}
	seen := make([]int, 64)
	for range 4000 {
		seen[m.drawLive()]++
	}
	for i, n := range seen {
		if free := i > 0 && i < 4; free != (n == 0) {
			t.Errorf("row %d was drawn %d times", i, n)
		}
	}
	if s := m.Step(); s.Skipped || s.Examples == 0 {
		t.Errorf("step: %+v", s)
	}
}

// TestFewAmongManyFreeRowsAreDrawn: where nearly all rows are free, drawing ends.
func TestFewAmongManyFreeRowsAreDrawn(t *testing.T) {
	cfg := small()
	cfg.ExpireAfter = time.Second
	m := filled(t, cfg, 5000)
	m.Sweep(0)
	m.Admit("item-77", schema.ItemInfo{}, 10_000)
	if n := len(m.Sweep(10_000)); n != 4999 {
		t.Fatalf("%d rows were given up", n)
	}
	for range 100 {
		if r := m.drawLive(); r != 77 {
			t.Fatalf("drew row %d, which is free", r)
		}
	}
}

// TestGoldenGenerations holds the bytes of published rows of which one is free and one has its second item, without the form of the model, which is TestGolden's.
func TestGoldenGenerations(t *testing.T) {
	cfg := small()
	cfg.Dim, cfg.MaxItems, cfg.InitStd = 4, 32, 0
	m := filled(t, cfg, 32)
	m.Sweep(1)
	m.Admit("new", schema.ItemInfo{Category: "c"}, 2)
	published := m.Snapshot(true, func(r Row) float32 { return float32(r) }).Objects()[0].Table
	published.Meta = nil
	got, err := published.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", "rows-v1-generations.arrow")
	if _, err := os.Stat(name); errors.Is(err, os.ErrNotExist) && os.Getenv("FRESHET_WRITE_GOLDEN") != "" {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the published bytes have changed")
	}
	ids, generations := published.Columns[0].Data.([]string), published.Columns[len(published.Columns)-1].Data.([]int32)
	if ids[0] != "new" || ids[1] != "" || !slices.Equal(generations[:3], []int32{1, 1, 0}) {
		t.Errorf("ids %q, generations %v", ids[:3], generations[:3])
	}
}

// TestApplyRefusesAnotherNameInTheSameGeneration: a name changes with its row's generation, and a generation never falls.
func TestApplyRefusesAnotherNameInTheSameGeneration(t *testing.T) {
	cfg := small()
	cfg.MaxItems = 32
	m := filled(t, cfg, 32)
	base := load(t, m.Snapshot(true, nil))
	m.Sweep(1)
	freed := m.Snapshot(false, nil).Objects()
	m.Admit("item-1", schema.ItemInfo{}, 2) // which had row 1, and has row 0 now
	given := m.Snapshot(false, nil).Objects()
	apply := func(s *Served, o []Object) *Served {
		t.Helper()
		next, err := s.Apply(o[0].Table, o[1].Table)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	free := apply(base, freed)
	next := apply(free, given)
	if r, ok := next.Row("item-1"); !ok || r != 0 || next.Has("item-0") || free.Has("item-1") || !base.Has("item-0") {
		t.Errorf("item-1 is in row %d, %v", r, ok)
	}
	if _, err := base.Apply(given[0].Table, given[1].Table); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("a delta that skips one, in which an item moved: %v", err)
	}
	if _, err := next.Apply(freed[0].Table, freed[1].Table); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("a delta of before: %v", err)
	}
	other := given[0].Table
	other.Columns = slices.Clone(other.Columns)
	other.Columns[0].Data = []string{"item-x"}
	if _, err := next.Apply(other, given[1].Table); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("another name in the same generation: %v", err)
	}
	other.Columns[0].Data = []string{"item-9"}
	if _, err := free.Apply(other, given[1].Table); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("an item that has a row already: %v", err)
	}
}
