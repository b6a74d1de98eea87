package model

import "github.com/freshet-ml/freshet/trainer/nn"

// ffnCache is what a block's own network keeps.
type ffnCache[F nn.Float] struct {
	norm, hidden nn.Block[F] // (R,D) (R,FFN)
	inv, slope   []F
}

// ffnForward adds to x in place: x + drop(ReLU(LN(x)·W_in + b)·W_out + b) (SASRec, arXiv 1808.09781, section III-C).   x (R,D)
func (p *pass[F]) ffnForward(i int, w *block[F], x []F) {
	c, d := &p.blocks[i].ffn, p.cfg.Dim
	r := len(x) / d
	c.norm, c.inv = p.take(r, d), p.work.Take(r)
	nn.LayerNorm(c.norm.Data, c.inv, x, d)
	c.hidden, c.slope = p.take(r, p.cfg.FFN), p.work.Take(r*p.cfg.FFN)
	nn.Gemm(c.hidden, nn.Plain, nn.Plain, 1, c.norm, w.ffnIn, 0)
	nn.AddBias(c.hidden.Data, w.ffnInBias)
	nn.ReLU(c.hidden.Data, c.slope, c.hidden.Data)
	y := p.take(r, d)
	nn.Gemm(y, nn.Plain, nn.Plain, 1, c.hidden, w.ffnOut, 0)
	nn.AddBias(y.Data, w.ffnOutBias)
	p.drop(y.Data, 2+4*i)
	nn.Add(x, y.Data)
}

// ffnBackward adds to dy in place, which passes x on as well.   dy (R,D)
func (p *pass[F]) ffnBackward(i int, w, dw *block[F], dy []F) {
	c, d := &p.blocks[i].ffn, p.cfg.Dim
	branch := p.take(len(dy)/d, d)
	copy(branch.Data, dy)
	p.drop(branch.Data, 2+4*i)
	nn.AddBiasBackward(dw.ffnOutBias, branch.Data)
	dHidden := p.take(branch.Rows, p.cfg.FFN)
	nn.Gemm(dHidden, nn.Plain, nn.Transposed, 1, branch, w.ffnOut, 0)
	nn.Gemm(dw.ffnOut, nn.Transposed, nn.Plain, 1, c.hidden, branch, 1)
	nn.Mul(dHidden.Data, dHidden.Data, c.slope)
	nn.AddBiasBackward(dw.ffnInBias, dHidden.Data)
	dNorm := p.take(branch.Rows, d)
	nn.Gemm(dNorm, nn.Plain, nn.Transposed, 1, dHidden, w.ffnIn, 0)
	nn.Gemm(dw.ffnIn, nn.Transposed, nn.Plain, 1, c.norm, dHidden, 1)
	nn.LayerNormBackward(dy, dNorm.Data, c.norm.Data, c.inv, d)
}
