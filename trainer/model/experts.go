package model

import (
	"math"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// moeCache is what a block's experts keep: those of an expert's tokens one behind the other, the shared one's last.
type moeCache[F nn.Float] struct {
	norm   nn.Block[F] // (R,D)
	inv    []F
	gate   nn.Block[F] // softmax over the experts (R,E)
	chosen []int32     // two a token (2R)
	share  []F         // what each of them counts (2R)
	expert []expertCache[F]
}

type expertCache[F nn.Float] struct {
	slots   []int32     // places in chosen; nil for the shared expert, which has all tokens
	in      nn.Block[F] // (S,D)
	ab      nn.Block[F] // (S,2W) the two halves before the product; the first after SiLU
	slope   []F         // (S,W)
	product nn.Block[F] // (S,W)
	out     nn.Block[F] // (S,D)
}

// perToken is how many routed experts a token takes (TBGRecall: top-2 of 24 and a shared one).
const perToken = 2

// moeForward adds to x in place: x + drop(shared(LN(x)) + Σ over the two best experts of g_e · expert_e(LN(x))), an expert being
// (SiLU(x·A) ⊙ x·B)·W (DeepSeekMoE, arXiv 2401.06066). Experts are chosen by gate plus balance, a bias that is moved towards equal load and
// has no part in g (arXiv 2408.15664).   x (R,D)
func (p *pass[F]) moeForward(i int, w *block[F], x []F) {
	c, d, e := &p.blocks[i].moe, p.cfg.Dim, p.cfg.Experts
	r := len(x) / d
	c.norm, c.inv = p.take(r, d), p.work.Take(r)
	nn.LayerNorm(c.norm.Data, c.inv, x, d)
	c.gate = p.take(r, e)
	nn.Gemm(c.gate, nn.Plain, nn.Plain, 1, c.norm, w.router, 0)
	c.chosen, c.share = sized(c.chosen, perToken*r), sized(c.share, perToken*r)
	c.expert = sized(c.expert, e+1)
	for k := range c.expert {
		c.expert[k].slots = c.expert[k].slots[:0]
	}
	for t := range r {
		row := c.gate.Data[t*e:][:e]
		nn.Scale(row, 1/nn.ExpShift(row, row, nn.Max(row)))
		first, second := twoBest(row, w.balance)
		total := row[first] + row[second]
		for k, best := range [perToken]int32{first, second} {
			c.chosen[perToken*t+k], c.share[perToken*t+k] = best, row[best]/total
			c.expert[best].slots = append(c.expert[best].slots, int32(perToken*t+k))
		}
	}
	y := p.zeros(r, d)
	for k := range c.expert {
		ex := &c.expert[k]
		if k == e {
			p.expertForward(ex, w.expertsIn[k], w.expertsOut[k], c.norm)
			nn.Add(y.Data, ex.out.Data)
			continue
		}
		in := p.take(len(ex.slots), d)
		for j, slot := range ex.slots {
			copy(in.Data[j*d:][:d], c.norm.Data[int(slot)/perToken*d:][:d])
		}
		p.expertForward(ex, w.expertsIn[k], w.expertsOut[k], in)
		for j, slot := range ex.slots {
			nn.AddScaled(y.Data[int(slot)/perToken*d:][:d], c.share[slot], ex.out.Data[j*d:][:d])
		}
	}
	p.drop(y.Data, 3+4*i)
	nn.Add(x, y.Data)
}

// twoBest returns the two highest of gate + balance, the first of equals.
func twoBest[F nn.Float](gate, balance []F) (first, second int32) {
	best := [2]F{F(math.Inf(-1)), F(math.Inf(-1))}
	first, second = 0, 1
	for k, g := range gate {
		switch v := g + balance[k]; {
		case v > best[0]:
			best[1], second = best[0], first
			best[0], first = v, int32(k)
		case v > best[1]:
			best[1], second = v, int32(k)
		}
	}
	if first == second { // numbers that are not: any two do, the step is skipped
		return 0, 1
	}
	return first, second
}

func (p *pass[F]) expertForward(ex *expertCache[F], in, out nn.Block[F], x nn.Block[F]) {
	width := p.cfg.ExpertWidth
	ex.in, ex.ab, ex.product, ex.out = x, p.take(x.Rows, 2*width), p.take(x.Rows, width), p.take(x.Rows, p.cfg.Dim)
	ex.slope = p.work.Take(x.Rows * width)
	nn.Gemm(ex.ab, nn.Plain, nn.Plain, 1, x, in, 0)
	for j := range x.Rows {
		a, b := ex.ab.Data[j*2*width:][:width], ex.ab.Data[j*2*width+width:][:width]
		nn.SiLU(a, ex.slope[j*width:][:width], a)
		nn.Mul(ex.product.Data[j*width:][:width], a, b)
	}
	nn.Gemm(ex.out, nn.Plain, nn.Plain, 1, ex.product, out, 0)
}

// expertBackward returns the gradient by the expert's input.   dOut (S,D)
func (p *pass[F]) expertBackward(ex *expertCache[F], in, out, dIn, dWOut nn.Block[F], dOut nn.Block[F]) nn.Block[F] {
	width := p.cfg.ExpertWidth
	s := dOut.Rows
	dProduct := p.take(s, width)
	nn.Gemm(dProduct, nn.Plain, nn.Transposed, 1, dOut, out, 0)
	nn.Gemm(dWOut, nn.Transposed, nn.Plain, 1, ex.product, dOut, 1)
	dAB := p.take(s, 2*width)
	for j := range s {
		a, b := ex.ab.Data[j*2*width:][:width], ex.ab.Data[j*2*width+width:][:width]
		da, db := dAB.Data[j*2*width:][:width], dAB.Data[j*2*width+width:][:width]
		g := dProduct.Data[j*width:][:width]
		nn.Mul(da, g, b)
		nn.SiLUBackward(da, ex.slope[j*width:][:width])
		nn.Mul(db, g, a)
	}
	dx := p.take(s, p.cfg.Dim)
	nn.Gemm(dx, nn.Plain, nn.Transposed, 1, dAB, in, 0)
	nn.Gemm(dIn, nn.Transposed, nn.Plain, 1, ex.in, dAB, 1)
	return dx
}

// moeBackward adds to dy in place, which passes x on as well. Which experts were chosen is taken as given.   dy (R,D)
func (p *pass[F]) moeBackward(i int, w, dw *block[F], dy []F) {
	c, d, e := &p.blocks[i].moe, p.cfg.Dim, p.cfg.Experts
	r := len(dy) / d
	branch := p.take(r, d)
	copy(branch.Data, dy)
	p.drop(branch.Data, 3+4*i)
	dNorm := p.zeros(r, d)
	dShare := p.work.Zeros(perToken * r)
	for k := range c.expert {
		ex := &c.expert[k]
		if k == e {
			nn.Add(dNorm.Data, p.expertBackward(ex, w.expertsIn[k], w.expertsOut[k], dw.expertsIn[k], dw.expertsOut[k], branch).Data)
			continue
		}
		dOut := p.zeros(len(ex.slots), d)
		for j, slot := range ex.slots {
			g := branch.Data[int(slot)/perToken*d:][:d]
			dShare[slot] = nn.Dot(g, ex.out.Data[j*d:][:d])
			nn.AddScaled(dOut.Data[j*d:][:d], c.share[slot], g)
		}
		dx := p.expertBackward(ex, w.expertsIn[k], w.expertsOut[k], dw.expertsIn[k], dw.expertsOut[k], dOut)
		for j, slot := range ex.slots {
			nn.Add(dNorm.Data[int(slot)/perToken*d:][:d], dx.Data[j*d:][:d])
		}
	}
	dGate := p.zeros(r, e)
	for t := range r {
		gate, g := c.gate.Data[t*e:][:e], dGate.Data[t*e:][:e]
		pair, share, ds := c.chosen[perToken*t:][:perToken], c.share[perToken*t:][:perToken], dShare[perToken*t:][:perToken]
		along := share[0]*ds[0] + share[1]*ds[1]
		total := gate[pair[0]] + gate[pair[1]]
		for k, best := range pair { // share_k = gate_k / total
			g[best] = (ds[k] - along) / total
		}
		inner := g[pair[0]]*gate[pair[0]] + g[pair[1]]*gate[pair[1]]
		for k := range g {
			g[k] = gate[k] * (g[k] - inner)
		}
	}
	nn.Gemm(dNorm, nn.Plain, nn.Transposed, 1, dGate, w.router, 1)
	nn.Gemm(dw.router, nn.Transposed, nn.Plain, 1, c.norm, dGate, 1)
	for _, best := range c.chosen { // no gradient: how often each was chosen, which Model.balance reads
		dw.balance[best]++
	}
	nn.LayerNormBackward(dy, dNorm.Data, c.norm.Data, c.inv, d)
}
