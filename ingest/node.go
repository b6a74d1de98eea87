package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// Decode makes a click of a record. The click must not share memory with the record, which is reused. Node sets ArrivedAt.
type Decode func(source.Record) (schema.Click, error)

// Node owns partitions: it is the only writer of their state. It is safe for concurrent use as source.Handler allows.
type Node struct {
	store  *buffer.Store
	decode Decode
	opts   Options
	users  *userTable

	mu    sync.Mutex // guards owned; who holds it does not wait for a partition's
	owned map[schema.Partition]*partition
}

// partition is a partition that the node owns.
type partition struct {
	id   schema.Partition
	high atomic.Int64 // the broker's high watermark at the last fetch
	open atomic.Int64 // open sessions as of the last commit

	mu     sync.Mutex // guards what follows
	window *window.Windower
	next   schema.Offset
	broken error // nothing goes on until it is assigned again; see Revoke and commit
	idle   idleness
}

var _ source.Handler = (*Node)(nil)

// New returns a Node without partitions.
func New(store *buffer.Store, decode Decode, o Options) (*Node, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("ingest: options: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Node{store: store, decode: decode, opts: o, users: newUserTable(), owned: map[schema.Partition]*partition{}}, nil
}

// Assign takes partition p over: it restores the windows from the store and returns the offset to go on from.
func (n *Node) Assign(_ context.Context, p schema.Partition) (schema.Offset, error) {
	n.Revoke(p)
	meta := n.store.Partition(p)
	sessions, err := n.store.Sessions(p)
	if err != nil {
		return 0, fmt.Errorf("assign partition %d: %w", p, err)
	}
	w, err := window.Restore(n.opts.Window, meta.Window, sessions)
	if err != nil {
		return 0, fmt.Errorf("assign partition %d: %w", p, err)
	}
	o := &partition{id: p, window: w, next: meta.NextOffset}
	o.open.Store(int64(w.OpenSessions()))
	n.mu.Lock()
	defer n.mu.Unlock()
	n.owned[p] = o
	return meta.NextOffset, nil
}

// Revoke lets partition p go, after a commit that is under way. Its state is in the store.
func (n *Node) Revoke(p schema.Partition) {
	n.mu.Lock()
	o := n.owned[p]
	delete(n.owned, p)
	n.mu.Unlock()
	if o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.broken = fmt.Errorf("partition %d is no longer assigned to this node", p)
	}
}

// Apply takes a batch of p and returns once it is durable. A batch without records, at the end of the partition, lets idle
// time pass (Options.IdleAfter).
func (n *Node) Apply(_ context.Context, p schema.Partition, b source.Batch) error {
	n.mu.Lock()
	o, several := n.owned[p], len(n.owned) > 1
	n.mu.Unlock()
	if o == nil {
		return fmt.Errorf("apply to partition %d: it is not assigned to this node", p)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken != nil {
		return o.broken
	}
	o.high.Store(int64(b.HighWatermark))
	c := buffer.Commit{Partition: p}
	before := o.next
	if len(b.Records) > 0 {
		o.idle = idleness{}
		n.take(o, b.Records, &c, several)
	}
	o.next = max(o.next, b.Next)
	if len(b.Records) == 0 && b.Next == b.HighWatermark {
		n.passTime(o, &c)
	}
	if o.next == before && len(c.Entries) == 0 {
		return nil
	}
	o.finish(&c)
	return n.commit([]*partition{o}, c)
}

// finish completes c with the state that o has reached.
func (o *partition) finish(c *buffer.Commit) {
	c.NextOffset, c.Window, c.Sessions = o.next, o.window.Meta(), o.window.Changes()
}

// commit makes commits durable, one for each of the partitions, which the caller holds.
func (n *Node) commit(partitions []*partition, commits ...buffer.Commit) error {
	if err := n.store.Commit(commits...); err != nil {
		for _, o := range partitions {
			// What is durable is not known, so what is in memory may not be either.
			o.broken = fmt.Errorf("partition %d: %w", o.id, err)
		}
		return partitions[0].broken
	}
	for _, o := range partitions {
		o.window.Committed()
		o.open.Store(int64(o.window.OpenSessions()))
	}
	return nil
}

// End says that the input has ended: every open session of every owned partition closes. All partitions end together, in
// one durable batch, so that a reader never sees some of them in the next epoch and others not. It does nothing when no
// record has come since the last end.
func (n *Node) End(ctx context.Context) error {
	owned := n.sorted()
	epoch, news := schema.Epoch(0), false
	for _, o := range owned {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.broken != nil {
			return fmt.Errorf("end: %w", o.broken)
		}
		meta := o.window.Meta()
		epoch = max(epoch, meta.Epoch)
		news = news || !meta.Ended
	}
	if !news {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	commits := make([]buffer.Commit, len(owned))
	for i, o := range owned {
		c := &commits[i]
		c.Partition = o.id
		addParts(c, o.window.End(epoch+1))
		c.Entries = append(c.Entries, buffer.Entry{Kind: buffer.KindEnd, Mark: o.mark()})
		o.finish(c)
	}
	if err := n.commit(owned, commits...); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	return nil
}

// mark says what the window has reached.
func (o *partition) mark() buffer.Mark {
	m := o.window.Meta()
	return buffer.Mark{Epoch: m.Epoch, Watermark: m.Watermark, Offset: o.next}
}

func addParts(c *buffer.Commit, parts []schema.Part) {
	for _, p := range parts {
		c.Entries = append(c.Entries, buffer.Entry{Kind: buffer.KindPart, Part: p})
	}
}

// sorted returns the owned partitions in rising order, which is also the order in which they are locked together.
func (n *Node) sorted() []*partition {
	n.mu.Lock()
	defer n.mu.Unlock()
	owned := make([]*partition, 0, len(n.owned))
	for _, o := range n.owned {
		owned = append(owned, o)
	}
	slices.SortFunc(owned, func(a, b *partition) int { return int(a.id) - int(b.id) })
	return owned
}

// errPanic marks a decoder that panicked: its record is undecodable, and the stream goes on.
var errPanic = errors.New("the decoder panicked")
