package feed

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// readAhead is how many entries of a partition are read at a time. A merge holds up to that many parts of each partition.
const readAhead = 256

// cursor is the reading of one partition.
type cursor struct {
	partition schema.Partition
	next      schema.Emit    // the entry to read next from the log
	queue     []buffer.Entry // read and not returned: parts and Grow marks
	// floor is where the mark is that added the partition: whatever is due before counts as due there.
	floor bound
	// bound is what all that has yet to be returned is not below. It only grows.
	bound bound
	// ended says that the log has been read up to the end of the input, as far as the last look at the meta knows.
	ended bool
}

// bound is a place in the merged order, before the partitions and emits.
type bound struct {
	epoch schema.Epoch
	due   schema.EventTime
}

func (a bound) compare(b bound) int {
	return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.due, b.due))
}

func (a bound) max(b bound) bound {
	if a.compare(b) < 0 {
		return b
	}
	return a
}

// known returns the partitions that a reader at from has, in rising order: those that from names, and those that the topic
// had before the first Grow mark that it has not read. Partition 0's log must have begun: it says how many there are or,
// where it begins without a mark, that there are those that have a log.
func known(metas map[schema.Partition]buffer.Meta, from schema.Position) []schema.Partition {
	zero := metas[0]
	all := map[schema.Partition]bool{0: true}
	for p := range from {
		all[p] = true
	}
	if len(zero.Grows) == 0 {
		for p := range metas {
			all[p] = true
		}
	}
	next, named := from[0]
	if !named {
		next = zero.FirstEmit
	}
	for _, g := range zero.Grows {
		// What a topic begins with is known whether or not its mark was read: nothing is due before it.
		if g.Emit < next || g.Watermark == schema.BeginningOfTime {
			for p := range schema.Partition(g.Partitions) {
				all[p] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// newCursor returns the reading of p that begins at from.
func newCursor(p schema.Partition, metas map[schema.Partition]buffer.Meta, from schema.Position) *cursor {
	c := &cursor{partition: p, floor: bound{due: schema.BeginningOfTime}}
	var named bool
	if c.next, named = from[p]; !named {
		c.next = metas[p].FirstEmit
	}
	for _, g := range metas[0].Grows {
		if int(p) < g.Partitions {
			c.floor = bound{epoch: g.Epoch, due: g.Watermark}
			break
		}
	}
	c.bound = c.floor
	return c
}

// look takes notice of what metas say of the partition.
func (c *cursor) look(store *buffer.Store, metas map[schema.Partition]buffer.Meta) error {
	if err := c.check(metas); err != nil {
		return err
	}
	c.ended = false
	return c.fill(store, metas)
}

// check refuses a position that the log has never reached.
func (c *cursor) check(metas map[schema.Partition]buffer.Meta) error {
	m, ok := metas[c.partition]
	switch {
	case !ok && c.next > 0:
		return fmt.Errorf("the position %d of partition %d is beyond the end of its log, which is empty: the checkpoint belongs to another data directory", c.next, c.partition)
	case ok && c.next > max(m.NextEmit, m.Reached):
		return fmt.Errorf("the position %d of partition %d is beyond the end %d of its log: the log is older than the checkpoint; restore both from one backup", c.next, c.partition, m.NextEmit)
	}
	return nil
}

// fill reads on in the log until something is in the queue, or all that metas promise has been read.
func (c *cursor) fill(store *buffer.Store, metas map[schema.Partition]buffer.Meta) error {
	m, ok := metas[c.partition]
	for ok && len(c.queue) == 0 && c.next < m.NextEmit {
		entries, err := store.Log(c.partition, c.next, min(readAhead, int(m.NextEmit-c.next)))
		if err != nil {
			return err
		}
		c.next += schema.Emit(len(entries))
		c.queue = slices.DeleteFunc(entries, func(e buffer.Entry) bool {
			return e.Kind != buffer.KindPart && e.Kind != buffer.KindGrow
		})
		for i := range c.queue {
			c.raise(&c.queue[i])
		}
	}
	switch {
	case len(c.queue) > 0:
		c.bound = c.bound.max(placeOf(&c.queue[0]))
	case ok:
		c.bound = c.bound.max(bound{epoch: m.Window.Epoch, due: m.Window.Watermark})
		c.ended = m.Window.Ended && c.next == m.NextEmit
	}
	return nil
}

// raise makes e due where the partition was added, if it is due before.
func (c *cursor) raise(e *buffer.Entry) {
	if at := placeOf(e); e.Kind == buffer.KindPart && at.compare(c.floor) < 0 {
		e.Part.Epoch, e.Part.Due = c.floor.epoch, c.floor.due
	}
}

func placeOf(e *buffer.Entry) bound {
	if e.Kind == buffer.KindPart {
		return bound{epoch: e.Part.Epoch, due: e.Part.Due}
	}
	return bound{epoch: e.Mark.Epoch, due: e.Mark.Watermark}
}

// take removes the first entry of the queue, so that the reader alone keeps its clicks.
func (c *cursor) take() buffer.Entry {
	e := c.queue[0]
	c.queue[0] = buffer.Entry{}
	c.queue = c.queue[1:]
	return e
}
