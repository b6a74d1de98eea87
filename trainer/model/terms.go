package model

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// Terms are numbers that enter an item's score beside the product of its vector with the query's, each times a weight that is learned:
//
//	score_i = z·v_i + b_i + Σ_t w_t[g]·x_t(i) + Σ_m u_m[g]·y_m(i)
//
// x are terms of the item, whoever asks, y are marks that only some items have for one request, and g is the bucket of the time since the user's newest
// session, or that there is none: how far what just happened is to be trusted depends on how long ago it was. They come from tables of the stream itself, so they are as
// fresh as its last click, whatever the age of the weights.

// The terms of an item.
const (
	TermPopular0 = iota // log of its share of the clicks, old ones fading with the shortest half-life
	TermPopular1
	TermPopular2
	TermPopular3     // with the longest
	TermRare         // 1/(1+n) of its n clicks so far: how little its vector was trained
	TermRareSlow     // 1/sqrt(1+n)
	ItemTerms    int = iota
)

// The kinds of marks.
const (
	MarkTransition   = iota // log(1 + S/(κ·p)): S transitions into the item from the session's last clicks, p its popularity
	MarkArrival             // the same from the clicks of earlier sessions, at the first click of a session
	MarkFollow              // the same from the last click alone
	MarkNeighbour           // the same of the votes of sessions that are like this one (V-SKNN)
	MarkAgain               // 1 where the item was clicked in this session
	MarkAgainEarlier        // 1 where it was clicked in an earlier session
	MarkAgainLast           // 1 where it is the last click
	MarkTerms        int    = iota
)

// Mark is a term of an item for one request.
type Mark struct {
	Row   Row
	Of    uint8 // MarkTransition …
	Value float32
}

// Live gives the terms of items as the stream has them now, also of rows that it has never heard of. Under a Model they stay as they are from Forward until Step; under a
// Served they never change. Either way many goroutines ask at once.
type Live interface {
	// ItemTerms sets dst to the terms of the rows from, from+1, ….   dst (rows, ItemTerms)
	ItemTerms(dst []float32, from Row)
	// ItemTermsOf sets dst to those of some rows.   dst (len(rows), ItemTerms)
	ItemTermsOf(dst []float32, rows []Row)
}

// termNames names the terms and the marks, as the form of the model has them; a number of one more stands for another meaning.
func (c *Config) termNames() string {
	if !c.Terms {
		return ""
	}
	return "popular0,popular1,popular2,popular3,rare,rare_slow;transition,arrival,follow,neighbour,again,again_earlier,again_last"
}

// firstItemTerms and firstMarkTerms are the weights before the first step, the same for all gap buckets: what was measured to help where it is given starts above zero.
func firstItemTerms(_ *Config, _ *rand.Rand, i int) float64 {
	if i == TermPopular1 {
		return 0.5
	}
	return 0
}

func firstMarkTerms(_ *Config, _ *rand.Rand, i int) float64 {
	switch i {
	case MarkTransition, MarkArrival:
		return 0.5
	case MarkNeighbour:
		return 0.3
	}
	return 0
}

// effect is what terms add to the scores of one query: the weights of its gap bucket, which are two rows of the tables together, and its marks.
type effect[F nn.Float] struct {
	row   int // of the bucket in the tables; 0 where the query has no terms
	items [ItemTerms]F
	kinds [MarkTerms]F
	marks []Mark
}

// set takes the weights for a gap bucket.
func (e *effect[F]) set(w *weights[F], gap uint8, marks []Mark) {
	e.row, e.marks = 1+int(gap), marks
	for t := range e.items {
		e.items[t] = w.itemTerms[t] + w.itemTerms[e.row*ItemTerms+t]
	}
	for m := range e.kinds {
		e.kinds[m] = w.markTerms[m] + w.markTerms[e.row*MarkTerms+m]
	}
}

// of is what the marks add to one row.
func (e *effect[F]) of(r Row) (sum F) {
	for _, m := range e.marksOf(r) {
		sum += e.kinds[m.Of] * F(m.Value)
	}
	return sum
}

func (e *effect[F]) marksOf(r Row) []Mark {
	from, _ := slices.BinarySearchFunc(e.marks, r, func(m Mark, r Row) int { return cmp.Compare(m.Row, r) })
	to := from
	for to < len(e.marks) && e.marks[to].Row == r {
		to++
	}
	return e.marks[from:to]
}
