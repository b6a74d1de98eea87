package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/schema"
)

// memoryMoves keeps claims, marks and snapshots in memory, by the rules of ingest.Moves. It can be taken away, lose answers,
// and damage what it holds.
type memoryMoves struct {
	mu      sync.Mutex
	entries map[schema.Partition]*memoryEntry
	bodies  map[string][]byte
	damaged map[string]bool
	objects int
	away    bool
	// doubt, if it is not nil, is asked at each mark: whether the answer is lost, and whether the mark is recorded then.
	doubt    func() (lost, recorded bool)
	recorded func() // called when a mark is recorded
}

type memoryEntry struct {
	owner *memoryClaim
	left  *ingest.Place
	state ingest.Moved
}

func newMemoryMoves() *memoryMoves {
	return &memoryMoves{entries: map[schema.Partition]*memoryEntry{}, bodies: map[string][]byte{}, damaged: map[string]bool{}}
}

var errAway = errors.New("away")

func (m *memoryMoves) Claim(_ context.Context, p schema.Partition) (ingest.Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return nil, errAway
	}
	e := m.entries[p]
	if e == nil {
		e = &memoryEntry{left: &ingest.Place{}}
		m.entries[p] = e
	}
	e.owner, e.left = &memoryClaim{moves: m, entry: e, left: e.left}, nil
	return e.owner, nil
}

func (m *memoryMoves) newest(p schema.Partition) []ingest.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[p]; e != nil {
		return slices.Clone(e.state.Snapshots)
	}
	return nil
}

func (m *memoryMoves) marksFrom(p schema.Partition) schema.Emit {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[p]; e != nil {
		return e.state.MarksFrom
	}
	return 0
}

// damage turns a bit of s over, or loses it.
func (m *memoryMoves) damage(s ingest.Snapshot, lose bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.damaged[s.Object] = true
	if lose || m.bodies[s.Object] == nil {
		delete(m.bodies, s.Object)
		return
	}
	b := bytes.Clone(m.bodies[s.Object])
	b[len(b)/2] ^= 1
	m.bodies[s.Object] = b
}

type memoryClaim struct {
	moves *memoryMoves
	entry *memoryEntry
	left  *ingest.Place
}

var _ ingest.Claim = (*memoryClaim)(nil)

// use runs f where the claim stands.
func (c *memoryClaim) use(f func(e *memoryEntry) error) error {
	c.moves.mu.Lock()
	defer c.moves.mu.Unlock()
	switch {
	case c.moves.away:
		return errAway
	case c.entry.owner != c:
		return ingest.ErrFenced
	}
	return f(c.entry)
}

func (c *memoryClaim) Left() (ingest.Place, bool) {
	if c.left == nil {
		return ingest.Place{}, false
	}
	return *c.left, true
}

func (c *memoryClaim) State() ingest.Moved {
	c.moves.mu.Lock()
	defer c.moves.mu.Unlock()
	s := c.entry.state
	s.Snapshots, s.Marks = slices.Clone(s.Snapshots), slices.Clone(s.Marks)
	return s
}

func (c *memoryClaim) Check(context.Context) error {
	return c.use(func(*memoryEntry) error { return nil })
}

func (c *memoryClaim) Record(_ context.Context, r ingest.Recorded) error {
	return c.use(func(e *memoryEntry) error {
		if n := len(e.state.Marks); n > 0 && (e.state.Marks[n-1].Emit >= r.Emit || e.state.Marks[n-1].Mark.Offset > r.Mark.Offset) {
			panic(fmt.Sprintf("mark %+v after %+v", r, e.state.Marks[n-1]))
		}
		lost, recorded := false, true
		if c.moves.doubt != nil {
			lost, recorded = c.moves.doubt()
		}
		if c.moves.recorded != nil {
			c.moves.recorded()
		}
		if recorded {
			e.state.Marks = append(e.state.Marks, r)
		}
		if lost {
			return ingest.ErrDoubt
		}
		return nil
	})
}

func (c *memoryClaim) Save(_ context.Context, export func(io.Writer) (ingest.Place, error)) (s ingest.Snapshot, err error) {
	var b bytes.Buffer
	place, err := export(&b)
	if err != nil {
		return s, err
	}
	err = c.use(func(e *memoryEntry) error {
		if have := e.state.Snapshots; len(have) > 0 && place.Compare(have[0].Place) <= 0 {
			return fmt.Errorf("a snapshot of %+v after one of %+v", place, have[0].Place)
		}
		c.moves.objects++
		s = ingest.Snapshot{Object: fmt.Sprint(c.moves.objects), Place: place, Bytes: int64(b.Len())}
		c.moves.bodies[s.Object] = b.Bytes()
		e.state.Snapshots = append([]ingest.Snapshot{s}, e.state.Snapshots[:min(1, len(e.state.Snapshots))]...)
		if len(e.state.Snapshots) == 2 {
			e.state.Marks = slices.DeleteFunc(slices.Clone(e.state.Marks), func(r ingest.Recorded) bool {
				covered := r.Emit < e.state.Snapshots[1].Emit
				if covered {
					e.state.MarksFrom = r.Emit + 1
				}
				return covered
			})
		}
		return nil
	})
	return s, err
}

func (c *memoryClaim) Open(_ context.Context, s ingest.Snapshot) (io.Reader, error) {
	c.moves.mu.Lock()
	defer c.moves.mu.Unlock()
	b, ok := c.moves.bodies[s.Object]
	switch {
	case c.moves.away:
		return nil, errAway
	case !ok:
		return nil, ingest.ErrDamaged
	}
	return bytes.NewReader(b), nil
}

func (c *memoryClaim) Discard(s ingest.Snapshot) {
	c.moves.mu.Lock()
	defer c.moves.mu.Unlock()
	if c.entry.owner == c {
		c.entry.state.Snapshots = slices.DeleteFunc(slices.Clone(c.entry.state.Snapshots), func(o ingest.Snapshot) bool { return o.Object == s.Object })
	}
}

func (c *memoryClaim) Release(_ context.Context, at ingest.Place) error {
	return c.use(func(e *memoryEntry) error {
		e.left, e.owner = &at, nil
		return nil
	})
}
