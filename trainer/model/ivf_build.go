package model

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	perList  = 32 // vectors a list that k-means sees: more were measured to change nothing
	popular  = 32 // one row of so many stands in the list of the popular
	usualGap = 3  // the gap bucket by which they are chosen: a minute
)

// cluster makes an index of the rows of s, as its tables are now.
func (s *Served) cluster(c *scan) *index {
	var rows []Row
	for r := range Row(s.items.n) {
		if s.id(r) != "" {
			rows = append(rows, r)
		}
	}
	x := &index{clustered: s.items.n, of: make([]*[chunkRows]uint16, len(s.names))}
	for i := range x.of {
		x.of[i] = &[chunkRows]uint16{}
	}
	n := min(maxLists, int(4*math.Sqrt(float64(len(rows)))))
	rng := rand.New(rand.NewPCG(s.cfg.Seed, uint64(len(rows))))
	dim := s.cfg.Dim
	points := make([]float32, 0, min(len(rows), n*perList)*dim)
	seen := make([]float32, dim)
	for i, r := range rows { // each with the same chance, in their order
		if left, want := len(rows)-i, (cap(points)-len(points))/dim; rng.IntN(left) < want {
			s.direction(seen, r)
			points = append(points, seen...)
		}
	}
	if len(points) == 0 {
		points = append(points, seen...)
	}
	x.cells = newCells(points, dim, n)
	x.lists = make([]*list, 1+x.cells.fine.n())
	for i := range x.lists {
		x.lists[i] = &list{codes: newCodes(s.how.Precision == Int4, 0, dim)}
	}
	high := s.highBase(c, rows)
	code, f := make([]int8, codeWidth(dim)), finder{}
	for _, r := range rows {
		at := 0
		if s.baseOf(c, int(r)/chunkRows)[int(r)%chunkRows] < high {
			s.direction(seen, r)
			at = 1 + x.cells.find(seen, &f)
		}
		x.of[int(r)/chunkRows][int(r)%chunkRows] = uint16(1 + at)
		x.lists[at].add(s, r, code)
	}
	x.number()
	return x
}

// highBase returns the base from which on a row is popular.
func (s *Served) highBase(c *scan, rows []Row) float32 {
	c.take(s, usualGap, nil)
	all := make([]float32, len(rows))
	for i, r := range rows {
		all[i] = s.baseOf(c, int(r)/chunkRows)[int(r)%chunkRows]
	}
	slices.Sort(all)
	at := len(all) - len(all)/popular
	if at >= len(all) || all[at] == all[0] { // none stands out
		return float32(math.Inf(1))
	}
	return all[at]
}
