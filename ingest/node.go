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
	"github.com/freshet-ml/freshet/ingest/live"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// Decode makes a click of a record: it fills c, which is empty. The strings of c may point into the record's bytes, which
// are used again after the batch: Node keeps nothing of them. Node sets ArrivedAt. Where the error wraps ErrNotReady the
// record waits, and is decoded again; any other error puts it aside.
type Decode func(r source.Record, c *schema.Click) error

// ErrNotReady says that a record may be good and cannot be decoded at the moment.
var ErrNotReady = errors.New("a record cannot be decoded yet")

// Node owns partitions: it is the only writer of their state. It is safe for concurrent use as source.Handler allows.
type Node struct {
	store  *buffer.Store
	decode Decode
	opts   Options
	users  *userTable

	mu       sync.Mutex // guards what follows; who holds it does not wait for a partition's
	owned    map[schema.Partition]*partition
	topology int // how many partitions the topic has; 0 while nobody has said it

	noRoom, notReady waiting

	moves   moves
	letting chan struct{} // holds one value for each partition that is being let go
}

// partition is a partition that the node owns.
type partition struct {
	id   schema.Partition
	high atomic.Int64 // the broker's high watermark at the last fetch
	open atomic.Int64 // open sessions as of the last commit
	// broken is why nothing goes on until it is assigned again; see Revoke and commit. Written under mu.
	broken atomic.Pointer[error]

	mu     sync.Mutex // guards what follows
	window *window.Windower
	next   schema.Offset
	idle   idleness
	commit buffer.Commit // its slices are used again and again
	click  schema.Click  // the one that is being taken
	keys   [][]byte      // of the records that come next
	taken  live.Clicks   // of the batch, where somebody listens

	lease   atomic.Pointer[lease] // nil where partitions do not move; written under mu
	checked time.Time             // when the claim was last known to stand
	// caughtUp says that no owner before has come further: only then new marks are made. It is so once catchUpTo is reached,
	// which is -1 while it is not known.
	caughtUp  bool
	catchUpTo schema.Offset
	recall    []Recorded // marks that are recorded and not in the windows yet, in order
	doubt     bool       // whether a mark is recorded here is not known
	differs   bool       // it was said that the log does not come out as before
}

// fault returns why o does not go on, or nil.
func (o *partition) fault() error {
	if err := o.broken.Load(); err != nil {
		return *err
	}
	return nil
}

func (o *partition) stop(err error) { o.broken.Store(&err) }

var _ source.Handler = (*Node)(nil)

// New returns a Node without partitions.
func New(store *buffer.Store, decode Decode, o Options) (*Node, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("ingest: options: %w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait == nil {
		o.Wait = wait
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Move = o.Move.WithDefaults()
	return &Node{store: store, decode: decode, opts: o, users: newUserTable(), owned: map[schema.Partition]*partition{},
		letting:  make(chan struct{}, letAtOnce),
		noRoom:   waiting{until: buffer.ErrNoRoom, begins: "reading waits: there is no room", ended: "there is room again: reading goes on"},
		notReady: waiting{until: ErrNotReady, begins: "a partition waits", ended: "records are decoded again: reading goes on"}}, nil
}

// Assign takes partition p over: it brings the store to where the partition has come, loads the windows from it, and returns
// the offset to go on from.
func (n *Node) Assign(ctx context.Context, p schema.Partition) (schema.Offset, error) {
	n.Revoke(p)
	next, err := n.assign(ctx, p)
	if err != nil {
		n.Revoke(p)
		return 0, fmt.Errorf("assign partition %d: %w", p, err)
	}
	return next, nil
}

func (n *Node) assign(ctx context.Context, p schema.Partition) (schema.Offset, error) {
	o := &partition{id: p}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := n.open(ctx, o); err != nil {
		return 0, err
	}
	n.mu.Lock()
	n.owned[p] = o
	n.mu.Unlock()
	c := o.begin()
	if err := n.recallUpTo(o, o.next, c); err != nil {
		return 0, err
	}
	if len(c.Entries) > 0 {
		o.finish(c)
		if err := n.commit(ctx, []*partition{o}, *c); err != nil {
			return 0, err
		}
	}
	if n.opts.Moves == nil { // else another node may have written what this one has not heard yet
		if err := n.shrunk(p); err != nil {
			return 0, err
		}
	}
	return o.next, n.grow(ctx, o)
}

// open takes o over and loads it. o.mu is held.
func (n *Node) open(ctx context.Context, o *partition) error {
	l, marks, err := n.takeOver(ctx, o.id)
	if err != nil {
		return err
	}
	w, err := n.store.Load(o.id, n.opts.Window)
	if err != nil {
		return err
	}
	next := n.store.Partition(o.id).NextOffset
	if next < o.next {
		return fmt.Errorf("it has to be read again from offset %d, and was read up to %d: start again", next, o.next)
	}
	if o.lease.Store(l); l != nil {
		left, released := l.claim.Left()
		o.caughtUp, o.catchUpTo = released && placeOf(n.store.Partition(o.id)).Compare(left) >= 0, -1
	}
	o.window, o.next, o.recall, o.checked, o.doubt, o.idle = w, next, marks, n.opts.Now(), false, idleness{}
	o.open.Store(int64(w.OpenSessions()))
	return nil
}

// Revoke lets partition p go, after a commit that is under way. Its state is in the store, and where partitions move, also
// there for the next owner.
func (n *Node) Revoke(p schema.Partition) {
	n.mu.Lock()
	o := n.owned[p]
	delete(n.owned, p)
	n.mu.Unlock()
	if o != nil {
		o.mu.Lock()
		o.stop(fmt.Errorf("partition %d is no longer assigned to this node", p))
		caughtUp := o.caughtUp
		o.mu.Unlock()
		n.letGo(o, caughtUp)
	}
}

// Apply takes a batch of p and returns once it is durable. It keeps nothing of the batch. A batch without records, at the
// end of the partition, lets idle time pass (Options.IdleAfter). While the store has no room it waits, and Health says so.
func (n *Node) Apply(ctx context.Context, p schema.Partition, b source.Batch) error {
	n.mu.Lock()
	o, several := n.owned[p], len(n.owned) > 1
	n.mu.Unlock()
	if o == nil {
		return fmt.Errorf("apply to partition %d: it is not assigned to this node", p)
	}
	if len(b.Records) > 0 { // before the lock: Revoke must not wait for room
		if err := n.awaitRoom(ctx, n.store.Room); err != nil {
			return fmt.Errorf("apply to partition %d: %w", p, err)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.fault(); err != nil {
		return err
	}
	if err := n.confirm(ctx, o); err != nil {
		return err
	}
	o.high.Store(int64(b.HighWatermark))
	if err := n.apply(ctx, o, b, several); err != nil {
		return err
	}
	return n.grow(ctx, o)
}

// apply takes b into o, which is held.
func (n *Node) apply(ctx context.Context, o *partition, b source.Batch, several bool) error {
	c := o.begin()
	before := o.next
	if len(b.Records) > 0 {
		o.idle = idleness{}
		if err := n.take(ctx, o, b.Records, c, several); err != nil {
			o.stop(fmt.Errorf("partition %d: %w", o.id, err)) // the windows are ahead of the store
			return o.fault()
		}
	}
	o.next = max(o.next, b.Next)
	if err := n.recallUpTo(o, o.next, c); err != nil {
		return err
	}
	n.catchUp(o, b.HighWatermark)
	if len(b.Records) == 0 && b.Next == b.HighWatermark && len(o.recall) == 0 && len(c.Entries) == 0 {
		n.passTime(ctx, o, c)
	}
	if o.next == before && len(c.Entries) == 0 {
		return nil
	}
	o.finish(c)
	return n.commit(ctx, []*partition{o}, *c)
}

// begin returns an empty commit of o, which uses the memory of the one before.
func (o *partition) begin() *buffer.Commit {
	c := &o.commit
	clear(c.Entries) // what they name is not held longer than the next commit
	clear(c.Aside)
	o.taken = live.Clicks{} // those of the batch before are with who listens
	*c = buffer.Commit{Partition: o.id, Entries: c.Entries[:0], Aside: c.Aside[:0]}
	return c
}

// finish completes c with the state that o has reached.
func (o *partition) finish(c *buffer.Commit) {
	c.NextOffset, c.Window, c.Journal = o.next, o.window.Meta(), o.window.Journal()
}

// commit makes commits durable, one for each of the partitions, which the caller holds.
func (n *Node) commit(ctx context.Context, partitions []*partition, commits ...buffer.Commit) error {
	began := time.Now()
	if err := n.awaitRoom(ctx, func() error { return n.store.Commit(commits...) }); err != nil {
		for _, o := range partitions {
			// What is durable is not known, or less than what is in memory.
			o.stop(fmt.Errorf("partition %d: %w", o.id, err))
		}
		return partitions[0].fault()
	}
	if n.opts.OnCommit != nil {
		n.opts.OnCommit(time.Since(began))
	}
	for _, o := range partitions {
		o.window.Committed()
		n.opts.Live.Tell(o.taken)
		o.made(n.store.Partition(o.id).NextEmit)
		o.open.Store(int64(o.window.OpenSessions()))
		if err := n.snapshot(o); err != nil {
			o.stop(fmt.Errorf("partition %d: %w", o.id, err))
			return o.fault()
		}
	}
	return nil
}

// snapshot writes the windows of o whole where their journal has become long. When there is no room for it, it is tried
// again after the next commit.
func (n *Node) snapshot(o *partition) error {
	if !n.store.SnapshotDue(o.id) {
		return nil
	}
	if err := n.store.Snapshot(o.id, o.window); err != nil && !errors.Is(err, buffer.ErrNoRoom) {
		return err
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
		if err := o.fault(); err != nil {
			return fmt.Errorf("end: %w", err)
		}
		if err := n.confirm(ctx, o); err != nil {
			return fmt.Errorf("end: %w", err)
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
	for _, o := range owned {
		meta := o.window.Meta()
		m := buffer.Mark{Epoch: epoch + 1, Watermark: meta.AfterEnd(), Offset: o.next}
		if err := n.beforeMark(ctx, o, buffer.KindEnd, m); err != nil {
			return fmt.Errorf("end: %w", err)
		}
	}
	commits := make([]buffer.Commit, len(owned))
	for i, o := range owned {
		c := o.begin()
		addParts(c, o.window.End(epoch+1))
		c.Entries = append(c.Entries, buffer.Entry{Kind: buffer.KindEnd, Mark: o.mark()})
		o.finish(c)
		commits[i] = *c
	}
	if err := n.commit(ctx, owned, commits...); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	return nil
}

// mark says what the window has reached.
func (o *partition) mark() buffer.Mark {
	m := o.window.Meta()
	return buffer.Mark{Epoch: m.Epoch, Watermark: m.Watermark, Offset: o.next}
}

func addParts(c *buffer.Commit, parts []window.Part) {
	for i := range parts {
		c.Entries = append(c.Entries, buffer.Entry{Kind: buffer.KindPart, Part: parts[i].Part, Packed: parts[i].Packed})
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
