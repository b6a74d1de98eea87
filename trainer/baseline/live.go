package baseline

import (
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// Live is what is learned click by click: how popular items are, what follows on what, and which sessions there were. It gives the model the terms that enter its
// scores, and is itself several recommenders. It belongs to one goroutine.
type Live struct {
	view
	halfLives [HalfLives]float64 // in milliseconds
	follows   counter            // of view.next
	arrives   counter            // of view.arrivals
	index     index              // of view.sessions
	spans     chunked[Span]      // by row
	changed   tableChanges
	scratch   scratch
}

// tableChanges are those of each table.
type tableChanges struct{ counts, next, arrivals, sessions, posts changes }

// Span is when an item was clicked. Both are 0 where it never was.
type Span struct{ First, Last schema.EventTime }

var _ model.Live = (*Live)(nil)

// New returns empty tables. It panics on a config that Validate refuses.
func New(cfg Config) *Live {
	if err := cfg.Validate(); err != nil {
		panic(err.Error())
	}
	l := &Live{view: view{cfg: cfg}, halfLives: cfg.halfLives()}
	l.follows = counter{transitions: &l.next, changed: &l.changed.next}
	l.arrives = counter{transitions: &l.arrivals, changed: &l.changed.arrivals}
	l.index = index{
		sessions: &l.sessions, capacity: cfg.Sessions, clicks: cfg.SessionClicks, sample: cfg.Sample,
		slots: map[uint64]int32{}, changed: &l.changed.sessions, posted: &l.changed.posts,
	}
	return l
}

// Click is a click with what came before it.
type Click struct {
	Row     model.Row
	At      schema.EventTime
	Session uint64      // the key of its session: the same for all clicks of it, and of no other; 0 keeps it out of the neighbours
	First   bool        // it is the first of its session
	Before  []model.Row // the clicks of its session before it, oldest first; the newest Config.SessionClicks are enough
	Earlier []model.Row // the clicks of the user before the session, oldest first; the newest Steps are enough
}

// Learn adds a click.
func (l *Live) Learn(c Click) {
	l.counts.learn(c.Row, c.At, &l.halfLives)
	l.changed.counts.add(int(c.Row))
	l.spans.grow(int(c.Row))
	span := l.spans.at(int(c.Row))
	if *span == (Span{}) {
		*span = Span{c.At, c.At}
	}
	span.First, span.Last = min(span.First, c.At), max(span.Last, c.At)
	for d := 1; d <= min(Steps, len(c.Before)); d++ {
		l.follows.add(c.Before[len(c.Before)-d], c.Row, 1/float32(d))
	}
	if c.First {
		l.sessions.ever++
		for d := 1; d <= min(Steps, len(c.Earlier)); d++ {
			l.arrives.add(c.Earlier[len(c.Earlier)-d], c.Row, 1/float32(d))
		}
	}
	if c.Session != 0 {
		l.index.learn(c.Session, c.Before, c.Row, c.At)
	}
}

// Forget removes all that is known of some rows, which will be given to other items. It reads all tables once, whatever their number. The clicks stay in the sum
// that shares are of.
func (l *Live) Forget(rows []model.Row) {
	if len(rows) == 0 {
		return
	}
	gone := make([]bool, l.rows())
	for _, r := range rows {
		if int(r) >= len(gone) {
			continue
		}
		gone[r] = true
		if int(r) < l.counts.n && l.counts.at(int(r)).clicks > 0 {
			*l.counts.at(int(r)), *l.spans.at(int(r)) = counted{}, Span{}
			l.changed.counts.add(int(r))
		}
	}
	l.counts.rechart()
	l.follows.forget(gone)
	l.arrives.forget(gone)
	l.index.forget(gone)
}

// rows returns a number that all rows in the tables are below.
func (l *Live) rows() int {
	return max(l.counts.n, l.next.n, l.arrivals.n, l.sessions.posts.n)
}

// Clicks returns how often an item was clicked.
func (l *Live) Clicks(row model.Row) int64 { return int64(l.counts.get(int(row)).clicks) }

// Span returns when an item was clicked.
func (l *Live) Span(row model.Row) Span { return l.spans.get(int(row)) }

// Log2 returns the base-2 logarithm of the weight of HalfLife1 that a row has, or NeverClicked. Values that were taken at different times compare: a row's changes
// only when it is clicked.
func (l *Live) Log2(row model.Row) float32 {
	if own := l.counts.get(int(row)); own.clicks > 0 {
		return float32(own.log2[compared])
	}
	return NeverClicked
}

// ItemTerms sets dst to the terms of the rows from, from+1, ….   dst (rows, ItemTerms)
func (l *Live) ItemTerms(dst []float32, from model.Row) { l.counts.ItemTerms(dst, from) }

// ItemTermsOf sets dst to the terms of some rows.   dst (len(rows), ItemTerms)
func (l *Live) ItemTermsOf(dst []float32, rows []model.Row) { l.counts.ItemTermsOf(dst, rows) }

// Marks appends the marks of a request, by rising row, then kind.
func (l *Live) Marks(dst []model.Mark, r Request) []model.Mark { return l.marks(&l.scratch, dst, &r) }

// Votes asks the arms. What it returns is valid until the next call of a method of l.
func (l *Live) Votes(r Request) Votes { return l.votes(&l.scratch, &r) }

// Asker asks a Live that nobody teaches meanwhile: several of them may at the same time.
type Asker struct {
	live    *Live
	scratch scratch
}

// Asker returns one more.
func (l *Live) Asker() *Asker { return &Asker{live: l} }

// Marks is Live.Marks.
func (a *Asker) Marks(dst []model.Mark, r Request) []model.Mark {
	return a.live.marks(&a.scratch, dst, &r)
}

// Votes is Live.Votes. What it returns is valid until the next call of a method of a.
func (a *Asker) Votes(r Request) Votes { return a.live.votes(&a.scratch, &r) }
