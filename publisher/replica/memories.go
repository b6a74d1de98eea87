package replica

import (
	"container/list"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/prometheus/client_golang/prometheus"
)

// partID names a part of a history. What is in a part never changes.
type partID struct {
	partition schema.Partition
	emit      schema.Emit
}

// memories keep what the versions that serve have read of the users who asked last: the parts of their histories. A user's next request costs the parts that came
// since and the session that is open. What was read holds for the weights that read it, and moves on to newer tables beside them.
//
// Its methods may be called from several goroutines. A memory is with one request at a time; another one of the same user is answered without.
type memories struct {
	most int64 // bytes; none are kept below 1

	requests  *prometheus.CounterVec // outcome
	evictions prometheus.Counter

	mu      sync.Mutex // guards what follows
	bytes   int64
	shelves []*shelf  // one for each set of weights that serves
	order   list.List // of *remembered, who asked last in front
}

// shelf holds the users whom one set of weights remembers.
type shelf struct {
	served *model.Served // the newest version with these weights
	users  map[string]*remembered
}

// remembered is what is kept of one user. While it is taken, memory and read belong to whoever took it; all else is guarded by memories.mu.
type remembered struct {
	memory *model.Memory // nil: nothing was read yet
	read   []partID      // by memory, oldest first

	user  string
	shelf *shelf
	place *list.Element // nil: it is not kept any more
	taken bool
	bytes int64
}

// What became of the memory of a user who asked.
const (
	memoryHit  = "hit"  // what was read before was used
	memoryMiss = "miss" // nothing was read before
	memoryCut  = "cut"  // the oldest part had to make room, or is gone: the rest was read again
	memoryBusy = "busy" // another request of the user had it
)

func newMemories(most int64, metrics prometheus.Registerer) *memories {
	m := &memories{most: most,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_user_cache_requests_total",
			Help: "Requests of users with a history, by what became of what was read of it before: hit (used), miss (there was none), cut (read again), busy (another request had it)."}, []string{"outcome"}),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{Name: "freshet_user_cache_evictions_total", Help: "Users who asked longest ago and made room for others."}),
	}
	for _, outcome := range []string{memoryHit, memoryMiss, memoryCut, memoryBusy} {
		m.requests.WithLabelValues(outcome)
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			m.mu.Lock()
			defer m.mu.Unlock()
			return value()
		})
	}
	metrics.MustRegister(m.requests, m.evictions,
		gauge("freshet_user_cache_bytes", "Memory that the keys and values of users' histories take.", func() float64 { return float64(m.bytes) }),
		gauge("freshet_user_cache_users", "Users of whose histories keys and values are kept.", func() float64 { return float64(m.order.Len()) }))
	return m
}

// serve says which versions answer from now on. What other weights have read is freed; the rest follows to the newer tables, so that no older version is held.
func (m *memories) serve(versions ...*model.Served) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var shelves []*shelf
	for _, served := range versions {
		s := m.shelf(served)
		if s == nil {
			s = &shelf{users: map[string]*remembered{}}
		}
		if slices.Contains(shelves, s) { // two versions with the same weights
			continue
		}
		s.served = served
		for _, u := range s.users {
			if !u.taken {
				u.memory.Follow(served)
			}
		}
		shelves = append(shelves, s)
	}
	for _, s := range m.shelves {
		if slices.Contains(shelves, s) {
			continue
		}
		for _, u := range s.users {
			m.drop(u)
		}
	}
	m.shelves = shelves
}

// shelf returns that of the weights of a version, or nil.
func (m *memories) shelf(served *model.Served) *shelf {
	for _, s := range m.shelves {
		if s.served.SameWeights(served) {
			return s
		}
	}
	return nil
}

// take returns what is kept of a user for the weights of a version, for one request, which gives it back. It returns nil where another request has it, or where
// nothing is kept for these weights.
func (m *memories) take(served *model.Served, user string) *remembered {
	if m.most < 1 {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shelf(served)
	if s == nil { // another version serves since the request began
		return nil
	}
	u := s.users[user]
	switch {
	case u == nil:
		u = &remembered{user: strings.Clone(user), shelf: s}
		u.place = m.order.PushFront(u)
		s.users[u.user] = u
	case u.taken:
		m.requests.WithLabelValues(memoryBusy).Inc()
		return nil
	default:
		m.order.MoveToFront(u.place)
	}
	u.taken = true
	return u
}

// give ends what take began. Where the request failed midway, nobody uses what it left.
func (m *memories) give(u *remembered, failed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u.taken = false
	switch {
	case failed:
		u.memory = nil
		if u.place != nil {
			m.drop(u)
		}
		return
	case u.place == nil:
		u.memory.Forget()
		return
	}
	u.memory.Follow(u.shelf.served)
	size := int64(u.memory.Bytes()+cap(u.read)*int(unsafe.Sizeof(partID{}))+len(u.user)) + rememberedBytes
	m.bytes += size - u.bytes
	u.bytes = size
	for m.bytes > m.most {
		m.drop(m.order.Back().Value.(*remembered))
		m.evictions.Inc()
	}
}

// rememberedBytes is about what a user takes beside the memory: its places in the map and the list.
const rememberedBytes = 300

// drop takes u out. Who has taken it sees so when giving it back.
func (m *memories) drop(u *remembered) {
	m.order.Remove(u.place)
	u.place = nil
	delete(u.shelf.users, u.user)
	m.bytes -= u.bytes
	if !u.taken && u.memory != nil {
		u.memory.Forget()
	}
}

// catchUp makes u have read the given sessions, those of the given parts, and says how much of that it had. Only as long as the oldest part stays can the rest: all
// that came later was read with it in view.
func (u *remembered) catchUp(served *model.Served, parts []partID, sessions []model.ServedSession) (outcome string) {
	outcome = memoryHit
	switch {
	case u.memory == nil:
		outcome = memoryMiss
	case len(u.read) > len(parts) || !slices.Equal(u.read, parts[:len(u.read)]):
		u.memory.Forget()
		outcome = memoryCut
	}
	if outcome != memoryHit {
		u.memory, u.read = served.Remember(u.user), u.read[:0]
	}
	u.memory.Follow(served)
	if u.memory.Extend(sessions[len(u.read):]...) && outcome == memoryHit {
		outcome = memoryCut
	}
	u.read = append(u.read, parts[len(u.read):]...)
	return outcome
}

// answerUser is asked.answer with what was read of the user's history before.
func (r *Replica) answerUser(from built, q *asked, k int) (best []model.Scored, ok bool) {
	read := len(q.closed)
	if read == 0 || q.query.User == "" {
		return q.answer(from, k)
	}
	u := r.memories.take(from.served, q.query.User)
	if u == nil {
		return q.answer(from, k)
	}
	failed := true
	defer func() { r.memories.give(u, failed) }()
	r.memories.requests.WithLabelValues(u.catchUp(from.served, q.closed, q.query.Past[:read])).Inc()
	best, ok = q.behind(read, u.memory, from.tables, k)
	failed = false
	return best, ok
}
