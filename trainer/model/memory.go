package model

import (
	"unsafe"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// Memory is what one version of a model has read of one user: of each token of the closed sessions, the keys and the values of each block. Tokens
// see what was before them only, a pointwise weight is divided by a constant, and positions count from the oldest session: so what is kept
// stays right for as long as that session is read, and a request costs its own tokens only. The answer is that of Served.Recommend but for the order of sums.
//
// A Memory belongs to one goroutine at a time; many of one version may be used at once. It takes at most
//
//	8·Dim·Blocks·MaxTokens + 32·MaxTokens + 56·MaxSessions
//
// bytes, 275 KB at width 64, two blocks, 256 tokens and 20 sessions; half as many tokens take half of it.
type Memory struct {
	s    *Served
	user string

	sessions []Session // what is read, oldest first
	events   []Event   // theirs
	// A last item is not kept under Config.Tokens item: what it asks for, and so when, is not known yet.
	n    int                // tokens whose keys and values are kept
	keys []schema.EventTime // when they were
	room int                // how many of them kv has place for
	// Of each block, the keys, turned by their position, by column, and the values by row (Blocks, 2, Dim·room): as products with a few queries read them
	// one after the other.
	kv []float32
}

// Remember returns an empty memory of a user; Config.UserRows alone knows the name.
func (s *Served) Remember(user string) *Memory {
	m := s.pools.memories.Get().(*Memory)
	m.s, m.user, m.n = s, user, 0
	m.sessions, m.events, m.keys = m.sessions[:0], m.events[:0], m.keys[:0]
	return m
}

// Forget gives the memory back for use by others. m must not be used any more.
func (m *Memory) Forget() {
	pools := m.s.pools
	m.s = nil
	pools.memories.Put(m)
}

// SameWeights says whether s and other have the same weights, so that what was read for one can Follow the other.
func (s *Served) SameWeights(other *Served) bool { return s.w == other.w }

// Follow makes m answer with the tables of s, and says whether it can: s must be what With made of the version that m has read for.
func (m *Memory) Follow(s *Served) bool {
	if !s.SameWeights(m.s) {
		return false
	}
	m.s = s
	return true
}

// Tokens returns how many tokens are kept.
func (m *Memory) Tokens() int { return m.n }

// Bytes returns how much memory m takes.
func (m *Memory) Bytes() int {
	return 4*cap(m.kv) + 8*cap(m.keys) + cap(m.events)*int(unsafe.Sizeof(Event{})) + cap(m.sessions)*int(unsafe.Sizeof(Session{}))
}

// Extend reads sessions that closed since, oldest first. Items that the version does not know are left out. Where MaxSessions or MaxTokens do not allow for all
// that was read, cut is true: the oldest are dropped, and what is left is read again, because with them everything after them changes.
func (m *Memory) Extend(past ...ServedSession) (cut bool) {
	a := m.s.lend()
	defer m.s.pools.answers.Put(a)
	a.name(m.s, past)
	if len(a.past) == 0 {
		return false
	}
	from := len(m.sessions)
	whole := a.after(m)
	if cut = !a.fits(m, whole); cut {
		from, m.n = 0, 0
	}
	m.hold(whole, a.layout.keep)
	for from < len(m.sessions) {
		to := from
		for tokens := 0; to < len(m.sessions) && tokens < together; to++ {
			tokens += 1 + len(m.sessions[to].Events)
		}
		a.next(m, from, m.sessions[from:to], nil)
		a.advance(m, a.layout.tokens())
		from = to
	}
	return cut
}

// together is about how many tokens are added at once: enough for the products to run at speed, few enough that not much of what they do not see is computed.
const together = 48

// Recommend is Served.Recommend of what was read and of q.Past after it, which is not kept: sessions that may still go on.
func (m *Memory) Recommend(q Query, k int) (best []Scored, ok bool) {
	a := m.s.lend()
	defer m.s.pools.answers.Put(a)
	z, ok := m.ask(a, q)
	if !ok {
		return nil, false
	}
	return m.s.best(a, z, &q, k), true
}

// ask returns the query vector.
func (m *Memory) ask(a *answer, q Query) (z []float32, ok bool) {
	a.name(m.s, q.Past)
	whole := a.after(m)
	if len(whole) == 0 {
		return nil, false
	}
	a.read = whole
	if !a.fits(m, whole) {
		return a.whole(m.s, Example{Past: whole, At: q.At, Scene: q.Scene, User: m.user}), true
	}
	a.since = sinceNewest(a.layout.keep, whole, q.At)
	a.next(m, len(m.sessions), a.past, &q)
	return a.advance(m, 0), true
}

// after returns the sessions of m and those of the answer behind them.
func (a *answer) after(m *Memory) []Session {
	a.joined = append(append(a.joined[:0], m.sessions...), a.past...)
	return a.joined
}

// fits says whether all sessions are read, whole. What layout.choose keeps is in a.layout.keep.
func (a *answer) fits(m *Memory, whole []Session) bool {
	keep := a.layout.choose(&m.s.cfg, whole)
	return len(keep) == len(whole) && (len(keep) == 0 || keep[len(keep)-1].first == 0)
}

// hold makes the kept sessions those of m. They may be m's own already.
func (m *Memory) hold(whole []Session, keep []kept) {
	total := 0
	for _, k := range keep {
		total += len(whole[k.place].Events) - k.first
	}
	to := m.events[:0]
	if cap(to) < total {
		to = make([]Event, 0, min(m.s.cfg.MaxTokens, total+total/2))
	}
	m.sessions = m.sessions[:0]
	for i := len(keep) - 1; i >= 0; i-- { // oldest first: what is m's own moves down only
		s, from := whole[keep[i].place], len(to)
		to = append(to, s.Events[keep[i].first:]...)
		s.Events = to[from:len(to):len(to)]
		m.sessions = append(m.sessions, s)
	}
	m.events = to
}

// reserve makes room for n tokens.
func (m *Memory) reserve(n int) {
	if size := 2 * m.s.cfg.Blocks * m.s.cfg.Dim; n > m.room || len(m.kv) != size*m.room {
		was := *m
		m.room = min(max(n, 2*m.room, 32), max(n, m.s.cfg.MaxTokens))
		m.kv = make([]float32, size*m.room)
		for i := 0; m.n > 0 && i < m.s.cfg.Blocks; i++ {
			oldKeys, oldValues := was.block(i)
			keys, values := m.block(i)
			for c := range keys.Rows {
				copy(keys.Data[c*m.room:][:m.n], oldKeys.Data[c*was.room:])
			}
			copy(values.Data, oldValues.Data[:m.n*values.Cols])
		}
	}
	if cap(m.keys) < n {
		m.keys = append(make([]schema.EventTime, 0, m.room), m.keys...)
	}
}

// store puts the values and keys of tokens at the places from on of block i.   vk (R,2D)
func (m *Memory) store(i, from int, vk nn.Block[float32]) {
	d := m.s.cfg.Dim
	keys, values := m.block(i)
	for r := range vk.Rows {
		copy(values.Data[(from+r)*d:][:d], vk.Data[r*vk.Stride:])
	}
	for c := range d {
		k := keys.Data[c*m.room+from:][:vk.Rows]
		for r := range k {
			k[r] = vk.Data[r*vk.Stride+d+c]
		}
	}
}

// block returns the keys and the values of block i.   keys (D,room)  values (room,D)
func (m *Memory) block(i int) (keys, values nn.Block[float32]) {
	size := m.s.cfg.Dim * m.room
	return nn.Whole(m.kv[2*i*size:][:size], m.room), nn.Whole(m.kv[(2*i+1)*size:][:size], m.s.cfg.Dim)
}

// next lays out the tokens of sessions behind the first so many of m, and of the request, if there is one.
func (a *answer) next(m *Memory, behind int, past []Session, q *Query) {
	c, l := &m.s.cfg, &a.layout
	l.reset()
	l.times, l.asker = l.times[:0], l.asker[:0]
	a.ins.rows = a.ins.rows[:0]
	first := -m.n
	if c.Tokens == item {
		a.nextItems(m.sessions[:behind], past, q, first)
		return
	}
	position, before := int32(behind), schema.EventTime(0)
	if behind > 0 {
		before = m.sessions[behind-1].At
	}
	user := c.userOf(m.user)
	for i := range past {
		s := &past[i]
		l.context(c, s.At, s.Scene, position, before, user, first)
		l.session(c, s, 0, position, first, a.place)
		position++
		before = s.At
	}
	if q != nil {
		l.context(c, q.At, q.Scene, position, before, user, first)
	}
}

// nextItems is next where there are items alone. The last one waits for what comes, unless there is a request.
func (a *answer) nextItems(held, past []Session, q *Query, first int) {
	c, l := a.pass.cfg, &a.layout
	var waiting *Session // that of the item before the one at hand
	var event Event
	add := func(asks schema.EventTime) {
		l.event(c, waiting, event, first, a.place)
		l.asker[l.tokens()-1] = asks
	}
	if n := len(held); n > 0 {
		waiting = &held[n-1]
		event = waiting.Events[len(waiting.Events)-1]
	}
	for i := range past {
		for _, e := range past[i].Events {
			if waiting != nil {
				add(past[i].At)
			}
			waiting, event = &past[i], e
		}
	}
	if q != nil {
		add(q.At)
	}
}

// place gives an item its place in gather: one that comes twice is fetched twice.
func (a *answer) place(r Row) int32 {
	a.ins.rows = append(a.ins.rows, r)
	return int32(len(a.ins.rows) - 1)
}
