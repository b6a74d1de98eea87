package ingest

import (
	"context"
	"fmt"

	"github.com/freshet-ml/freshet/ingest/buffer"
)

// Topology says how many partitions the topic has. Where that is new, the owner of partition 0 writes it to partition 0's
// log, as a mark behind which readers wait for the new partitions too. A node that gets partition 0 later does so then.
func (n *Node) Topology(ctx context.Context, partitions int) error {
	if partitions < 1 {
		return fmt.Errorf("topology: %d partitions: a topic has at least one", partitions)
	}
	n.mu.Lock()
	n.topology = partitions
	o := n.owned[0]
	n.mu.Unlock()
	if o == nil {
		return nil
	}
	if err := n.grow(ctx, o, partitions); err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	return nil
}

// grow writes a mark to the log of o, which is partition 0, if partitions is new.
func (n *Node) grow(ctx context.Context, o *partition, partitions int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.fault(); err != nil {
		return err
	}
	switch had := n.store.Partition(o.id).Partitions; {
	case partitions == had:
		return nil
	case partitions < had:
		return fmt.Errorf("the topic has %d partitions, but had %d: a topic cannot lose any; give the new topic another data directory", partitions, had)
	}
	m := o.mark()
	m.Partitions = partitions
	if err := n.beforeMark(ctx, o.id, buffer.KindGrow, m); err != nil {
		return err
	}
	c := o.begin()
	c.Entries = append(c.Entries, buffer.Entry{Kind: buffer.KindGrow, Mark: m})
	o.finish(c)
	return n.commit(ctx, []*partition{o}, *c)
}
