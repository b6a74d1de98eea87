package ingest

import (
	"context"
	"time"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// leastTick is the least that a tick advances a watermark by. Each tick is a synced commit and an entry of the log.
const leastTick = time.Second

// idleness is since when a partition has had nothing new, and where its watermark was then.
type idleness struct {
	is    bool
	since time.Time
	base  schema.EventTime
}

// passTime is called at each empty fetch at the end of a partition. Once it has been idle for longer than IdleAfter, its
// watermark advances by the time beyond that, so that its sessions close, and so that readers that merge partitions do not
// wait for it. The advance is written to the log as a tick, because no record says it.
func (n *Node) passTime(ctx context.Context, o *partition, c *buffer.Commit) {
	if n.opts.IdleAfter == 0 {
		return
	}
	now, meta := n.opts.Now(), o.window.Meta()
	if !o.idle.is {
		o.idle = idleness{is: true, since: now, base: meta.Watermark}
	}
	beyond := now.Sub(o.idle.since) - n.opts.IdleAfter
	if beyond <= 0 {
		return
	}
	lowest, highest := n.otherWatermarks(o.id)
	to := o.idle.base.Add(beyond)
	if meta.MaxSeen == schema.BeginningOfTime {
		// It never had a record, so there is no time of its own to go on from: it goes with the slowest of the others.
		to = max(to, lowest)
	}
	if o.window.OpenSessions() == 0 {
		// Nothing of its own waits for time. Others' parts may wait for it in a merge; they are due before the highest
		// watermark. Beyond that a tick would only make the log of a quiet topic longer.
		to = min(to, highest)
	}
	if to == schema.BeginningOfTime || meta.Watermark != schema.BeginningOfTime && to < meta.Watermark.Add(leastTick) {
		return
	}
	if n.beforeMark(ctx, o, buffer.KindTick, buffer.Mark{Epoch: meta.Epoch, Watermark: to, Offset: o.next}) != nil {
		return // what is wrong has been said; the tick comes later, and goes further then
	}
	addParts(c, o.window.Tick(to))
	c.Entries = append(c.Entries, buffer.Entry{Kind: buffer.KindTick, Mark: o.mark()})
}

// otherWatermarks returns the lowest and the highest watermark of the node's other partitions that have had a record, as
// they were last committed; BeginningOfTime when there is none.
func (n *Node) otherWatermarks(but schema.Partition) (lowest, highest schema.EventTime) {
	n.mu.Lock()
	defer n.mu.Unlock()
	lowest, highest = schema.BeginningOfTime, schema.BeginningOfTime
	for p := range n.owned {
		m := n.store.Partition(p).Window
		if p == but || m.MaxSeen == schema.BeginningOfTime {
			continue
		}
		w := m.Watermark
		if lowest == schema.BeginningOfTime || w < lowest {
			lowest = w
		}
		highest = max(highest, w)
	}
	return lowest, highest
}
