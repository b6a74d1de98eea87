package model

import (
	"fmt"
	"slices"
	"sync"

	"github.com/freshet-ml/freshet/schema"
)

// Index is how the best items are looked for.
type Index string

// The ways.
const (
	Exact Index = "exact" // every item is looked at
	IVF   Index = "ivf"   // those in the lists that may hold high scores
	Auto  Index = "auto"  // exact up to 200,000 items, where a look takes about a millisecond, ivf beyond
)

const autoItems = 200_000

// Validate refuses what is none.
func (x Index) Validate() error {
	if x != "" && x != Exact && x != IVF && x != Auto {
		return fmt.Errorf("index %q: must be %s, %s or %s", string(x), Exact, IVF, Auto)
	}
	return nil
}

// over says whether an index is wanted over so many items.
func (x Index) over(items int) bool { return x == IVF || x == Auto && items > autoItems }

// Retrieval is how a version looks for the best items.
type Retrieval struct {
	Index  Index   // Exact or IVF
	Lists  int     // that there are; 0 without an index
	Probes int     // lists that a request looks into
	Recall float64 // share of the best 100 of a look at all items that is found, as measured when the version was made; 1 without an index
}

// Unused says whether there is an index whose Recall was below Serving.MinRecall.
func (r Retrieval) Unused() bool { return r.Lists > 0 && r.Index == Exact }

// Retrieval returns how s looks for the best items.
func (s *Served) Retrieval() Retrieval {
	r := Retrieval{Index: Exact, Recall: 1}
	if s.index != nil {
		r.Lists, r.Probes, r.Recall = len(s.index.lists), s.probes, s.recall
	}
	if s.probing {
		r.Index = IVF
	}
	return r
}

// measured is how many queries recall is measured by, and of how many best items each.
const (
	measured   = 16
	measuredOf = 100
)

// Indexed returns s with the index that Serving asks for, measured against a look at all items by the last queries that were answered, or by those of users who clicked one popular
// item where there were too few. It is to be called once a version has its tables, and takes as long as some dozen looks; where lists are made, over a million items some seconds.
//
// Lists are made for the first version, when there are twice as many items, and where recall fell below Serving.MinRecall though every row is in the right one: then centres
// have drifted. If it stays below, the version looks at all items, and lists are not made again before a quarter of the rows has changed.
func (s *Served) Indexed() *Served {
	next := *s
	next.probing = false
	if !s.how.Index.over(s.items.n) {
		next.index = nil
		return &next
	}
	a := s.lend()
	defer s.pools.answers.Put(a)
	c := &a.scan
	defer c.release()
	fresh := s.index == nil || s.items.n > 2*s.index.clustered
	if fresh {
		next.relist(c)
	}
	queries := s.queries(a)
	next.tune(a, queries)
	if drifted := next.recall < s.minRecall() && next.index.moved > s.items.n/4; drifted && !fresh {
		next.relist(c)
		next.tune(a, queries)
	}
	next.probing = next.recall >= s.minRecall()
	return &next
}

func (s *Served) minRecall() float64 {
	if s.how.MinRecall == 0 {
		return 0.95
	}
	return s.how.MinRecall
}

// relist makes the lists.
func (s *Served) relist(c *scan) {
	s.index, s.ranked, s.probes = s.cluster(c), &rankedBases{}, 0
}

// tune sets the recall, and the number of probes where Serving leaves that open: from what it was, doubled until half of what may be missed is left, or a quarter of the lists looked into.
func (s *Served) tune(a *answer, queries []pastQuery) {
	best := make([][]Row, len(queries))
	s.probing = false
	for i := range queries {
		best[i] = s.bestFor(&a.scan, &queries[i])
	}
	defer func() { s.probing = false }()
	s.probing = true
	enough := (1 + s.minRecall()) / 2
	if s.probes = max(s.probes, 8); s.how.Probes > 0 {
		s.probes, enough = s.how.Probes, 0
	}
	for ; ; s.probes *= 2 {
		found, of := 0, 0
		for i := range queries {
			found, of = found+common(best[i], s.bestFor(&a.scan, &queries[i])), of+len(best[i])
		}
		s.recall = 1
		if of > 0 {
			s.recall = float64(found) / float64(of)
		}
		if s.recall >= enough || 8*s.probes > len(s.index.lists) {
			return
		}
	}
}

// bestFor returns the best rows for a query, rising.
func (s *Served) bestFor(c *scan, q *pastQuery) []Row {
	c.take(s, q.since, nil)
	if !s.filter(&c.filter, &Filter{}) {
		return nil
	}
	return slices.Clone(c.rising(s.find(c, q.z, measuredOf)))
}

// common counts what two lists of rising rows share.
func common(a, b []Row) (n int) {
	for _, r := range a {
		if _, both := slices.BinarySearch(b, r); both {
			n++
		}
	}
	return n
}

// pastQuery is a query vector that was asked for.
type pastQuery struct {
	z     []float32
	since uint8
}

// pastQueries are the last ones, of all versions of a config.
type pastQueries struct {
	mu  sync.Mutex
	all [measured]pastQuery
	n   int // ever added
}

// add keeps a query, unless another goroutine is just adding one.
func (p *pastQueries) add(z []float32, since uint8) {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	q := &p.all[p.n%len(p.all)]
	q.z, q.since = append(q.z[:0], z...), since
	p.n++
}

// queries returns copies of the last queries, or typical ones.
func (s *Served) queries(a *answer) (all []pastQuery) {
	p := &s.pools.past
	p.mu.Lock()
	if p.n >= len(p.all) {
		for i := range p.all {
			all = append(all, pastQuery{append([]float32(nil), p.all[i].z...), p.all[i].since})
		}
	}
	p.mu.Unlock()
	if all != nil {
		return all
	}
	ages := [...]schema.EventTime{20_000, 120_000, 3_600_000, 86_400_000} // ms
	at := schema.EventTime(1_700_000_000_000)
	for i, item := range s.Popular(10*measured, Filter{}) {
		if i%10 > 0 {
			continue
		}
		a.name(s, []ServedSession{{At: at - ages[len(all)%len(ages)], Events: []ServedEvent{{item.ItemID, schema.ActionClick}}}})
		if len(a.past) > 0 {
			z := a.whole(s, Example{Past: a.past, At: at})
			all = append(all, pastQuery{append([]float32(nil), z...), a.since})
		}
	}
	return all
}
