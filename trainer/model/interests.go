package model

import (
	"cmp"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

const (
	maxInterests  = 4
	interestItems = 64 // of the user's items, the newest distinct ones
	// interestShare is how much of a group's query is its centre, the rest is the network's. With all of it, what the network knows of the moment is lost.
	interestShare = 0.5
)

// interest is a group of the items that a user clicked last.
type interest struct {
	centre []float32
	size   int // of how many items
	share  int // of the answer
}

// findByInterests is find by a query for each of so many groups of the user's items (kNN-Embed, arXiv 2205.06205): k is dealt to the groups by their sizes, and the largest group chooses first, so that
// nothing comes twice and k are found where there are as many. What is returned is ordered and scored by z, as that of find is.
func (s *Served) findByInterests(a *answer, z []float32, k, groups int) []ScoredRow {
	c := &a.scan
	length := float32(math.Sqrt(nn.SumSquares(z)))
	mixed := make([]float32, len(z))
	var chosen []Row
	for _, group := range s.interests(a.read, k, min(groups, maxInterests)) {
		want := group.share
		if want == 0 {
			continue
		}
		copy(mixed, z)
		nn.Scale(mixed, 1-interestShare)
		if norm := float32(math.Sqrt(nn.SumSquares(group.centre))); norm > 0 {
			nn.AddScaled(mixed, interestShare*length/norm, group.centre)
		}
		for _, found := range s.find(c, mixed, want) {
			chosen = append(chosen, found.Row)
			c.filter.deny = append(c.filter.deny, found.Row)
		}
		slices.Sort(c.filter.deny)
	}
	slices.Sort(chosen)
	c.z = z
	s.scoreSides(c)
	c.filter.deny = c.filter.deny[:0] // they were all kept
	return s.exactly(c, len(chosen), chosen)
}

// interests groups the items of sessions, oldest first, and deals k to the groups by their sizes, what is left over to the largest remainders. The largest group comes first.
func (s *Served) interests(read []Session, k, n int) []interest {
	rows := newest(read, interestItems)
	dim := s.cfg.Dim
	points := make([]float32, len(rows)*dim)
	for i, r := range rows {
		v := points[i*dim:][:dim]
		s.direction(v, r)
		if norm := float32(math.Sqrt(nn.SumSquares(v))); norm > 0 { // long vectors are popular items, not another interest
			nn.Scale(v, 1/norm)
		}
	}
	centres := means(points, dim, n)
	groups, dots := make([]interest, centres.n()), make([]float32, centres.n())
	for i := range groups {
		groups[i].centre = centres.points[i*dim:][:dim]
	}
	for at := 0; at < len(points); at += dim {
		i, _ := centres.nearest(points[at:][:dim], dots, 0, len(dots))
		groups[i].size++
	}
	left := k
	for i := range groups {
		groups[i].share = k * groups[i].size / len(rows)
		left -= groups[i].share
	}
	slices.SortStableFunc(groups, func(a, b interest) int { return cmp.Compare(k*b.size%len(rows), k*a.size%len(rows)) })
	for i := range left {
		groups[i].share++
	}
	slices.SortStableFunc(groups, func(a, b interest) int { return cmp.Compare(b.size, a.size) })
	return groups
}

// newest returns the last n distinct items of sessions, newest first.
func newest(read []Session, n int) []Row {
	seen, rows := map[Row]bool{}, []Row{}
	for i := len(read) - 1; i >= 0; i-- {
		for j := len(read[i].Events) - 1; j >= 0; j-- {
			if r := read[i].Events[j].Row; !seen[r] {
				if seen[r] = true; len(rows) == n {
					return rows
				}
				rows = append(rows, r)
			}
		}
	}
	return rows
}
