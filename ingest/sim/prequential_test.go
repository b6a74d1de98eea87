package sim

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

var (
	records = flag.Int("records", 30_000, "how many records the yardsticks run over")
	seed    = flag.Uint64("seed", 1, "of the shop that the partial oracles run over")
	every   = flag.Int("every", 7, "the partial oracles are asked for one in so many items")
)

// score is recall@20 and MRR@20. Ties count against, items not seen before are misses.
type score struct {
	tests, hits int
	mrr         float64
}

func (s *score) add(rank int) {
	s.tests++
	if rank <= 20 {
		s.hits++
		s.mrr += 1 / float64(rank)
	}
}

func (s score) recall() float64 { return float64(s.hits) / float64(s.tests) }

func (s score) String() string {
	return fmt.Sprintf("%.3f/%.3f", s.recall(), s.mrr/float64(s.tests))
}

func rankOf(scores []float64, target int) int {
	p := scores[target]
	if p == 0 {
		return len(scores) + 1
	}
	rank := 0
	for _, x := range scores {
		if x >= p {
			rank++
		}
	}
	return rank
}

// stand is what the yardsticks below learn from the records alone.
type stand struct {
	row      map[string]int
	category []int // by row
	seen     []float64
	next     []map[int]float64
	near     []map[int]float64
	users    map[string]*shopper
}

type shopper struct {
	session string
	acts    []int // of the session
	before  []int // the last items, all sessions
	tastes  map[int]float64
}

// yardsticks runs the stream of c once and scores, for each click, cart and purchase after the user's first, before
// learning from it: the oracle, popularity, the counts of the next item (with popularity filling up), the counts over up
// to five steps, and a mixture of counts that knows the world's kind of structure but none of its numbers.
func yardsticks(t testing.TB, c Config) map[string]*score {
	shop, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*score{"oracle": {}, "popularity": {}, "item-to-item": {}, "five steps": {}, "structured": {}}
	st := stand{row: map[string]int{}, users: map[string]*shopper{}}
	categories := map[string]int{}
	scores := make([]float64, 0, 10_000)
	for {
		r, err := shop.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		click, err := read(r.Value, r.EventTime)
		if err != nil || click.Validate(1<<62) != nil || click.Action == schema.ActionExposure {
			continue
		}
		u := st.users[click.UserID]
		if u == nil {
			u = &shopper{tastes: map[int]float64{}}
			st.users[click.UserID] = u
		}
		cat, ok := categories[click.Item.Category]
		if !ok {
			cat = len(categories)
			categories[click.Item.Category] = cat
		}
		i, known := st.row[click.ItemID]
		if !known {
			i = len(st.category)
			st.row[click.ItemID] = i
			st.category = append(st.category, cat)
			st.seen = append(st.seen, 0)
			st.next = append(st.next, map[int]float64{})
			st.near = append(st.near, map[int]float64{})
		}
		if u.session != click.SessionID {
			u.session, u.acts = click.SessionID, u.acts[:0]
		}
		if len(u.before) > 0 {
			var context struct {
				Rank int `json:"oracle_rank"`
			}
			if err := json.Unmarshal(click.Context, &context); err != nil || context.Rank < 1 {
				t.Fatalf("context %s: %v", click.Context, err)
			}
			out["oracle"].add(context.Rank)
			scores = scores[:len(st.seen)]
			out["popularity"].add(rankOf(st.seen, i))
			last := u.before[len(u.before)-1]
			copy(scores, st.seen)
			for j, n := range st.next[last] {
				scores[j] += n * 1e6
			}
			out["item-to-item"].add(rankOf(scores, i))
			copy(scores, st.seen)
			for d := 1; d <= 5 && d <= len(u.before); d++ {
				for j, n := range st.near[u.before[len(u.before)-d]] {
					scores[j] += n / float64(d) * 1e6
				}
			}
			out["five steps"].add(rankOf(scores, i))
			out["structured"].add(rankOf(st.structured(u, scores), i))
		}
		st.seen[i]++
		if n := len(u.before); n > 0 && len(u.acts) > 0 {
			st.next[u.before[n-1]][i]++
		}
		for d := 1; d <= 5 && d <= len(u.acts); d++ {
			st.near[u.acts[len(u.acts)-d]][i] += 1 / float64(d)
		}
		u.acts = append(u.acts, i)
		if u.before = append(u.before, i); len(u.before) > 12 {
			u.before = u.before[1:]
		}
		u.tastes[cat]++
	}
}

func (st *stand) structured(u *shopper, scores []float64) []float64 {
	like := map[int]float64{}
	if len(u.acts) > 0 {
		like[st.category[u.acts[0]]] = 1
	} else {
		var sum float64
		for _, n := range u.tastes {
			sum += n
		}
		for c, n := range u.tastes {
			like[c] = n / sum
		}
	}
	of := map[int]float64{}
	var total float64
	for j, n := range st.seen {
		total += n
		of[st.category[j]] += n
	}
	for j, n := range st.seen {
		scores[j] = 0.15 * n / total
		if w := like[st.category[j]]; w > 0 {
			scores[j] += 0.4 * w * n / of[st.category[j]]
		}
	}
	last := u.before[len(u.before)-1]
	if len(u.acts) > 0 {
		sum := 5.0
		for _, n := range st.next[last] {
			sum += n
		}
		for j, n := range st.next[last] {
			scores[j] += 0.4 * n / sum
		}
	}
	for d := 1; d <= len(u.before) && d <= 9; d++ {
		scores[u.before[len(u.before)-d]] += 0.1 / float64(d+1)
	}
	return scores
}

// The stream is worth a model: the best reachable is far above popularity and above the counts of the next item, there is
// room between those and a learner of the world's structure, and none of them is without a chance.
func TestYardsticks(t *testing.T) {
	if raceEnabled {
		t.Skip("a statistic of one goroutine: the same without the race detector")
	}
	c := DefaultConfig()
	c.Records = *records
	s := yardsticks(t, c)
	for _, name := range []string{"oracle", "structured", "five steps", "item-to-item", "popularity"} {
		t.Logf("%-12s recall@20/MRR@20 %v of %d", name, s[name], s[name].tests)
	}
	order := []string{"popularity", "item-to-item", "structured", "oracle"}
	for i, better := range order[1:] {
		if worse := order[i]; s[better].recall() < s[worse].recall()+0.1 {
			t.Errorf("%s %v is not clearly above %s %v", better, s[better], worse, s[worse])
		}
	}
	if s["popularity"].recall() < 0.1 {
		t.Errorf("popularity %v is a strawman", s["popularity"])
	}
	if s["oracle"].recall() > 0.8 {
		t.Errorf("the oracle %v leaves too little to chance", s["oracle"])
	}
}
