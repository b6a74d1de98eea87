package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// naiveScore is the score by its definition, in float64: the product with the whole sum of each item, or its cosine.
func (m *Model) naiveScore(z []float32, r Row) float64 {
	bias, sum := float64(m.items.biasOf(r)[0]), make([]float64, len(z))
	add := func(share float64, vector []float32) {
		for j, v := range vector {
			sum[j] += share * float64(v)
		}
	}
	add(1, m.items.vector(r))
	for _, s := range m.items.sidesOf(r) {
		add(0.5, m.items.side.vector(Row(s)))
		bias += 0.5 * float64(m.items.side.biasOf(Row(s))[0])
	}
	if m.cfg.Cosine {
		length := math.Sqrt(nn.SumSquares(sum) + 1e-12)
		for j := range sum {
			sum[j] /= length * m.cfg.Temperature
		}
	}
	for j, v := range sum {
		bias += v * float64(z[j])
	}
	return bias
}

func TestPriceBand(t *testing.T) {
	for _, c := range []struct {
		price float64
		want  string
	}{
		{0, ""}, {-3, ""}, {math.NaN(), ""}, {math.Inf(1), ""},
		{1, "0"}, {1.41, "0"}, {1.42, "1"}, {1.99, "1"}, {2, "2"}, {0.99, "-1"}, {0.5, "-2"}, {100, "13"},
		{1e-9, "-16"}, {math.SmallestNonzeroFloat64, "-16"}, {1e300, "63"},
	} {
		if got := priceBand(c.price); got != c.want {
			t.Errorf("band of %v is %q, want %q", c.price, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		price := rapid.Float64Range(0.01, 1e9).Draw(t, "price")
		if want := fmt.Sprint(math.Floor(2 * math.Log2(price))); priceBand(price) != want && math.Abs(2*math.Log2(price)-math.Round(2*math.Log2(price))) > 1e-9 {
			t.Fatalf("band of %v is %s, want %s", price, priceBand(price), want)
		}
	})
}

// TestSideInformationIsKeptAsLastSeen: an empty field says nothing, a full one replaces, and the row counts as changed.
func TestSideInformationIsKeptAsLastSeen(t *testing.T) {
	m := filled(t, small(), 0)
	r, _ := m.Admit("a", schema.ItemInfo{}, 0)
	if of := *m.items.sidesOf(r); of != (sides{}) || m.items.side.n != 1 {
		t.Fatalf("an item of which nothing is known has the side rows %v of %d", of, m.items.side.n)
	}
	f := func(info schema.ItemInfo, want sides) {
		t.Helper()
		m.Snapshot(false, nil)
		m.Admit("a", info, 0)
		if of := *m.items.sidesOf(r); of != want || !m.unpublished.in[r] {
			t.Errorf("after %+v the side rows are %v, want %v; changed: %v", info, of, want, m.unpublished.in[r])
		}
	}
	f(schema.ItemInfo{Category: "x"}, sides{1, 0})
	f(schema.ItemInfo{Price: 10}, sides{1, 2})
	f(schema.ItemInfo{}, sides{1, 2})
	f(schema.ItemInfo{Category: "y", Price: 10.5}, sides{3, 2})
	f(schema.ItemInfo{Price: 900}, sides{3, 4})
	f(schema.ItemInfo{Category: "x", Seller: "nobody reads this yet"}, sides{1, 4})
	m.SessionOf([]schema.Click{{ItemID: "a", Item: schema.ItemInfo{Category: "old", Price: 1}}})
	f(schema.ItemInfo{}, sides{1, 4}) // what an earlier part said is not news
}

// TestSideRowsAreBounded: values beyond the bound are ignored, and an item of such a value has none; its category is kept for filters.
func TestSideRowsAreBounded(t *testing.T) {
	cfg := small()
	cfg.SideRows = 3
	m := filled(t, cfg, 0)
	for i := range 10 {
		m.Admit(fmt.Sprint("item", i), schema.ItemInfo{Category: fmt.Sprint("c", i)}, 0)
	}
	if m.items.side.n != 3 {
		t.Fatalf("%d side rows, want 3", m.items.side.n)
	}
	for r := range Row(10) {
		want := sides{}
		if r < 2 {
			want[0] = int32(r) + 1
		}
		if of := *m.items.sidesOf(r); of != want || m.categories[r] != fmt.Sprint("c", r) {
			t.Errorf("item %d: side rows %v, want %v; category %q", r, of, want, m.categories[r])
		}
	}
	r, _ := m.Admit("item0", schema.ItemInfo{Category: "c9"}, 0)
	if of := *m.items.sidesOf(r); of != (sides{}) {
		t.Errorf("an item whose category became one without a row keeps the old row: %v", of)
	}
	cfg.SideRows = 1
	if off := filled(t, cfg, 20); off.items.side.n != 1 {
		t.Errorf("switched off, the table has %d rows", off.items.side.n)
	}
}

// TestRowZeroStaysZero: it stands for no value, so nothing may be learned into it.
func TestRowZeroStaysZero(t *testing.T) {
	m, _ := trained(t, small(), 60, 20)
	if slices.ContainsFunc(m.items.side.vector(0), func(v float32) bool { return v != 0 }) || m.items.side.biasOf(0)[0] != 0 {
		t.Error("row 0 of the side table has moved")
	}
	fresh := filled(t, small(), 60)
	for s := Row(1); int(s) < m.items.side.n; s++ {
		if slices.Equal(m.items.side.vector(s), fresh.items.side.vector(s)) || m.sideAcc[s-1] == 0 || m.items.side.biasOf(s)[0] == 0 {
			t.Errorf("side row %d has not moved", s)
		}
	}
}

// TestSideScores compares the products with the table, taken once, with the sums of the items, over two chunks and for one and several queries.
func TestSideScores(t *testing.T) {
	const items = chunkRows + 70
	m, rng := trained(t, small(), items, 4)
	d := m.cfg.Dim
	for _, queries := range []int{1, 3} {
		z := make([]float32, queries*d)
		for i := range z {
			z[i] = float32(rng.NormFloat64())
		}
		for _, n := range []int{1, 500, chunkRows, items} {
			out := make([]float32, queries*n)
			var work nn.Workspace[float32]
			side := m.items.sideScores(&m.cfg, nn.Whole(z, d), &work)
			for from := 0; from < n; from += chunkRows {
				to := min(from+chunkRows, n)
				m.items.compareChunk(&m.cfg, nn.Whole(out, n).Columns(from, to), nn.Whole(z, d), side, from/chunkRows, to-from, &work)
			}
			sum := make([]float32, d)
			for i := range queries {
				for r := range n {
					want := m.naiveScore(z[i*d:][:d], Row(r))
					bySum := float64(m.items.sum(sum, Row(r)))
					for j := range sum {
						bySum += float64(sum[j]) * float64(z[i*d+j])
					}
					if got := float64(out[i*n+r]); math.Abs(got-want) > 1e-5 || math.Abs(bySum-want) > 1e-5 {
						t.Fatalf("query %d of %d, item %d of %d: score %v, by the sum %v, want %v", i, queries, r, n, got, bySum, want)
					}
				}
			}
		}
	}
}

// TestWithoutSideInformation: a stream that has none trains to the same bits whether the table is there or not.
func TestWithoutSideInformation(t *testing.T) {
	run := func(rows int) ([]float32, []float32) {
		cfg := small()
		cfg.SideRows = rows
		m := filled(t, cfg, 0)
		for i := range 70 {
			m.Admit(fmt.Sprint(i), schema.ItemInfo{}, 0)
		}
		rng := rand.New(rand.NewPCG(5, 5))
		for range 10 {
			m.Forward(randomExamples(rng, 70, 8, 5, 4))
			m.Step()
		}
		return m.w.arena, m.items.vectors[0]
	}
	arena, vectors := run(4096)
	arenaOff, vectorsOff := run(1)
	if !slices.Equal(arena, arenaOff) || !slices.Equal(vectors, vectorsOff) {
		t.Error("a side table that nothing is in changes the weights")
	}
}

// TestCategoryTeachesNewItems: a stream in which only the category says what comes next, and items that were never a target, must score by theirs.
func TestCategoryTeachesNewItems(t *testing.T) {
	const categories, each = 4, 10
	cfg := small()
	m := filled(t, cfg, 0)
	for i := range categories * each {
		m.Admit(fmt.Sprint(i), schema.ItemInfo{Category: fmt.Sprint(i % categories)}, 0)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	item := func(category int) Row { return Row(category + categories*rng.IntN(each)) }
	batch := func(targets func(category int) Row) (out []Example) {
		for i := range 16 {
			c := i % categories
			out = append(out, Example{At: 60_000, Past: []Session{{Events: []Event{{item(c), schema.ActionClick}}}}, Targets: []Row{targets((c + 1) % categories)}})
		}
		return out
	}
	for range 150 {
		m.Forward(batch(item))
		m.Step()
	}
	fresh := make([]Row, categories)
	for c := range fresh {
		fresh[c], _ = m.Admit(fmt.Sprint("new", c), schema.ItemInfo{Category: fmt.Sprint(c)}, 0)
	}
	m.Forward(batch(func(c int) Row { return fresh[c] }))
	for i, ranks := range m.Ranks(m.Items()) {
		if ranks[0] > each+1 {
			t.Errorf("example %d: a new item of the category that comes next has rank %d, want it among its %d", i, ranks[0], each+1)
		}
	}
}

// TestServedFollowsSideInformation: a change of category alone reaches the served scores by a delta, and the version before stays as it was.
func TestServedFollowsSideInformation(t *testing.T) {
	m, _ := trained(t, small(), 60, 10)
	before := load(t, m.Snapshot(true, nil))
	q := Query{Past: []ServedSession{{At: 1000, Events: []ServedEvent{{"item-3", schema.ActionClick}}}}, At: 60_000}
	was, _ := before.Recommend(q, 60)
	m.Admit("item-3", schema.ItemInfo{Category: "6", Price: 39}, 0)
	m.Admit("item-9", schema.ItemInfo{Category: "never seen", Price: 1e6}, 0)
	o := m.Snapshot(false, nil).Objects()
	after, err := before.Apply(o[0].Table, o[1].Table)
	if err != nil {
		t.Fatal(err)
	}
	now, _ := after.Recommend(q, 60)
	whole, _ := load(t, m.Snapshot(true, nil)).Recommend(q, 60)
	if diff := cmp.Diff(whole, now); diff != "" {
		t.Errorf("after the delta (-whole +delta):\n%s", diff)
	}
	again, _ := before.Recommend(q, 60)
	if !slices.Equal(was, again) || slices.Equal(was, now) {
		t.Error("the version before has changed, or the one after has not")
	}
}
