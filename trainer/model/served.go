package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/freshet-ml/freshet/schema"
)

// Served is one version of a model, ready to answer. It never changes and may be used by many goroutines.
//
// It takes 4·Dim bytes an item for its vector and some 100 more: 28 for the popularity, the bias, the side rows, the generation and the index, 36 and what they say for the name and the
// category, with Int8 4 and Dim, with Int4 4 and Dim/2, under Config.Cosine 8, and where With gave it tables 24 and 4 for each gap bucket that was asked for. Versions share the
// chunks of rows that no delta between them touched, and most vectors of the others (table.change).
type Served struct {
	cfg        Config
	how        Serving
	w          *weights[float32]
	items      catalogue[float32]
	names      []*names         // in chunks of rows
	taken      []int32          // of a chunk, the rows that are not free
	popularity [][]float32      // (chunkRows)
	codes      []*codes         // of Int8 and Int4
	lengths    []*lengths       // of Config.Cosine
	base       *rowIndex        // of the names as they were when it was made: a row that is called otherwise now is not found in it
	recent     map[string]Row   // of the names since: a new version copies it, and now and then indexes all anew
	categories map[string]int32 // numbers of the names of categories
	live       *liveTables      // of With; nil for none
	bases      bases            // of live

	index   *index       // of Indexed; nil for none
	ranked  *rankedBases // of index
	probes  int          // lists that a request looks into
	recall  float64      // by them
	probing bool         // whether requests go by the index

	pools *pools // shared by all versions of one config
}

// pools lend memory and cores to requests.
type pools struct {
	answers, memories sync.Pool
	helpers           chan struct{} // holds an element for each core that helps a look
	past              pastQueries
}

func (s *Served) lend() *answer { return s.pools.answers.Get().(*answer) }

// names are what is known of a chunk of rows besides numbers.
type names struct {
	ids, categories [chunkRows]string // "" for a free row
	numbers         [chunkRows]int32  // of the categories: Served.categories
	generations     [chunkRows]int32  // how often a row was given up
}

// Serving says how a version is held. The zero value is exact.
type Serving struct {
	Precision Precision
	// Cores is how many cores may look at all rows for one request, if no other request's look has them; 0 is 1. An answer is the same with any. More make a
	// request that comes alone faster; where requests come faster than they are answered, each has its core anyway.
	Cores int
	// Index is how the best items are looked for; "" is Exact, which is the same for every replica and restart. An index is not: where its lists were made matters.
	Index     Index
	MinRecall float64 // an index that finds a smaller share of the best 100 is not used; 0 is .95
	Probes    int     // lists that a request looks into; 0 = as many as MinRecall needs, by measurement
}

// Validate reports every fault at once, or nil.
func (how Serving) Validate() error {
	faults := []error{how.Precision.Validate(), how.Index.Validate()}
	if how.Cores < 0 {
		faults = append(faults, fmt.Errorf("cores %d: must not be negative", how.Cores))
	}
	if !(how.MinRecall >= 0 && how.MinRecall <= 1) {
		faults = append(faults, fmt.Errorf("min_recall %v: must be from 0 to 1", how.MinRecall))
	}
	if how.Probes < 0 {
		faults = append(faults, fmt.Errorf("probes %d: must not be negative", how.Probes))
	}
	return errors.Join(faults...)
}

// Precision is that of the first look at the rows; "" is Float32.
type Precision string

// The precisions.
const (
	Float32 Precision = "float32" // every row is scored as it is: exact
	Int8    Precision = "int8"    // every row is scored by a byte a number, a quarter of the memory to read; what scores high is scored again, exactly
	Int4    Precision = "int4"    // the same by half a byte
)

// Validate refuses what is no precision.
func (p Precision) Validate() error {
	if p != "" && p != Float32 && !p.coded() {
		return fmt.Errorf("precision %q: must be %s, %s or %s", string(p), Float32, Int8, Int4)
	}
	return nil
}

// coded says whether rows are looked at by codes first.
func (p Precision) coded() bool { return p == Int8 || p == Int4 }

// LoadServed is Serving{}.Load.
func LoadServed(items, params schema.Table) (*Served, error) { return Serving{}.Load(items, params) }

// Load reads a whole model from the objects of a base. Faults are ErrCorrupt.
func (how Serving) Load(items, params schema.Table) (*Served, error) {
	if err := how.Validate(); err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	cfg, err := configOf(params.MetaValue(metaForm))
	if err != nil {
		return nil, fmt.Errorf("load model: %w: %w", schema.ErrCorrupt, err)
	}
	s := &Served{cfg: cfg, how: how, base: newRowIndex(0), recent: map[string]Row{}, categories: map[string]int32{"": 0}}
	s.items = newCatalogue[float32](cfg.Dim)
	s.pools = &pools{
		answers:  sync.Pool{New: func() any { return &answer{pass: newPass[float32](&s.cfg), ins: gather[float32]{dim: s.cfg.Dim}} }},
		memories: sync.Pool{New: func() any { return &Memory{} }},
		helpers:  make(chan struct{}, max(1, how.Cores)-1),
	}
	next, err := s.with(items, params)
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	return next, nil
}

// Apply returns the model after a delta; s stays as it is. The two share the chunks of rows that the delta does not touch. A delta must follow on
// s: known rows keep their names as long as they keep their generation, and new rows start where s ends, without holes. Faults are ErrCorrupt.
func (s *Served) Apply(items, params schema.Table) (*Served, error) {
	next, err := s.with(items, params)
	if err != nil {
		return nil, fmt.Errorf("apply delta: %w", err)
	}
	return next, nil
}

func (s *Served) with(items, params schema.Table) (*Served, error) {
	w := newWeights[float32](&s.cfg)
	side := table[float32]{dim: s.cfg.Dim}
	var before *table[float32]
	if s.w != nil {
		before = &s.items.side
		copy(w.arena, s.w.arena)
	}
	if err := readParams(&s.cfg, w.arena, &side, before, params); err != nil {
		return nil, err
	}
	if side.n < s.items.side.n {
		return nil, fmt.Errorf("%w: params: %d rows of side information, the version before has %d", schema.ErrCorrupt, side.n, s.items.side.n)
	}
	in, err := readItems(&s.cfg, side.n, items)
	if err != nil {
		return nil, err
	}
	popularity, err := schema.Col[[]float32](items, "popularity")
	if err != nil {
		return nil, fmt.Errorf("items: %w", err)
	}
	if len(popularity) != len(in.ids) || firstBad(popularity) >= 0 {
		return nil, fmt.Errorf("%w: items: %d popularities for %d items, or one is not finite", schema.ErrCorrupt, len(popularity), len(in.ids))
	}
	next := s.copy(w, side)
	if err := next.part(&in, s); err != nil {
		return nil, err
	}
	touched := map[int]bool{}
	anew := len(s.recent)+len(in.ids) > 1024+s.base.n/4
	code := make([]int8, codeWidth(s.cfg.Dim))
	owned := -1 // the last chunk that was copied: rows rise
	for i, id := range in.ids {
		r := Row(in.rows[i])
		chunk := int(r) / chunkRows
		fresh := int(r) == next.items.n
		if int(r) > next.items.n {
			return nil, fmt.Errorf("%w: items: row %d is missing", schema.ErrCorrupt, next.items.n)
		}
		if chunk != owned {
			next.own(chunk)
			touched[chunk], owned = true, chunk
		}
		if fresh {
			next.items.grow()
		}
		next.items.biasOf(r)[0] = in.biases[i]
		*next.items.sidesOf(r) = in.sidesOf(i)
		next.popularity[chunk][int(r)%chunkRows] = popularity[i]
		if s.how.Precision.coded() {
			next.codes[chunk].set(int(r)%chunkRows, in.vectors[i*s.cfg.Dim:][:s.cfg.Dim], code)
		}
		if renamed := id != "" && next.id(r) != id; renamed && !anew {
			if known, ok := next.Row(id); ok {
				return nil, fmt.Errorf("%w: items: item %q has the rows %d and %d", schema.ErrCorrupt, id, known, r)
			}
			next.recent[id] = r
		}
		next.name(r, id, in.categories[i], in.generations[i], s)
	}
	next.items.change(in.rows, in.vectors, len(s.items.vectors))
	if anew {
		if err := next.indexAll(); err != nil {
			return nil, err
		}
	}
	if want, err := strconv.Atoi(items.MetaValue(metaItems)); err != nil || want != next.items.n {
		return nil, fmt.Errorf("%w: items: the model has %q rows, the update makes %d", schema.ErrCorrupt, items.MetaValue(metaItems), next.items.n)
	}
	if s.cfg.Cosine {
		next.measure(s, touched)
	}
	next.live = s.live.grown(len(next.names))
	next.bases = next.newBases()
	if s.index != nil {
		next.index, next.ranked = s.index.follow(next, in.rows), &rankedBases{}
	}
	return next, nil
}

// copy returns s with other shared weights, its tables ready to own chunks of.
func (s *Served) copy(w *weights[float32], side table[float32]) *Served {
	next := *s
	next.w = w
	next.items = catalogue[float32]{
		table: s.items.table.shared(), of: slices.Clone(s.items.of), side: side,
	}
	next.names, next.popularity, next.codes, next.lengths = slices.Clone(s.names), slices.Clone(s.popularity), slices.Clone(s.codes), slices.Clone(s.lengths)
	next.taken, next.recent = slices.Clone(s.taken), maps.Clone(s.recent)
	return &next
}

// part takes the names from the rows that had another item before, so that items may change their rows in one delta. before is the version that s was copied from.
func (s *Served) part(in *itemColumns, before *Served) error {
	for i, id := range in.ids {
		r := Row(in.rows[i])
		if int(r) >= s.items.n {
			return nil
		}
		was, generation := s.id(r), s.generation(r)
		switch {
		case in.generations[i] < generation, in.generations[i] == generation && was != id && was != "":
			return fmt.Errorf("%w: items: row %d is item %q for the %d. time, was %q for the %d.: the delta does not follow on this version",
				schema.ErrCorrupt, r, id, in.generations[i]+1, was, generation+1)
		case was != "" && in.generations[i] > generation:
			s.name(r, "", "", generation, before)
			if s.recent[was] == r {
				delete(s.recent, was)
			}
		}
	}
	return nil
}

// indexAll makes the index of all names anew.
func (s *Served) indexAll() error {
	s.base, s.recent = newRowIndex(s.items.n), map[string]Row{}
	for r := range Row(s.items.n) {
		id := s.id(r)
		if id == "" {
			continue
		}
		if known, ok := s.Row(id); ok {
			return fmt.Errorf("%w: items: item %q has the rows %d and %d", schema.ErrCorrupt, id, known, r)
		}
		s.base.add(id, r, s.id)
	}
	return nil
}

// own copies a chunk that is shared with the version before, or makes room for a new one; names are copied when they change, and vectors stand in patches (table.change).
func (s *Served) own(chunk int) {
	if chunk == len(s.popularity) {
		s.popularity = append(s.popularity, make([]float32, chunkRows))
		s.names, s.taken = append(s.names, &names{}), append(s.taken, 0)
		if s.how.Precision.coded() {
			s.codes = append(s.codes, newCodes(s.how.Precision == Int4, chunkRows, s.cfg.Dim))
		}
		return
	}
	s.items.bias[chunk] = slices.Clone(s.items.bias[chunk])
	of := *s.items.of[chunk]
	s.items.of[chunk] = &of
	s.popularity[chunk] = slices.Clone(s.popularity[chunk])
	if s.how.Precision.coded() {
		s.codes[chunk] = s.codes[chunk].clone()
	}
}

// name sets what row r, of an owned chunk, is called. before is the version that s was copied from.
func (s *Served) name(r Row, id, category string, generation int32, before *Served) {
	chunk, at := int(r)/chunkRows, int(r)%chunkRows
	l := s.names[chunk]
	if l.ids[at] == id && l.categories[at] == category && l.generations[at] == generation {
		return
	}
	if chunk < len(before.names) && l == before.names[chunk] {
		copied := *l
		l = &copied
		s.names[chunk] = l
	}
	if l.ids[at] != "" {
		s.taken[chunk]--
	}
	if id != "" {
		s.taken[chunk]++
	}
	l.ids[at], l.categories[at], l.numbers[at], l.generations[at] = id, category, s.numberOf(category, before), generation
}

// numberOf returns the number of a category, which gets one where it has none. before is the version that s was copied from.
func (s *Served) numberOf(category string, before *Served) int32 {
	n, ok := s.categories[category]
	if !ok {
		n = int32(len(s.categories))
		if len(s.categories) == len(before.categories) { // it may be before's
			s.categories = maps.Clone(s.categories)
		}
		s.categories[category] = n
	}
	return n
}

func (s *Served) id(r Row) string { return s.names[int(r)/chunkRows].ids[int(r)%chunkRows] }

func (s *Served) generation(r Row) int32 {
	return s.names[int(r)/chunkRows].generations[int(r)%chunkRows]
}

// Row returns the row of an item, which it has in all versions of the model, as marks name it.
func (s *Served) Row(id string) (Row, bool) {
	if r, ok := s.recent[id]; ok {
		return r, true
	}
	return s.base.find(id, s.id)
}

// Items returns how many rows the version has, free ones included.
func (s *Served) Items() int { return s.items.n }

// Has says whether the version knows an item.
func (s *Served) Has(id string) bool {
	_, ok := s.Row(id)
	return ok
}

// Sessions returns how many sessions of a past are read, the newest ones: Config.MaxSessions.
func (s *Served) Sessions() int { return s.cfg.MaxSessions }

// Digest is the digest of the config the version was trained with: Config.Digest.
func (s *Served) Digest() string { return s.cfg.Digest() }
