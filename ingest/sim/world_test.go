package sim

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// naive returns the distribution of the next item of u, computed item by item from the equations of doc.go.
func naive(k *catalogue, u *user) []float64 {
	n := len(k.items)
	p := make([]float64, n)
	nobody := make([]float64, n)
	spread := func(mass float64, weights []float64) bool {
		var sum float64
		for _, w := range weights {
			sum += w
		}
		if sum == 0 {
			return false
		}
		for i, w := range weights {
			p[i] += mass * w / sum
		}
		return true
	}
	stay, last := u.stay(k)
	m := 1 - stay
	p[last] += stay
	mass := struct{ shelf, front, back, any, next float64 }{0.52, 0.11, 0.11, 0.07, 0.19}
	if u.acts == 0 {
		mass.shelf, mass.front, mass.back, mass.any, mass.next = 0.76, 0.14, 0.06, 0.04, 0
	}

	even := slices.Clone(nobody)
	for i := range even {
		even[i] = 1
	}
	spread(m*mass.any, even)

	front := slices.Clone(nobody)
	for i := range k.items {
		front[i] = k.demand[k.items[i].cluster] * k.items[i].weight
	}
	order := slices.Clone(front)
	slices.Sort(order)
	for i := range front {
		if n > 30 && front[i] < order[n-30] {
			front[i] = 0
		}
	}
	spread(m*mass.front, front)

	following := slices.Clone(nobody)
	if mass.next > 0 && k.items[u.recent[0].slot].serial == u.recent[0].serial {
		for i, r := range k.items[u.recent[0].slot].nextRefs {
			following[r.slot] += []float64{0.4, 0.25, 0.15, 0.12, 0.08}[i]
		}
	}
	if !spread(m*mass.next, following) {
		mass.shelf += mass.next
	}

	back := slices.Clone(nobody)
	for i := range u.recents {
		r, place := u.recent[i], i
		if u.acts > 0 {
			place--
		}
		if place >= 0 && k.items[r.slot].serial == r.serial {
			back[r.slot] += []float64{1, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.1}[place]
		}
	}
	if !spread(m*mass.back, back) {
		mass.shelf += mass.back
	}

	likes := map[int32]float64{u.intent: 1}
	if u.acts == 0 {
		likes = map[int32]float64{u.favourites[0]: 0.62, u.favourites[1]: 0.26, u.favourites[2]: 0.12}
	}
	for cluster, like := range likes {
		w := slices.Clone(nobody)
		for i := range k.items {
			if it := &k.items[i]; it.cluster == cluster {
				w[i] = it.weight
				if it.band == u.band {
					w[i] *= 3
				}
			}
		}
		spread(m*mass.shelf*like, w)
	}
	return p
}

// anyWorld draws a small shop that has been open for a while.
func anyWorld(t *rapid.T) *Shop {
	c := DefaultConfig()
	c.Seed = rapid.Uint64().Draw(t, "seed")
	c.Users, c.Rate = 60, 1
	c.Clusters = rapid.IntRange(4, 9).Draw(t, "clusters")
	c.Items = rapid.IntRange(9*c.Clusters, 30*c.Clusters).Draw(t, "items")
	c.ItemLife = time.Duration(rapid.IntRange(1, 60).Draw(t, "life")) * time.Minute
	c.TasteJump = 0.3
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for range rapid.IntRange(0, 600).Draw(t, "records") {
		if _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestChoiceIsTheEquation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyWorld(t)
		u := &s.crowd.users[rapid.IntRange(0, len(s.crowd.users)-1).Draw(t, "user")]
		s.choice.of(u)
		want, sum := naive(s.k, u), 0.0
		got := make([]float64, len(want))
		for i := range want {
			got[i] = s.choice.prob(slot(i))
			sum += got[i]
			if math.Abs(got[i]-want[i]) > 1e-12 {
				t.Fatalf("item %d: %v, want %v", i, got[i], want[i])
			}
		}
		if math.Abs(sum-1) > 1e-12 {
			t.Fatalf("probabilities sum to %v", sum)
		}
		checkRanks(t, s.choice)

		// The same with many items of equal weight: ties count against.
		for i := range s.k.items {
			it := &s.k.items[i]
			it.appeal = float64(1 + i%2)
			it.bornAt, it.diesAt = 0, 2*s.k.refreshAt
		}
		s.k.weigh(s.k.refreshAt)
		s.choice.of(u)
		checkRanks(t, s.choice)
	})
}

func checkRanks(t *rapid.T, c *choice) {
	p := make([]float64, len(c.k.items))
	for i := range p {
		p[i] = c.prob(slot(i))
	}
	for i := range p {
		rank := 0
		for j := range p {
			if p[j] >= p[i] {
				rank++
			}
		}
		if r := c.rank(slot(i)); r != rank {
			t.Fatalf("item %d of probability %v has rank %d, want %d", i, p[i], r, rank)
		}
	}
}

// What is drawn follows what the oracle says, within five standard deviations for every item.
func TestDrawFollowsTheOracle(t *testing.T) {
	c := DefaultConfig()
	c.Users, c.Rate, c.Items, c.Clusters = 60, 1, 90, 6
	s := open(t, c)
	rng := rand.New(rand.NewPCG(7, 7))
	stays := 0
	for range 20 {
		for range 50 {
			next(t, s)
		}
		for i := range 5 {
			u := &s.crowd.users[i*7]
			s.choice.of(u)
			const n = 20_000
			times := make([]float64, c.Items)
			stayed := 0
			for range n {
				at, stay := s.choice.draw(rng)
				times[at]++
				if stay {
					stayed++
				}
			}
			for j, got := range times {
				p := s.choice.prob(slot(j))
				if math.Abs(got-n*p) > 5*math.Sqrt(n*p)+1 {
					t.Errorf("item %d was drawn %v times, want about %.0f", j, got, n*p)
				}
			}
			if p := s.choice.stay; math.Abs(float64(stayed)-n*p) > 5*math.Sqrt(n*p)+1 {
				t.Errorf("the last item was taken further %d times, want about %.0f", stayed, n*p)
			}
			stays += stayed
		}
	}
	if stays == 0 {
		t.Error("no state had a last item to take further")
	}
}

func TestItemsAreBornRiseAndDie(t *testing.T) {
	c := DefaultConfig()
	c.ItemLife = 10 * time.Minute
	k := newCatalogue(c, rand.New(rand.NewPCG(1, 1)))
	at := int64(c.Start)
	first := map[int64]bool{}
	for i := range k.items {
		first[k.items[i].serial] = true
	}
	weights := map[int64][]float64{} // of items born under our eyes, over appeal, at each refresh
	for k.died < int64(3*c.Items) {
		at += refreshMillis
		k.refresh(at)
		for i := range k.items {
			it := &k.items[i]
			if it.bornAt > at || it.diesAt <= at {
				t.Fatalf("item %d lives from %d to %d, and is shown at %d", it.serial, it.bornAt, it.diesAt, at)
			}
			for _, r := range it.nextRefs {
				if !k.alive(r) || r.slot == slot(i) {
					t.Fatalf("item %d is followed by %+v, which is dead or itself", it.serial, r)
				}
			}
			if !first[it.serial] {
				weights[it.serial] = append(weights[it.serial], it.weight/it.appeal)
			}
		}
	}
	if k.born != k.died {
		t.Errorf("%d born, %d died", k.born, k.died)
	}
	whole := 0
	for _, w := range weights {
		peak := slices.Index(w, slices.Max(w))
		if len(w) < 60 || len(w) > 1000 {
			continue // too short to look at
		}
		if peak > len(w)/2 {
			continue // still alive and rising
		}
		whole++
		if w[0] > 0.5 || !slices.IsSorted(w[:peak+1]) || !slices.IsSortedFunc(w[peak:], func(a, b float64) int { return cmp.Compare(b, a) }) {
			t.Fatalf("popularity does not rise and then fall: %v", w)
		}
	}
	if whole < 100 {
		t.Errorf("only %d lives were seen", whole)
	}
}

func TestTasteDrifts(t *testing.T) {
	shifts := func(drift, jump float64) (one, all, none int) {
		c := DefaultConfig()
		c.TasteDrift, c.TasteJump = drift, jump
		w := newCrowd(c, rand.New(rand.NewPCG(3, 3)), slices.Repeat([]float64{1 / float64(c.Clusters)}, c.Clusters))
		u := &w.users[0]
		for range 20_000 {
			before := u.favourites
			shifted := w.shift(u)
			kept := 0
			for i, f := range u.favourites {
				if slices.Contains(before[:], f) {
					kept++
				}
				if slices.Contains(u.favourites[:i], f) {
					t.Fatalf("a favourite twice: %v", u.favourites)
				}
			}
			switch {
			case !shifted:
				none++
				if u.favourites != before {
					t.Fatal("the taste moved, and shift says no")
				}
			case kept == favouriteCount-1:
				one++
			default:
				all++
			}
		}
		return one, all, none
	}
	if one, all, none := shifts(0, 0); one != 0 || all != 0 || none != 20_000 {
		t.Errorf("taste moves with shares of 0: %d %d %d", one, all, none)
	}
	if one, all, _ := shifts(0.05, 0.01); one < 800 || one > 1200 || all < 140 || all > 260 {
		t.Errorf("of 20,000 sessions %d moved one favourite and %d moved all, want about 1000 and 200", one, all)
	}
}

func TestRememberKeepsTheLatestFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var u user
		var want []ref
		for _, x := range rapid.SliceOfN(rapid.Int32Range(0, 12), 0, 60).Draw(t, "items") {
			r := ref{slot(x), 1}
			want = slices.DeleteFunc(want, func(o ref) bool { return o == r })
			want = slices.Insert(want, 0, r)
			want = want[:min(len(want), recentMax)]
			u.remember(r)
			if !slices.Equal(u.recent[:u.recents], want) {
				t.Fatalf("%v, want %v", u.recent[:u.recents], want)
			}
		}
	})
}
