package model

import (
	"math"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// advance runs the tokens of the layout, which follow those that m keeps, through the network. It keeps the first of them, either all or none, and in
// the latter case returns the query vector of the last.
func (a *answer) advance(m *Memory, keep int) (z []float32) {
	p, l, w, d := a.pass, &a.layout, m.s.w, m.s.cfg.Dim
	r := l.tokens()
	if r == 0 {
		return nil
	}
	p.work.Reset()
	p.layout, p.rate = l, 0
	a.ins.fetch(&m.s.items)
	m.reserve(m.n + r)
	m.keys = append(m.keys[:m.n], l.times...)
	if m.s.cfg.TokenNetworks {
		p.split()
	}
	if m.s.cfg.TimeBias {
		a.fillBuckets(m)
	}
	x := p.embed(w, &a.ins)
	for i := range w.blocks {
		x = a.advanceBlock(m, i, x, keep == 0)
	}
	if keep > 0 {
		m.n += keep
		return nil
	}
	m.keys = m.keys[:m.n]
	h, inv := p.work.Take(d), p.work.Take(1)
	nn.LayerNorm(h, inv, x, d)
	raw := p.take(1, d)
	nn.Gemm(raw, nn.Plain, nn.Plain, 1, nn.Whole(h, d), w.query[0], 0)
	nn.Add(raw.Data, h)
	if m.s.cfg.Cosine {
		nn.Normalize(raw.Data, inv, raw.Data, d)
	}
	return raw.Data
}

// fillBuckets computes the time buckets of each token of the layout with those before it.   a.buckets (R, n+R)
func (a *answer) fillBuckets(m *Memory) {
	l, r := &a.layout, a.layout.tokens()
	t := m.n + r
	a.buckets = sized(a.buckets, r*t)
	for i := range r {
		self := m.n + i
		row, of := a.buckets[i*t:][:self+1], l.asker[i]
		from := 0
		if i > 0 && of == l.asker[i-1] { // a sibling
			from = copy(row, a.buckets[(i-1)*t:][:self])
		}
		for j := from; j <= self; j++ {
			if j > 0 && m.keys[j] == m.keys[j-1] {
				row[j] = row[j-1]
			} else {
				row[j] = timeBucket(of, m.keys[j])
			}
		}
	}
}

// advanceBlock is pass.blockForward for tokens behind those that m keeps; theirs are put behind them. In the last block it returns that of the token which asks,
// or nothing where none does.   x (R,D)
func (a *answer) advanceBlock(m *Memory, i int, x []float32, asks bool) []float32 {
	p, l, c, w, d := a.pass, &a.layout, &m.s.cfg, &m.s.w.blocks[i], m.s.cfg.Dim
	r, ask := l.tokens(), c.askWidth()
	pointwise := c.Attention == hstu
	norm, inv := p.take(r, d), p.work.Take(r)
	nn.LayerNorm(norm.Data, inv, x, d)
	vk := p.take(r, 2*d)
	p.typed(vk, w.vk, norm)
	if pointwise {
		nn.SiLU(vk.Data, nil, vk.Data)
	} else {
		nn.AddBias(vk.Data, w.vkBias)
	}
	if c.Rotary != none {
		p.rotation.Apply(vk.Columns(d, 2*d), l.position)
	}
	m.store(i, m.n, vk)

	from := 0 // the first token that goes on
	uq := p.take(r, ask)
	if i == c.Blocks-1 {
		if !asks {
			return nil
		}
		from = r - 1
		uq = p.take(1, ask)
		nn.Gemm(uq, nn.Plain, nn.Plain, 1, norm.Slice(from, r), w.uq[0], 0)
	} else {
		p.typed(uq, w.uq, norm)
	}
	if pointwise {
		nn.SiLU(uq.Data, nil, uq.Data)
	} else {
		nn.AddBias(uq.Data, w.uqBias)
	}
	if c.Rotary != none {
		p.rotation.Apply(uq.Columns(ask-d, ask), l.position[from:])
	}
	o := p.take(r-from, d)
	a.attend(o, uq.Columns(ask-d, ask), m, i, w, from)
	if pointwise {
		nn.LayerNorm(o.Data, inv[:o.Rows], o.Data, d)
		nn.Gate(o.Data, o.Data, uq.Columns(0, d))
	}
	y := p.take(o.Rows, d)
	nn.Gemm(y, nn.Plain, nn.Plain, 1, o, w.out, 0)
	nn.AddBias(y.Data, w.outBias)
	nn.Add(y.Data, x[from*d:])
	if c.FFN > 0 {
		p.ffnForward(i, w, y.Data)
	}
	if c.Experts > 0 {
		p.moeForward(i, w, y.Data)
	}
	return y.Data
}

// attend sets o to what the tokens of the layout from number from on take from the tokens of m, each other's and their own: nn.Attention, of queries that stand
// next to each other at the end.   o, q (R,D)
func (a *answer) attend(o, q nn.Block[float32], m *Memory, i int, w *block[float32], from int) {
	c, p := &m.s.cfg, a.pass
	n, width := m.n+a.layout.tokens(), c.Dim/c.Heads
	keys, values := m.block(i)
	scale := float32(1)
	if c.Attention == softmax {
		scale = float32(1 / math.Sqrt(float64(width)))
	}
	bias, s := p.take(q.Rows, n), p.take(q.Rows, n)
	for r := range q.Rows {
		self := m.n + from + r
		row := bias.Data[r*n:][:self+1]
		if c.TimeBias {
			nn.GatherTable(row, w.time, a.buckets[(from+r)*n:][:self+1])
		} else {
			clear(row)
		}
		if c.Distance {
			for j := range row {
				row[j] += w.distance[self-j]
			}
		}
	}
	for h := range c.Heads {
		at, to := h*width, (h+1)*width
		nn.Gemm(s, nn.Plain, nn.Plain, scale, q.Columns(at, to), keys.Slice(at, to).Columns(0, n), 0)
		for r := range q.Rows {
			sees, self := int(a.layout.sees[from+r]), m.n+from+r
			all := s.Data[r*n:][:n]
			row, bias := all[:self+1], bias.Data[r*n:][:self+1]
			if c.Attention == softmax {
				nn.Add(row, bias)
				for j := sees; j < self; j++ {
					row[j] = float32(math.Inf(-1))
				}
				sum := nn.ExpShift(row, row, nn.Max(row))
				nn.Scale(row, 1/sum)
			} else {
				nn.BiasSiLU(row, nil, row, bias, 1/float32(c.MaxTokens))
			}
			clear(row[sees:self])
			clear(all[self+1:])
		}
		nn.Gemm(o.Columns(at, to), nn.Plain, nn.Plain, 1, s, values.Slice(0, n).Columns(at, to), 0)
	}
}
