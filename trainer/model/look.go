package model

import (
	"cmp"
	"slices"
	"sync"
)

// A look at all rows is cut into as many runs of chunks as there are cores to be had. Which rows are the best, by score and then by row, does not depend on the
// cuts: each run gives its own best, and the best of those are the best of all.

// lookLane is the memory of one run.
type lookLane struct {
	scores []float32 // of a chunk
	top    top
}

// scorer sets scores to those of a chunk's rows, without marks, and without side information where c.sided says so. There is room behind scores up to chunkRows.
type scorer func(s *Served, c *scan, scores []float32, chunk int)

// leastRun is how many chunks are worth a goroutine: some 0.2 ms of looking by float32.
const leastRun = 16

// look returns the k best of the rows that the filter keeps, best first. k is at least 1. What it returns belongs to c.
func (s *Served) look(c *scan, k int, score scorer) []ScoredRow {
	helpers := s.help((len(s.names) - 1) / leastRun)
	for len(c.lanes) <= helpers {
		c.lanes = append(c.lanes, lookLane{})
	}
	if helpers == 0 {
		c.lanes[0].run(s, c, k, score, 0, len(s.names))
		return c.lanes[0].top.sorted()
	}
	lanes := c.lanes[:helpers+1]
	var others sync.WaitGroup
	var fault any // of a helper, for the caller of look to handle as one of its own
	var once sync.Once
	for i := 1; i < len(lanes); i++ {
		others.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					once.Do(func() { fault = p })
				}
				<-s.pools.helpers
			}()
			lanes[i].run(s, c, k, score, i*len(s.names)/len(lanes), (i+1)*len(s.names)/len(lanes))
		})
	}
	func() {
		defer others.Wait()
		lanes[0].run(s, c, k, score, 0, len(s.names)/len(lanes))
	}()
	if fault != nil {
		panic(fault)
	}
	c.found = c.found[:0]
	for i := range lanes {
		c.found = append(c.found, lanes[i].top.heap...)
	}
	slices.SortFunc(c.found, better)
	return c.found[:min(k, len(c.found))]
}

// help takes up to so many of the cores that no other look has, without waiting.
func (s *Served) help(most int) (helpers int) {
	for helpers < most {
		select {
		case s.pools.helpers <- struct{}{}:
			helpers++
		default:
			return helpers
		}
	}
	return helpers
}

// run looks at the chunks from from up to to.
func (l *lookLane) run(s *Served, c *scan, k int, score scorer, from, to int) {
	l.top.reset(k, s.items.n)
	l.scores = sized(l.scores, chunkRows)
	marks, all := c.effect.marks, c.filter.all()
	mark, _ := slices.BinarySearchFunc(marks, Row(from*chunkRows), func(m Mark, r Row) int { return cmp.Compare(m.Row, r) })
	for chunk := from; chunk < to; chunk++ {
		first := chunk * chunkRows
		scores := l.scores[:min(chunkRows, s.items.n-first)]
		score(s, c, scores, chunk)
		for ; mark < len(marks) && int(marks[mark].Row) < first+chunkRows; mark++ {
			if j := int(marks[mark].Row) - first; j < len(scores) {
				scores[j] += c.effect.kinds[marks[mark].Of] * marks[mark].Value
			}
		}
		keeps := func(j int) bool { return c.filter.keeps(s, Row(first+j)) }
		if all && int(s.taken[chunk]) == len(scores) {
			keeps = nil // to look at a row's name is to wait for memory
		}
		l.top.show(Row(first), scores, c.sidesOf(s.items.of[chunk][:]), c.mostSide, keeps)
	}
}

// rising sets c.rows to the rows of what was found, in their order.
func (c *scan) rising(found []ScoredRow) []Row {
	c.rows = c.rows[:0]
	for _, f := range found {
		c.rows = append(c.rows, f.Row)
	}
	slices.Sort(c.rows)
	return c.rows
}
