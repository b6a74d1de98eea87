package recency

import (
	"cmp"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// Thin chooses which parts of a history stay under StochasticLength, in their order. times are those of the parts, oldest first, limit the
// most parts that a history may have, and (p, at) the place that the history is of: of the same place it chooses the same.
//
// It is HSTU's stochastic length (arXiv 2402.17152, §3.2). With N the limit and n the length,
//
//	n <= N^(α/2)   all of it
//	n >  N^(α/2)   with probability 1 - N^α/n², a subsequence of N^(α/2) parts; else all of it
//
// which bounds the expected work of attention by O(N^α) from O(N²). Of the paper's ways to choose the subsequence this is the one weighted by
// recency: parts are drawn without replacement, a part i with weight 1 - f_i/Σf, where f_i is its age against the newest; and the newest stays
// always, because what a request is about is most often there. (The draw is Efraimidis and Spirakis': the largest u^(1/w).)
//
// The length is counted in parts, which are what the model calls sessions and what a history is read in. N is the limit itself and not the longest
// history that there is: a stream has no longest one.
func (c Config) Thin(times []schema.EventTime, limit int, p schema.Partition, at schema.Emit) []int {
	n := len(times)
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	if c.StochasticLength == 0 {
		return all
	}
	stay := int(math.Pow(float64(limit), c.StochasticLength/2))
	whole := math.Pow(float64(limit), c.StochasticLength) / float64(n*n)
	if n <= max(1, stay) || uniform(hashed(c.Salt, saltLength, uint64(p), uint64(at))) < whole {
		return all
	}
	newest := times[n-1]
	sum := 0.
	for _, t := range times {
		sum += float64(max(0, newest-t))
	}
	keys := make([]float64, n)
	for i, t := range times {
		weight := 1.
		if sum > 0 {
			weight -= float64(max(0, newest-t)) / sum
		}
		u := uniform(hashed(c.Salt, saltLength, uint64(p), uint64(at), uint64(n-i)))
		keys[i] = math.Log1p(-u) / max(weight, 1e-9) // log of a number in (0, 1], so that it is finite
	}
	keys[n-1] = math.Inf(1)
	slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(keys[b], keys[a]) })
	all = all[:max(1, stay)]
	slices.Sort(all)
	return all
}
