package model

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// Served is one version of a model, ready to answer. It never changes and may be used by many goroutines.
type Served struct {
	cfg    Config
	w      *weights[float32]
	items  catalogue[float32]
	labels []*labels // in chunks of rows
	// An item is in base or in recent, never in both: a new version copies recent only, and now and then merges it into a new base.
	base, recent map[string]Row

	pools *pools // shared by all versions of one config
}

// pools lend memory to requests.
type pools struct{ answers, memories sync.Pool }

func (s *Served) lend() *answer { return s.pools.answers.Get().(*answer) }

// labels are what is known of a chunk of rows besides numbers to multiply.
type labels struct {
	ids, categories [chunkRows]string
	popularity      [chunkRows]float32
}

// LoadServed reads a whole model from the objects of a base. Faults are ErrCorrupt.
func LoadServed(items, params schema.Table) (*Served, error) {
	cfg, err := configOf(params.MetaValue(metaForm))
	if err != nil {
		return nil, fmt.Errorf("load model: %w: %w", schema.ErrCorrupt, err)
	}
	s := &Served{cfg: cfg, recent: map[string]Row{}}
	s.items = newCatalogue[float32](cfg.Dim)
	s.pools = &pools{
		answers:  sync.Pool{New: func() any { return &answer{pass: newPass[float32](&s.cfg), ins: gather[float32]{dim: s.cfg.Dim}} }},
		memories: sync.Pool{New: func() any { return &Memory{} }},
	}
	next, err := s.with(items, params)
	if err != nil {
		return nil, fmt.Errorf("load model: %w", err)
	}
	return next, nil
}

// Apply returns the model after a delta; s stays as it is. The two share the chunks of rows that the delta does not touch. A delta must follow on
// s: known rows keep their names, and new rows start where s ends, without holes. Faults are ErrCorrupt.
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
	if err := readParams(&s.cfg, w.arena, &side, params); err != nil {
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
	next := &Served{cfg: s.cfg, w: w, base: s.base, pools: s.pools}
	next.items = catalogue[float32]{
		table: table[float32]{dim: s.cfg.Dim, n: s.items.n, vectors: slices.Clone(s.items.vectors), bias: slices.Clone(s.items.bias)},
		of:    slices.Clone(s.items.of), side: side,
	}
	next.labels = slices.Clone(s.labels)
	if len(s.recent) > 1024+len(s.base)/4 {
		next.base, next.recent = make(map[string]Row, len(s.base)+len(s.recent)), map[string]Row{}
		maps.Copy(next.base, s.base)
		maps.Copy(next.base, s.recent)
	} else {
		next.recent = maps.Clone(s.recent)
	}
	owned := -1 // the last chunk that was copied: rows rise
	for i, id := range in.ids {
		r := Row(in.rows[i])
		chunk := int(r) / chunkRows
		switch {
		case int(r) > next.items.n:
			return nil, fmt.Errorf("%w: items: row %d is missing", schema.ErrCorrupt, next.items.n)
		case int(r) == next.items.n:
			if known, ok := next.row(id); ok {
				return nil, fmt.Errorf("%w: items: item %q has the rows %d and %d", schema.ErrCorrupt, id, known, r)
			}
			if int(r)%chunkRows == 0 {
				next.labels = append(next.labels, &labels{})
				owned = chunk
			}
		default:
			if was := next.labels[chunk].ids[int(r)%chunkRows]; was != id {
				return nil, fmt.Errorf("%w: items: row %d is item %q, was %q: the delta does not follow on this version", schema.ErrCorrupt, r, id, was)
			}
		}
		if chunk != owned {
			next.items.vectors[chunk], next.items.bias[chunk] = slices.Clone(next.items.vectors[chunk]), slices.Clone(next.items.bias[chunk])
			of := *next.items.of[chunk]
			next.items.of[chunk] = &of
			copied := *next.labels[chunk]
			next.labels[chunk] = &copied
			owned = chunk
		}
		if int(r) == next.items.n {
			next.items.grow()
			next.recent[id] = r
		}
		copy(next.items.vector(r), in.vectors[i*s.cfg.Dim:][:s.cfg.Dim])
		next.items.biasOf(r)[0] = in.biases[i]
		*next.items.sidesOf(r) = in.sidesOf(i)
		l, at := next.labels[chunk], int(r)%chunkRows
		l.ids[at], l.categories[at], l.popularity[at] = id, in.categories[i], popularity[i]
	}
	if want, err := strconv.Atoi(items.MetaValue(metaItems)); err != nil || want != next.items.n {
		return nil, fmt.Errorf("%w: items: the model has %q rows, the update makes %d", schema.ErrCorrupt, items.MetaValue(metaItems), next.items.n)
	}
	return next, nil
}

func (s *Served) row(id string) (Row, bool) {
	if r, ok := s.recent[id]; ok {
		return r, true
	}
	r, ok := s.base[id]
	return r, ok
}

// Items returns how many items the version knows.
func (s *Served) Items() int { return s.items.n }

// Has says whether the version knows an item.
func (s *Served) Has(id string) bool {
	_, ok := s.row(id)
	return ok
}

// Digest is the digest of the config the version was trained with: Config.Digest.
func (s *Served) Digest() string { return s.cfg.Digest() }

// Query is a request: what the user did, and where they are now.
type Query struct {
	Past  []ServedSession // oldest first
	At    schema.EventTime
	Scene string
	User  string // known to Config.UserRows only
}

// Scored is a recommended item.
type Scored struct {
	ItemID string
	Score  float32
}

// answer is the memory of one request.
type answer struct {
	pass    *pass[float32]
	layout  layout
	ins     gather[float32]
	example Example
	past    []Session // known items of the request's past
	joined  []Session
	events  []Event
	buckets []uint8
	scores  []float32
	top     top
}

// Recommend returns the k items that score highest, best first, equal scores in the order of their rows, among those that keep accepts; nil keeps
// all. It looks at every row: the answer is exact. Items that the version does not know are left out of the past; where that leaves
// nothing, ok is false, and Popular is the answer to give.
func (s *Served) Recommend(q Query, k int, keep func(itemID, category string) bool) (best []Scored, ok bool) {
	a := s.lend()
	defer s.pools.answers.Put(a)
	a.name(s, q.Past)
	if len(a.past) == 0 {
		return nil, false
	}
	z := a.whole(s, Example{Past: a.past, At: q.At, Scene: q.Scene, User: q.User})
	return s.best(a, z, k, keep), true
}

// best names the rows that score highest for a query vector.
func (s *Served) best(a *answer, query []float32, k int, keep func(itemID, category string) bool) []Scored {
	n := s.items.n
	a.scores = sized(a.scores, n)
	z := nn.Whole(query, s.cfg.Dim)
	s.items.compare(&s.cfg, nn.Whole(a.scores[:n], n), z, n, &a.pass.work)
	top := &a.top
	top.reset(k, n)
	for r, score := range a.scores[:n] {
		if top.wants(score) {
			l, at := s.labels[r/chunkRows], r%chunkRows
			if keep == nil || keep(l.ids[at], l.categories[at]) {
				top.add(Row(r), score)
			}
		}
	}
	return s.named(top)
}

// name sets a.past to what the version knows of sessions.
func (a *answer) name(s *Served, past []ServedSession) {
	a.past, a.events = a.past[:0], a.events[:0]
	for i := range past {
		p := &past[i]
		from := len(a.events)
		for _, e := range p.Events {
			if r, ok := s.row(e.ItemID); ok && s.cfg.counts(e.Action) {
				a.events = append(a.events, Event{r, e.Action})
			}
		}
		if len(a.events) > from {
			a.past = append(a.past, Session{At: p.At, Scene: p.Scene, Events: a.events[from:len(a.events):len(a.events)]})
		}
	}
}

// whole runs a sequence through the network and returns the query vector of its request.
func (a *answer) whole(s *Served, e Example) []float32 {
	a.layout.reset()
	a.ins.rows = a.ins.rows[:0]
	a.example = e
	a.layout.add(&s.cfg, &a.example, 0, a.place)
	a.ins.fetch(&s.items)
	a.pass.forward(&a.layout, s.w, &a.ins, 0, 0)
	return a.pass.z[int(a.layout.request[0])*s.cfg.Dim:][:s.cfg.Dim]
}

// Popular returns the k most popular items as of this version, among those that keep accepts.
func (s *Served) Popular(k int, keep func(itemID, category string) bool) []Scored {
	a := s.lend()
	defer s.pools.answers.Put(a)
	top := &a.top
	top.reset(k, s.items.n)
	for r := range s.items.n {
		l, at := s.labels[r/chunkRows], r%chunkRows
		if top.wants(l.popularity[at]) && (keep == nil || keep(l.ids[at], l.categories[at])) {
			top.add(Row(r), l.popularity[at])
		}
	}
	return s.named(top)
}

func (s *Served) named(t *top) []Scored {
	best := t.sorted()
	out := make([]Scored, len(best))
	for i, b := range best {
		out[i] = Scored{s.labels[int(b.row)/chunkRows].ids[int(b.row)%chunkRows], b.score}
	}
	return out
}
