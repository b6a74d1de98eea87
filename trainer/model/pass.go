package model

import (
	"github.com/freshet-ml/freshet/trainer/nn"
)

// pass is one run of a group of sequences through the network: what forward keeps and backward needs. It is used again for the next group and
// belongs to one goroutine at a time; the weights and items it reads may be shared.
type pass[F nn.Float] struct {
	cfg      *Config
	rotation nn.Rotation[F]
	work     nn.Workspace[F]
	scratch  nn.AttentionScratch[F]
	layout   *layout
	seed     uint64 // of dropout; used only where training
	rate     float64

	embedded embedCache[F]
	blocks   []blockCache[F]
	h        []F // LN of the last block at what is asked (A,D)
	invH     []F
	asks     []F // rows of h, a query each, by how far it looks ahead (Q,D)
	order    []int32
	ahead    []int32 // where the queries of each distance start in order, and the end
	z        []F     // query vectors, by query (Q,D): of length one under Config.Cosine
	invZ     []F

	askAt, askSees, askPosition []int32
	byKind                      [len(kinds)][]int32
}

func newPass[F nn.Float](cfg *Config) *pass[F] {
	p := &pass[F]{cfg: cfg, blocks: make([]blockCache[F], cfg.Blocks)}
	if cfg.Rotary != none {
		p.rotation = nn.NewRotation[F](max(cfg.MaxSessions+1, cfg.MaxTokens), cfg.Dim/cfg.Heads)
	}
	return p
}

func (p *pass[F]) take(rows, cols int) nn.Block[F] {
	return nn.Block[F]{Data: p.work.Take(rows * cols), Rows: rows, Cols: cols, Stride: cols}
}

func (p *pass[F]) zeros(rows, cols int) nn.Block[F] {
	return nn.Block[F]{Data: p.work.Zeros(rows * cols), Rows: rows, Cols: cols, Stride: cols}
}

func (p *pass[F]) drop(x []F, site int) {
	nn.Dropout(x, p.rate, p.seed+uint64(site)<<32)
}

// forward runs the layout and leaves the query vectors in p.z. rate is that of dropout, 0 outside of training.
func (p *pass[F]) forward(l *layout, w *weights[F], ins *gather[F], rate float64, seed uint64) {
	p.work.Reset()
	p.layout, p.rate, p.seed = l, rate, seed
	d := p.cfg.Dim
	p.askAt, p.askSees, p.askPosition = p.askAt[:0], p.askSees[:0], p.askPosition[:0]
	for _, t := range l.asked {
		p.askAt, p.askSees, p.askPosition = append(p.askAt, l.at[t]), append(p.askSees, l.sees[t]), append(p.askPosition, l.position[t])
	}
	if p.cfg.TokenNetworks {
		p.split()
	}
	x := p.embed(w, ins)
	p.drop(x, 0)
	for i := range p.blocks {
		x = p.blockForward(i, &w.blocks[i], x, i == len(p.blocks)-1)
	}
	a := len(l.asked)
	p.h, p.invH = p.work.Take(a*d), p.work.Take(a)
	nn.LayerNorm(p.h, p.invH, x, d)
	p.heads(w)
}

// heads sets p.z: z = h + h·P_m for a query m sessions ahead (P = I + learned, the form of multi-token heads), of length one under Config.Cosine.
func (p *pass[F]) heads(w *weights[F]) {
	l, d := p.layout, p.cfg.Dim
	q := len(l.queries)
	p.order, p.ahead = p.order[:0], append(p.ahead[:0], 0)
	for m := range p.cfg.Horizon {
		for i := range l.queries {
			if int(l.queries[i].ahead) == m {
				p.order = append(p.order, int32(i))
			}
		}
		p.ahead = append(p.ahead, int32(len(p.order)))
	}
	p.asks = p.work.Take(q * d)
	for k, i := range p.order {
		copy(p.asks[k*d:][:d], p.h[int(l.queries[i].ask)*d:][:d])
	}
	raw := p.work.Take(q * d)
	for m := range p.cfg.Horizon {
		from, to := int(p.ahead[m]), int(p.ahead[m+1])
		if from == to {
			continue
		}
		nn.Gemm(nn.Whole(raw[from*d:to*d], d), nn.Plain, nn.Plain, 1, nn.Whole(p.asks[from*d:to*d], d), w.query[m], 0)
	}
	nn.Add(raw, p.asks)
	p.z = raw
	if p.cfg.Horizon > 1 {
		p.z = p.work.Take(q * d)
		for k, i := range p.order {
			copy(p.z[int(i)*d:][:d], raw[k*d:][:d])
		}
	}
	if p.cfg.Cosine {
		unit := p.work.Take(q * d)
		p.invZ = p.work.Take(q)
		nn.Normalize(unit, p.invZ, p.z, d)
		p.z = unit
	}
}

// headsBackward returns the gradient by h and adds to those of the heads.   dz (Q,D), by query
func (p *pass[F]) headsBackward(w, dw *weights[F], dz []F) []F {
	l, d := p.layout, p.cfg.Dim
	if p.cfg.Cosine {
		raw := p.work.Zeros(len(dz))
		nn.NormalizeBackward(raw, dz, p.z, p.invZ, d)
		dz = raw
	}
	sorted := dz
	if p.cfg.Horizon > 1 {
		sorted = p.work.Take(len(dz))
		for k, i := range p.order {
			copy(sorted[k*d:][:d], dz[int(i)*d:][:d])
		}
	}
	dAsks := p.work.Take(len(dz))
	copy(dAsks, sorted)
	for m := range p.cfg.Horizon {
		from, to := int(p.ahead[m]), int(p.ahead[m+1])
		if from == to {
			continue
		}
		g, asks := nn.Whole(sorted[from*d:to*d], d), nn.Whole(p.asks[from*d:to*d], d)
		nn.Gemm(nn.Whole(dAsks[from*d:to*d], d), nn.Plain, nn.Transposed, 1, g, w.query[m], 1)
		nn.Gemm(dw.query[m], nn.Transposed, nn.Plain, 1, asks, g, 1)
	}
	dh := p.work.Zeros(len(l.asked) * d)
	for k, i := range p.order {
		nn.Add(dh[int(l.queries[i].ask)*d:][:d], dAsks[k*d:][:d])
	}
	return dh
}

// backward adds the gradients of a loss whose gradient by the query vectors is dz; those of the items' sums go to dIns.   dz (Q,D)  dIns (slots of ins, D)
func (p *pass[F]) backward(w, dw *weights[F], dIns []F, dz []F) {
	d := p.cfg.Dim
	dh := p.headsBackward(w, dw, dz)
	dx := p.work.Zeros(len(dh))
	nn.LayerNormBackward(dx, dh, p.h, p.invH, d)
	for i := len(p.blocks) - 1; i >= 0; i-- {
		dx = p.blockBackward(i, &w.blocks[i], &dw.blocks[i], dx)
	}
	p.drop(dx, 0)
	p.embedBackward(w, dw, dIns, dx)
}
