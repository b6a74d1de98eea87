package replay

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// topCuts are the K of CutMetrics.
var topCuts = [4]int{1, 5, 20, 100}

// CutMetrics are means over tests with one target each: recall, MRR and NDCG at 1, 5, 20 and 100, in the order of topCuts. A target behind place K counts 0.
type CutMetrics struct{ Recall, MRR, NDCG [len(topCuts)]float64 }

// Recall20 is recall@20.
func (m CutMetrics) Recall20() float64 { return m.Recall[2] }

// MRR20 is MRR@20.
func (m CutMetrics) MRR20() float64 { return m.MRR[2] }

// cutNames are the names of what values returns.
var cutNames = func() (names []string) {
	for _, of := range []string{"recall", "mrr", "ndcg"} {
		for _, k := range topCuts {
			names = append(names, fmt.Sprintf("%s_at_%d", of, k))
		}
	}
	return names
}()

func (m CutMetrics) values() []float64 {
	return slices.Concat(m.Recall[:], m.MRR[:], m.NDCG[:])
}

// MarshalJSON writes the metrics under their names.
func (m CutMetrics) MarshalJSON() ([]byte, error) {
	all := map[string]float64{}
	for i, v := range m.values() {
		all[cutNames[i]] = v
	}
	return json.Marshal(all)
}

// cutTally sums what ranks are worth.
type cutTally struct {
	sums CutMetrics
	n    int
}

func (t *cutTally) add(rank int32) {
	for i, k := range topCuts {
		if rank >= 1 && int(rank) <= k {
			t.sums.Recall[i]++
			t.sums.MRR[i] += 1 / float64(rank)
			t.sums.NDCG[i] += 1 / math.Log2(1+float64(rank))
		}
	}
	t.n++
}

func (t *cutTally) metrics() CutMetrics {
	m := t.sums
	m.scale(1 / float64(max(1, t.n)))
	return m
}

func (m *CutMetrics) add(o CutMetrics) {
	for i := range topCuts {
		m.Recall[i] += o.Recall[i]
		m.MRR[i] += o.MRR[i]
		m.NDCG[i] += o.NDCG[i]
	}
}

func (m *CutMetrics) scale(by float64) {
	for i := range topCuts {
		m.Recall[i] *= by
		m.MRR[i] *= by
		m.NDCG[i] *= by
	}
}

// meanOf is the mean of cycles, each weighing the same, as ADER reports it.
func meanOf(cycles []CycleResult) (m CutMetrics) {
	for _, c := range cycles {
		m.add(c.Metrics)
	}
	m.scale(1 / float64(max(1, len(cycles))))
	return m
}

// The edges of what results are broken down by: place in the session, and how often the item was clicked in the periods that are over.
var (
	placeEdges = []int{2, 3, 6, 11} // 2nd, 3rd, 4th to 6th, 7th to 11th, later; the first click of a session is never asked for
	countEdges = []int{4, 19, 99, 999}
)

// periodSlices are tests apart by place and count.
type periodSlices struct{ place, count [5]cutTally }

func (s *periodSlices) add(rank int32, place int, count int32) {
	s.place[sliceOf(placeEdges, place+1)].add(rank)
	s.count[sliceOf(countEdges, int(count))].add(rank)
}

// sliceOf is the place of x among edges, each the last of its slice.
func sliceOf(edges []int, x int) int {
	i := 0
	for i < len(edges) && x > edges[i] {
		i++
	}
	return i
}
