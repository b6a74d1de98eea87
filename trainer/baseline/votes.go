package baseline

import (
	"cmp"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/trainer/model"
)

// Arm is a recommender that is made of the tables alone.
type Arm uint8

// The arms.
const (
	ArmPopular0   Arm = iota // what is clicked most, with HalfLife0
	ArmPopular1              // …
	ArmPopular2              //
	ArmPopular3              //
	ArmItemToItem            // transitions from the last Steps clicks
	ArmVSKNN
	ArmSTAN
	ArmVSTAN
	Arms int = iota
)

var armNames = [Arms]string{"popularity_0", "popularity_1", "popularity_2", "popularity_3", "item_to_item", "vsknn", "stan", "vstan"}

func (a Arm) String() string { return armNames[a] }

// Scored is an item with what an arm gives it.
type Scored struct {
	Row   model.Row
	Score float64
}

// Votes is what the arms say to a request. It is valid until its tables or its memory are used again.
//
// At the first click of a session item-to-item and the neighbours go by the clicks of earlier ones. Few neighbours give many items the same votes: of equal ones, the
// more popular with HalfLife1 comes first.
type Votes struct {
	v *view
	s *scratch
}

func (v *view) votes(s *scratch, r *Request) Votes {
	begin := min(max(r.Begin, 0), len(r.Clicks))
	clicks := v.standing(r.Clicks[:begin], r.Clicks[begin:])
	s.sums = v.next.sum(s.sums[:0], clicks)
	s.neighbours.ask(v, clicks, r.Session, r.Now, 1<<rules-1)
	return Votes{v, s}
}

// Rank returns how many of an arm's items score at least as high as row, which counts itself: ties count against it. It is 0 when the arm does not know row, and
// for popularity beyond Places.
func (v Votes) Rank(arm Arm, row model.Row) int {
	if arm < ArmItemToItem {
		return v.v.counts.rank(int(arm), row)
	}
	rank := 0
	if arm == ArmItemToItem {
		if i, ok := slices.BinarySearchFunc(v.s.sums, row, func(m summed, row model.Row) int { return cmp.Compare(m.row, row) }); ok {
			own := v.s.sums[i]
			for _, m := range v.s.sums {
				if m.all > own.all || m.all == own.all && v.popular(m.row) >= v.popular(row) {
					rank++
				}
			}
		}
		return rank
	}
	i := v.s.neighbours.known(row)
	if i < 0 {
		return 0
	}
	rule, votes := int(arm-ArmVSKNN), v.s.neighbours.votes
	own := votes[i].votes[rule]
	if own == 0 {
		return 0
	}
	for j := range votes {
		if vote := votes[j].votes[rule]; vote > own || vote == own && v.popular(votes[j].row) >= v.popular(row) {
			rank++
		}
	}
	return rank
}

// popular returns a number that rises with the popularity of an item.
func (v Votes) popular(row model.Row) int64 {
	own := v.v.counts.get(int(row))
	if own.clicks == 0 {
		return math.MinInt64
	}
	bits := int64(math.Float64bits(own.log2[compared])) // of numbers of one sign, the order of the bits is theirs
	if bits < 0 {
		bits = math.MinInt64 - bits // of negative ones it is the reverse
	}
	return bits
}

// Top appends the items that an arm scores highest, Places at most.
func (v Votes) Top(dst []Scored, arm Arm) []Scored {
	s := v.s
	s.order = s.order[:0]
	switch {
	case arm < ArmItemToItem:
		for _, row := range v.v.counts.top[arm][:min(Places, len(v.v.counts.top[arm]))] {
			dst = append(dst, Scored{row, v.v.counts.share(int(arm), row)})
		}
		return dst
	case arm == ArmItemToItem:
		for _, m := range s.sums {
			s.order = append(s.order, keyed{float64(m.all), v.popular(m.row), int32(m.row)})
		}
	default:
		for i := range s.neighbours.votes {
			if vote := &s.neighbours.votes[i]; vote.votes[arm-ArmVSKNN] > 0 {
				s.order = append(s.order, keyed{vote.votes[arm-ArmVSKNN], v.popular(vote.row), int32(vote.row)})
			}
		}
	}
	top := best(s.order, Places)
	slices.SortFunc(top, func(a, b keyed) int {
		if a.before(&b) {
			return -1
		}
		return 1
	})
	for _, o := range top {
		dst = append(dst, Scored{model.Row(o.i), o.key})
	}
	return dst
}
