package replay

import (
	"fmt"
	"math"
)

// cuts are the K of HR@K and NDCG@K.
var cuts = [3]int{10, 50, 200}

// Metrics are means over the users who were tested. There is one target, so HR@K is also recall@K.
type Metrics struct {
	HRAt10    float64 `json:"hr_at_10"`
	NDCGAt10  float64 `json:"ndcg_at_10"`
	HRAt50    float64 `json:"hr_at_50"`
	NDCGAt50  float64 `json:"ndcg_at_50"`
	HRAt200   float64 `json:"hr_at_200"`
	NDCGAt200 float64 `json:"ndcg_at_200"`
	MRR       float64 `json:"mrr"`
}

// values returns the metrics in the order in which tables have them; metricNames are their names.
func (m Metrics) values() []float64 {
	return []float64{m.HRAt10, m.NDCGAt10, m.HRAt50, m.NDCGAt50, m.HRAt200, m.NDCGAt200, m.MRR}
}

var metricNames = []string{"hr_at_10", "ndcg_at_10", "hr_at_50", "ndcg_at_50", "hr_at_200", "ndcg_at_200", "mrr"}

// tally sums what ranks are worth.
type tally struct {
	hits, gain [len(cuts)]float64
	reciprocal float64
	n          int
}

// add takes the rank of a user's target: 1 is best.
func (t *tally) add(rank int32) {
	if rank < 1 {
		panic(fmt.Sprintf("replay: rank %d of a target: every item has a row", rank))
	}
	for i, k := range cuts {
		if int(rank) <= k {
			t.hits[i]++
			t.gain[i] += 1 / math.Log2(1+float64(rank))
		}
	}
	t.reciprocal += 1 / float64(rank)
	t.n++
}

func (t *tally) metrics() Metrics {
	n := float64(max(1, t.n))
	return Metrics{
		HRAt10: t.hits[0] / n, NDCGAt10: t.gain[0] / n, HRAt50: t.hits[1] / n, NDCGAt50: t.gain[1] / n,
		HRAt200: t.hits[2] / n, NDCGAt200: t.gain[2] / n, MRR: t.reciprocal / n,
	}
}
