package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
)

// chains returns users who walk through one of several rings of items, in the ring's order: what comes next is nearly certain to who reads the
// sequence, and every item is about as popular as any other.
func chains(t *testing.T, users int) *Sequences {
	t.Helper()
	const rings, size = 5, 12
	rng := rand.New(rand.NewPCG(7, 7))
	var b Builder
	for u := range users {
		ring, at := rng.IntN(rings), rng.IntN(size)
		for range 5 + rng.IntN(5) { // fewer than the ring has: nobody meets an item again
			b.Add(fmt.Sprint("u", u), fmt.Sprint("i", ring*size+at%size))
			at++
		}
	}
	s, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func arms(t *testing.T, specs ...string) []Arm {
	t.Helper()
	list, err := ParseArms(specs)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// tiny is an arm that learns the chains in seconds, small the same with its epochs.
const (
	tiny  = "dim=16,heads=1,blocks=1,length=8,batch=16"
	small = tiny + ",epochs=4,lr=0.005"
)

func noPeak() float64 { return 1e9 }

func TestModelBeatsPopularity(t *testing.T) {
	e := Experiment{Data: chains(t, 300), Arms: arms(t, "small:"+small), Peak: noPeak}
	r, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, p := r.Results[0].Metrics, r.Popularity
	t.Logf("model %+v\npopularity %+v", m, p)
	if m.HRAt10 < 0.9 || m.MRR < 3*p.MRR || p.HRAt10 > 0.5 {
		t.Errorf("the model has not learned what comes next: model %+v, popularity %+v", m, p)
	}
	x := r.Results[0]
	if x.TokensPerSecond <= 0 || x.PeakShare <= 0 || x.Seconds <= 0 || x.Epoch != 4 || x.Skipped != 0 || len(x.Digest) != 64 {
		t.Errorf("%+v", x)
	}
	for _, want := range []string{"small", "(popularity)", "NDCG@200", "among all 60 items without", "Users tested: 300; left out, with fewer than 3 items: 0"} {
		if !strings.Contains(strings.Join(strings.Fields(r.Table()), " "), want) {
			t.Errorf("the table does not say %q:\n%s", want, r.Table())
		}
	}
}

func TestSameArmSameDigest(t *testing.T) {
	data := chains(t, 60)
	digests := func(specs ...string) (all []string) {
		r, err := (&Experiment{Data: data, Arms: arms(t, specs...), Peak: noPeak}).Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range r.Results {
			all = append(all, x.Digest)
		}
		return all
	}
	a := digests("a:" + small)
	b := digests("first:"+small+",seed=2", "b:"+small, "often:"+small+",eval_every=1")
	if a[0] != b[1] {
		t.Error("the same arm beside another gives other weights")
	}
	if a[0] != b[2] {
		t.Error("evaluations move weights")
	}
	if a[0] == b[0] {
		t.Error("another seed gives the same weights")
	}
}

func TestEvaluationsAreTold(t *testing.T) {
	var got []string
	var last Moment
	e := Experiment{Data: chains(t, 40), Arms: arms(t, "a:"+tiny+",epochs=5,eval_every=2"), Peak: noPeak,
		Evaluated: func(r Result) error {
			got = append(got, fmt.Sprint(r.Arm, r.Epoch))
			if len(r.Record()) != len(Columns()) {
				t.Errorf("%d columns have %d names", len(r.Record()), len(Columns()))
			}
			return nil
		},
		Watch: func(m Moment) { last = m }}
	if _, err := e.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a2", "a4", "a5"}, got); diff != "" {
		t.Error(diff)
	}
	p, err := e.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if last.Done != p.Total || p.Total == 0 {
		t.Errorf("it ends with %d items read, and %d were planned", last.Done, p.Total)
	}
	if a := p.Arms[0]; a.Parameters < 60*17 || a.StepsPerEpoch != 3 {
		t.Errorf("%+v", a)
	}
	broken := errors.New("disk full")
	e.Evaluated = func(Result) error { return broken }
	if _, err := e.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("a result that could not be kept: %v", err)
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := Experiment{Data: chains(t, 40), Arms: arms(t, "a:"+small, "b:"+tiny+",epochs=100,eval_every=2", "c:"+small), Peak: noPeak}
	e.Watch = func(m Moment) {
		if m.Arm == "b" && m.Epoch == 5 {
			cancel()
		}
	}
	r, err := e.Run(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(r.Results) != 2 || r.Results[0].Epoch != 4 || r.Results[1].Arm != "b" || r.Results[1].Epoch != 4 {
		t.Errorf("%+v", r.Results)
	}
	if !strings.Contains(r.Table(), "4/100") {
		t.Error(r.Table())
	}
}

func TestReportJSON(t *testing.T) {
	r := &Report{Results: []Result{{Arm: "a", Epoch: 3, Epochs: 5, Metrics: Metrics{.1, .2, .3, .4, .5, .6, .7}, TokensPerSecond: 8, PeakShare: .25, Seconds: 9, Digest: "d"}}}
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"protocol":"leave-one-out","arms":[{"name":"a","metrics":{"hr_at_10":0.1,"ndcg_at_10":0.2,"hr_at_50":0.3,"ndcg_at_50":0.4,"hr_at_200":0.5,"ndcg_at_200":0.6,"mrr":0.7},` +
		`"tokens_per_second":8,"peak_share":0.25,"epochs":3,"seconds":9,"digest":"d"}]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// scored ranks by fixed scores of user and item, by sorting: the oracle of how a rank is counted.
type scored struct {
	items  int
	score  func(q *sequence, item int32) int
	checks func(q *sequence, seen []int32)
}

func (s scored) Ranks(batch []sequence, seen [][]int32) (ranks []int32) {
	for i := range batch {
		q := &batch[i]
		if s.checks != nil {
			s.checks(q, seen[i])
		}
		rank := int32(1)
		for item := range int32(s.items) {
			if item != q.target && !slices.Contains(seen[i], item) && s.score(q, item) >= s.score(q, q.target) {
				rank++
			}
		}
		ranks = append(ranks, rank)
	}
	return ranks
}

// The metrics against a computation that goes by their definitions, user by user, with ties, removed items, and targets that were had before.
func TestMetricsAgainstNaive(t *testing.T) {
	const items = 260
	rng := rand.New(rand.NewPCG(3, 3))
	var b Builder
	for i := range items {
		b.Add("everything", fmt.Sprint(i))
	}
	histories := map[int][]int{}
	for u := 1; u <= 60; u++ {
		for range 3 + rng.IntN(40) {
			item := rng.IntN(items)
			histories[u] = append(histories[u], item)
			b.Add(fmt.Sprint("u", u), fmt.Sprint(item))
		}
	}
	histories[0] = make([]int, items)
	for i := range items {
		histories[0][i] = i
	}
	data, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	score := func(lastBefore, item int) int { return (lastBefore*31 + item*17) % 41 } // many ties
	for _, repeats := range []bool{false, true} {
		for _, holdOut := range []int{1, 2} {
			s := split{data: data, holdOut: holdOut, repeats: repeats}
			got, err := s.evaluate(t.Context(), scored{items: items, score: func(q *sequence, item int32) int { return score(int(q.past[len(q.past)-1]), int(item)) }}, 5, 7, func(int) {})
			if err != nil {
				t.Fatal(err)
			}
			want := make([]float64, 7)
			for _, h := range histories {
				target, before := h[len(h)-holdOut], h[:len(h)-holdOut]
				type candidate struct{ item, score int }
				var candidates []candidate
				for item := range items {
					if repeats || item == target || !slices.Contains(before, item) {
						candidates = append(candidates, candidate{item, score(before[len(before)-1], item)})
					}
				}
				slices.SortFunc(candidates, func(a, b candidate) int { // the target behind its equals
					if a.score != b.score {
						return b.score - a.score
					}
					switch target {
					case a.item:
						return 1
					case b.item:
						return -1
					}
					return 0
				})
				place := 1 + slices.IndexFunc(candidates, func(c candidate) bool { return c.item == target })
				for i, k := range []int{10, 50, 200} {
					if place <= k {
						want[2*i]++
						want[2*i+1] += math.Ln2 / math.Log(float64(1+place))
					}
				}
				want[6] += 1 / float64(place)
			}
			for i, v := range got.values() {
				if math.Abs(v-want[i]/float64(len(histories))) > 1e-12 {
					t.Errorf("repeats %v, hold out %d: %s is %v, want %v", repeats, holdOut, metricNames[i], v, want[i]/float64(len(histories)))
				}
			}
		}
	}
}

// What the model says of ranks, with items taken out, against its own ranks of all items.
func TestRanksOfTheModelWithoutSeenItems(t *testing.T) {
	data := chains(t, 50)
	e := Experiment{Data: data, Arms: arms(t, "a:"+small)}
	n, err := newNetwork(e.Arms[0].Model, data.Names)
	if err != nil {
		t.Fatal(err)
	}
	s := split{data: data, holdOut: 1}
	var batch []sequence
	for u := range int32(50) {
		if q, ok := s.training(u, 8); ok {
			batch = append(batch, q)
		}
	}
	n.Learn(batch, 1)
	rng := rand.New(rand.NewPCG(1, 1))
	var asked []sequence
	var without [][]int32
	var want []int32
	for range 50 { // more than are ranked at once
		q, _ := s.asked(int32(rng.IntN(50)), 8)
		all := make([]sequence, data.Items()) // the rank of every item
		for i := range all {
			all[i] = q
			all[i].target = int32(i)
		}
		ranks := n.Ranks(all, make([][]int32, len(all)))
		var seen []int32
		rank := int32(1)
		for i, r := range ranks {
			switch {
			case int32(i) == q.target:
			case rng.IntN(3) == 0:
				seen = append(seen, int32(i))
			case r <= ranks[q.target]:
				rank++
			}
		}
		asked, without, want = append(asked, q), append(without, seen), append(want, rank)
	}
	for i, got := range n.Ranks(asked, without) {
		if got != want[i] {
			t.Errorf("rank %d without %d items, want %d", got, len(without[i]), want[i])
		}
	}
}

func TestPopularityAgainstNaive(t *testing.T) {
	data := chains(t, 80)
	s := split{data: data, holdOut: 1}
	p := s.popularity()
	oracle := scored{items: data.Items(), score: func(_ *sequence, item int32) int { return int(p.counts[item]) }}
	total := int32(0)
	for _, c := range p.counts {
		total += c
	}
	if int(total) != data.Events()-data.Users() {
		t.Errorf("%d events are counted of %d by %d users", total, data.Events(), data.Users())
	}
	for _, repeats := range []bool{false, true} {
		s.repeats = repeats
		want, err := s.evaluate(t.Context(), oracle, 1, 10, func(int) {})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.evaluate(t.Context(), p, 1, 16, func(int) {})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("repeats %v (-naive +fast):\n%s", repeats, diff)
		}
	}
}

func TestWhatIsTrainedAndAsked(t *testing.T) {
	var b Builder
	for i, item := range []string{"a", "b", "c", "a", "d", "a"} {
		b.AddAt("u", item, schema.EventTime(100-i)) // from last to first
	}
	for range 3 {
		b.AddAt("v", "e", 5)
	}
	b.AddAt("w", "only w", 1)
	data, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	names := func(rows []int32) (s string) {
		for _, r := range rows {
			s += data.Names[r]
		}
		return s
	}
	check := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	s := split{data: data, holdOut: 1}
	q, ok := s.training(0, 3)
	check("trained", fmt.Sprint(names(q.past), " ", names([]int32{q.target}), " ", q.pastAt, q.at, q.learn, ok), "dac b [96 97 98] 99 3 true")
	q, history := s.asked(0, 3)
	check("asked", fmt.Sprint(names(q.past), " ", names([]int32{q.target}), " ", q.pastAt, q.at, " ", names(history)), "acb a [97 98 99] 100 adacb")
	s.holdOut = 2
	q, _ = s.training(0, 3)
	check("trained, to validate", fmt.Sprint(names(q.past), " ", names([]int32{q.target})), "ada c")
	q, history = s.asked(0, 3)
	check("asked, to validate", fmt.Sprint(names(q.past), " ", names([]int32{q.target}), " ", names(history)), "dac b adac")
	if _, ok := s.training(1, 3); ok {
		t.Error("one item is trained on")
	}
	if data.LeftOut != 1 || data.LeftOutEvents != 1 || data.Users() != 2 || data.Items() != 6 || data.Events() != 9 {
		t.Errorf("%+v", data)
	}
	if s.holdOut = 1; s.again() != 2 {
		t.Errorf("%d users are asked for what they had", s.again())
	}
	seen := map[string]bool{}
	_, err = s.evaluate(t.Context(), scored{items: 6, score: func(*sequence, int32) int { return 0 }, checks: func(q *sequence, had []int32) { seen[names([]int32{q.target})+" "+names(had)] = true }}, 9, 9, func(int) {})
	if err != nil || !seen["a bcd"] && !seen["a cdb"] && !seen["a bdc"] || !seen["e "] {
		t.Errorf("taken out: %v, %v", seen, err)
	}
}

func TestBatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	lengths := make([]int, 1000)
	var users []int32
	for u := range lengths {
		lengths[u] = 1 + int(math.Exp(rng.Float64()*6))
		users = append(users, int32(u))
	}
	length := func(u int32) int { return lengths[u] }
	cut := func(seed uint64) [][]int32 { return batches(users, length, 16, rand.New(rand.NewPCG(seed, 0))) }
	all := cut(1)
	if diff := cmp.Diff(all, cut(1)); diff != "" {
		t.Error("the same seed gives other batches")
	}
	if cmp.Equal(all, cut(2)) {
		t.Error("another seed gives the same batches")
	}
	var once []int32
	partial, padded, real := 0, 0, 0
	for _, b := range all {
		if len(b) < 16 {
			partial++
		}
		longest := 0
		for _, u := range b {
			longest = max(longest, lengths[u])
			real += lengths[u]
		}
		padded += longest * len(b)
		once = append(once, b...)
	}
	slices.Sort(once)
	if !slices.Equal(once, users) {
		t.Error("not every user is in one batch")
	}
	if partial > 1 {
		t.Errorf("%d batches are not full", partial)
	}
	if padded > real*5/4 {
		t.Errorf("%d items would be padded to %d", real, padded)
	}
	if len(batches(nil, length, 16, rng)) != 0 {
		t.Error("batches of nobody")
	}
}

func TestMemoryOfSequences(t *testing.T) {
	var b Builder
	for i := range 300_000 {
		b.Add(fmt.Sprint(i/100), fmt.Sprint(i%500))
	}
	s, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if got := cap(s.rows)*4 + cap(s.start)*8 + cap(s.at)*8; got > 300_000*5 {
		t.Errorf("%d bytes for 300,000 events", got)
	}
}

func TestTimeIsOfTrainingAlone(t *testing.T) {
	clock := time.Unix(0, 0)
	e := Experiment{Data: chains(t, 40), Arms: arms(t, "a:"+tiny+",epochs=2,eval_every=1"), Peak: noPeak,
		Now: func() time.Time { clock = clock.Add(time.Second); return clock }}
	r, err := e.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, _ := e.Plan()
	if x := r.Results[0]; x.Seconds != 2 || x.TokensPerSecond != float64(p.Arms[0].TokensPerEpoch) { // the clock is looked at before and after an epoch
		t.Errorf("%v seconds, %v tokens per second, %d tokens per epoch", x.Seconds, x.TokensPerSecond, p.Arms[0].TokensPerEpoch)
	}
}

// diverged is a learner whose numbers are no longer finite.
type diverged struct{ learner }

func (diverged) Learn([]sequence, float64) learned {
	return learned{steps: 1, skipped: 1, where: "loss"}
}

func TestArmThatFailsLeavesTheOthers(t *testing.T) {
	e := &Experiment{Data: chains(t, 40), Arms: arms(t, "wild:"+tiny, "tame:"+tiny+",epochs=1"), Peak: noPeak}
	e.Arms[0].Model.InitStd = -1 // as if ParseArms had let it pass
	r, err := e.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "arm wild: ") || len(r.Results) != 1 || r.Results[0].Arm != "tame" {
		t.Errorf("%v, %+v", err, r.Results)
	}
	one := run{e: e, split: e.split(), arm: e.Arms[1], now: time.Now, learner: diverged{}}
	if _, err := one.epoch(t.Context(), 1, []int32{0, 1, 2}); err == nil || !strings.Contains(err.Error(), "lower lr") {
		t.Errorf("an epoch without a finite step: %v", err)
	}
}
