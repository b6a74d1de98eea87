package ingest

import (
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// PartitionStats says how far an owned partition has come. All but the lag is as of its last commit.
type PartitionStats struct {
	Partition  schema.Partition
	NextOffset schema.Offset
	Lag        int64            // records of the partition that have not been read, by the last fetch
	Watermark  schema.EventTime // schema.BeginningOfTime before the first record
	Epoch      schema.Epoch
	Ended      bool
	Sessions   int64  // open sessions
	Pending    uint64 // clicks in them that have not been emitted
}

// Stats says how the node is. It is cheap, and does not wait for a commit that is under way.
type Stats struct {
	Partitions []PartitionStats // the owned ones, in rising order
	Totals     buffer.Totals    // over all partitions of the store, owned or not
	Moves      MoveStats
	SplitUsers uint64 // users seen on two partitions since the start, by a table of bounded size
}

// Stats returns the state of the node.
func (n *Node) Stats() Stats {
	owned := n.sorted()
	s := Stats{Totals: n.store.Totals(), SplitUsers: n.users.split.Load(), Moves: n.moves.stats(n.opts.Now()), Partitions: make([]PartitionStats, 0, len(owned))}
	for _, o := range owned {
		m := n.store.Partition(o.id)
		s.Partitions = append(s.Partitions, PartitionStats{
			Partition: o.id, NextOffset: m.NextOffset, Lag: max(0, o.high.Load()-int64(m.NextOffset)),
			Watermark: m.Window.Watermark, Epoch: m.Window.Epoch, Ended: m.Window.Ended, Sessions: o.open.Load(), Pending: m.Window.Counts.Pending(),
		})
	}
	return s
}

// Totals returns the sums over all partitions of the store.
func (n *Node) Totals() buffer.Totals { return n.store.Totals() }

// Offsets returns the next offset of each owned partition.
func (n *Node) Offsets() map[schema.Partition]schema.Offset {
	owned := n.sorted()
	offsets := make(map[schema.Partition]schema.Offset, len(owned))
	for _, o := range owned {
		offsets[o.id] = n.store.Partition(o.id).NextOffset
	}
	return offsets
}
