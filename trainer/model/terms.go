package model

// Terms are numbers that enter an item's score beside the product of its vector with the query's, each times a weight that is learned:
//
//	score_i = z·v_i + b_i + Σ_t w_t[g]·x_t(i) + Σ_m u_m[g]·y_m(i)
//
// x are terms of the item, whoever asks, y are marks that only some items have for one request, and g is the bucket of the time since the user's last
// click: how far what just happened is to be trusted depends on how long ago it was. They come from tables of the stream itself, so they are as
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

// Live gives the terms of items as the stream has them now. They stay as they are from Forward until Step.
type Live interface {
	// ItemTerms sets dst to the terms of the rows from, from+1, ….   dst (rows, ItemTerms)
	ItemTerms(dst []float32, from Row)
	// ItemTermsOf sets dst to those of some rows.   dst (len(rows), ItemTerms)
	ItemTermsOf(dst []float32, rows []Row)
}
