package model

import "github.com/freshet-ml/freshet/trainer/nn"

// termed is the terms of what a step is compared with.
type termed[F nn.Float] struct {
	live    Live
	raw     []float32
	values  []F // (slots of outs, ItemTerms)
	columns []F // (ItemTerms, candidates)
}

// hit is a mark of a candidate.
type hit struct{ mark, place int32 }

// fetchTerms asks for the terms of the rows in outs, once a step.
func (n *net[F]) fetchTerms(t *task) {
	x := &n.terms
	if !n.cfg.Terms || x.live == nil {
		return
	}
	rows, c := n.outs.rows, len(t.candidates)
	x.raw, x.values, x.columns = sized(x.raw, len(rows)*ItemTerms), sized(x.values, len(rows)*ItemTerms), sized(x.columns, c*ItemTerms)
	x.live.ItemTermsOf(x.raw, rows)
	for i, v := range x.raw {
		x.values[i] = F(v)
	}
	for j, r := range t.candidates {
		for k, v := range x.values[int(n.outs.slot[r])*ItemTerms:][:ItemTerms] {
			x.columns[k*c+j] = v
		}
	}
}

// termsOf are those of a row that is in outs.
func (n *net[F]) termsOf(r Row) []F {
	return n.terms.values[int(n.outs.slot[r])*ItemTerms:][:ItemTerms]
}

// addTerms makes l ready for a query and adds its terms to the scores of the candidates.   s (C)
func (n *net[F]) addTerms(l *lane[F], t *task, of span, q *query, s []F) {
	e := &l.effect
	l.hits = l.hits[:0]
	if e.row, e.marks = 0, nil; !n.cfg.Terms || !q.live() {
		return
	}
	e.set(n.w, q.gap, n.batch[q.example].Marks)
	if n.terms.live != nil {
		for k, w := range e.items {
			nn.AddScaled(s, w, n.terms.columns[k*len(t.candidates):][of.from:of.to])
		}
	}
	rows, j := t.candidates[of.from:of.to], 0
	for i := range e.marks {
		m := &e.marks[i]
		for j < len(rows) && rows[j] < m.Row {
			j++
		}
		if j == len(rows) {
			return
		}
		if rows[j] == m.Row {
			s[j] += e.kinds[m.Of] * F(m.Value)
			l.hits = append(l.hits, hit{int32(i), int32(j)})
		}
	}
}

// addTermsBackward adds to the gradients of the terms' weights.   ds (C)
func (n *net[F]) addTermsBackward(l *lane[F], t *task, of span, ds []F) {
	e := &l.effect
	if e.row == 0 {
		return
	}
	if n.terms.live != nil {
		for k := range e.items {
			l.learnItem(e.row, k, nn.Dot(ds, n.terms.columns[k*len(t.candidates):][of.from:of.to]))
		}
	}
	for _, h := range l.hits {
		m := &e.marks[h.mark]
		l.learnMark(e.row, m.Of, ds[h.place]*F(m.Value))
	}
}

// term is what the terms of the query that l is at add to one item of outs.
func (n *net[F]) term(l *lane[F], r Row) (sum F) {
	e := &l.effect
	if e.row == 0 {
		return 0
	}
	if n.terms.live != nil {
		for k, v := range n.termsOf(r) {
			sum += e.items[k] * v
		}
	}
	return sum + e.of(r)
}

// termBackward adds to the gradients of the terms' weights, given that of an item's score.
func (n *net[F]) termBackward(l *lane[F], r Row, grad F) {
	e := &l.effect
	if e.row == 0 {
		return
	}
	if n.terms.live != nil {
		for k, v := range n.termsOf(r) {
			l.learnItem(e.row, k, grad*v)
		}
	}
	for _, m := range e.marksOf(r) {
		l.learnMark(e.row, m.Of, grad*F(m.Value))
	}
}

// learnItem adds a gradient to the two rows that a weight is the sum of.
func (l *lane[F]) learnItem(row, term int, grad F) {
	l.dw.itemTerms[term] += grad
	l.dw.itemTerms[row*ItemTerms+term] += grad
}

func (l *lane[F]) learnMark(row int, kind uint8, grad F) {
	l.dw.markTerms[kind] += grad
	l.dw.markTerms[row*MarkTerms+int(kind)] += grad
}

// learnTerms computes the loss of the batch that forward has run, and the gradients of the terms' weights alone, in the first lane's dw.
func (n *net[F]) learnTerms(t *task) (loss float64) {
	n.only = true
	defer func() { n.only = false }()
	n.compare(t)
	n.ready()
	n.each(func(_ int, l *lane[F]) {
		clear(l.dw.arena[l.dw.dense:])
		l.loss = 0
		for _, i := range l.groups {
			n.judge(l, &n.groups[i], t)
		}
	})
	first := &n.lanes[0]
	for i := range n.lanes {
		l := &n.lanes[i]
		loss += l.loss
		if i > 0 && len(l.groups) > 0 {
			nn.Add(first.dw.arena[first.dw.dense:], l.dw.arena[l.dw.dense:])
		}
	}
	return loss
}
