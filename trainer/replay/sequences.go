package replay

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/freshet-ml/freshet/schema"
)

// minItems is what a user must have for leave-one-out: something to learn from, something to learn, something to be asked.
const minItems = 3

// Sequences is what users did, each in order: rows of items in one slice, so that a million events take some ten megabytes.
type Sequences struct {
	Names []string // of the items, by row, in the order of their first appearance
	// LeftOut counts the users with fewer than three items, and LeftOutEvents what they did. Their items stay candidates: a corpus
	// is what the file has.
	LeftOut, LeftOutEvents int

	rows  []int32
	at    []schema.EventTime // of each event; nil where the file has no times
	start []int              // of each user, and the end
}

// Users returns how many users there are.
func (s *Sequences) Users() int { return len(s.start) - 1 }

// Items returns how many items there are.
func (s *Sequences) Items() int { return len(s.Names) }

// Events returns how many events there are.
func (s *Sequences) Events() int { return len(s.rows) }

// of returns the items of a user, oldest first, and their times, nil where there are none.
func (s *Sequences) of(user int) (rows []int32, at []schema.EventTime) {
	from, to := s.start[user], s.start[user+1]
	if s.at != nil {
		at = s.at[from:to]
	}
	return s.rows[from:to], at
}

// Builder collects events into Sequences. The zero Builder is ready. Its events have all a time or none: it panics on a mixture.
type Builder struct {
	users, items map[string]int32
	names        []string
	user, row    []int32
	at           []schema.EventTime
	counts       []int // of each user
	lineOf       []int // of each user, where a line is a user
}

// Add adds an event without a time: the order of the calls is the order of the user's events.
func (b *Builder) Add(user, item string) { b.add(b.userOf(user), item) }

// AddAt adds an event at a time. A user's events of one time stay in the order of the calls.
func (b *Builder) AddAt(user, item string, at schema.EventTime) {
	if len(b.at) != len(b.row) {
		panic("replay: an event with a time behind events without")
	}
	b.at = append(b.at, at)
	b.add(b.userOf(user), item)
}

// Events returns how many events were added.
func (b *Builder) Events() int { return len(b.row) }

func (b *Builder) userOf(name string) int32 {
	u, ok := b.users[name]
	if !ok {
		if b.users == nil {
			b.users, b.items = map[string]int32{}, map[string]int32{}
		}
		u = int32(len(b.counts))
		b.users[strings.Clone(name)] = u // name may be part of a line
		b.counts = append(b.counts, 0)
	}
	return u
}

func (b *Builder) add(user int32, item string) {
	r, ok := b.items[item]
	if !ok {
		r = int32(len(b.names))
		item = strings.Clone(item)
		b.items[item] = r
		b.names = append(b.names, item)
	}
	b.user, b.row = append(b.user, user), append(b.row, r)
	b.counts[user]++
}

// Finish returns what was collected, by user, each in the order of its times. The Builder is empty afterwards.
func (b *Builder) Finish() (*Sequences, error) {
	defer func() { *b = Builder{} }()
	if len(b.row) == 0 {
		return nil, errors.New("there is no event in it: give a file with some")
	}
	if len(b.row) > math.MaxInt32 {
		return nil, fmt.Errorf("%d events are more than the %d that fit: give a part of the file", len(b.row), math.MaxInt32)
	}
	if b.at != nil && len(b.at) != len(b.row) {
		panic("replay: an event without a time behind events with one")
	}
	s := &Sequences{Names: b.names, start: []int{0}}
	next := make([]int, len(b.counts)) // where a user's next event goes; -1 for a user who is left out
	for u, n := range b.counts {
		if n < minItems {
			next[u] = -1
			s.LeftOut++
			s.LeftOutEvents += n
			continue
		}
		next[u] = s.start[len(s.start)-1]
		s.start = append(s.start, next[u]+n)
	}
	if s.Users() == 0 {
		return nil, fmt.Errorf("none of its %d users has %d items or more: leave-one-out needs two to train on and one to test", s.LeftOut, minItems)
	}
	kept := len(b.row) - s.LeftOutEvents
	order := make([]int32, kept) // events by user
	for i, u := range b.user {
		if next[u] >= 0 {
			order[next[u]] = int32(i)
			next[u]++
		}
	}
	if b.at != nil {
		for u := range s.Users() {
			slices.SortStableFunc(order[s.start[u]:s.start[u+1]], func(i, j int32) int {
				switch {
				case b.at[i] < b.at[j]:
					return -1
				case b.at[i] > b.at[j]:
					return 1
				}
				return 0
			})
		}
		s.at = make([]schema.EventTime, kept)
		for i, event := range order {
			s.at[i] = b.at[event]
		}
	}
	for i, event := range order {
		order[i] = b.row[event]
	}
	s.rows = order
	return s, nil
}
