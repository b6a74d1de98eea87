package sim

import "testing"

// What of the oracle's score can be known by who sees the clicks alone? Readers (reader_test.go) know the equations of doc.go with all their numbers, and are told some of
// what is hidden: users' tastes, items' weights, items' next items. The rest they infer from the clicks so far. What is reached with nothing told is a mark for a model,
// which has to learn the equations, too; it is not the best that could be inferred.

// partMillis is how long the clicks of a user are asked for together, before the first of them: the windows' default.
const partMillis = 10_000

// acts runs the shop for n records and shows every click, cart and purchase, with the user as before it.
func acts(s *Shop, n int64, see func(u, before *user, of ref, at int64)) {
	for s.out.counts.Records < n {
		s.out.recycle()
		for !s.out.ready(s.wakes.heap[0].at) {
			at, u := s.wakes.pop()
			before := *u
			s.wake(u, at)
			if before.page {
				continue
			}
			before.favourites = u.favourites // taste moves before the first click of a visit
			see(u, &before, u.recent[0], at)
		}
		s.out.deliver(s.crowd.users)
	}
}

// The test asks as the trainer does: for the distinct items of a part, before it. Items that nobody has clicked are misses but to the oracle.
func TestWhatCanBeKnown(t *testing.T) {
	if raceEnabled {
		t.Skip("a statistic of one goroutine: the same without the race detector")
	}
	c := DefaultConfig()
	c.Seed = *seed
	s := open(t, c)
	r := &reader{k: s.k, start: int64(c.Start), demand: make([]float64, c.Clusters), guests: make([]guest, c.Users)}
	readers := []struct {
		name string
		know told
	}{
		{"all told", told{true, true, true}},
		{"tastes inferred", told{false, true, true}},
		{"weights inferred", told{true, false, true}},
		{"next items inferred", told{true, true, false}},
		{"nothing told", told{}},
	}
	ranks := make([][]int, 2+len(readers)) // of the oracle at the click, and at the part, and of the readers
	part := newChoice(s.k)
	acts(s, int64(*records), func(u, before *user, of ref, at int64) {
		g := &r.guests[u.id]
		if g.parts == 0 || at > g.partAt+partMillis {
			g.parts++
			g.partAt, g.then, g.was, g.asked = at, *before, guestThen{len(g.visits), g.band}, map[int64]bool{}
		}
		if g.parts > 1 && !g.asked[of.serial] {
			g.asked[of.serial] = true
			r.good(of.serial)
			if len(ranks[0])%*every == 0 {
				part.of(before)
				ranks[0] = append(ranks[0], part.rank(of.slot))
				part.of(&g.then)
				ranks[1] = append(ranks[1], part.rank(of.slot))
				for i, who := range readers {
					r.distribute(&g.then, g.was, g.visits, who.know, of.serial)
					ranks[2+i] = append(ranks[2+i], rankOf(r.likely, int(of.serial)))
				}
			} else {
				for i := range ranks {
					ranks[i] = append(ranks[i], 0) // not asked
				}
			}
		}
		r.learn(g, before, of, at)
	})
	var recall []float64
	for i := range ranks {
		var all, last score
		for j, rank := range ranks[i] {
			if rank == 0 {
				continue
			}
			all.add(rank)
			if j >= len(ranks[i])*2/3 {
				last.add(rank)
			}
		}
		name := [...]string{"oracle, each click", "oracle, each part"}
		if i < len(name) {
			t.Logf("%-20s %v, last third %v of %d", name[i], all, last, last.tests)
		} else {
			t.Logf("%-20s %v, last third %v", readers[i-len(name)].name, all, last)
		}
		recall = append(recall, last.recall())
	}
	nothing := recall[len(recall)-1]
	for i, x := range recall[:len(recall)-1] {
		if x <= nothing {
			t.Errorf("to be told more does not help: %.3f of %d, and %.3f with nothing told", x, i, nothing)
		}
	}
	if nothing < recall[0]/2 {
		t.Errorf("with nothing told there are %.3f of %.3f: the reader has learned nothing", nothing, recall[0])
	}
}
