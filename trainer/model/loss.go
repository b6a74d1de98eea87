package model

import (
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// scoresAtOnce bounds the scores of queries against candidates that are held at a time: a megabyte, which stays in the second cache.
const scoresAtOnce = 1 << 18

// judge computes the loss of a group's queries and adds to the gradients of what they are compared with, in l. It returns the gradient by the query
// vectors (Q,D), or nil where nothing is learned from.
func (n *net[F]) judge(l *lane[F], g *group[F], t *task) []F {
	p, d := g.pass, n.cfg.Dim
	aims := t.queries[g.first:][:len(g.layout.queries)]
	learns := false
	for i := range aims {
		learns = learns || aims[i].weight != 0
	}
	if !learns {
		return nil
	}
	of := t.drawOf(g.number)
	q, c := len(aims), of.to-of.from
	dz := p.work.Zeros(q * d)
	sharp := F(1)
	if n.cfg.Cosine {
		sharp = F(1 / n.cfg.Temperature)
	}
	candidates, dCandidates := n.candidatesOf(l, t, of)
	held := n.teacher != nil && !n.only && c > 0
	if held {
		n.askTeacher(l, g, t, of)
	}
	step := max(1, scoresAtOnce/max(1, c))
	for from := 0; from < q; from += step {
		to := min(from+step, q)
		l.scores = sized(l.scores, (to-from)*c)
		s := nn.Block[F]{Data: l.scores, Rows: to - from, Cols: c, Stride: c}
		z := nn.Whole(p.z[from*d:to*d], d)
		if c > 0 {
			nn.Gemm(s, nn.Plain, nn.Transposed, sharp, z, candidates, 0)
			nn.AddBias(s.Data, n.shift[of.from:of.to])
		}
		if held {
			n.scoreTeacher(l, of, from, to, sharp)
		}
		for i := from; i < to; i++ {
			row := s.Data[(i-from)*c:][:c]
			if aims[i].weight == 0 {
				clear(row)
				continue
			}
			n.addTerms(l, t, of, &g.layout.queries[i], row)
			var pull []F
			if held {
				pull = l.taught.scores[(i-from)*c:][:c]
				n.holdTo(l, t, of, &g.layout.queries[i], aims[i].weight, row, pull)
			}
			n.judgeOne(l, t, of, &aims[i], row, p.z[i*d:][:d], dz[i*d:][:d], sharp)
			if held {
				nn.Add(row, pull)
			}
			n.addTermsBackward(l, t, of, row)
		}
		if c > 0 && !n.only {
			nn.Gemm(nn.Whole(dz[from*d:to*d], d), nn.Plain, nn.Plain, sharp, s, candidates, 1)
			nn.Gemm(dCandidates, nn.Transposed, nn.Plain, sharp, s, z, 1)
			for i := from; i < to; i++ {
				n.addBiases(l, t, of, s.Data[(i-from)*c:][:c])
			}
		}
	}
	if len(t.draws) > 0 && !n.only {
		for j, r := range t.candidates[of.from:of.to] {
			nn.Add(l.dOuts[int(n.outs.slot[r])*d:][:d], l.dDrawn[j*d:][:d])
		}
	}
	return dz
}

// candidatesOf returns the vectors of a group's candidates and where their gradients go: what is one draw lies together already.
func (n *net[F]) candidatesOf(l *lane[F], t *task, of span) (vectors, grads nn.Block[F]) {
	d, c := n.cfg.Dim, of.to-of.from
	if len(t.draws) == 0 {
		vectors = nn.Whole(n.outs.unit[:c*d], d)
		if !n.only {
			grads = nn.Whole(l.dOuts[:c*d], d)
		}
		return vectors, grads
	}
	l.drawn, l.dDrawn = sized(l.drawn, c*d), zeroed(l.dDrawn, c*d)
	for j, r := range t.candidates[of.from:of.to] {
		copy(l.drawn[j*d:][:d], n.outs.unit[int(n.outs.slot[r])*d:][:d])
	}
	return nn.Whole(l.drawn, d), nn.Whole(l.dDrawn, d)
}

// addBiases adds the gradients of one query's scores to those of the candidates' biases.
func (n *net[F]) addBiases(l *lane[F], t *task, of span, s []F) {
	if !n.cfg.ItemBias {
		return
	}
	if len(t.draws) == 0 {
		nn.Add(l.dBias[:len(s)], s)
		return
	}
	for j, r := range t.candidates[of.from:of.to] {
		l.dBias[n.outs.slot[r]] += s[j]
	}
}

// judgeOne turns the scores of one query over its candidates into their gradients, and does what concerns its positives itself.
func (n *net[F]) judgeOne(l *lane[F], t *task, of span, a *aim, s, z, dz []F, sharp F) {
	positives := t.positives[a.from:a.to]
	l.masked = l.masked[:0]
	l.products = sized(l.products, len(positives))
	for k, r := range positives {
		l.products[k] = n.product(l, r, z, sharp)
		if j, ok := slices.BinarySearch(t.candidates[of.from:of.to], r); ok {
			l.masked = append(l.masked, int32(j))
			if t.logQ != nil && t.sampledToo {
				l.products[k] -= F(t.logQ[of.from+j])
			}
		}
	}
	for _, r := range t.excluded[a.exFrom:a.exTo] {
		if j, ok := slices.BinarySearch(t.candidates[of.from:of.to], r); ok {
			l.masked = append(l.masked, int32(j))
		}
	}
	l.loss += a.weight * nn.NCE(s, l.masked, l.products, a.weight)
	for k, r := range positives {
		n.pull(l, r, l.products[k], z, dz, sharp)
	}
	for i := range t.ladders[a.ladder:a.rungTo] {
		of := &t.ladders[int(a.ladder)+i]
		n.judgeLadder(l, of, a.weight*of.weight, z, dz, sharp)
	}
}

// judgeLadder is the softmax of each positive of a session against its negatives (TBGRecall, L_click and L_pay).
func (n *net[F]) judgeLadder(l *lane[F], of *ladder, weight float64, z, dz []F, sharp F) {
	scores := make([]F, len(of.negatives))
	for k, r := range of.negatives {
		scores[k] = n.product(l, r, z, sharp)
	}
	l.products = sized(l.products, len(of.positives))
	for k, r := range of.positives {
		l.products[k] = n.product(l, r, z, sharp)
	}
	l.loss += weight * nn.NCE(scores, nil, l.products, weight)
	for k, r := range of.negatives {
		n.pull(l, r, scores[k], z, dz, sharp)
	}
	for k, r := range of.positives {
		n.pull(l, r, l.products[k], z, dz, sharp)
	}
}

// product is the score of an item for the query that l is at.
func (n *net[F]) product(l *lane[F], r Row, z []F, sharp F) F {
	d, place := n.cfg.Dim, n.outs.slot[r]
	return sharp*nn.Dot(z, n.outs.unit[int(place)*d:][:d]) + n.outs.bias[place] + n.term(l, r)
}

// pull adds the gradients of a product to those of its two sides, and of the terms' weights.
func (n *net[F]) pull(l *lane[F], r Row, grad F, z, dz []F, sharp F) {
	n.termBackward(l, r, grad)
	if n.only {
		return
	}
	d, place := n.cfg.Dim, n.outs.slot[r]
	nn.AddScaled(dz, grad*sharp, n.outs.unit[int(place)*d:][:d])
	nn.AddScaled(l.dOuts[int(place)*d:][:d], grad*sharp, z)
	l.dBias[place] += grad
}
