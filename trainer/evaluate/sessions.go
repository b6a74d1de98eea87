package evaluate

import (
	"hash/fnv"
	"io"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

const (
	maxSessionTargets = 256 // distinct items of a session that are judged
	// DefaultSessions bounds the sessions that are held: with eight arms, 13 MB of lists.
	DefaultSessions = 4096
)

// Sessions makes the tests of NextSession: it holds the lists that the arms gave at a session's first click, ranks in them what is clicked, and gives the
// test to its Evaluation when the session is over.
//
// When as many sessions are held as may be, a new one is refused and counted: to make room by ending an old one would make sessions shorter than they are.
type Sessions struct {
	e     *Evaluation
	limit int
	gap   time.Duration

	byUser  map[string]*held
	root    held // of a ring: root.next was touched the longest ago
	free    []*held
	refused int64
	cut     int64
}

// held is an open session.
type held struct {
	user    string
	opened  schema.EventTime
	last    schema.EventTime
	scene   string
	lists   [][]int32 // by arm; nil: it does not judge
	items   []uint64  // hashes, distinct
	targets []Target  // of items
	ranks   [][]int   // by arm, of items

	prev, next *held
}

// NewSessions returns a holder of up to limit sessions, which are over when a user has not clicked for longer than gap.
func NewSessions(e *Evaluation, limit int, gap time.Duration) *Sessions {
	if limit < 1 || gap <= 0 {
		panic("evaluate: sessions: limit and gap must be positive")
	}
	s := &Sessions{e: e, limit: limit, gap: gap, byUser: map[string]*held{}}
	s.root.prev, s.root.next = &s.root, &s.root
	return s
}

// Open begins a session of a user; one that is open is over. Lists holds, by arm, what it recommends before the click at, best first; the first 100 rows
// are kept, and an arm with nil does not judge. The session's clicks, the first of them also, are told to Click.
func (s *Sessions) Open(user string, at schema.EventTime, scene string, lists [][]int32) {
	if len(lists) != len(s.e.cfg.Arms) {
		panic("evaluate: sessions: lists of as many arms as there are not")
	}
	s.Expire(at)
	s.Close(user)
	if len(s.byUser) == s.limit {
		s.refused++
		return
	}
	h := s.take()
	h.user, h.opened, h.last, h.scene = user, at, at, scene
	for arm, list := range lists {
		if list == nil {
			h.lists[arm] = nil
			continue
		}
		if h.lists[arm] == nil {
			h.lists[arm] = make([]int32, 0, deepest)
		}
		h.lists[arm] = append(h.lists[arm][:0], list[:min(deepest, len(list))]...)
	}
	s.put(h)
}

// take returns a session to be filled, with the memory of one that is over.
func (s *Sessions) take() *held {
	if n := len(s.free); n > 0 {
		h := s.free[n-1]
		s.free = s.free[:n-1]
		return h
	}
	arms := len(s.e.cfg.Arms)
	return &held{lists: make([][]int32, arms), ranks: make([][]int, arms)}
}

func (s *Sessions) put(h *held) {
	s.byUser[h.user] = h
	h.prev, h.next = s.root.prev, &s.root
	h.prev.next, h.next.prev = h, h
}

func (h *held) unlink() { h.prev.next, h.next.prev = h.next, h.prev }

// Click adds a click to the user's session; without one it does nothing. Row is the item's, or negative where it has none: then it is in no list. What is known of an
// item clicked twice is what was known the first time. An exposure is no target.
func (s *Sessions) Click(user string, at schema.EventTime, item string, row int32, target Target) {
	h := s.byUser[user]
	if h == nil {
		return
	}
	if at > h.last.Add(s.gap) {
		s.Close(user)
		return
	}
	h.last = max(h.last, at)
	h.unlink()
	s.put(h)
	if target.Action == schema.ActionExposure {
		return
	}
	hash := fnv.New64a()
	io.WriteString(hash, item)
	id := hash.Sum64()
	for _, other := range h.items {
		if other == id {
			return
		}
	}
	if len(h.items) == maxSessionTargets {
		s.cut++
		return
	}
	h.items, h.targets = append(h.items, id), append(h.targets, target)
	for arm, list := range h.lists {
		if list != nil {
			h.ranks[arm] = append(h.ranks[arm], rankIn(list, row))
		}
	}
}

func rankIn(list []int32, row int32) int {
	if row >= 0 {
		for i, r := range list {
			if r == row {
				return i + 1
			}
		}
	}
	return 0
}

// Close ends the user's session, if there is one, and judges it. A session of exposures alone is not tested.
func (s *Sessions) Close(user string) {
	if h := s.byUser[user]; h != nil {
		s.judge(h)
	}
}

// Expire ends the sessions that are over by the time now, in the order in which they were last clicked in.
func (s *Sessions) Expire(now schema.EventTime) {
	for h := s.root.next; h != &s.root && now > h.last.Add(s.gap); h = s.root.next {
		s.judge(h)
	}
}

func (s *Sessions) judge(h *held) {
	h.unlink()
	delete(s.byUser, h.user)
	if len(h.targets) == 0 {
		s.e.Untested(NextSession, 1)
	} else {
		for arm, list := range h.lists {
			if list == nil {
				h.ranks[arm] = nil
			}
		}
		s.e.Add(&Test{At: h.opened, Kind: NextSession, Scene: h.scene, Place: 1, Targets: h.targets, Ranks: h.ranks})
	}
	h.items, h.targets = h.items[:0], h.targets[:0]
	for arm := range h.ranks {
		h.ranks[arm] = h.ranks[arm][:0]
	}
	h.user, h.scene, h.prev, h.next = "", "", nil, nil
	s.free = append(s.free, h)
}

// SessionStats are counts of sessions.
type SessionStats struct {
	Open    int   `json:"open"`
	Refused int64 `json:"refused"` // not held: too many were
	Cut     int64 `json:"cut"`     // targets not judged: the session had too many
}

// Stats returns the counts.
func (s *Sessions) Stats() SessionStats {
	return SessionStats{Open: len(s.byUser), Refused: s.refused, Cut: s.cut}
}
