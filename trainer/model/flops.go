package model

// size returns the tokens of the batch and the floating-point operations that its matrix products need, two for a product and a sum: forward, and
// twice that backward, and a teacher's forward. Pairs of tokens that do not see each other, and weights of the attention that are computed twice, do not count.
func (n *net[F]) size(t *task) (tokens int, flops float64) {
	c := n.cfg
	d, ask := float64(c.Dim), float64(c.askWidth())
	after := 2*d*float64(c.FFN) + d*float64(c.Experts)
	if c.Experts > 0 {
		after += (perToken + 1) * 3 * d * float64(c.ExpertWidth)
	}
	var products float64
	for i := range n.groups {
		l, of := &n.groups[i].layout, t.drawOf(i)
		all, asked := float64(l.tokens()), float64(len(l.asked))
		tokens += l.tokens()
		var askedPairs float64
		for _, token := range l.asked {
			askedPairs += float64(l.sees[token] + 1)
		}
		products += float64(c.Blocks-1) * (all*(d*(ask+3*d)+after) + 2*d*l.work)
		products += all*2*d*d + asked*(d*(ask+d)+after) + 2*d*askedPairs
		if c.TokenNetworks {
			products += all * d * d
		}
		products += float64(len(l.queries)) * d * (d + float64(of.to-of.from) + 1)
	}
	passes := 3.
	if n.teacher != nil {
		passes++
	}
	return tokens, passes * 2 * products
}
