package model

import (
	"cmp"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// scan is the memory of one look at all rows.
type scan struct {
	z      []float32 // the query vector
	side   []float32 // what each row of the side table adds to an item's product, before Config.Cosine divides
	scores []float32 // of a chunk
	code   []int8    // z in bytes
	scale  float32   // of code
	looked int8      // kept, so that the look is not compiled away
	zeros  [chunkRows]float32
	dots   []int32
	top    top
	first  top // candidates of Int8
	effect effect[float32]
	mark   int // the next one of effect.marks
}

// best names the rows that score highest for a query vector and marks, of those that keep accepts. Marks join the scores of their chunk: no row is looked at apart.
//
// Rows are scored a chunk at a time, and of a chunk's scores only those are looked at that are above the worst of the best so far: no score outlives its chunk.
// An item's score is put together from the product with its own vector and those of its side information. To hold the sums would save two additions an item, a tenth
// of the time, but side information changes with every version: each delta would write the whole table anew, where now it copies the chunks it touches.
func (s *Served) best(a *answer, z []float32, marks []Mark, k int, keep func(itemID, category string) bool) []Scored {
	c := &a.scan
	c.z, c.mark = z, 0
	if s.cfg.Terms {
		c.effect.set(s.w, a.since, marks)
		defer func() { c.effect.marks = nil }() // the caller's
	}
	s.scoreSides(c)
	c.top.reset(k, s.items.n)
	if first := candidates(c.top.k); s.precision == Int8 && first < s.items.n && c.encode() {
		c.first.reset(first, s.items.n)
		s.each(c, &c.first, (*Served).scoreCodes, keep)
		s.again(c)
	} else {
		s.each(c, &c.top, (*Served).score, keep)
	}
	return s.named(&c.top)
}

// Popular returns the k most popular items among those that keep accepts, with a base-2 logarithm of how popular they are: as of the tables of With, by TermPopular1, or
// as of when their rows were last published.
func (s *Served) Popular(k int, keep func(itemID, category string) bool) []Scored {
	a := s.lend()
	defer s.pools.answers.Put(a)
	c := &a.scan
	c.top.reset(k, s.items.n)
	s.each(c, &c.top, func(s *Served, _ *scan, scores []float32, chunk int) {
		if s.live == nil {
			copy(scores, s.popularity[chunk])
			return
		}
		for j, share := range s.live.chunk(chunk)[TermPopular1][:len(scores)] {
			scores[j] = share * math.Log2E
		}
	}, keep)
	return s.named(&c.top)
}

// each shows top the scores of all chunks.
func (s *Served) each(c *scan, top *top, score func(s *Served, c *scan, scores []float32, chunk int), keep func(itemID, category string) bool) {
	if top.k == 0 {
		return
	}
	c.scores = sized(c.scores, chunkRows)
	for from := 0; from < s.items.n; from += chunkRows {
		chunk := from / chunkRows
		scores := c.scores[:min(chunkRows, s.items.n-from)]
		score(s, c, scores, chunk)
		named := s.names[chunk]
		top.show(Row(from), scores, func(j int) bool { // a free row has no name
			return named.ids[j] != "" && (keep == nil || keep(named.ids[j], named.categories[j]))
		})
	}
}

// scoreSides sets c.side.
func (s *Served) scoreSides(c *scan) {
	t := &s.items.side
	c.side = sized(c.side, t.n)
	for from := 0; from < t.n; from += chunkRows {
		rows, chunk := min(chunkRows, t.n-from), from/chunkRows
		nn.Gemv(c.side[from:][:rows], nn.Block[float32]{Data: t.vectors[chunk], Rows: rows, Cols: t.dim, Stride: t.dim}, c.z)
		if !s.cfg.Cosine {
			nn.Add(c.side[from:][:rows], t.bias[chunk][:rows])
		}
	}
	nn.Scale(c.side, float32(sideShare))
}

// score sets scores to those of a chunk's rows.
func (s *Served) score(c *scan, scores []float32, chunk int) {
	d := s.cfg.Dim
	nn.Gemv(scores, nn.Block[float32]{Data: s.items.vectors[chunk], Rows: len(scores), Cols: d, Stride: d}, c.z)
	if s.cfg.Cosine {
		s.addSides(c, scores, chunk)
		s.lengths[chunk].divide(scores)
	} else {
		nn.Add(scores, s.items.bias[chunk][:len(scores)])
		s.addSides(c, scores, chunk)
	}
	s.addTerms(c, scores, chunk)
}

// addSides goes through two fields without a loop, which takes half the time.
func (s *Served) addSides(c *scan, scores []float32, chunk int) {
	if len(c.side) == 1 {
		return // a stream without side information
	}
	side := c.side
	of := s.items.of[chunk][:len(scores)]
	for j, x := range scores {
		scores[j] = x + side[of[j][0]] + side[of[j][1]]
	}
}

var _ [2]struct{} = [len(sideFields)]struct{}{} // a third field needs a third term in addSides

// candidates is how many rows Int8 scores again for the k best of them: measured recall is above .999.
func candidates(k int) int { return 2*k + 100 }

// encode sets c.code and says whether bytes can stand for z, which are numbers.
func (c *scan) encode() bool {
	c.code, c.dots = sized(c.code, len(c.z)), sized(c.dots, chunkRows)
	for _, v := range c.z {
		if v-v != 0 {
			return false
		}
	}
	c.scale = quantise(c.code, c.z)
	return true
}

// scoreCodes is score by bytes. The loop over a chunk's products takes a look at the rows of the next chunk: memory is what a million items wait for, and a
// look costs little while there is something else to do. Measured at width 64, medians of four in turn: 14.7 to 13.4 ms for a million items.
func (s *Served) scoreCodes(c *scan, scores []float32, chunk int) {
	codes, dots, d := s.codes[chunk], c.dots[:len(scores)], s.cfg.Dim
	nn.DotInt8Rows(dots, codes.rows[:len(scores)*d], d, c.code)
	next := codes.rows
	if chunk+1 < len(s.codes) {
		next = s.codes[chunk+1].rows
	}
	bias := s.items.bias[chunk]
	if s.cfg.Cosine {
		bias = c.zeros[:] // divide adds it
	}
	of, side, scale := s.items.of[chunk][:len(scores)], c.side, codes.scale[:len(scores)]
	bias = bias[:len(scores)]
	var looked int8
	for j, dot := range dots {
		looked += next[j*d]
		scores[j] = float32(dot)*scale[j]*c.scale + bias[j] + side[of[j][0]] + side[of[j][1]]
	}
	c.looked = looked
	if s.cfg.Cosine {
		s.lengths[chunk].divide(scores)
	}
	s.addTerms(c, scores, chunk)
}

// again shows c.top the exact scores of the candidates, by rising row, as it wants them.
func (s *Served) again(c *scan) {
	slices.SortFunc(c.first.heap, func(a, b ScoredRow) int { return cmp.Compare(a.Row, b.Row) })
	for _, candidate := range c.first.heap {
		r := candidate.Row
		score := nn.Dot(s.items.vector(r), c.z)
		if !s.cfg.Cosine {
			score += s.items.biasOf(r)[0]
		}
		for _, row := range s.items.sidesOf(r) {
			score += c.side[row]
		}
		if s.cfg.Cosine {
			l, at := s.lengths[int(r)/chunkRows], int(r)%chunkRows
			score = score*l.inv[at] + l.bias[at]
		}
		score += s.term(c, r)
		if c.top.wants(score) {
			c.top.add(r, score)
		}
	}
}

func (s *Served) named(t *top) []Scored {
	best := t.sorted()
	out := make([]Scored, len(best))
	for i, b := range best {
		out[i] = Scored{s.id(b.Row), b.Score}
	}
	return out
}

// lengths are what a chunk's products are divided by under Config.Cosine, and what is then added. They are of the items' sums, so they are made anew where the side
// table changed.
type lengths struct {
	inv  [chunkRows]float32 // 1/(|v|·Temperature)
	bias [chunkRows]float32
}

// divide turns products into scores.
func (l *lengths) divide(scores []float32) {
	nn.Mul(scores, scores, l.inv[:len(scores)])
	nn.Add(scores, l.bias[:len(scores)])
}

// measure makes the lengths of the chunks that are not as in the version before.
func (s *Served) measure(before *Served, touched map[int]bool) {
	same := sameTable(&s.items.side, &before.items.side)
	v := make([]float32, s.cfg.Dim)
	for from := 0; from < s.items.n; from += chunkRows {
		chunk := from / chunkRows
		if chunk == len(s.lengths) {
			s.lengths = append(s.lengths, nil)
		} else if same && !touched[chunk] {
			continue
		}
		l := &lengths{}
		for j := range min(chunkRows, s.items.n-from) {
			l.bias[j] = s.items.sum(v, Row(from+j))
			l.inv[j] = float32(1 / (math.Sqrt(nn.SumSquares(v)+1e-12) * s.cfg.Temperature))
		}
		s.lengths[chunk] = l
	}
}

func sameTable(a, b *table[float32]) bool {
	if a.n != b.n {
		return false
	}
	for chunk := range a.vectors {
		if !slices.Equal(a.vectors[chunk], b.vectors[chunk]) || !slices.Equal(a.bias[chunk], b.bias[chunk]) {
			return false
		}
	}
	return true
}
