package nn

import "math"

// Distill is how far the distribution of the scores s is from that of a teacher's, in nats and unweighted:
//
//	Σ_j p_j·log(p_j/q_j),  p = softmax(teacher), q = softmax(s),  j over the candidates that are not masked
//
// the cross-entropy of the two (Hinton, Vinyals & Dean, arXiv 1503.02531) less what the teacher's own entropy is of it, which no gradient sees: it is zero where they agree. It sets
// teacher to the gradient by s, which is q-p, times weight, and leaves s.
//
//	s (C)  teacher (C)  masked: places in s  work (2C)
func Distill[F Float](s, teacher []F, masked []int32, weight float64, work []F) (distance float64) {
	q, p := work[:len(s)], work[len(s):2*len(s)]
	copy(q, s)
	for _, j := range masked {
		q[j], teacher[j] = F(math.Inf(-1)), F(math.Inf(-1))
	}
	topQ, topP := Max(q), Max(teacher)
	switch {
	case topQ != topQ || topP != topP: // Exp would make numbers of them
		clear(teacher)
		return math.NaN()
	case math.IsInf(float64(topP), -1): // no candidate is left
		clear(teacher)
		return 0
	}
	sumQ, sumP := ExpShift(q, q, topQ), ExpShift(p, teacher, topP)
	for _, j := range masked {
		q[j], p[j], teacher[j] = 0, 0, 0 // e^x does not quite reach zero
	}
	apart := (float64(Dot(p, teacher)) - float64(Dot(p, s))) / float64(sumP)
	distance = apart + (float64(topQ) - float64(topP)) + math.Log(float64(sumQ)/float64(sumP))
	copy(teacher, q)
	Scale(teacher, F(weight)/sumQ)
	AddScaled(teacher, -F(weight)/sumP, p)
	return distance
}
