package model

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// plasticity is how readily the rows move. Where the gradient of a step points the way the last step went, the stream has moved on and the steps
// are too small; where it points back, they are too large. So the rate follows their cosine, in the manner of hypergradient descent (Baydin et al.,
// "Online learning rate adaptation with hypergradient descent", ICLR 2018): rate ← rate·exp(Config.Plasticity·cos).
type plasticity struct {
	rate float64   // times Config.RowRate
	rows []Row     // of the last step, rising; none where Config.Plasticity is 0
	last []float32 // their gradients (rows, dim)

	order []int32 // memory of follow
	spare []float32
}

// The bounds of the rate.
const leastPlastic, mostPlastic = 1. / 4, 4.

// follow changes the rate by the gradients of a step, before it is taken.
func (p *plasticity) follow(beta float64, g *rowGradients[float32]) {
	d := g.dim
	p.order = p.order[:0]
	for s := range g.rows {
		p.order = append(p.order, int32(s))
	}
	slices.SortFunc(p.order, func(a, b int32) int { return int(g.rows[a] - g.rows[b]) })
	var product, here, there float64
	at := 0
	for _, s := range p.order {
		r := g.rows[s]
		for at < len(p.rows) && p.rows[at] < r {
			at++
		}
		if at == len(p.rows) {
			break
		}
		if p.rows[at] == r {
			grad, last := g.grad[int(s)*d:][:d], p.last[at*d:][:d]
			product += float64(nn.Dot(grad, last))
			here += nn.SumSquares(grad)
			there += nn.SumSquares(last)
		}
	}
	if cos := product / math.Sqrt(here*there); finite(cos) {
		p.rate = min(max(p.rate*math.Exp(beta*cos), leastPlastic), mostPlastic)
	}
	p.rows, p.spare = p.rows[:0], sized(p.spare, len(p.order)*d)
	for i, s := range p.order {
		p.rows = append(p.rows, g.rows[s])
		copy(p.spare[i*d:][:d], g.grad[int(s)*d:])
	}
	p.last, p.spare = p.spare, p.last
}

// forget takes rows out that were given up.
func (p *plasticity) forget(dim int, gone func(Row) bool) {
	n := 0
	for i, r := range p.rows {
		if !gone(r) {
			p.rows[n] = r
			copy(p.last[n*dim:][:dim], p.last[i*dim:])
			n++
		}
	}
	p.rows, p.last = p.rows[:n], p.last[:n*dim]
}

func (p *plasticity) table(dim int) schema.Table {
	rows := make([]int32, len(p.rows))
	for i, r := range p.rows {
		rows[i] = int32(r)
	}
	return schema.Table{
		Columns: []schema.Column{{Name: "row", Data: rows}, {Name: "gradient", Data: schema.Vectors{Dim: dim, Values: append([]float32{}, p.last...)}}},
		Meta:    [][2]string{{"rate", strconv.FormatFloat(p.rate, 'g', -1, 64)}},
	}
}

func (p *plasticity) restore(t schema.Table, c *Config, items int) error {
	rows, err := schema.Col[[]int32](t, "row")
	if err != nil {
		return err
	}
	last, err := schema.Col[schema.Vectors](t, "gradient")
	if err != nil {
		return err
	}
	rate, err := strconv.ParseFloat(t.MetaValue("rate"), 64)
	if err != nil || !(rate >= leastPlastic && rate <= mostPlastic) {
		return fmt.Errorf("%w: rate %q", schema.ErrCorrupt, t.MetaValue("rate"))
	}
	if last.Dim != c.Dim || len(last.Values) != len(rows)*c.Dim || firstBad(last.Values) >= 0 {
		return fmt.Errorf("%w: %d numbers of width %d for %d rows", schema.ErrCorrupt, len(last.Values), last.Dim, len(rows))
	}
	for i, r := range rows {
		if r < 0 || int(r) >= items || i > 0 && r <= rows[i-1] {
			return fmt.Errorf("%w: row %d", schema.ErrCorrupt, r)
		}
		p.rows = append(p.rows, Row(r))
	}
	p.rate, p.last = rate, last.Values
	return nil
}
