package baseline

import (
	"math"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// The neighbours that vote by session: three rules over the same candidates, which are the most recent sessions that share an item with the one that asks.
//
// V-SKNN (Ludewig and Jannach, "Evaluation of Session-based Recommendation Algorithms", UMUAI 2018): similarity is the sum of the shared items' weights, p/n at
// place p of n. A neighbour votes for all its items with its similarity, times 1 - 0.1·d, d steps back from the end being the last click it shares.
//
// STAN (Garg et al., "Sequence and Time Aware Neighborhood for Session-based Recommendations", SIGIR 2019): weights exp((p-n)/Place); similarity is their sum
// over √(n·m), m clicks of the neighbour, times exp(-age/Age). An item at distance d from the last shared one in the neighbour gets exp(-d/Distance) of it.
//
// VSTAN (Ludewig et al., "Empirical Analysis of Session-based Recommendation Algorithms", UMUAI 2021): STAN on distinct items and with the cosine of the weights,
// where votes fall with the distance of the last shared click from the end of the session, exp((p-n)/Shared), and rise with an item's rareness: 1 + IDF·log(
// sessions/clicks). Where that logarithm is negative it is taken as 0.
const (
	byVSKNN = iota
	bySTAN
	byVSTAN
	rules
)

// neighbours is the memory of one look for neighbours.
type neighbours struct {
	places   numbered // the distinct items that ask, from the last
	weights  []place
	found    numbered // slots
	cands    []candidate
	order    []keyed
	items    numbered
	votes    []voted // by number of items
	stan     [2]decay
	idfTotal float64
}

// place is an item that asks.
type place struct {
	back   int // clicks after its last one
	weight [rules]float64
}

type candidate struct {
	slot    int32
	at      schema.EventTime
	similar [rules]float64
	chosen  uint8 // bits of rules
}

// voted is an item with what each rule's neighbours say of it.
type voted struct {
	row   model.Row
	rare  float64 // 1 + IDF·log(sessions/clicks)
	votes [rules]float64
}

// decay holds exp(-d/by) of the whole numbers d.
type decay struct {
	by  float64
	exp []float64
}

func (d *decay) at(i int) float64 {
	for len(d.exp) <= i {
		d.exp = append(d.exp, math.Exp(-float64(len(d.exp))/d.by))
	}
	return d.exp[i]
}

// ask lets the neighbours of a session vote: of those rules whose bits are set. own is the key of the session, which is no neighbour of itself.
func (s *neighbours) ask(v *view, session []model.Row, own uint64, now schema.EventTime, of uint8) {
	s.votes = s.votes[:0]
	s.items.reset()
	cfg := &v.cfg
	session = session[max(0, len(session)-cfg.SessionClicks):]
	if len(session) == 0 {
		return
	}
	s.weigh(cfg, session)
	s.collect(v, own)
	s.compare(v, len(session), now)
	k := [rules]int{cfg.VSKNN.K, cfg.STAN.K, cfg.VSTAN.K}
	for rule := range rules {
		if of&(1<<rule) == 0 {
			continue
		}
		s.order = s.order[:0]
		for i := range s.cands {
			s.order = append(s.order, keyed{s.cands[i].similar[rule], int64(s.cands[i].at), int32(i)})
		}
		for _, c := range best(s.order, k[rule]) {
			s.cands[c.i].chosen |= 1 << rule
		}
	}
	s.stan[0].set(cfg.STAN.Distance)
	s.stan[1].set(cfg.VSTAN.Distance)
	s.idfTotal = math.Log(float64(max(1, v.sessions.ever)))
	for i := range s.cands {
		if c := &s.cands[i]; c.chosen != 0 {
			s.vote(v, c, len(session))
		}
	}
}

func (d *decay) set(by float64) {
	if d.by != by {
		d.by, d.exp = by, d.exp[:0]
	}
}

// weigh gives the items of the session their weights. The last click of an item counts.
func (s *neighbours) weigh(cfg *Config, session []model.Row) {
	s.places.reset()
	s.weights = s.weights[:0]
	n := float64(len(session))
	for back := range session {
		row := session[len(session)-1-back]
		if _, fresh := s.places.number(int32(row)); !fresh {
			continue
		}
		s.weights = append(s.weights, place{back, [rules]float64{
			byVSKNN: (n - float64(back)) / n,
			bySTAN:  math.Exp(-float64(back) / cfg.STAN.Place),
			byVSTAN: math.Exp(-float64(back) / cfg.VSTAN.Place),
		}})
	}
}

// collect finds the candidates and adds up the weights of what they share. It looks at 4·Sample at most, those of the last clicks first, and keeps the most
// recent Sample.
func (s *neighbours) collect(v *view, own uint64) {
	s.found.reset()
	s.cands = s.cands[:0]
	sample := v.cfg.Sample
	for i, row := range s.places.keys {
		w := &s.weights[i].weight
		posts := v.sessions.posts.get(int(row))
		for j := len(posts) - 1; j >= 0; j-- {
			n, fresh := s.found.number(posts[j])
			if fresh {
				h := v.sessions.heads.at(int(posts[j]))
				c := candidate{slot: posts[j], at: h.at}
				if h.key == own || h.distinct == 0 { // the latter in damaged tables alone
					c.slot = -1
				}
				s.cands = append(s.cands, c)
			}
			c := &s.cands[n]
			for rule := range c.similar {
				c.similar[rule] += w[rule]
			}
			if len(s.cands) > 4*sample {
				break
			}
		}
	}
	s.order = s.order[:0]
	for i := range s.cands {
		if c := &s.cands[i]; c.slot >= 0 {
			s.order = append(s.order, keyed{0, int64(c.at), int32(i)})
		}
	}
	for _, c := range best(s.order, sample) {
		s.cands[c.i].chosen = 1
	}
	kept := s.cands[:0]
	for _, c := range s.cands {
		if c.chosen != 0 {
			c.chosen = 0
			kept = append(kept, c)
		}
	}
	s.cands = kept
}

// compare turns the sums of weights into similarities.
func (s *neighbours) compare(v *view, n int, now schema.EventTime) {
	squares := 0.
	for i := range s.weights {
		w := s.weights[i].weight[byVSTAN]
		squares += w * w
	}
	perSTAN, perVSTAN := -1/float64(v.cfg.STAN.Age.Milliseconds()), -1/float64(v.cfg.VSTAN.Age.Milliseconds())
	for i := range s.cands {
		c := &s.cands[i]
		age := float64(max(0, now-c.at))
		fresh := math.Exp(age * perSTAN)
		freshToo := fresh
		if perVSTAN != perSTAN {
			freshToo = math.Exp(age * perVSTAN)
		}
		c.similar[bySTAN] *= fresh / math.Sqrt(float64(n*len(*v.sessions.rows.at(int(c.slot)))))
		c.similar[byVSTAN] *= freshToo / math.Sqrt(squares*float64(v.sessions.heads.at(int(c.slot)).distinct))
	}
}

// vote adds what one neighbour says.
func (s *neighbours) vote(v *view, c *candidate, n int) {
	rows := *v.sessions.rows.at(int(c.slot))
	last, back := -1, n // the place in the neighbour, and clicks from the end of the session, of the last that is shared
	for p, row := range rows {
		if i := s.places.find(int32(row)); i >= 0 {
			last, back = p, min(back, s.weights[i].back)
		}
	}
	if last < 0 {
		return
	}
	var similar [rules]float64
	for rule := range similar {
		if c.chosen&(1<<rule) != 0 {
			similar[rule] = c.similar[rule]
		}
	}
	similar[byVSKNN] *= max(0, 1-0.1*float64(back+1))
	similar[byVSTAN] *= math.Exp(-float64(back) / v.cfg.VSTAN.Shared)
	remind := [rules]bool{v.cfg.VSKNN.Remind, v.cfg.STAN.Remind, v.cfg.VSTAN.Remind}
	all := remind[byVSKNN] && remind[bySTAN] && remind[byVSTAN]
	repeats := int(v.sessions.heads.at(int(c.slot)).distinct) < len(rows)
	for p, row := range rows {
		similar := similar
		if !all && s.places.find(int32(row)) >= 0 {
			for rule := range similar {
				if !remind[rule] {
					similar[rule] = 0
				}
			}
		}
		i, fresh := s.items.number(int32(row))
		if fresh {
			s.votes = append(s.votes, voted{row: row, rare: s.rare(v, row)})
		}
		to := &s.votes[i]
		to.votes[byVSKNN] += similar[byVSKNN]
		far := max(p-last, last-p)
		if far > 0 {
			to.votes[bySTAN] += similar[bySTAN] * s.stan[0].at(far)
		}
		if !repeats || !contains(rows[p+1:], row) {
			to.votes[byVSTAN] += similar[byVSTAN] * s.stan[1].at(far) * to.rare
		}
	}
}

func (s *neighbours) rare(v *view, row model.Row) float64 {
	if v.cfg.VSTAN.IDF == 0 {
		return 1
	}
	clicks := v.counts.get(int(row)).clicks
	return 1 + v.cfg.VSTAN.IDF*max(0, s.idfTotal-math.Log(float64(max(1, clicks))))
}

func contains(rows []model.Row, row model.Row) bool {
	for _, r := range rows {
		if r == row {
			return true
		}
	}
	return false
}

// known returns the number of an item among the votes, or -1.
func (s *neighbours) known(row model.Row) int {
	if len(s.votes) == 0 {
		return -1
	}
	return int(s.items.find(int32(row)))
}
