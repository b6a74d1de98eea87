package model

import (
	"math"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// cells are the centres of an index, in two steps: a vector belongs to the nearest of the centres of the few coarse ones nearest to it, so that a million vectors are dealt to thousands of
// lists by some hundred products each. Those of the nearest coarse one alone would take items that are alike apart: in many dimensions most of them are about as near to several.
type cells struct {
	coarse centres
	fine   centres
	from   []int // of each coarse one, its first fine one; one more for the end
}

// centres are points, and half the square of each: p is nearest to v where v·p - |p|²/2 is largest.
type centres struct {
	points []float32 // (n, dim)
	half   []float32 // (n)
	dim    int
}

func (c *centres) n() int { return len(c.half) }

func (c *centres) block(from, to int) nn.Block[float32] {
	return nn.Block[float32]{Data: c.points[from*c.dim:], Rows: to - from, Cols: c.dim, Stride: c.dim}
}

func (c *centres) measure() {
	c.half = make([]float32, len(c.points)/c.dim)
	for i := range c.half {
		c.half[i] = float32(nn.SumSquares(c.points[i*c.dim:][:c.dim]) / 2)
	}
}

// nearest returns the nearest one to v of those from from up to to, and how near it is. dots is room for their products.
func (c *centres) nearest(v, dots []float32, from, to int) (best int, most float32) {
	dots = dots[:to-from]
	nn.Gemv(dots, c.block(from, to), v)
	best, most = from, float32(math.Inf(-1))
	for i, dot := range dots {
		if x := dot - c.half[from+i]; x > most {
			best, most = from+i, x
		}
	}
	return best, most
}

// reach is how many coarse centres' fine ones are compared.
const reach = 4

// finder is the memory of find.
type finder struct {
	dots   []float32
	coarse top
}

// find returns the fine centre that v belongs to.
func (c *cells) find(v []float32, f *finder) int {
	f.dots = sized(f.dots, max(c.coarse.n(), c.fine.n()))
	coarse := f.dots[:c.coarse.n()]
	nn.Gemv(coarse, c.coarse.block(0, len(coarse)), v)
	for i, half := range c.coarse.half {
		coarse[i] -= half
	}
	f.coarse.reset(reach, len(coarse))
	f.coarse.show(0, coarse, nil, 0, nil)
	best, most := c.from[f.coarse.heap[0].Row], float32(math.Inf(-1))
	for _, near := range f.coarse.heap {
		at, x := c.fine.nearest(v, f.dots, c.from[near.Row], c.from[near.Row+1])
		if x > most || x == most && at < best {
			best, most = at, x
		}
	}
	return best
}

// rounds is how often centres are moved to the mean of what belongs to them.
const rounds = 8

// newCells makes about n centres of points, of which there is at least one, by k-means: the coarse ones, the fine ones of what belongs to each, and then all fine ones together. It is the
// same for the same points in the same order.   points (N,dim)
func newCells(points []float32, dim, n int) *cells {
	n = max(1, min(n, len(points)/dim))
	c := &cells{coarse: means(points, dim, int(math.Sqrt(float64(n)))), fine: centres{dim: dim}, from: []int{0}}
	groups, dots := make([][]float32, c.coarse.n()), make([]float32, c.coarse.n())
	for at := 0; at < len(points); at += dim {
		v := points[at:][:dim]
		i, _ := c.coarse.nearest(v, dots, 0, len(dots))
		groups[i] = append(groups[i], v...)
	}
	for i, group := range groups {
		if len(group) == 0 {
			group = c.coarse.points[i*dim:][:dim]
		}
		fine := means(group, dim, (n*len(group)+len(points)/2)/len(points))
		c.fine.points = append(c.fine.points, fine.points...)
		c.from = append(c.from, len(c.fine.points)/dim)
	}
	var f finder
	c.fine.move(points, rounds/2, func(v []float32) int { return c.find(v, &f) })
	return c
}

// means are n centres of points, or as many as there are points, and at least one. They begin at points that are evenly spread over the order.
func means(points []float32, dim, n int) centres {
	count := len(points) / dim
	n = max(1, min(n, count))
	c := centres{dim: dim, points: make([]float32, 0, n*dim)}
	for i := range n {
		c.points = append(c.points, points[i*count/n*dim:][:dim]...)
	}
	dots := make([]float32, n)
	c.move(points, rounds, func(v []float32) int {
		i, _ := c.nearest(v, dots, 0, n)
		return i
	})
	return c
}

// move takes the centres to the means of what belongs to each, so many times. One that nothing belongs to stays.
func (c *centres) move(points []float32, times int, of func(v []float32) int) {
	sums, sizes := make([]float32, len(c.points)), make([]int, len(c.points)/c.dim)
	for range times {
		c.measure()
		clear(sums)
		clear(sizes)
		for at := 0; at < len(points); at += c.dim {
			v := points[at:][:c.dim]
			i := of(v)
			nn.Add(sums[i*c.dim:][:c.dim], v)
			sizes[i]++
		}
		for i, size := range sizes {
			if size > 0 {
				point := c.points[i*c.dim:][:c.dim]
				copy(point, sums[i*c.dim:][:c.dim])
				nn.Scale(point, 1/float32(size))
			}
		}
	}
	c.measure()
}
