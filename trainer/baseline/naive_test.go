package baseline_test

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/baseline"
	"github.com/freshet-ml/freshet/trainer/model"
)

// naive keeps everything and computes by the definitions.
type naive struct {
	cfg      baseline.Config
	clicks   []baseline.Click
	began    int
	sessions []*naiveSession               // in the order in which they entered
	posts    [items + 1][]*naiveSession    // in the order in which the item came into them
	next     [items + 1][items + 1]float64 // [from][to]
	arrivals [items + 1][items + 1]float64 // the same
	open     map[uint64]*naiveSession      // those that are kept
}

type naiveSession struct {
	key  uint64
	at   schema.EventTime
	rows []model.Row
}

func (n *naive) learn(c baseline.Click) {
	n.clicks = append(n.clicks, c)
	for d := 1; d <= min(baseline.Steps, len(c.Before)); d++ {
		n.next[c.Before[len(c.Before)-d]][c.Row] += 1 / float64(d)
	}
	if c.First {
		n.began++
		for d := 1; d <= min(baseline.Steps, len(c.Earlier)); d++ {
			n.arrivals[c.Earlier[len(c.Earlier)-d]][c.Row] += 1 / float64(d)
		}
		return
	}
	s := n.open[c.Session]
	add := func(row model.Row) {
		s.rows = append(s.rows, row)
		if len(s.rows) > n.cfg.SessionClicks {
			gone := s.rows[0]
			s.rows = s.rows[1:]
			if !slices.Contains(s.rows[:len(s.rows)-1], gone) {
				n.unpost(s, gone)
			}
		}
		if !slices.Contains(s.rows[:len(s.rows)-1], row) {
			n.posts[row] = append(n.posts[row], s)
			if len(n.posts[row]) > n.cfg.Sample {
				n.posts[row] = n.posts[row][1:]
			}
		}
	}
	if s == nil {
		if len(n.sessions) == n.cfg.Sessions {
			oldest := n.sessions[0]
			n.sessions = n.sessions[1:]
			delete(n.open, oldest.key)
			for row := range n.posts {
				n.unpost(oldest, model.Row(row))
			}
		}
		s = &naiveSession{key: c.Session}
		n.open[c.Session] = s
		n.sessions = append(n.sessions, s)
		for _, row := range c.Before[max(0, len(c.Before)-n.cfg.SessionClicks):] {
			add(row)
		}
	}
	add(c.Row)
	s.at = c.At
}

func (n *naive) unpost(s *naiveSession, row model.Row) {
	n.posts[row] = slices.DeleteFunc(slices.Clone(n.posts[row]), func(x *naiveSession) bool { return x == s })
}

// share is the share of the clicks that a row has.
func (n *naive) share(row model.Row, halfLifeMillis float64) float64 {
	own, all := 0., 0.
	for _, c := range n.clicks {
		w := math.Exp2(-float64(n.clicks[len(n.clicks)-1].At-c.At) / halfLifeMillis)
		all += w
		if c.Row == row {
			own += w
		}
	}
	if own == 0 {
		return 1e-6
	}
	return max(own/all, 1e-6)
}

func (n *naive) count(row model.Row) (clicks int) {
	for _, c := range n.clicks {
		if c.Row == row {
			clicks++
		}
	}
	return clicks
}

// votes are those of V-SKNN, STAN and VSTAN.
func (n *naive) votes(session []model.Row, own uint64, now schema.EventTime) (out [3]map[model.Row]float64) {
	session = session[max(0, len(session)-n.cfg.SessionClicks):]
	length := len(session)
	last := map[model.Row]int{} // the last place, from 1
	for p, row := range session {
		last[row] = p + 1
	}
	weight := func(rule int, row model.Row) float64 {
		p := float64(last[row])
		switch rule {
		case 0:
			return p / float64(length)
		case 1:
			return math.Exp((p - float64(length)) / n.cfg.STAN.Place)
		default:
			return math.Exp((p - float64(length)) / n.cfg.VSTAN.Place)
		}
	}
	var cands []*naiveSession
	shared := map[*naiveSession]map[model.Row]bool{}
	done := map[model.Row]bool{}
	for p := length - 1; p >= 0; p-- {
		row := session[p]
		if done[row] {
			continue
		}
		done[row] = true
		for i := len(n.posts[row]) - 1; i >= 0; i-- {
			s := n.posts[row][i]
			if shared[s] == nil {
				shared[s] = map[model.Row]bool{}
				cands = append(cands, s)
			}
			shared[s][row] = true
			if len(cands) > 4*n.cfg.Sample {
				break
			}
		}
	}
	cands = slices.DeleteFunc(cands, func(s *naiveSession) bool { return s.key == own })
	slices.SortStableFunc(cands, func(a, b *naiveSession) int { return cmp.Compare(b.at, a.at) })
	cands = cands[:min(len(cands), n.cfg.Sample)]
	squares := 0.
	for row := range last {
		squares += weight(2, row) * weight(2, row)
	}
	for rule, k := range []int{n.cfg.VSKNN.K, n.cfg.STAN.K, n.cfg.VSTAN.K} {
		out[rule] = map[model.Row]float64{}
		similar := map[*naiveSession]float64{}
		for _, s := range cands {
			sum := 0.
			for _, row := range session { // in one order: a map has none
				if shared[s][row] && done[row] {
					sum += weight(rule, row)
					done[row] = false
				}
			}
			for row := range shared[s] {
				done[row] = true
			}
			distinct := map[model.Row]bool{}
			for _, row := range s.rows {
				distinct[row] = true
			}
			age := float64(now - s.at)
			switch rule {
			case 1:
				sum *= math.Exp(-age/float64(n.cfg.STAN.Age.Milliseconds())) / math.Sqrt(float64(length*len(s.rows)))
			case 2:
				sum *= math.Exp(-age/float64(n.cfg.VSTAN.Age.Milliseconds())) / math.Sqrt(squares*float64(len(distinct)))
			}
			similar[s] = sum
		}
		near := slices.Clone(cands)
		slices.SortStableFunc(near, func(a, b *naiveSession) int {
			if math.Abs(similar[a]-similar[b]) < 1e-12 { // sums in another order
				return 0
			}
			return cmp.Compare(similar[b], similar[a])
		})
		for _, s := range near[:min(k, len(near))] {
			star, back := -1, length
			for p, row := range s.rows {
				if last[row] > 0 {
					star, back = p, min(back, length-last[row])
				}
			}
			for p, row := range s.rows {
				far := math.Abs(float64(p - star))
				switch rule {
				case 0:
					out[0][row] += similar[s] * max(0, 1-0.1*float64(back+1))
				case 1:
					if p != star {
						out[1][row] += similar[s] * math.Exp(-far/n.cfg.STAN.Distance)
					}
				case 2:
					if !slices.Contains(s.rows[p+1:], row) {
						idf := max(0, math.Log(float64(max(1, n.began))/float64(n.count(row))))
						out[2][row] += similar[s] * math.Exp(-far/n.cfg.VSTAN.Distance) * math.Exp(-float64(back)/n.cfg.VSTAN.Shared) * (1 + n.cfg.VSTAN.IDF*idf)
					}
				}
			}
		}
		remind := []bool{n.cfg.VSKNN.Remind, n.cfg.STAN.Remind, n.cfg.VSTAN.Remind}[rule]
		for row, v := range out[rule] {
			if v == 0 || !remind && last[row] > 0 {
				delete(out[rule], row)
			}
		}
	}
	return out
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*max(1e-3, math.Abs(a)+math.Abs(b)) }

// TestTablesAreAsDefined compares every number that readers are given with its definition, computed from all clicks.
func TestTablesAreAsDefined(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := small()
		cfg.Transitions = items
		cfg.NeighboursBy = rapid.SampledFrom([]string{"vsknn", "stan", "vstan"}).Draw(t, "by")
		cfg.VSKNN.Remind, cfg.STAN.Remind, cfg.VSTAN.Remind = rapid.Bool().Draw(t, "remind"), rapid.Bool().Draw(t, "remind"), rapid.Bool().Draw(t, "remind")
		s, l := newShop(), baseline.New(cfg)
		n := &naive{cfg: cfg, open: map[uint64]*naiveSession{}}
		for range rapid.IntRange(1, 120).Draw(t, "clicks") {
			c := s.click(t)
			l.Learn(c)
			n.learn(c)
		}
		n.terms(t, l)
		user := rapid.IntRange(0, 2*len(s.users)-1).Draw(t, "who asks")
		n.answers(t, l, s.request(user))
	})
}

func (n *naive) halfLives() []float64 {
	c := n.cfg
	return []float64{
		float64(c.HalfLife0.Milliseconds()), float64(c.HalfLife1.Milliseconds()), float64(c.HalfLife2.Milliseconds()), float64(c.HalfLife3.Milliseconds()),
	}
}

func (n *naive) terms(t *rapid.T, l *baseline.Live) {
	got := make([]float32, (items+2)*model.ItemTerms)
	l.ItemTerms(got, 0)
	votes := l.Votes(baseline.Request{})
	for row := range items + 2 {
		clicks := float64(n.count(model.Row(row)))
		own := got[row*model.ItemTerms:][:model.ItemTerms]
		some := make([]float32, model.ItemTerms)
		l.ItemTermsOf(some, []model.Row{model.Row(row)})
		if !slices.Equal(own, some) {
			t.Fatalf("row %d: %v of all, %v of some", row, own, some)
		}
		if !near(float64(own[model.TermRare]), 1/(1+clicks)) || !near(float64(own[model.TermRareSlow]), 1/math.Sqrt(1+clicks)) || l.Clicks(model.Row(row)) != int64(clicks) {
			t.Fatalf("row %d of %v clicks: %v", row, clicks, own)
		}
		for k, halfLife := range n.halfLives() {
			share := n.share(model.Row(row), halfLife)
			if math.Abs(float64(own[k])-math.Log(share)) > 1e-5 {
				t.Fatalf("row %d, half-life %d: log-share %v, want %v", row, k, own[k], math.Log(share))
			}
			if clicks == 0 || share < 1e-5 { // where the floor hides the order
				continue
			}
			least, most := 0, 0 // rounding may order equal weights
			for other := range items {
				if n.count(model.Row(other)) > 0 && n.share(model.Row(other), halfLife) > share*(1+1e-7) {
					least++
				}
				if n.count(model.Row(other)) > 0 && n.share(model.Row(other), halfLife) >= share*(1-1e-7) {
					most++
				}
			}
			if rank := votes.Rank(baseline.Arm(k), model.Row(row)); rank <= least || rank > most {
				t.Fatalf("row %d, half-life %d: rank %d, want %d to %d", row, k, rank, least+1, most)
			}
		}
	}
}

func (n *naive) answers(t *rapid.T, l *baseline.Live, r baseline.Request) {
	type mark struct {
		row model.Row
		of  int
	}
	want := map[mark]float64{}
	session, earlier := r.Clicks[r.Begin:], r.Clicks[:r.Begin]
	sum := func(table *[items + 1][items + 1]float64, clicks []model.Row, steps int, to int) (s float64) {
		for d := 1; d <= min(steps, len(clicks)); d++ {
			s += table[clicks[len(clicks)-d]][to] / float64(d)
		}
		return s
	}
	hour := n.halfLives()[model.TermPopular1]
	lift := func(of, row int, s float64) {
		if s > 0 {
			want[mark{model.Row(row), of}] = math.Log(1 + s/(n.cfg.Kappa*n.share(model.Row(row), hour)))
		}
	}
	standing := session
	if len(session) == 0 {
		standing = earlier[max(0, len(earlier)-n.cfg.Earlier):]
	}
	for row := range items {
		if len(session) > 0 {
			lift(model.MarkTransition, row, sum(&n.next, session, baseline.Steps, row))
			lift(model.MarkFollow, row, sum(&n.next, session, 1, row))
		} else {
			lift(model.MarkArrival, row, sum(&n.arrivals, earlier, baseline.Steps, row))
			lift(model.MarkFollow, row, sum(&n.arrivals, earlier, 1, row))
			lift(model.MarkTransition, row, sum(&n.next, earlier, baseline.Steps, row))
		}
	}
	votes := n.votes(standing, r.Session, r.Now)
	by := votes[slices.Index([]string{"vsknn", "stan", "vstan"}, n.cfg.NeighboursBy)]
	total := 0.
	for _, v := range by {
		total += v
	}
	for row, v := range by {
		lift(model.MarkNeighbour, int(row), n.cfg.Kappa*v/total)
	}
	for i := max(0, len(r.Clicks)-n.cfg.Repeats); i < len(r.Clicks); i++ {
		of := model.MarkAgain
		if i < r.Begin {
			of = model.MarkAgainEarlier
		}
		want[mark{r.Clicks[i], of}] = 1
		if i == len(r.Clicks)-1 {
			want[mark{r.Clicks[i], model.MarkAgainLast}] = 1
		}
	}
	got := l.Marks(nil, r)
	for i, m := range got {
		if i > 0 && (m.Row < got[i-1].Row || m.Row == got[i-1].Row && m.Of <= got[i-1].Of) {
			t.Fatalf("marks %d and %d are out of order: %v %v", i-1, i, got[i-1], m)
		}
		if w, ok := want[mark{m.Row, int(m.Of)}]; !ok || math.Abs(w-float64(m.Value)) > 1e-4*(1+w) {
			t.Fatalf("mark %v: want %v", m, w)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d marks, want %d:\n%v\n%v", len(got), len(want), got, want)
	}

	of := l.Votes(r)
	scores := [4]map[model.Row]float64{{}, votes[0], votes[1], votes[2]}
	for row := range items {
		if s := sum(&n.next, standing, baseline.Steps, row); s > 0 {
			scores[0][model.Row(row)] = s
		}
	}
	for i, score := range scores {
		arm := baseline.ArmItemToItem + baseline.Arm(i)
		top := of.Top(nil, arm)
		if len(top) != len(score) {
			t.Fatalf("%s: %d items, want %d: %v %v", arm, len(top), len(score), top, score)
		}
		for place, e := range top {
			if !near(e.Score, score[e.Row]) {
				t.Fatalf("%s: row %d has %v, want %v", arm, e.Row, e.Score, score[e.Row])
			}
			if place > 0 && e.Score > top[place-1].Score {
				t.Fatalf("%s: the list does not fall: %v", arm, top)
			}
			rank := of.Rank(arm, e.Row)
			if rank < place+1 || rank > place+1 && (rank > len(top) || top[rank-1].Score != e.Score) {
				t.Fatalf("%s: row %d at place %d has rank %d: %v", arm, e.Row, place+1, rank, top)
			}
		}
		for row := range model.Row(items + 2) {
			if _, ok := score[row]; !ok && of.Rank(arm, row) != 0 {
				t.Fatalf("%s ranks row %d, which it does not know", arm, row)
			}
		}
	}
}
