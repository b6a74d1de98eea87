package model

import (
	"math"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// embedCache is what the embedding keeps under Config.TokenNetworks.
type embedCache[F nn.Float] struct {
	sum []F // (N,D)
	y   []F // the norm's output (N,D)
	inv []F // (N)
}

// parts are the rows of the tables that token i is the sum of, as views of w: those of its gradients as views of dw. An item without a scene has none: a
// vector that all of a stream's items share was measured to cost .003 recall.
//
//	item     v_i + action (+ scene) (+ place)          context     context + scene + hour + gap (+ user) (+ place)
func (p *pass[F]) parts(w *weights[F], i int) (rows [6][]F, n int) {
	l, d := p.layout, p.cfg.Dim
	add := func(table []F, row int) {
		rows[n] = table[row*d:][:d]
		n++
	}
	if l.item[i] >= 0 {
		add(w.action, int(l.action[i]))
		if l.scene[i] != 0 {
			add(w.scene, int(l.scene[i]))
		}
	} else {
		add(w.context, 0)
		add(w.scene, int(l.scene[i]))
		add(w.hour, int(l.hour[i]))
		add(w.gap, int(l.gap[i]))
		if l.user[i] >= 0 {
			add(w.user, int(l.user[i]))
		}
	}
	if p.cfg.Absolute {
		add(w.place, int(l.at[i]))
	}
	return rows, n
}

// embed returns the tokens (N,D): the sums of their parts, which under Config.TokenNetworks go through a matrix of their kind and a norm.
func (p *pass[F]) embed(w *weights[F], ins *gather[F]) []F {
	l, d := p.layout, p.cfg.Dim
	n := l.tokens()
	x := p.work.Take(n * d)
	for i, item := range l.item {
		t := x[i*d:][:d]
		if item >= 0 {
			copy(t, ins.vectors[int(item)*d:][:d])
			if p.cfg.ScaledInput {
				nn.Scale(t, p.inputScale())
			}
		} else {
			clear(t)
		}
		rows, n := p.parts(w, i)
		for _, row := range rows[:n] {
			nn.Add(t, row)
		}
	}
	if !p.cfg.TokenNetworks {
		return x
	}
	c := &p.embedded
	c.sum = x
	y := p.take(n, d)
	p.typed(y, w.embed, nn.Whole(x, d))
	for k := range kinds {
		for _, i := range p.byKind[k] {
			nn.Add(y.Data[int(i)*d:][:d], w.embedBias[k])
		}
	}
	c.y, c.inv = p.work.Take(n*d), p.work.Take(n)
	nn.LayerNorm(c.y, c.inv, y.Data, d)
	return c.y
}

// embedBackward adds to the gradients of the parts.   dx (N,D)
func (p *pass[F]) embedBackward(w, dw *weights[F], dIns []F, dx []F) {
	l, d := p.layout, p.cfg.Dim
	if p.cfg.TokenNetworks {
		c := &p.embedded
		dy := p.zeros(l.tokens(), d)
		nn.LayerNormBackward(dy.Data, dx, c.y, c.inv, d)
		for k := range kinds {
			for _, i := range p.byKind[k] {
				nn.Add(dw.embedBias[k], dy.Data[int(i)*d:][:d])
			}
		}
		sum := p.take(l.tokens(), d)
		p.typedBackward(sum, true, dw.embed, dy, w.embed, nn.Whole(c.sum, d))
		dx = sum.Data
	}
	for i, item := range l.item {
		g := dx[i*d:][:d]
		if item >= 0 {
			if p.cfg.ScaledInput {
				nn.AddScaled(dIns[int(item)*d:][:d], p.inputScale(), g)
			} else {
				nn.Add(dIns[int(item)*d:][:d], g)
			}
		}
		rows, n := p.parts(dw, i)
		for _, grad := range rows[:n] {
			nn.Add(grad, g)
		}
	}
}

// inputScale is what Config.ScaledInput multiplies by.
func (p *pass[F]) inputScale() F { return F(math.Sqrt(float64(p.cfg.Dim))) }

// split lists the tokens of each kind.
func (p *pass[F]) split() {
	for k := range kinds {
		p.byKind[k] = p.byKind[k][:0]
	}
	for i, item := range p.layout.item {
		k := 0
		if item >= 0 {
			k = 1
		}
		p.byKind[k] = append(p.byKind[k], int32(i))
	}
}

// typed sets y = x·w of the token's kind. Where there is one matrix only, that is all tokens'.   x (N,·)  y (N,·)
func (p *pass[F]) typed(y nn.Block[F], w [len(kinds)]nn.Block[F], x nn.Block[F]) {
	if w[1].Rows == 0 {
		nn.Gemm(y, nn.Plain, nn.Plain, 1, x, w[0], 0)
		return
	}
	for k, tokens := range p.byKind {
		from, to := p.picked(x, tokens), p.take(len(tokens), y.Cols)
		nn.Gemm(to, nn.Plain, nn.Plain, 1, from, w[k], 0)
		for j, i := range tokens {
			copy(y.Data[int(i)*y.Stride:][:y.Cols], to.Data[j*to.Cols:][:to.Cols])
		}
	}
}

// typedBackward adds to dx, or sets it where it is fresh, and adds to dw.
func (p *pass[F]) typedBackward(dx nn.Block[F], fresh bool, dw [len(kinds)]nn.Block[F], dy nn.Block[F], w [len(kinds)]nn.Block[F], x nn.Block[F]) {
	if w[1].Rows == 0 {
		keep := F(1)
		if fresh {
			keep = 0
		}
		nn.Gemm(dx, nn.Plain, nn.Transposed, 1, dy, w[0], keep)
		nn.Gemm(dw[0], nn.Transposed, nn.Plain, 1, x, dy, 1)
		return
	}
	for k, tokens := range p.byKind {
		from, g, back := p.picked(x, tokens), p.picked(dy, tokens), p.take(len(tokens), dx.Cols)
		nn.Gemm(back, nn.Plain, nn.Transposed, 1, g, w[k], 0)
		nn.Gemm(dw[k], nn.Transposed, nn.Plain, 1, from, g, 1)
		for j, i := range tokens {
			to, from := dx.Data[int(i)*dx.Stride:][:dx.Cols], back.Data[j*back.Cols:][:back.Cols]
			if fresh { // every token has one kind
				copy(to, from)
			} else {
				nn.Add(to, from)
			}
		}
	}
}

// picked copies some rows of x.
func (p *pass[F]) picked(x nn.Block[F], rows []int32) nn.Block[F] {
	out := p.take(len(rows), x.Cols)
	for j, i := range rows {
		copy(out.Data[j*out.Cols:][:out.Cols], x.Data[int(i)*x.Stride:][:x.Cols])
	}
	return out
}
