package model

import (
	"cmp"
	"math"
	mathbits "math/bits"
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// top keeps the k best of the rows it is shown, in rising order of rows: a heap with the worst of them first.
type top struct {
	k    int
	heap []ScoredRow
}

// ScoredRow is an item that was looked for.
type ScoredRow struct {
	Row   Row
	Score float32
}

// reset makes t ready for the k best of so many rows.
func (t *top) reset(k, of int) {
	t.k = max(0, min(k, of))
	t.heap = sized(t.heap, t.k)[:0]
}

// wants says whether a score would get in. What is not a number never does; a tie with the worst does not, because its row came first.
func (t *top) wants(score float32) bool {
	if len(t.heap) < t.k {
		return score == score
	}
	return t.k > 0 && score > t.heap[0].Score
}

// worse orders by score, and equal scores by row.
func worse(a, b ScoredRow) bool {
	return a.Score < b.Score || (a.Score == b.Score && a.Row > b.Row)
}

func (t *top) add(row Row, score float32) {
	h := t.heap
	if len(h) < t.k {
		h = append(h, ScoredRow{row, score})
		for i := len(h) - 1; i > 0 && worse(h[i], h[(i-1)/2]); i = (i - 1) / 2 {
			h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		}
		t.heap = h
		return
	}
	h[0] = ScoredRow{row, score}
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && worse(h[child+1], h[child]) {
			child++
		}
		if !worse(h[child], h[i]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// show looks at the scores of the rows from from on, of those that kept keeps; nil keeps all. more may bring a score up to most higher; nil leaves it.
//
// A bit for each score says whether it may get in: after the first few thousand rows those are few, and of the others nothing else is looked up.
func (t *top) show(from Row, scores []float32, more func(j int, score float32) float32, most float32, kept func(j int) bool) {
	var bits [chunkRows / 32]uint32
	for at := 0; at < len(scores) && t.k > 0; at += chunkRows {
		some := scores[at:min(at+chunkRows, len(scores))]
		words := bits[:(len(some)+31)/32]
		if least := t.least(most); least == least {
			nn.Above(words, some, least)
		} else {
			every(words, len(some))
		}
		for w, word := range words {
			for ; word != 0; word &= word - 1 {
				j := at + 32*w + mathbits.TrailingZeros32(word)
				score := scores[j]
				if more != nil {
					score = more(j, score)
				}
				if t.wants(score) && (kept == nil || kept(j)) {
					t.add(from+Row(j), score)
				}
			}
		}
	}
}

// least is a score that does not get in, whatever up to most is added to it; NaN where there is none.
func (t *top) least(most float32) float32 {
	if len(t.heap) < t.k {
		return float32(math.NaN())
	}
	bound := t.heap[0].Score
	if most == 0 {
		return bound
	}
	least := bound - most
	return least - 1e-5*max(least, -least, most) // sums are rounded
}

// every sets the bits of n numbers.
func every(bits []uint32, n int) {
	for i := range bits {
		bits[i] = math.MaxUint32
	}
	if n%32 > 0 {
		bits[n/32] >>= 32 - n%32
	}
}

// sorted returns the best first.
func (t *top) sorted() []ScoredRow {
	slices.SortFunc(t.heap, better)
	return t.heap
}

// better orders the best first, and equal scores by row.
func better(a, b ScoredRow) int {
	if a.Score != b.Score {
		return cmp.Compare(b.Score, a.Score)
	}
	return cmp.Compare(a.Row, b.Row)
}
