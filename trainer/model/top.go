package model

import (
	"cmp"
	"math"
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

// bound is a score that does not get in, or one below all.
func (t *top) bound() float32 {
	if len(t.heap) < t.k || t.k == 0 {
		return float32(math.Inf(-1))
	}
	return t.heap[0].Score
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

// show looks at the scores of the rows from from on, of those that kept keeps; nil keeps all.
func (t *top) show(from Row, scores []float32, kept func(j int) bool) {
	if t.k == 0 {
		return
	}
	j := 0
	for ; j < len(scores) && len(t.heap) < t.k; j++ {
		if t.wants(scores[j]) && (kept == nil || kept(j)) {
			t.add(from+Row(j), scores[j])
		}
	}
	for ; j < len(scores); j++ {
		if j = nn.FirstAbove(scores, j, t.heap[0].Score); j < len(scores) && (kept == nil || kept(j)) {
			t.add(from+Row(j), scores[j])
		}
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
