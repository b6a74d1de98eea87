package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"pgregory.net/rapid"
)

// twoTastes is a model of items in six directions, which are their categories, and a past of someone who clicked thirty of the first and ten of the second.
func twoTastes(tb testing.TB, items int) (*Model, Query) {
	cfg := small()
	m, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(50, 50))
	var q Query
	clicked := [2]int{}
	for i := range items {
		of := i % 6
		id := fmt.Sprint("item-", i)
		r, _ := m.Admit(id, schema.ItemInfo{Category: fmt.Sprint(of)}, 0)
		v := m.items.vector(r)
		for j := range v {
			v[j] = 0.05 * float32(rng.NormFloat64())
		}
		v[of]++
		if of < 2 && clicked[of] < []int{30, 10}[of] {
			clicked[of]++
			q.Past = append(q.Past, ServedSession{At: schema.EventTime(1_000_000 * len(q.Past)), Events: []ServedEvent{{id, schema.ActionClick}}})
		}
	}
	q.At = schema.EventTime(1_000_000 * len(q.Past))
	return m, q
}

// TestInterestsShareTheAnswer: of someone with two interests, each has its share of the answer, where a query of one alone gives all to one of them.
func TestInterestsShareTheAnswer(t *testing.T) {
	m, q := twoTastes(t, 3000)
	for _, how := range []Serving{{}, {Precision: Int8}, {Precision: Int4}, {Index: IVF, MinRecall: 0.01}, {Precision: Int4, Index: IVF, MinRecall: 0.01}} {
		o := m.Snapshot(true, nil).Objects()
		s, err := how.Load(o[0].Table, o[1].Table)
		if err != nil {
			t.Fatal(err)
		}
		s = s.Indexed()
		a := s.lend()
		a.name(s, q.Past)
		a.read = a.past
		z := make([]float32, m.cfg.Dim)
		z[0], z[1] = 1, 0.4 // leans to the first
		of := func(best []Scored) (n [6]int) {
			for _, b := range best {
				r, _ := s.Row(b.ItemID)
				n[int(r)%6]++
			}
			return n
		}
		plain := of(s.best(a, z, &Query{}, 20))
		shared := of(s.best(a, z, &Query{Interests: 2}, 20))
		if plain != [6]int{20} || shared != [6]int{15, 5} {
			t.Errorf("%+v: without interests %v, with two %v: want 20 of the first, and 15 and 5", how, plain, shared)
		}
	}
}

// TestInterestsKeepTheirPromise for any past, filter and number: as many items as without, none twice, all kept by the filter, with the scores that they have without, the best first; and the same
// when asked again, and of a memory.
func TestInterestsKeepTheirPromise(t *testing.T) {
	const items = 400
	m := filled(t, small(), items)
	tastes(m, rand.New(rand.NewPCG(51, 51)))
	s := load(t, m.Snapshot(true, nil))
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		past := randomPast(rng, items, 1+rng.IntN(6), 6)
		q := Query{Past: past, At: past[len(past)-1].At + 5000, Marks: manyMarks(rng, items, 30)}
		if rapid.Bool().Draw(t, "filter") {
			q.Filter = Filter{Categories: []string{"1", "4"}, Deny: []string{"item-1", "item-4"}}
		}
		if rapid.Bool().Draw(t, "allow") {
			for range 1 + rng.IntN(60) {
				q.Filter.Allow = append(q.Filter.Allow, fmt.Sprint("item-", rng.IntN(items)))
			}
		}
		k := rapid.SampledFrom([]int{0, 1, 3, 20, items, items + 5}).Draw(t, "k")
		all, known := s.Recommend(q, items)
		scores := map[string]float32{}
		for _, b := range all {
			scores[b.ItemID] = b.Score
		}
		q.Interests = rapid.IntRange(2, 9).Draw(t, "interests")
		got, ok := s.Recommend(q, k)
		if ok != known || len(got) != min(k, len(all)) {
			t.Fatalf("%d items, want %d of %d", len(got), k, len(all))
		}
		for i, g := range got {
			want, kept := scores[g.ItemID]
			delete(scores, g.ItemID)
			if diff := g.Score - want; !kept || diff > 1e-4 || diff < -1e-4 {
				t.Fatalf("item %s scores %v; without interests %v, kept and new: %v", g.ItemID, g.Score, want, kept)
			}
			if i > 0 && g.Score > got[i-1].Score {
				t.Fatalf("place %d scores %v, the one before %v", i, g.Score, got[i-1].Score)
			}
		}
		if again, _ := s.Recommend(q, k); !slices.Equal(again, got) {
			t.Fatal("two times another answer")
		}
		memory := s.Remember("")
		defer memory.Forget()
		memory.Extend(past...)
		q.Past = nil
		if kept, _ := memory.Recommend(q, k); len(kept) != len(got) {
			t.Fatalf("%d items of a memory, %d at once", len(kept), len(got))
		}
	})
}

// TestInterestsAreDealt: shares add up to k, and are in the order of sizes.
func TestInterestsAreDealt(t *testing.T) {
	m := filled(t, small(), 300)
	tastes(m, rand.New(rand.NewPCG(52, 52)))
	s := load(t, m.Snapshot(true, nil))
	rapid.Check(t, func(t *rapid.T) {
		var read []Session
		for range rapid.IntRange(1, 30).Draw(t, "sessions") {
			var e []Event
			for range rapid.IntRange(1, 5).Draw(t, "clicks") {
				e = append(e, Event{Row: Row(rapid.IntRange(0, 299).Draw(t, "row"))})
			}
			read = append(read, Session{Events: e})
		}
		k := rapid.IntRange(1, 50).Draw(t, "k")
		groups := s.interests(read, k, rapid.IntRange(2, maxInterests).Draw(t, "groups"))
		sum, size := 0, 0
		for i, g := range groups {
			sum, size = sum+g.share, size+g.size
			if i > 0 && g.size > groups[i-1].size || g.share < k*g.size/len(newest(read, interestItems)) {
				t.Fatalf("group %d: %d of %v", i, k, groups)
			}
		}
		if rows := newest(read, interestItems); sum != k || size != len(rows) || len(rows) > interestItems {
			t.Fatalf("%d of %d places are dealt, %d of %d items grouped", sum, k, size, len(rows))
		}
	})
}
