package model

import "github.com/freshet-ml/freshet/trainer/nn"

// gather holds the items that a step needs, one behind the other: their sums (catalogue.sum), which the lanes read, in the order of asking,
// so that nothing depends on the order of a map.
type gather[F nn.Float] struct {
	dim     int
	slot    []int32 // of each row of the table, -1 for none
	rows    []Row   // of each slot
	vectors []F     // (slots, dim)
	bias    []F     // (slots)
	unit    []F     // vectors as they are compared with a query (slots, dim): of length one under Config.Cosine, else vectors
	inv     []F     // 1/length (slots)
}

// reset forgets all slots; rows is the size of the table.
func (g *gather[F]) reset(rows int) {
	for _, r := range g.rows {
		g.slot[r] = -1
	}
	for len(g.slot) < rows {
		g.slot = append(g.slot, -1)
	}
	g.rows = g.rows[:0]
}

// place returns the slot of r, a new one if it has none.
func (g *gather[F]) place(r Row) int32 {
	if s := g.slot[r]; s >= 0 {
		return s
	}
	s := int32(len(g.rows))
	g.slot[r] = s
	g.rows = append(g.rows, r)
	return s
}

func sized[F any](x []F, n int) []F {
	if cap(x) < n {
		return make([]F, n+n/4)[:n]
	}
	return x[:n]
}

// fetch copies the items in.
func (g *gather[F]) fetch(items *catalogue[F]) {
	n := len(g.rows)
	g.vectors, g.bias = sized(g.vectors, n*g.dim), sized(g.bias, n)
	for s, r := range g.rows {
		g.bias[s] = items.sum(g.vectors[s*g.dim:][:g.dim], r)
	}
	g.unit = g.vectors
}

// normalize makes unit what the cosine is taken of.
func (g *gather[F]) normalize() {
	n := len(g.rows)
	g.unit, g.inv = make([]F, n*g.dim), sized(g.inv, n)
	nn.Normalize(g.unit, g.inv, g.vectors, g.dim)
}

// rowGradients collects the gradients of the rows that a step touches, in the order of asking.
type rowGradients[F nn.Float] struct {
	gather[F]
	grad  []F // (slots, dim)
	dBias []F // (slots)
}

// touch returns the slot of r, with a zero gradient if it is new. Slices got from vector before are void.
func (g *rowGradients[F]) touch(r Row) int {
	n := len(g.rows)
	s := int(g.place(r))
	if s == n {
		g.grad, g.dBias = extended(g.grad[:n*g.dim], g.dim), extended(g.dBias[:n], 1)
	}
	return s
}

func extended[F nn.Float](x []F, n int) []F {
	at := len(x)
	if cap(x) < at+n {
		x = append(make([]F, 0, 2*(at+n)), x...)
	}
	x = x[:at+n]
	clear(x[at:])
	return x
}

func (g *rowGradients[F]) vector(r Row) []F { return g.grad[g.touch(r)*g.dim:][:g.dim] }
