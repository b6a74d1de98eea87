package model

import "math"

// scan is the memory of one look at the rows.
type scan struct {
	z    []float32 // the query vector
	side []float32 // what each row of the side table adds to an item's product, before Config.Cosine divides; the first, which is none, adds nothing
	// sided says that a look adds side information to what a scorer gives, and mostSide how much it adds at most.
	sided    bool
	mostSide float32

	code   []int8  // z in bytes; columns that are too many are 0
	scale  float32 // of code
	zeros  [chunkRows]float32
	effect effect[float32]
	filter rowFilter
	lanes  []lookLane // one for each core that looks
	found  []ScoredRow
	rows   []Row
	top    top       // of what is looked at again
	order  []float32 // of the lists of an index
	lists  top
}

// best names the rows that score highest for a query vector and the marks of q, of those that its filter keeps.
//
// Rows are scored a chunk at a time, and of a chunk's scores only those are looked at that are above the worst of the best so far: no score outlives its chunk. Marks join
// the scores of their chunk: no row is looked at apart. By bytes, and by an index, what scores high is scored again, exactly.
func (s *Served) best(a *answer, z []float32, q *Query, k int) []Scored {
	c := &a.scan
	defer c.release()
	if s.index != nil {
		s.pools.past.add(z, a.since)
	}
	c.take(s, a.since, q.Marks)
	if k = max(0, min(k, s.items.n)); k == 0 || !s.filter(&c.filter, &q.Filter) {
		return []Scored{}
	}
	if q.Interests > 1 && len(a.read) > 0 {
		return s.named(s.findByInterests(a, z, k, q.Interests))
	}
	return s.named(s.find(c, z, k))
}

// take sets the weights of a gap bucket's terms, and the marks.
func (c *scan) take(s *Served, since uint8, marks []Mark) {
	c.effect.row, c.effect.marks = 0, nil
	if s.cfg.Terms {
		c.effect.set(s.w, since, marks)
	}
}

// find returns the k best rows for a query vector, best first, by the terms and the filter that c has. What it returns belongs to c.
func (s *Served) find(c *scan, z []float32, k int) []ScoredRow {
	c.z = z
	s.scoreSides(c)
	first := s.how.Precision.candidates(k)
	switch {
	case c.filter.allow != nil:
		return s.exactly(c, k, c.filter.allow)
	case s.probing && c.encode():
		return s.exactly(c, k, s.probe(c, k))
	case s.how.Precision.coded() && first < s.items.n && c.encode():
		return s.exactly(c, k, c.rising(s.look(c, first, (*Served).scoreCodes)))
	}
	return s.look(c, k, (*Served).score)
}

// Popular returns the k most popular items among those that f keeps, with a base-2 logarithm of how popular they are: as of the tables of With, by TermPopular1, or
// as of when their rows were last published.
func (s *Served) Popular(k int, f Filter) []Scored {
	a := s.lend()
	defer s.pools.answers.Put(a)
	c := &a.scan
	defer c.release()
	c.effect.marks = nil
	if k = max(0, min(k, s.items.n)); k == 0 || !s.filter(&c.filter, &f) {
		return []Scored{}
	}
	if c.filter.allow == nil {
		return s.named(s.look(c, k, func(s *Served, _ *scan, scores []float32, chunk int) { s.popularityOf(chunk, scores) }))
	}
	c.top.reset(k, len(c.filter.allow))
	var scores [chunkRows]float32
	of := -1
	for _, r := range c.filter.allow {
		if chunk := int(r) / chunkRows; chunk != of {
			s.popularityOf(chunk, scores[:])
			of = chunk
		}
		if score := scores[int(r)%chunkRows]; c.top.wants(score) && c.filter.keeps(s, r) {
			c.top.add(r, score)
		}
	}
	return s.named(c.top.sorted())
}

// popularityOf sets scores to the popularity of the rows of a chunk, as many as there are scores.
func (s *Served) popularityOf(chunk int, scores []float32) {
	if s.live == nil {
		copy(scores, s.popularity[chunk])
		return
	}
	for j, share := range s.live.chunk(chunk)[TermPopular1][:len(scores)] {
		scores[j] = share * math.Log2E
	}
}

// release lets go of what is the caller's.
func (c *scan) release() {
	c.effect.marks, c.sided, c.mostSide = nil, false, 0
}

// candidates is how many of the rows that codes found are scored again for the k best: TestCodesRecallTheExact holds the recall of the best 20 and 100 to .998.
func (p Precision) candidates(k int) int {
	if p == Int4 {
		return 2*k + 40
	}
	return k + 40
}

// encode sets c.code and says whether bytes can stand for z, which are numbers.
func (c *scan) encode() bool {
	c.code = sized(c.code, codeWidth(len(c.z)))
	clear(c.code[len(c.z):])
	for _, v := range c.z {
		if v-v != 0 {
			return false
		}
	}
	c.scale = quantise(c.code[:len(c.z)], c.z, mostOfByte)
	return true
}

// exactly returns the k best of some rows, which rise, by their exact scores.
func (s *Served) exactly(c *scan, k int, rows []Row) []ScoredRow {
	c.top.reset(k, len(rows))
	for _, r := range rows {
		if score := s.scoreRow(c, r); c.top.wants(score) && c.filter.keeps(s, r) {
			c.top.add(r, score)
		}
	}
	return c.top.sorted()
}

func (s *Served) named(best []ScoredRow) []Scored {
	out := make([]Scored, len(best))
	for i, b := range best {
		out[i] = Scored{s.id(b.Row), b.Score}
	}
	return out
}
