package model

import (
	"github.com/freshet-ml/freshet/trainer/nn"
)

// pass is one run of a batch through the network: what forward keeps and backward needs. It is used again for the next batch and
// belongs to one goroutine at a time; the weights and rows it reads may be shared.
type pass[F nn.Float] struct {
	cfg      *Config
	rotation nn.Rotation[F]
	work     nn.Workspace[F]
	layout   layout

	blocks []blockCache[F]
	// output
	h    *nn.Matrix[F] // LN of the last block at the requests (B,D)
	invH []F
	z    *nn.Matrix[F] // query vectors (B,D)

	queryAt, querySees, queryPosition []int32
}

// blockCache is what one block keeps. R is N, or B in the last block, where only the requests' tokens are asked.
type blockCache[F nn.Float] struct {
	norm           *nn.Matrix[F] // LN(x), all tokens (N,D)
	inv            []F           // (N)
	asked          *nn.Matrix[F] // LN(x) of the asking tokens (R,D): norm itself but in the last block
	uq, vk         *nn.Matrix[F] // after SiLU, q and k turned   (R,2D) (N,2D)
	slopeUQ        []F           // (R,2D)
	slopeVK        []F           // (N,2D)
	attention      []nn.AttentionCache[F]
	inputs         []nn.AttentionInput[F]
	normed         []F // LN(AV) (R,D)
	invNormed      []F // (R)
	gated          *nn.Matrix[F]
	position       []int32
	last           bool
	outRows, start []int32 // rows of uq by sequence
}

func newPass[F nn.Float](cfg *Config) *pass[F] {
	return &pass[F]{cfg: cfg, rotation: nn.NewRotation[F](cfg.MaxSessions+1, cfg.Dim/cfg.Heads), blocks: make([]blockCache[F], cfg.Blocks)}
}

func (p *pass[F]) matrix(rows, cols int) *nn.Matrix[F] {
	return nn.NewMatrix(p.work.Take(rows*cols), cols)
}

func (p *pass[F]) attention() nn.Attention[F] {
	// A constant divisor: the norm that follows makes its size irrelevant but for that norm's epsilon.
	return nn.Attention[F]{Heads: p.cfg.Heads, Scale: F(p.cfg.MaxTokens)}
}

// forward runs the layout that was built with p.layout, and leaves the query vectors in p.z.
func (p *pass[F]) forward(w *weights[F], items *catalogue[F]) {
	p.work.Reset()
	l, d := &p.layout, p.cfg.Dim
	n, b := l.tokens(), l.sequences()
	p.queryAt, p.querySees, p.queryPosition = p.queryAt[:0], p.querySees[:0], p.queryPosition[:0]
	for _, q := range l.query {
		p.queryAt, p.querySees, p.queryPosition = append(p.queryAt, l.at[q]), append(p.querySees, l.sees[q]), append(p.queryPosition, l.position[q])
	}
	x := p.work.Take(n * d)
	p.embed(x, w, items)
	for i := range p.blocks {
		x = p.blockForward(&p.blocks[i], &w.blocks[i], x, i == len(p.blocks)-1)
	}
	p.h = p.matrix(b, d)
	p.invH = p.work.Take(b)
	nn.LayerNorm(p.h.Data, p.invH, x, d)
	p.z = p.matrix(b, d)
	nn.MatMul(p.z, p.h, w.query)
	nn.Add(p.z.Data, p.h.Data)
}

// embed sets x to the sums of the tokens' embeddings.   x (N,D)
func (p *pass[F]) embed(x []F, w *weights[F], items *catalogue[F]) {
	l, d := &p.layout, p.cfg.Dim
	for i, row := range l.row {
		t := x[i*d:][:d]
		if row >= 0 {
			items.sum(t, row)
			nn.Add(t, w.action[int(l.action[i])*d:][:d])
			continue
		}
		copy(t, w.context)
		nn.Add(t, w.scene[int(l.scene[i])*d:][:d])
		nn.Add(t, w.hour[int(l.hour[i])*d:][:d])
		nn.Add(t, w.gap[int(l.gap[i])*d:][:d])
	}
}

// embedBackward adds to the embeddings' gradients; those of the items' sums go to slots of rows.   dx (N,D)
func (p *pass[F]) embedBackward(dw *weights[F], rows *rowGradients[F], dx []F) {
	l, d := &p.layout, p.cfg.Dim
	for i, row := range l.row {
		g := dx[i*d:][:d]
		if row >= 0 {
			nn.Add(rows.vector(row), g)
			nn.Add(dw.action[int(l.action[i])*d:][:d], g)
			continue
		}
		nn.Add(dw.context, g)
		nn.Add(dw.scene[int(l.scene[i])*d:][:d], g)
		nn.Add(dw.hour[int(l.hour[i])*d:][:d], g)
		nn.Add(dw.gap[int(l.gap[i])*d:][:d], g)
	}
}

// blockForward returns the block's output, (N,D) or in the last block (B,D):
//
//	[U,Q] = SiLU(LN(x)·W_uq)   [V,K] = SiLU(LN(x)·W_vk)   y = x + (LN(attention) ⊙ U)·W_out + b_out
func (p *pass[F]) blockForward(c *blockCache[F], w *block[F], x []F, last bool) []F {
	l, d := &p.layout, p.cfg.Dim
	n := l.tokens()
	c.last = last
	c.norm, c.inv = p.matrix(n, d), p.work.Take(n)
	nn.LayerNorm(c.norm.Data, c.inv, x, d)
	c.asked, c.position, c.start = c.norm, l.position, l.start
	residual := x
	at, sees := l.at, l.sees
	if last {
		b := l.sequences()
		c.asked, c.position = p.matrix(b, d), p.queryPosition
		residual = p.work.Take(b * d)
		c.start = c.outRows[:0]
		for i, q := range l.query {
			copy(c.asked.Data[i*d:][:d], c.norm.Data[int(q)*d:])
			copy(residual[i*d:][:d], x[int(q)*d:])
			c.start = append(c.start, int32(i))
		}
		c.start = append(c.start, int32(b))
		c.outRows = c.start
		at, sees = p.queryAt, p.querySees
	}
	r := c.asked.Rows

	c.uq, c.slopeUQ = p.matrix(r, 2*d), p.work.Take(r*2*d)
	nn.MatMul(c.uq, c.asked, w.uq)
	nn.SiLU(c.uq.Data, c.slopeUQ, c.uq.Data)
	c.vk, c.slopeVK = p.matrix(n, 2*d), p.work.Take(n*2*d)
	nn.MatMul(c.vk, c.norm, w.vk)
	nn.SiLU(c.vk.Data, c.slopeVK, c.vk.Data)
	p.rotation.Apply(c.uq.Columns(d, 2*d), c.position)
	p.rotation.Apply(c.vk.Columns(d, 2*d), l.position)

	o := p.work.Take(r * d)
	c.inputs, c.attention = c.inputs[:0], c.attention[:0]
	for s := range l.sequences() {
		from, to := int(l.start[s]), int(l.start[s+1])
		t := to - from
		buckets := l.bucket[l.pairs[s]:][:t*t]
		askFrom, askTo := int(c.start[s]), int(c.start[s+1])
		if last {
			buckets = buckets[(t-1)*t:]
		}
		vk, uq := c.vk.Slice(from, to), c.uq.Slice(askFrom, askTo)
		in := nn.AttentionInput[F]{
			Q: uq.Columns(d, 2*d), K: vk.Columns(d, 2*d), V: vk.Columns(0, d),
			At: at[askFrom:askTo], Sees: sees[askFrom:askTo], Bucket: buckets, Bias: w.time,
		}
		size := p.cfg.Heads * uq.Rows * t
		cache := nn.AttentionCache[F]{A: p.work.Take(size), Slope: p.work.Take(size)}
		p.attention().Forward(nn.Whole(o, d).Slice(askFrom, askTo), cache, in)
		c.inputs, c.attention = append(c.inputs, in), append(c.attention, cache)
	}

	c.normed, c.invNormed = p.work.Take(r*d), p.work.Take(r)
	nn.LayerNorm(c.normed, c.invNormed, o, d)
	c.gated = p.matrix(r, d)
	nn.Gate(c.gated.Data, c.normed, c.uq.Columns(0, d))
	y := p.matrix(r, d)
	nn.MatMul(y, c.gated, w.out)
	nn.AddBias(y.Data, w.outBias)
	nn.Add(y.Data, residual)
	return y.Data
}

// backward adds the gradients of a loss whose gradient by the query vectors is dz.   dz (B,D)
func (p *pass[F]) backward(w, dw *weights[F], rows *rowGradients[F], dz []F) {
	d, b := p.cfg.Dim, p.layout.sequences()
	dh := p.work.Take(b * d)
	copy(dh, dz)
	nn.MatMulBackward(dh, dw.query.Data, dz, p.h, w.query)
	dx := p.work.Zeros(b * d)
	nn.LayerNormBackward(dx, dh, p.h.Data, p.invH, d)
	for i := len(p.blocks) - 1; i >= 0; i-- {
		dx = p.blockBackward(&p.blocks[i], &w.blocks[i], &dw.blocks[i], dx)
	}
	p.embedBackward(dw, rows, dx)
}

// blockBackward returns dx (N,D) and adds to the weights' gradients. It overwrites dy.   dy (R,D)
func (p *pass[F]) blockBackward(c *blockCache[F], w, dw *block[F], dy []F) []F {
	l, d := &p.layout, p.cfg.Dim
	n, r := l.tokens(), c.asked.Rows
	nn.AddBiasBackward(dw.outBias, dy)
	dGated := p.work.Zeros(r * d)
	nn.MatMulBackward(dGated, dw.out.Data, dy, c.gated, w.out)
	dUQ, dVK := nn.Whole(p.work.Zeros(r*2*d), 2*d), nn.Whole(p.work.Zeros(n*2*d), 2*d)
	dNormed, dO := p.work.Zeros(r*d), p.work.Zeros(r*d)
	nn.GateBackward(dNormed, dUQ.Columns(0, d), dGated, c.normed, c.uq.Columns(0, d))
	nn.LayerNormBackward(dO, dNormed, c.normed, c.invNormed, d)

	longest := 0
	for s := range c.inputs {
		longest = max(longest, c.inputs[s].Q.Rows*c.inputs[s].K.Rows)
	}
	scratch := p.work.Take(longest)
	for s := range c.inputs {
		ask, tokens := dUQ.Slice(int(c.start[s]), int(c.start[s+1])), dVK.Slice(int(l.start[s]), int(l.start[s+1]))
		p.attention().Backward(ask.Columns(d, 2*d), tokens.Columns(d, 2*d), tokens.Columns(0, d), dw.time,
			nn.Whole(dO, d).Slice(int(c.start[s]), int(c.start[s+1])), c.attention[s], c.inputs[s], scratch)
	}
	p.rotation.ApplyBackward(dUQ.Columns(d, 2*d), c.position)
	p.rotation.ApplyBackward(dVK.Columns(d, 2*d), l.position)
	nn.SiLUBackward(dUQ.Data, c.slopeUQ)
	nn.SiLUBackward(dVK.Data, c.slopeVK)

	dNorm := p.work.Zeros(n * d)
	nn.MatMulBackward(dNorm, dw.vk.Data, dVK.Data, c.norm, w.vk)
	if !c.last {
		nn.MatMulBackward(dNorm, dw.uq.Data, dUQ.Data, c.asked, w.uq)
		nn.LayerNormBackward(dy, dNorm, c.norm.Data, c.inv, d)
		return dy
	}
	dAsked := p.work.Zeros(r * d)
	nn.MatMulBackward(dAsked, dw.uq.Data, dUQ.Data, c.asked, w.uq)
	dx := p.work.Zeros(n * d)
	for i, q := range l.query {
		nn.Add(dNorm[int(q)*d:][:d], dAsked[i*d:][:d])
		nn.Add(dx[int(q)*d:][:d], dy[i*d:][:d])
	}
	nn.LayerNormBackward(dx, dNorm, c.norm.Data, c.inv, d)
	return dx
}
