package baseline

import (
	"cmp"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// Request is what is known of a user who asks.
type Request struct {
	Clicks  []model.Row // the newest, of all sessions, oldest first
	Begin   int         // of Clicks: where the current session begins; len(Clicks) at its first click
	Session uint64      // its key, as Learn has it, or 0
	Now     schema.EventTime
	Kinds   Kinds // of marks that are wanted
	Heard   bool  // Votes was asked the same just before Marks, which need not ask the neighbours again
}

// Kinds is a set of kinds of marks.
type Kinds uint16

// AllKinds are all kinds of marks.
const AllKinds = Kinds(1)<<model.MarkTerms - 1

// KindsOf returns the set of some kinds: model.MarkTransition ….
func KindsOf(kinds ...int) (k Kinds) {
	for _, kind := range kinds {
		k |= 1 << kind
	}
	return k
}

// Has says whether a kind is in the set.
func (k Kinds) Has(kind int) bool { return k>>kind&1 != 0 }

// neighboursMarked is how many items are marked by the votes of neighbours at most.
const neighboursMarked = 100

// view is what requests are answered from: the tables of a trainer, or of one version in a replica.
type view struct {
	cfg      Config
	counts   counts
	next     transitions // within sessions
	arrivals transitions // from the last clicks before a session to its first
	sessions sessions
}

// scratch is the memory of a request. The zero value is ready.
type scratch struct {
	sums       []summed
	order      []keyed
	chosen     []bool
	few        []model.Mark
	merged     []model.Mark
	neighbours neighbours
}

// marks appends the marks of a request, by rising row, then kind.
//
// The lift of an item is log(1 + S/(κ·p)): added to log p it is the logarithm of S + κ·p, up to what all items have in common, which is what was counted smoothed
// by popularity. p is the share of HalfLife1. S is
//   - of MarkTransition, what was counted from the last Steps clicks of the session, 1/d from the one d steps back; of MarkFollow, from the last alone.
//   - of MarkArrival, at the first click of a session, the same from the clicks before it, in the table of arrivals; of MarkFollow, from the last of them.
//   - of MarkNeighbour, under Config.Neighbours, κ times the share of the votes of Config.NeighboursBy.
func (v *view) marks(s *scratch, dst []model.Mark, r *Request) []model.Mark {
	begin := min(max(r.Begin, 0), len(r.Clicks))
	earlier, session := r.Clicks[:begin], r.Clicks[begin:]
	s.few = s.few[:0]
	start := len(dst)
	if len(session) > 0 {
		dst = v.moves(s, dst, &v.next, session, r.Kinds, model.MarkTransition)
	} else {
		dst = v.moves(s, dst, &v.arrivals, earlier, r.Kinds, model.MarkArrival)
		if v.cfg.EarlierTransitions {
			s.few = v.moves(s, s.few, &v.next, earlier, r.Kinds&KindsOf(model.MarkTransition), model.MarkTransition)
		}
	}
	if v.cfg.Neighbours && r.Kinds.Has(model.MarkNeighbour) {
		v.voices(s, v.standing(earlier, session), r)
	}
	recent := r.Clicks[max(0, len(r.Clicks)-v.cfg.Repeats):]
	for i, row := range recent {
		kind := model.MarkAgain
		from := max(0, begin-(len(r.Clicks)-len(recent))) // of recent: where the session begins
		if i < from {
			kind = model.MarkAgainEarlier
			from = 0
		}
		if r.Kinds.Has(kind) && !contains(recent[from:i], row) {
			s.few = append(s.few, model.Mark{Row: row, Of: uint8(kind), Value: 1})
		}
	}
	if n := len(r.Clicks); n > 0 && r.Kinds.Has(model.MarkAgainLast) {
		s.few = append(s.few, model.Mark{Row: r.Clicks[n-1], Of: uint8(model.MarkAgainLast), Value: 1})
	}
	slices.SortFunc(s.few, order)
	s.merged = merge(s.merged[:0], dst[start:], s.few)
	return append(dst[:start], s.merged...)
}

func order(a, b model.Mark) int {
	if c := cmp.Compare(a.Row, b.Row); c != 0 {
		return c
	}
	return cmp.Compare(a.Of, b.Of)
}

func merge(dst, a, b []model.Mark) []model.Mark {
	for len(a) > 0 && len(b) > 0 {
		if order(a[0], b[0]) <= 0 {
			dst, a = append(dst, a[0]), a[1:]
		} else {
			dst, b = append(dst, b[0]), b[1:]
		}
	}
	return append(append(dst, a...), b...)
}

// moves appends the marks of transitions from clicks, as of one kind, and those from the last click alone.
func (v *view) moves(s *scratch, dst []model.Mark, t *transitions, clicks []model.Row, kinds Kinds, of int) []model.Mark {
	if !kinds.Has(of) && !kinds.Has(model.MarkFollow) {
		return dst
	}
	s.sums = t.sum(s.sums[:0], clicks)
	s.strongest(v.cfg.Transitions)
	for _, m := range s.sums {
		popular := v.cfg.Kappa * v.counts.share(compared, m.row)
		if kinds.Has(of) {
			dst = append(dst, model.Mark{Row: m.row, Of: uint8(of), Value: float32(math.Log(1 + float64(m.all)/popular))})
		}
		if kinds.Has(model.MarkFollow) && m.last > 0 {
			dst = append(dst, model.Mark{Row: m.row, Of: uint8(model.MarkFollow), Value: float32(math.Log(1 + float64(m.last)/popular))})
		}
	}
	return dst
}

// strongest leaves those n sums that are greatest, in their order.
func (s *scratch) strongest(n int) {
	if len(s.sums) <= n {
		return
	}
	s.order, s.chosen = s.order[:0], append(s.chosen[:0], make([]bool, len(s.sums))...)
	for i, m := range s.sums {
		s.order = append(s.order, keyed{float64(m.all), 0, int32(i)})
	}
	for _, o := range best(s.order, n) {
		s.chosen[o.i] = true
	}
	kept := s.sums[:0]
	for i, m := range s.sums {
		if s.chosen[i] {
			kept = append(kept, m)
		}
	}
	s.sums = kept
}

// standing returns the clicks that neighbours are found by: those of the session, or at its first click the last of earlier ones.
func (v *view) standing(earlier, session []model.Row) []model.Row {
	if len(session) > 0 {
		return session
	}
	return earlier[max(0, len(earlier)-v.cfg.Earlier):]
}

// voices adds the marks of what neighbours vote for.
func (v *view) voices(s *scratch, clicks []model.Row, r *Request) {
	rule := v.cfg.rule()
	if !r.Heard {
		s.neighbours.ask(v, clicks, r.Session, r.Now, 1<<rule)
	}
	s.order = s.order[:0]
	for i := range s.neighbours.votes {
		if vote := &s.neighbours.votes[i]; vote.votes[rule] > 0 {
			s.order = append(s.order, keyed{vote.votes[rule], 0, int32(vote.row)})
		}
	}
	top := best(s.order, neighboursMarked)
	slices.SortFunc(top, func(a, b keyed) int { return cmp.Compare(a.i, b.i) }) // so that the sum below has one order
	sum := 0.
	for _, o := range top {
		sum += o.key
	}
	for _, o := range top {
		row := model.Row(o.i)
		s.few = append(s.few, model.Mark{Row: row, Of: uint8(model.MarkNeighbour), Value: float32(math.Log(1 + o.key/sum/v.counts.share(compared, row)))})
	}
}
