package nn

import "math"

// SampledSoftmax is the loss of one query over candidates of which several are right: the mean over its targets i of
//
//	-log( e^s_i / (e^s_i + Σ_j e^s_j) ),  j over the candidates that are no target of the query
//
// so that a target never pushes another one down. It sets d to the gradient times weight and returns the loss, in nats and
// unweighted. The scores are those after the correction for sampling (LogQ).
//
//	s, d (C)  targets: places in s, distinct, at least one
//	excluded: further places that are neither target nor negative
func SampledSoftmax[F Float](d, s []F, targets, excluded []int32, weight float64) (loss float64) {
	want("sampled softmax", "d", len(d), len(s))
	top := F(math.Inf(-1))
	for _, v := range s {
		top = max(top, v)
	}
	for j, v := range s {
		d[j] = v - top
	}
	Exp(d)
	for _, j := range targets {
		d[j] = 0
	}
	for _, j := range excluded {
		d[j] = 0
	}
	negatives := float64(sum(d))
	if negatives == 0 { // no candidate is a negative: nothing to tell apart
		clear(d)
		return 0
	}
	share := weight / float64(len(targets))
	push := 0.0 // what a negative's e^s is multiplied by
	for _, j := range targets {
		e := math.Exp(float64(s[j] - top))
		loss += math.Log(e+negatives) - float64(s[j]-top)
		push += share / (e + negatives)
	}
	for j := range d {
		d[j] *= F(push)
	}
	for _, j := range targets {
		e := math.Exp(float64(s[j] - top))
		d[j] = F(share * (-negatives / (e + negatives)))
	}
	return loss / float64(len(targets))
}

// LogQ is the logarithm of the chance that an item enters the shared candidates of a batch:
// 1 - exp(-expected draws), with uniform draws over n items and recent and in-batch draws at the item's frequency.
// Subtracted from the scores, it makes the sampled softmax an estimate of the full one.
func LogQ(uniform, n int, recent, inBatch int, frequency float64) float64 {
	draws := float64(uniform)/float64(n) + float64(recent+inBatch)*frequency
	return math.Log(-math.Expm1(-draws))
}
