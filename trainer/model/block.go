package model

import "github.com/freshet-ml/freshet/trainer/nn"

// blockCache is what one block keeps. R is N, or A in the last block, where only what is asked goes on.
type blockCache[F nn.Float] struct {
	last      bool
	norm      nn.Block[F] // LN(x), all tokens (N,D)
	inv       []F         // (N)
	asked     nn.Block[F] // LN(x) of the asking tokens (R,D): norm itself but in the last block
	uq        nn.Block[F] // (R,askWidth): [U,Q], or Q; q turned
	vk        nn.Block[F] // (N,2D): [V,K], k turned
	slopeUQ   []F         // of the pointwise kind
	slopeVK   []F
	inputs    []nn.AttentionInput[F]
	o         []F // attention's output (R,D)
	normed    []F // LN(o) (R,D), of the pointwise kind
	invNormed []F
	gated     nn.Block[F] // what out multiplies (R,D)
	ffn       ffnCache[F]
	moe       moeCache[F]
}

func (p *pass[F]) attention() nn.Attention[F] {
	// A constant divisor: the norm that follows makes its size irrelevant but for that norm's epsilon, and a cache of keys stays valid.
	return nn.Attention[F]{Heads: p.cfg.Heads, Softmax: p.cfg.Attention == softmax, Divisor: F(p.cfg.MaxTokens)}
}

// blockForward returns the block's output, (N,D) or in the last block (A,D):
//
//	pointwise   [U,Q] = SiLU(LN(x)·W_uq)   [V,K] = SiLU(LN(x)·W_vk)   y = x + drop(LN(attention) ⊙ U)·W_out + b_out
//	softmax     Q = LN(x)·W_uq + b         [V,K] = LN(x)·W_vk + b     y = x + drop(attention·W_out + b_out)
//
// followed by a network of its own or by experts, where the config has them.
func (p *pass[F]) blockForward(i int, w *block[F], x []F, last bool) []F {
	c, l, d := &p.blocks[i], p.layout, p.cfg.Dim
	pointwise := p.cfg.Attention == hstu
	n := l.tokens()
	c.last = last
	c.norm, c.inv = p.take(n, d), p.work.Take(n)
	nn.LayerNorm(c.norm.Data, c.inv, x, d)
	c.asked = c.norm
	residual, position := x, l.position
	if last {
		c.asked = p.picked(c.norm, l.asked)
		residual, position = p.picked(nn.Whole(x, d), l.asked).Data, p.askPosition
	}
	r, ask := c.asked.Rows, p.cfg.askWidth()

	c.uq, c.vk = p.take(r, ask), p.take(n, 2*d)
	if last {
		nn.Gemm(c.uq, nn.Plain, nn.Plain, 1, c.asked, w.uq[0], 0) // only tokens of the first kind ask
	} else {
		p.typed(c.uq, w.uq, c.norm)
	}
	p.typed(c.vk, w.vk, c.norm)
	if pointwise {
		c.slopeUQ, c.slopeVK = p.work.Take(r*ask), p.work.Take(n*2*d)
		nn.SiLU(c.uq.Data, c.slopeUQ, c.uq.Data)
		nn.SiLU(c.vk.Data, c.slopeVK, c.vk.Data)
	} else {
		nn.AddBias(c.uq.Data, w.uqBias)
		nn.AddBias(c.vk.Data, w.vkBias)
	}
	if p.cfg.Rotary != none {
		p.rotation.Apply(c.uq.Columns(ask-d, ask), position)
		p.rotation.Apply(c.vk.Columns(d, 2*d), l.position)
	}

	c.o = p.work.Take(r * d)
	p.attend(c, w)
	if pointwise {
		c.normed, c.invNormed = p.work.Take(r*d), p.work.Take(r)
		nn.LayerNorm(c.normed, c.invNormed, c.o, d)
		c.gated = p.take(r, d)
		nn.Gate(c.gated.Data, c.normed, c.uq.Columns(0, d))
		p.drop(c.gated.Data, 1+4*i)
	} else {
		c.gated = nn.Whole(c.o, d)
	}
	y := p.take(r, d)
	nn.Gemm(y, nn.Plain, nn.Plain, 1, c.gated, w.out, 0)
	nn.AddBias(y.Data, w.outBias)
	if !pointwise {
		p.drop(y.Data, 1+4*i)
	}
	nn.Add(y.Data, residual)
	if p.cfg.FFN > 0 {
		p.ffnForward(i, w, y.Data)
	}
	if p.cfg.Experts > 0 {
		p.moeForward(i, w, y.Data)
	}
	return y.Data
}

// attend runs the attention of each sequence.
func (p *pass[F]) attend(c *blockCache[F], w *block[F]) {
	l, d, ask := p.layout, p.cfg.Dim, p.cfg.askWidth()
	at, sees, starts := l.at, l.sees, l.start
	if c.last {
		at, sees, starts = p.askAt, p.askSees, l.asks
	}
	c.inputs = c.inputs[:0]
	for s := range l.sequences() {
		from, to := int(l.start[s]), int(l.start[s+1])
		askFrom, askTo := int(starts[s]), int(starts[s+1])
		vk, uq := c.vk.Slice(from, to), c.uq.Slice(askFrom, askTo)
		in := nn.AttentionInput[F]{
			Q: uq.Columns(ask-d, ask), K: vk.Columns(d, 2*d), V: vk.Columns(0, d),
			At: at[askFrom:askTo], Sees: sees[askFrom:askTo], Time: w.time, Distance: w.distance,
		}
		if t := to - from; p.cfg.TimeBias && t > 0 {
			in.Bucket = l.bucket[l.pairs[s]:][:t*t]
		}
		c.inputs = append(c.inputs, in)
		if askFrom < askTo {
			p.attention().Forward(nn.Whole(c.o, d).Slice(askFrom, askTo), &c.inputs[s], &p.scratch)
		}
	}
}

// blockBackward returns dx (N,D) and adds to the weights' gradients. It overwrites dy.   dy (R,D)
func (p *pass[F]) blockBackward(i int, w, dw *block[F], dy []F) []F {
	c, l, d := &p.blocks[i], p.layout, p.cfg.Dim
	pointwise := p.cfg.Attention == hstu
	n, r, ask := l.tokens(), c.asked.Rows, p.cfg.askWidth()
	if p.cfg.Experts > 0 {
		p.moeBackward(i, w, dw, dy)
	}
	if p.cfg.FFN > 0 {
		p.ffnBackward(i, w, dw, dy)
	}
	branch := dy
	if !pointwise && p.rate > 0 {
		branch = p.work.Take(len(dy))
		copy(branch, dy)
		p.drop(branch, 1+4*i)
	}
	nn.AddBiasBackward(dw.outBias, branch)
	dGated := p.take(r, d)
	g := nn.Whole(branch, d)
	nn.Gemm(dGated, nn.Plain, nn.Transposed, 1, g, w.out, 0)
	nn.Gemm(dw.out, nn.Transposed, nn.Plain, 1, c.gated, g, 1)

	dUQ, dVK := p.zeros(r, ask), p.zeros(n, 2*d)
	dO := dGated.Data
	if pointwise {
		p.drop(dGated.Data, 1+4*i)
		dNormed := p.work.Zeros(r * d)
		nn.GateBackward(dNormed, dUQ.Columns(0, d), dGated.Data, c.normed, c.uq.Columns(0, d))
		dO = p.work.Zeros(r * d)
		nn.LayerNormBackward(dO, dNormed, c.normed, c.invNormed, d)
	}
	starts := l.start
	if c.last {
		starts = l.asks
	}
	for s := range c.inputs {
		askFrom, askTo := int(starts[s]), int(starts[s+1])
		if askFrom == askTo {
			continue
		}
		asks, tokens := dUQ.Slice(askFrom, askTo), dVK.Slice(int(l.start[s]), int(l.start[s+1]))
		p.attention().Backward(asks.Columns(ask-d, ask), tokens.Columns(d, 2*d), tokens.Columns(0, d), dw.time, dw.distance,
			nn.Whole(dO, d).Slice(askFrom, askTo), &c.inputs[s], &p.scratch)
	}
	position := l.position
	if c.last {
		position = p.askPosition
	}
	if p.cfg.Rotary != none {
		p.rotation.ApplyBackward(dUQ.Columns(ask-d, ask), position)
		p.rotation.ApplyBackward(dVK.Columns(d, 2*d), l.position)
	}
	if pointwise {
		nn.SiLUBackward(dUQ.Data, c.slopeUQ)
		nn.SiLUBackward(dVK.Data, c.slopeVK)
	} else {
		nn.AddBiasBackward(dw.uqBias, dUQ.Data)
		nn.AddBiasBackward(dw.vkBias, dVK.Data)
	}

	dNorm := p.take(n, d)
	p.typedBackward(dNorm, true, dw.vk, dVK, w.vk, c.norm)
	if !c.last {
		p.typedBackward(dNorm, false, dw.uq, dUQ, w.uq, c.norm)
		nn.LayerNormBackward(dy, dNorm.Data, c.norm.Data, c.inv, d)
		return dy
	}
	dAsked := p.take(r, d)
	nn.Gemm(dAsked, nn.Plain, nn.Transposed, 1, dUQ, w.uq[0], 0)
	nn.Gemm(dw.uq[0], nn.Transposed, nn.Plain, 1, c.asked, dUQ, 1)
	dx := p.work.Zeros(n * d)
	for k, t := range l.asked {
		nn.Add(dNorm.Data[int(t)*d:][:d], dAsked.Data[k*d:][:d])
		nn.Add(dx[int(t)*d:][:d], dy[k*d:][:d])
	}
	nn.LayerNormBackward(dx, dNorm.Data, c.norm.Data, c.inv, d)
	return dx
}
