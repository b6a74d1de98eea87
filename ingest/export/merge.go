package export

import (
	"container/heap"
	"context"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// Log is the session log of a store that nobody writes to meanwhile. *buffer.Store is one.
type Log interface {
	// Partitions returns the metas of all partitions: what of their logs there is.
	Partitions() (map[schema.Partition]buffer.Meta, error)
	// Log returns up to limit entries of p's log, in order, beginning with from.
	Log(p schema.Partition, from schema.Emit, limit int) ([]buffer.Entry, error)
	// History returns the last n parts with clicks that user has in p's log before the entry before, oldest first.
	History(p schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error)
}

var _ Log = (*buffer.Store)(nil)

// readAhead is how many entries are read at a time, over all partitions together; each has at least leastAhead.
const (
	readAhead  = 4096
	leastAhead = 64
)

// merge yields the parts of all partitions in the order of buffer.Order. Unlike package feed it does not wait: the log has an
// end, so the next part is known as soon as each partition has shown its own.
type merge struct {
	log     Log
	ahead   int
	cursors []*cursor // a heap by the first part of each
	done    *atomic.Int64
	from    map[schema.Partition]schema.Emit // where it began
	short   map[schema.Partition]bool        // it does not go to the end of the log
}

// cursor is the reading of one partition up to its end.
type cursor struct {
	partition schema.Partition
	next, end schema.Emit
	queue     []schema.Part
}

// extent is a range of a partition's log.
type extent struct {
	partition schema.Partition
	from, to  schema.Emit
	short     bool // the log goes on behind it
}

// extents returns what there is of the logs that is due at from or later, and before to.
func extents(log Log, from, to schema.EventTime) (all []extent, entries int64, err error) {
	metas, err := log.Partitions()
	if err != nil {
		return nil, 0, err
	}
	for _, p := range slices.Sorted(maps.Keys(metas)) {
		e := extent{partition: p, from: metas[p].FirstEmit, to: metas[p].NextEmit}
		if from > 0 {
			if e.from, err = e.seek(log, from); err != nil {
				return nil, 0, err
			}
		}
		if to < schema.EndOfTime {
			if e.to, err = e.seek(log, to); err != nil {
				return nil, 0, err
			}
			e.short = e.to < metas[p].NextEmit
		}
		all = append(all, e)
		entries += int64(e.to - e.from)
	}
	return all, entries, nil
}

// seek returns the first entry of e that is due at t or later, or the end of e. Dues never fall along a log, also over the
// end of an epoch: the next one begins behind all that was seen (window/doc.go).
func (e extent) seek(log Log, t schema.EventTime) (schema.Emit, error) {
	from, to := e.from, e.to
	for from < to {
		half := from + (to-from)/2
		entries, err := log.Log(e.partition, half, 1)
		if err != nil {
			return 0, err
		}
		at := entries[0].Mark.Watermark
		if entries[0].Kind == buffer.KindPart {
			at = entries[0].Part.Due
		}
		if at < t {
			from = half + 1
		} else {
			to = half
		}
	}
	return from, nil
}

// newMerge begins a reading of the extents. It counts the entries that it has passed in done.
func newMerge(log Log, all []extent, done *atomic.Int64) (*merge, error) {
	m := &merge{log: log, ahead: max(leastAhead, readAhead/max(1, len(all))), done: done, from: map[schema.Partition]schema.Emit{}, short: map[schema.Partition]bool{}}
	for _, e := range all {
		m.from[e.partition], m.short[e.partition] = e.from, e.short
		c := &cursor{partition: e.partition, next: e.from, end: e.to}
		if err := m.fill(c); err != nil {
			return nil, err
		}
		if len(c.queue) > 0 {
			m.cursors = append(m.cursors, c)
		}
	}
	heap.Init(m)
	return m, nil
}

// each calls f with every part, in order, until f or ctx ends it. The part is f's to read during the call.
func (m *merge) each(ctx context.Context, f func(p *schema.Part) error) error {
	for n := 0; len(m.cursors) > 0; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		c := m.cursors[0]
		if err := f(&c.queue[0]); err != nil {
			return err
		}
		c.queue[0] = schema.Part{} // its clicks can go
		c.queue = c.queue[1:]
		if err := m.fill(c); err != nil {
			return err
		}
		if len(c.queue) == 0 {
			heap.Pop(m)
		} else {
			heap.Fix(m, 0)
		}
	}
	return nil
}

// fill reads on until c has a part or is at its end.
func (m *merge) fill(c *cursor) error {
	for len(c.queue) == 0 && c.next < c.end {
		entries, err := m.log.Log(c.partition, c.next, min(m.ahead, int(c.end-c.next)))
		if err != nil {
			return err
		}
		c.queue = c.queue[:0]
		for i := range entries {
			if entries[i].Kind == buffer.KindPart {
				c.queue = append(c.queue, entries[i].Part)
			}
		}
		c.next += schema.Emit(len(entries))
		m.done.Add(int64(len(entries)))
	}
	return nil
}

// The heap of cursors.

func (m *merge) Len() int { return len(m.cursors) }

func (m *merge) Less(i, j int) bool {
	return buffer.Order(m.cursors[i].queue[0], m.cursors[j].queue[0]) < 0
}

func (m *merge) Swap(i, j int) { m.cursors[i], m.cursors[j] = m.cursors[j], m.cursors[i] }

func (m *merge) Push(x any) { m.cursors = append(m.cursors, x.(*cursor)) }

func (m *merge) Pop() any {
	last := len(m.cursors) - 1
	c := m.cursors[last]
	m.cursors = m.cursors[:last]
	return c
}
