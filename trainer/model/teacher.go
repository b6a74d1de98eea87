package model

import "github.com/freshet-ml/freshet/trainer/nn"

// teacher is the model as it was at one moment, to which the steps since are held (Distill): one copy of all that is trained. It has the rows that the model has. Those
// that came since, or went to another item, it does not know: there it says nothing, and what it reads of them is their side information alone. Side information, the live
// terms and the marks are those of now, as they are for replicas of a version that is a while old.
type teacher[F nn.Float] struct {
	weight float64 // of the distance to it, in the loss
	w      *weights[F]
	items  catalogue[F] // zero where it is not known
	known  []bool       // of each row

	ins, outs gather[F] // of a batch, in the slots of the net's
	shift     []F       // as the net's
}

func newTeacher[F nn.Float](cfg *Config) *teacher[F] {
	t := &teacher[F]{w: newWeights[F](cfg), items: newCatalogue[F](cfg.Dim)}
	t.ins.dim, t.outs.dim = cfg.Dim, cfg.Dim
	return t
}

// reach gives t the rows that the model has come to have, unknown, and its side information.
func (t *teacher[F]) reach(items *catalogue[F]) {
	for t.items.n < items.n {
		t.items.table.grow()
		t.known = append(t.known, false)
	}
	for t.items.side.n < items.side.n {
		t.items.side.grow()
	}
	t.items.of = items.of
}

// forget makes a row one of those that t does not know.
func (t *teacher[F]) forget(r Row) {
	t.known[r] = false
	clear(t.items.vector(r))
	t.items.biasOf(r)[0] = 0
}

// learn copies a row, and says whether that changed anything.
func (t *teacher[F]) learn(r Row, from *catalogue[F]) (changed bool) {
	to, bias := t.items.vector(r), t.items.biasOf(r)
	for i, v := range from.vector(r) {
		changed = changed || to[i] != v
		to[i] = v
	}
	changed = changed || !t.known[r] || bias[0] != from.biasOf(r)[0]
	bias[0], t.known[r] = from.biasOf(r)[0], true
	return changed
}

// Distill holds the steps from now on to what the model says now: to the loss of every query comes weight times how far the softmax over its candidates has moved from
// what this one gives for the same tokens and the same candidates, those that it knows. Whoever distilled before is forgotten. The teacher is in a checkpoint.
func (m *Model) Distill(weight float64) {
	t := m.net.teacher
	if t == nil {
		t = newTeacher[float32](&m.cfg)
		t.reach(&m.items)
		m.net.teacher = t
	}
	t.weight = weight
	copy(t.w.arena, m.w.arena)
	for s := range Row(m.items.side.n) {
		copy(t.items.side.vector(s), m.items.side.vector(s))
		t.items.side.biasOf(s)[0] = m.items.side.biasOf(s)[0]
	}
	for r := range Row(m.items.n) {
		if m.ids[r] != "" && t.learn(r, &m.items) {
			m.unsaved.add(r)
		}
	}
}

// compare fetches what the batch of n reads and is compared with, after n has.
func (t *teacher[F]) compare(n *net[F], of *task) {
	t.ins.rows, t.outs.rows = n.ins.rows, n.outs.rows
	t.ins.fetch(&t.items)
	t.outs.fetch(&t.items)
	if n.cfg.Cosine {
		t.outs.normalize()
	}
	t.shift = sized(t.shift, len(of.candidates))
	for j, r := range of.candidates {
		t.shift[j] = t.outs.bias[n.outs.slot[r]]
		if of.logQ != nil {
			t.shift[j] -= F(of.logQ[j])
		}
	}
}

// taught is what a lane has of the teacher, for the group at hand.
type taught[F nn.Float] struct {
	pass       *pass[F]
	candidates nn.Block[F]
	drawn      []F     // vectors of a group's own candidates
	unknown    []int32 // places of candidates that the teacher does not know
	scores     []F     // of some queries, and then their gradients (queries, C)
	effect     effect[F]
	work       []F
	distance   float64
}

// askTeacher runs a group through the teacher.
func (n *net[F]) askTeacher(l *lane[F], g *group[F], t *task, of span) {
	x, d := &l.taught, n.cfg.Dim
	if x.pass == nil {
		x.pass = newPass[F](n.cfg)
	}
	x.pass.forward(&g.layout, n.teacher.w, &n.teacher.ins, 0, 0)
	rows := t.candidates[of.from:of.to]
	vectors := n.teacher.outs.unit
	if len(t.draws) > 0 {
		x.drawn = sized(x.drawn, len(rows)*d)
		for j, r := range rows {
			copy(x.drawn[j*d:][:d], vectors[int(n.outs.slot[r])*d:][:d])
		}
		vectors = x.drawn
	}
	x.candidates = nn.Whole(vectors[:len(rows)*d], d)
	x.unknown = x.unknown[:0]
	for j, r := range rows {
		if !n.teacher.known[r] {
			x.unknown = append(x.unknown, int32(j))
		}
	}
	x.work = sized(x.work, 2*len(rows))
}

// scoreTeacher computes the teacher's scores of the queries from..to of the group, but for their terms.
func (n *net[F]) scoreTeacher(l *lane[F], of span, from, to int, sharp F) {
	x, d, c := &l.taught, n.cfg.Dim, of.to-of.from
	x.scores = sized(x.scores, (to-from)*c)
	s := nn.Block[F]{Data: x.scores, Rows: to - from, Cols: c, Stride: c}
	nn.Gemm(s, nn.Plain, nn.Transposed, sharp, nn.Whole(x.pass.z[from*d:to*d], d), x.candidates, 0)
	nn.AddBias(s.Data, n.teacher.shift[of.from:of.to])
}

// holdTo makes the teacher's scores of one query the gradients of the distance by the query's own, s, to which addTerms has been.   s, scores (C)
func (n *net[F]) holdTo(l *lane[F], t *task, of span, q *query, weight float64, s, scores []F) {
	x := &l.taught
	if l.effect.row > 0 {
		e := &x.effect
		e.set(n.teacher.w, q.gap, l.effect.marks)
		if n.terms.live != nil {
			for k, w := range e.items {
				nn.AddScaled(scores, w, n.terms.columns[k*len(t.candidates):][of.from:of.to])
			}
		}
		for _, h := range l.hits {
			m := &e.marks[h.mark]
			scores[h.place] += e.kinds[m.Of] * F(m.Value)
		}
	}
	weight *= n.teacher.weight
	x.distance += weight * nn.Distill(s, scores, x.unknown, weight, x.work)
}
