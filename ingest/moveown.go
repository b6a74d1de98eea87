package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// confirm returns nil when o may go on: its claim stands, or it is not known otherwise. Where another has claimed the partition
// it waits, and claims it again unless ctx ends: the group has given it to this node, and a group is slow to tell the others.
// o.mu is held.
func (n *Node) confirm(ctx context.Context, o *partition) error {
	for attempt := 1; ; attempt++ {
		l := o.lease.Load()
		if l == nil || !o.doubt && n.opts.Now().Sub(o.checked) < n.opts.Move.CheckEvery {
			return nil
		}
		if o.doubt {
			return n.retake(ctx, o) // a new claim knows whether the mark is recorded
		}
		err := l.claim.Check(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("partition %d: %w", o.id, context.Cause(ctx))
		}
		if !errors.Is(err, ErrFenced) {
			// NATS away does not stop reading: who cannot ask it cannot have claimed the partition there either.
			o.checked = n.opts.Now()
			if err != nil {
				n.moves.unreachable(o.id, err, n.opts.Log)
			} else {
				n.moves.reached(o.id, n.opts.Log)
			}
			return nil
		}
		n.moves.fenced.Add(1)
		n.opts.Log.Warn("another node has claimed a partition that is assigned to this one: waiting for the group to decide", "partition", o.id, "error", err)
		if err := n.opts.Wait(ctx, n.opts.Move.fence().of(attempt)); err != nil {
			return fmt.Errorf("partition %d: %w", o.id, err)
		}
		if err := n.retake(ctx, o); err != nil {
			return err
		}
	}
}

// retake claims o again and goes on from where the partition has come.
func (n *Node) retake(ctx context.Context, o *partition) error {
	o.lease.Load().end()
	err := n.open(ctx, o)
	if err != nil {
		err = fmt.Errorf("take partition %d over again: %w", o.id, err)
		o.stop(err)
	}
	return err
}

// doubtfulAfter is how long the recording of a mark may take before it is said that a partition waits for it.
const doubtfulAfter = 5 * time.Second

var errDoubtful = errors.New("a mark is on its way, and whether it is recorded is not known: nothing may pass it")

var errBehind = errors.New("the owners before may have come further: no mark can be made before they are caught up with")

// beforeMark makes a mark durable where other nodes find it, before this node makes it. It returns why the mark must not be
// made. o.mu is held.
func (n *Node) beforeMark(ctx context.Context, o *partition, kind buffer.Kind, mark buffer.Mark) error {
	l := o.lease.Load()
	if l == nil {
		return nil
	}
	if o.doubt {
		return fmt.Errorf("partition %d: %w", o.id, ErrDoubt)
	}
	if len(o.recall) > 0 {
		return fmt.Errorf("partition %d: a mark at offset %d comes first", o.id, o.recall[0].Mark.Offset)
	}
	if !o.caughtUp {
		return fmt.Errorf("partition %d: %w", o.id, errBehind)
	}
	r := Recorded{Kind: kind, Emit: n.store.Partition(o.id).NextEmit, Mark: mark}
	late := time.AfterFunc(doubtfulAfter, func() { n.moves.waits(o.id, errDoubtful, n.opts.Log) })
	err := l.claim.Record(ctx, r)
	late.Stop()
	switch {
	case err == nil:
		o.recall = append(o.recall, r)
		n.moves.marks.Add(1)
		n.moves.reached(o.id, n.opts.Log)
		return nil
	case errors.Is(err, ErrFenced):
		o.checked = time.Time{} // the next batch finds out
	case errors.Is(err, ErrDoubt):
		o.doubt = true // the next owner may make the mark, so nothing may pass its place before it is known
	default:
		n.moves.refused.Add(1)
		n.moves.unreachable(o.id, err, n.opts.Log)
	}
	return err
}

// settled reports whether nobody else believes to own the partition of l.
func (n *Node) settled(l *lease) bool {
	_, released := l.claim.Left()
	return released || n.opts.Now().Sub(l.claimed) >= n.opts.Move.SettleFor
}

// catchUp notes how far the owners before may have come, which is the end of the partition once they have stopped, and
// whether o is as far. A mark before that would be at a place that they have passed without it. o.mu is held.
func (n *Node) catchUp(o *partition, end schema.Offset) {
	l := o.lease.Load()
	if l == nil || o.caughtUp || !n.settled(l) {
		return
	}
	if o.catchUpTo < 0 {
		o.catchUpTo = end
	}
	o.caughtUp = o.next >= o.catchUpTo
}

// recallUpTo makes the recorded marks that come before the record at offset. o.mu is held.
func (n *Node) recallUpTo(o *partition, offset schema.Offset, c *buffer.Commit) error {
	for len(o.recall) > 0 && o.recall[0].Mark.Offset <= offset {
		r := o.recall[0]
		emit := n.store.Partition(o.id).NextEmit + schema.Emit(len(c.Entries))
		switch r.Kind {
		case buffer.KindTick:
			addParts(c, o.window.Tick(r.Mark.Watermark))
		case buffer.KindEnd:
			if r.Mark.Epoch <= o.window.Meta().Epoch {
				o.stop(fmt.Errorf("partition %d: an end of epoch %d is recorded, and it is at %d: %w", o.id, r.Mark.Epoch, o.window.Meta().Epoch, errDiverged))
				return o.fault()
			}
			addParts(c, o.window.End(r.Mark.Epoch))
		}
		if is := o.window.Meta(); (emit != r.Emit || is.Watermark != r.Mark.Watermark || is.Epoch != r.Mark.Epoch) && !o.differs {
			o.differs = true
			n.moves.diverged.Add(1)
			n.opts.Log.Error("the log of a partition does not come out as it did before: was the window configuration changed, or have records gone from Kafka?",
				"partition", o.id, "offset", r.Mark.Offset, "entry", emit, "entry_before", r.Emit, "watermark", is.Watermark, "watermark_before", r.Mark.Watermark)
		}
		o.next = max(o.next, r.Mark.Offset)
		c.Entries = append(c.Entries, buffer.Entry{Kind: r.Kind, Mark: r.Mark})
		o.recall = o.recall[1:]
	}
	return nil
}

// made drops the marks that are durable in the log. o.mu is held.
func (o *partition) made(next schema.Emit) {
	for len(o.recall) > 0 && o.recall[0].Emit < next {
		o.recall = o.recall[1:]
	}
}

// pause is a bounded, jittered waiting time between attempts.
type pause struct{ first, most time.Duration }

// of returns how long to wait after so many attempts: between half and all of first, doubled each time, at most most.
func (p pause) of(attempts int) time.Duration {
	d := p.most
	if shift := attempts - 1; shift < 32 && p.first <= p.most>>shift {
		d = p.first << shift
	}
	return d/2 + rand.N(d/2+1)
}
