package ingest

import (
	"context"
	"fmt"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// Topology says how many partitions the topic has. Where that is new, the owner of partition 0 writes it to partition 0's
// log, as a mark behind which readers wait for the new partitions too: now, or with a later batch where the mark cannot be
// recorded now. A node that gets partition 0 later does so then.
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
	o.mu.Lock()
	defer o.mu.Unlock()
	err := n.shrunk(0)
	if err == nil {
		err = n.grow(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	return nil
}

// shrunk returns an error if p is partition 0 and the topic has fewer partitions than its log says.
func (n *Node) shrunk(p schema.Partition) error {
	n.mu.Lock()
	partitions := n.topology
	n.mu.Unlock()
	if had := n.store.Partition(p).Partitions; p == 0 && partitions > 0 && partitions < had {
		return fmt.Errorf("the topic has %d partitions, but had %d: a topic cannot lose any; give the new topic another data directory", partitions, had)
	}
	return nil
}

// grow writes a mark to the log of o, if that is partition 0 and the topic has got more partitions. o.mu is held.
func (n *Node) grow(ctx context.Context, o *partition) error {
	if o.id != 0 {
		return nil
	}
	if err := o.fault(); err != nil {
		return err
	}
	n.mu.Lock()
	partitions := n.topology
	n.mu.Unlock()
	if partitions <= n.store.Partition(o.id).Partitions || len(o.recall) > 0 {
		return nil
	}
	m := o.mark()
	m.Partitions = partitions
	if n.beforeMark(ctx, o, buffer.KindGrow, m) != nil {
		return o.fault()
	}
	c := o.begin()
	c.Entries = append(c.Entries, buffer.Entry{Kind: buffer.KindGrow, Mark: m})
	o.finish(c)
	return n.commit(ctx, []*partition{o}, *c)
}
