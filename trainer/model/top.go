package model

import (
	"cmp"
	"slices"
)

// top keeps the k best of the rows it is shown, in rising order of rows: a heap with the worst of them first.
type top struct {
	k    int
	heap []scoredRow
}

type scoredRow struct {
	row   Row
	score float32
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
	return t.k > 0 && score > t.heap[0].score
}

// worse orders by score, and equal scores by row.
func worse(a, b scoredRow) bool {
	return a.score < b.score || (a.score == b.score && a.row > b.row)
}

func (t *top) add(row Row, score float32) {
	h := t.heap
	if len(h) < t.k {
		h = append(h, scoredRow{row, score})
		for i := len(h) - 1; i > 0 && worse(h[i], h[(i-1)/2]); i = (i - 1) / 2 {
			h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		}
		t.heap = h
		return
	}
	h[0] = scoredRow{row, score}
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

// sorted returns the best first.
func (t *top) sorted() []scoredRow {
	slices.SortFunc(t.heap, func(a, b scoredRow) int {
		if a.score != b.score {
			return cmp.Compare(b.score, a.score)
		}
		return cmp.Compare(a.row, b.row)
	})
	return t.heap
}
