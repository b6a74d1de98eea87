package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// readAhead is how many entries of a partition are read at a time. A merge holds up to that many parts of each partition.
const readAhead = 256

// Feed is a merged reading of a store's logs. It is for one goroutine.
type Feed struct {
	store    *buffer.Store
	cursors  []*cursor
	progress schema.Progress
}

// cursor is the reading of one partition.
type cursor struct {
	partition schema.Partition
	next      schema.Emit   // the entry to read next from the log
	queue     []schema.Part // read and not returned
	// bound is what all parts behind the queue are not below. It only grows.
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

// New returns a Feed of partitions, which are all that the topic has, that begins at from. A partition that from does not
// name begins at its first entry.
func New(store *buffer.Store, partitions []schema.Partition, from schema.Position) (*Feed, error) {
	if len(partitions) == 0 {
		return nil, errors.New("feed: no partitions: name all partitions of the topic")
	}
	partitions = slices.Clone(partitions)
	slices.Sort(partitions)
	if len(slices.Compact(slices.Clone(partitions))) != len(partitions) {
		return nil, fmt.Errorf("feed: partitions %v: one is named twice", partitions)
	}
	for p := range from {
		if !slices.Contains(partitions, p) {
			return nil, fmt.Errorf("feed: the position has partition %d, which is not one of %v: the topic must keep its partitions", p, partitions)
		}
	}
	f := &Feed{store: store, progress: schema.Progress{Through: schema.BeginningOfTime}}
	for _, p := range partitions {
		f.cursors = append(f.cursors, &cursor{partition: p, next: from[p], bound: bound{due: schema.BeginningOfTime}})
	}
	return f, nil
}

// First returns the partitions 0 to n-1, which are those of a Kafka topic with n.
func First(n int) []schema.Partition {
	partitions := make([]schema.Partition, n)
	for i := range partitions {
		partitions[i] = schema.Partition(i)
	}
	return partitions
}

// Next returns up to limit parts, in order, and how far the reading has come with them. It waits until there is a part, or
// progress without one.
func (f *Feed) Next(ctx context.Context, limit int) ([]schema.Part, schema.Progress, error) {
	if limit <= 0 {
		return nil, f.progress, fmt.Errorf("feed: next: limit %d: must be positive", limit)
	}
	for {
		changed := f.store.Changed() // before reading, so that no commit is missed
		parts, err := f.read(limit)
		if err != nil {
			return nil, f.progress, fmt.Errorf("feed: %w", err)
		}
		before := f.progress
		f.progress = f.reached()
		if len(parts) > 0 || f.progress != before {
			return parts, f.progress, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, f.progress, ctx.Err()
		}
	}
}

// read returns what can be returned now.
func (f *Feed) read(limit int) ([]schema.Part, error) {
	metas, err := f.store.Partitions() // before the logs; all as of one moment
	if err != nil {
		return nil, err
	}
	for _, c := range f.cursors {
		c.ended = false
		if m, ok := metas[c.partition]; ok {
			if c.next > m.NextEmit {
				return nil, fmt.Errorf("the position %d of partition %d is beyond the end %d of its log: the log is older than the checkpoint; restore both from one backup", c.next, c.partition, m.NextEmit)
			}
		} else if c.next > 0 {
			return nil, fmt.Errorf("the position %d of partition %d is beyond the end of its log, which is empty: the checkpoint belongs to another data directory", c.next, c.partition)
		}
		if err := f.fill(c, metas); err != nil {
			return nil, err
		}
	}
	var parts []schema.Part
	for len(parts) < limit {
		c := f.smallest()
		if c == nil {
			break
		}
		parts = append(parts, c.queue[0])
		c.queue[0] = schema.Part{} // the reader alone keeps its clicks
		c.queue = c.queue[1:]
		if err := f.fill(c, metas); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// fill reads on in c's log until a part is in its queue, or all that metas promise has been read.
func (f *Feed) fill(c *cursor, metas map[schema.Partition]buffer.Meta) error {
	m, ok := metas[c.partition]
	for ok && len(c.queue) == 0 && c.next < m.NextEmit {
		entries, err := f.store.Log(c.partition, c.next, min(readAhead, int(m.NextEmit-c.next)))
		if err != nil {
			return err
		}
		c.queue = nil
		for _, e := range entries {
			if e.Kind == buffer.KindPart {
				c.queue = append(c.queue, e.Part)
			}
		}
		c.next += schema.Emit(len(entries))
	}
	switch {
	case len(c.queue) > 0:
		c.bound = bound{epoch: c.queue[0].Epoch, due: c.queue[0].Due}
	case ok:
		c.bound = bound{epoch: m.Window.Epoch, due: m.Window.Watermark}
		c.ended = m.Window.Ended
	}
	return nil
}

// smallest returns the cursor whose first part is the next of the sequence, or nil while another partition may still have
// a smaller one. Bounds are compared with the partition's number behind them, as parts are.
func (f *Feed) smallest() *cursor {
	least := f.cursors[0]
	for _, c := range f.cursors[1:] { // in rising order, so that of equal bounds the lower partition's is the least
		if c.bound.compare(least.bound) < 0 {
			least = c
		}
	}
	if len(least.queue) == 0 {
		return nil
	}
	return least
}

// reached returns the progress: the lowest bound, and whether all logs have been read to their ends.
func (f *Feed) reached() schema.Progress {
	least, ended := f.cursors[0].bound, true
	for _, c := range f.cursors {
		if c.bound.compare(least) < 0 {
			least = c.bound
		}
		// An end is one commit over all partitions; one that ended alone, in another epoch, is not at the same end.
		ended = ended && c.ended && c.bound.epoch == f.cursors[0].bound.epoch
	}
	return schema.Progress{Epoch: least.epoch, Through: least.due, Ended: ended}
}

// History returns the last n parts with clicks that user has in p's log before the entry before, oldest first.
func (f *Feed) History(p schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error) {
	return f.store.History(p, user, before, n)
}

// Position returns what a reader that has consumed everything returned so far would start from.
func (f *Feed) Position() schema.Position {
	position := schema.Position{}
	for _, c := range f.cursors {
		position[c.partition] = c.next
		if len(c.queue) > 0 {
			position[c.partition] = c.queue[0].Emit
		}
	}
	return position
}
