package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// Feed is a merged reading of a store's logs. It is for one goroutine.
type Feed struct {
	store    *buffer.Store
	from     schema.Position
	cursors  []*cursor // in rising order of their partitions; none before partition 0's log has begun
	progress schema.Progress
}

// New returns a Feed that begins at from. A partition that from does not name begins at the first entry that is there; an
// entry that from names must be there, or be the next, or Next returns buffer.ErrGone.
func New(store *buffer.Store, from schema.Position) (*Feed, error) {
	for p := range from {
		if p < 0 || p >= buffer.MaxPartitions {
			return nil, fmt.Errorf("feed: the position names partition %d: it is not one of a position that freshet has written", p)
		}
	}
	cloned := schema.Position{}
	maps.Copy(cloned, from)
	return &Feed{store: store, from: cloned, progress: schema.Progress{Through: schema.BeginningOfTime}}, nil
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

// read returns what can be returned now. What it has taken is returned before an error is.
func (f *Feed) read(limit int) ([]schema.Part, error) {
	metas, err := f.store.Partitions() // before the logs; all as of one moment
	if err != nil {
		return nil, err
	}
	if err := f.begin(metas); err != nil {
		return nil, err
	}
	for _, c := range f.cursors {
		if err := c.look(f.store, metas); err != nil {
			return nil, err
		}
	}
	var parts []schema.Part
	for len(parts) < limit {
		c := f.smallest()
		if c == nil {
			break
		}
		e := c.take()
		if e.Kind == buffer.KindGrow {
			for _, added := range f.grow(e.Mark, metas) {
				err = errors.Join(err, added.look(f.store, metas))
			}
		} else {
			parts = append(parts, e.Part)
		}
		if err = errors.Join(err, c.fill(f.store, metas)); err != nil {
			if len(parts) == 0 {
				return nil, err
			}
			break // the next call meets it again
		}
	}
	return parts, nil
}

// begin makes the cursors, once partition 0's log has begun.
func (f *Feed) begin(metas map[schema.Partition]buffer.Meta) error {
	if f.cursors != nil {
		return nil
	}
	if zero := metas[0]; zero.NextEmit > 0 || len(zero.Grows) > 0 {
		for _, p := range known(metas, f.from) {
			f.cursors = append(f.cursors, newCursor(p, metas, f.from))
		}
		return nil
	}
	for _, p := range f.from.Partitions() {
		if err := newCursor(p, metas, f.from).check(metas); err != nil {
			return err
		}
	}
	return nil
}

// grow adds the partitions that m says there are.
func (f *Feed) grow(m buffer.Mark, metas map[schema.Partition]buffer.Meta) []*cursor {
	var added []*cursor
	for p := range schema.Partition(m.Partitions) {
		if !slices.ContainsFunc(f.cursors, func(c *cursor) bool { return c.partition == p }) {
			c := newCursor(p, metas, nil)
			c.floor = bound{epoch: m.Epoch, due: m.Watermark}
			c.bound = c.floor
			added = append(added, c)
		}
	}
	f.cursors = append(f.cursors, added...)
	slices.SortFunc(f.cursors, func(a, b *cursor) int { return cmp.Compare(a.partition, b.partition) })
	return added
}

// smallest returns the cursor whose first part is the next of the sequence, or nil while another partition may still have
// a smaller one. Bounds are compared with the partition's number behind them, as parts are.
func (f *Feed) smallest() *cursor {
	if len(f.cursors) == 0 {
		return nil
	}
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
	if len(f.cursors) == 0 {
		return f.progress
	}
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

// Users returns up to n users who have parts with clicks on partition p and whom keep accepts, in the order of the index, behind
// after; "" begins with the first. Fewer than n say that there are no more. Who came to the log later is among them; as of a
// place, History says that there was nothing of such a user.
func (f *Feed) Users(p schema.Partition, after string, n int, keep func(user []byte) bool) ([]string, error) {
	return f.store.Users(p, after, n, keep)
}

// Position returns what a reader that has consumed everything returned so far would start from.
func (f *Feed) Position() schema.Position {
	if f.cursors == nil {
		return f.from.Clone()
	}
	position := schema.Position{}
	for _, c := range f.cursors {
		position[c.partition] = c.next
		if len(c.queue) > 0 {
			position[c.partition] = c.queue[0].Emit
		}
	}
	return position
}
