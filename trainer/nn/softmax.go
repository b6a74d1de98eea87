package nn

import "math"

// NCE is the loss of one query that has several right answers: the mean over its positives i of
//
//	-log( e^s_i / (e^s_i + Σ_j e^s_j) ),  j over the negatives
//
// so that a positive never pushes another one down (TBGRecall, section "loss": siblings are no negatives). The scores are those after the
// correction for sampling (LogQ). It sets s, the scores of the candidates, and pos to the gradients times weight and returns the loss, in
// nats and unweighted. Candidates that stand in masked are no negatives.
//
//	s (C)  pos (P)  masked: places in s
func NCE[F Float](s []F, masked []int32, pos []F, weight float64) (loss float64) {
	for _, j := range masked {
		s[j] = F(math.Inf(-1))
	}
	top := Max(s)
	for _, v := range pos {
		if v != v || math.IsInf(float64(v), 1) {
			return math.NaN()
		}
	}
	if top != top { // Exp would make numbers of them
		return math.NaN()
	}
	if math.IsInf(float64(top), -1) { // no candidate is a negative: nothing to tell apart
		clear(s)
		clear(pos)
		return 0
	}
	negatives := float64(ExpShift(s, s, top)) // at least one: a positive far above them takes nothing from the others
	for _, j := range masked {
		s[j] = 0 // e^x does not quite reach zero
	}
	share := weight / float64(len(pos))
	push := 0.0 // what a negative's e^(s-top) is multiplied by
	for i, v := range pos {
		x := float64(v) - float64(top)
		e, scale := math.Exp(x), 1.0 // e^x and the negatives, both divided by e^x where that is large
		if x > 0 {
			e, scale = 1, math.Exp(-x)
			loss += math.Log1p(scale * negatives)
		} else {
			loss += math.Log(e+negatives) - x
		}
		sum := e + scale*negatives
		push += share * scale / sum
		pos[i] = F(-share * scale * negatives / sum)
	}
	Scale(s, F(push))
	return loss / float64(len(pos))
}

// LogQ is the logarithm of the chance that an item enters the shared candidates of a batch:
// 1 - exp(-expected draws), with uniform draws over n items and recent and in-batch draws at the item's frequency.
// Subtracted from the scores, it makes the sampled softmax an estimate of the full one.
func LogQ(uniform, n int, recent, inBatch int, frequency float64) float64 {
	draws := float64(uniform)/float64(n) + float64(recent+inBatch)*frequency
	return math.Log(-math.Expm1(-draws))
}
