package evaluate

import "math"

// Places are the lengths of the lists that are judged: the k of recall@k, MRR@k and NDCG@k.
var Places = [...]int{1, 5, 20, 100}

const deepest = 100 // of Places

// Sums of tests are one vector of float64, so that adding, joining, fading and writing them is one loop each:
//
//	tests  targets  unseen  | judged  recall@1,5,20,100  mrr@1,5,20,100  ndcg@1,5,20,100 | the same of the next arm | ...
//	0      1        2         3       4..7               8..11           12..15            16
const (
	atTests = iota
	atTargets
	atUnseen
	head // how many come before the arms

	places   = len(Places)
	atRecall = 1
	atMRR    = atRecall + places
	atNDCG   = atMRR + places
	perArm   = atNDCG + places
)

func stride(arms int) int { return head + arms*perArm }

func armAt(arm int) int { return head + arm*perArm }

// gains[r] is what a target at rank r adds to the DCG, ideals[n] the DCG of n targets in the first n places (Järvelin & Kekäläinen 2002,
// "Cumulated gain-based evaluation of IR techniques", with gains of 0 and 1).
var gains, ideals = func() (g, ideal [deepest + 1]float64) {
	for r := 1; r <= deepest; r++ {
		g[r] = 1 / math.Log2(1+float64(r))
		ideal[r] = ideal[r-1] + g[r]
	}
	return g, ideal
}()

// measure writes one test of one arm.   dst (perArm)
func measure(dst []float64, ranks []int) {
	clear(dst)
	dst[0] = 1
	for i, k := range Places {
		hits, best, gain := 0, k+1, 0.0
		for _, r := range ranks {
			if r >= 1 && r <= k {
				hits++
				best = min(best, r)
				gain += gains[r]
			}
		}
		if hits > 0 {
			reachable := min(k, len(ranks))
			dst[atRecall+i] = float64(hits) / float64(reachable)
			dst[atMRR+i] = 1 / float64(best)
			dst[atNDCG+i] = gain / ideals[reachable]
		}
	}
}

func addTo(dst, v []float64) {
	for i, x := range v {
		dst[i] += x
	}
}

// fade is one step of the fading average: S = L + αS, N = 1 + αN (Gama, Sebastião & Rodrigues 2013, "On evaluating stream learning
// algorithms"). The tests, which are added up with the rest, are N.
func fade(dst, v []float64, alpha float64) {
	for i, x := range v {
		dst[i] = x + float64(alpha*dst[i]) // rounded twice on every machine
	}
}

// Scores are the means of one arm over a group of tests.
type Scores struct {
	Arm       string  `json:"arm"`
	Recall1   float64 `json:"recall_at_1"`
	Recall5   float64 `json:"recall_at_5"`
	Recall20  float64 `json:"recall_at_20"`
	Recall100 float64 `json:"recall_at_100"`
	MRR1      float64 `json:"mrr_at_1"`
	MRR5      float64 `json:"mrr_at_5"`
	MRR20     float64 `json:"mrr_at_20"`
	MRR100    float64 `json:"mrr_at_100"`
	NDCG1     float64 `json:"ndcg_at_1"`
	NDCG5     float64 `json:"ndcg_at_5"`
	NDCG20    float64 `json:"ndcg_at_20"`
	NDCG100   float64 `json:"ndcg_at_100"`
}

// metricNames are the metrics in the order in which an arm's sums hold them, behind judged.
var metricNames = [perArm - 1]string{
	"recall_at_1", "recall_at_5", "recall_at_20", "recall_at_100",
	"mrr_at_1", "mrr_at_5", "mrr_at_20", "mrr_at_100",
	"ndcg_at_1", "ndcg_at_5", "ndcg_at_20", "ndcg_at_100",
}

// Group is a group of tests, and the scores of the arms that judged all of them, in the order of the arms.
type Group struct {
	Tests   int64    `json:"tests"`
	Targets int64    `json:"targets"`
	Unseen  int64    `json:"unseen"` // targets that were never seen before: misses of every arm
	Arms    []Scores `json:"arms"`
}

// Arm returns the scores of the arm of that name; ok is false where it did not judge every test, or there was none.
func (g Group) Arm(name string) (s Scores, ok bool) {
	for _, s := range g.Arms {
		if s.Arm == name {
			return s, true
		}
	}
	return Scores{}, false
}

// groupOf reads sums.
func groupOf(arms []string, v []float64) Group {
	g := Group{Tests: int64(math.Round(v[atTests])), Targets: int64(math.Round(v[atTargets])), Unseen: int64(math.Round(v[atUnseen]))}
	g.Arms = make([]Scores, 0, len(arms))
	n := v[atTests]
	for arm, name := range arms {
		a := v[armAt(arm):][:perArm]
		if n <= 0 || a[0] != n {
			continue
		}
		r, m, d := a[atRecall:], a[atMRR:], a[atNDCG:]
		g.Arms = append(g.Arms, Scores{
			name, r[0] / n, r[1] / n, r[2] / n, r[3] / n, m[0] / n, m[1] / n, m[2] / n, m[3] / n, d[0] / n, d[1] / n, d[2] / n, d[3] / n,
		})
	}
	return g
}
