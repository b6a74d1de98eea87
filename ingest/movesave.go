package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// MoveOptions are the times of moving partitions. Fields left zero take their default.
type MoveOptions struct {
	// SnapshotEvery is the least time between two snapshots of a partition. Default 30s: who takes a partition over after a
	// crash reads that much again, which is a second of work at thirty times the rate of the stream; and a snapshot a partition
	// of a million sessions is 150 MB.
	SnapshotEvery time.Duration
	// CheckEvery is how often an owner makes sure that it still is one. Default 5s.
	CheckEvery time.Duration
	// SettleFor is how long a new owner makes no mark where the one before has not let go. Default 15s: by then that one has
	// checked, and its group has thrown it out.
	SettleFor time.Duration
	// ReleaseWithin bounds the last snapshot when a partition is revoked. Default 5s: half of what the group waits.
	ReleaseWithin time.Duration
	// Earliest returns the first offset that Kafka still has of a partition. With it, a node that had a partition not long ago
	// rather reads its records again than imports it, which would begin its log anew. Default: unknown.
	Earliest func(ctx context.Context, p schema.Partition) (schema.Offset, error)
	// RetryFirst and RetryMost bound the waiting between attempts to reach the claims. Default 500ms and 10s.
	RetryFirst, RetryMost time.Duration
}

// WithDefaults returns m with the defaults named at the fields.
func (m MoveOptions) WithDefaults() MoveOptions {
	for _, d := range []struct {
		of   *time.Duration
		then time.Duration
	}{{&m.SnapshotEvery, 30 * time.Second}, {&m.CheckEvery, 5 * time.Second}, {&m.SettleFor, 15 * time.Second},
		{&m.ReleaseWithin, 5 * time.Second}, {&m.RetryFirst, 500 * time.Millisecond}, {&m.RetryMost, 10 * time.Second}} {
		if *d.of == 0 {
			*d.of = d.then
		}
	}
	return m
}

// Validate reports every fault of m at once, or nil.
func (m MoveOptions) Validate() error {
	m = m.WithDefaults()
	var faults []error
	for name, d := range map[string]time.Duration{"snapshot_every": m.SnapshotEvery, "check_every": m.CheckEvery, "settle_for": m.SettleFor,
		"release_within": m.ReleaseWithin, "retry_first": m.RetryFirst, "retry_most": m.RetryMost} {
		if d < 0 {
			faults = append(faults, fmt.Errorf("%s %v: must be positive", name, d))
		}
	}
	if m.SettleFor < 2*m.CheckEvery {
		faults = append(faults, fmt.Errorf("settle_for %v: must be at least twice check_every %v", m.SettleFor, m.CheckEvery))
	}
	return errors.Join(faults...)
}

func (m MoveOptions) retry() pause { return pause{m.RetryFirst, m.RetryMost} }

func (m MoveOptions) fence() pause { return pause{4 * m.RetryFirst, 3 * m.RetryMost} }

const (
	// saveShare is the most of the time that goes into a partition's snapshots: one in so much.
	saveShare = 20
	// saveWithin bounds one snapshot.
	saveWithin = 5 * time.Minute
	// letAtOnce is how many partitions are let go at the same time, so that some are saved where there is no time for all.
	letAtOnce = 2
)

// RunSnapshots saves the state of the owned partitions, one after another, until ctx ends: of each that has moved on, every
// SnapshotEvery, and less often where a snapshot takes long. A snapshot that fails is tried again; nothing depends on it but
// how much the next owner has to read again.
func (n *Node) RunSnapshots(ctx context.Context) error {
	look := time.NewTicker(max(n.opts.Move.SnapshotEvery/10, 10*time.Millisecond))
	defer look.Stop()
	due := map[*lease]*dueSave{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		held := map[*lease]bool{}
		for _, o := range n.sorted() {
			l := o.lease.Load()
			if l == nil {
				continue
			}
			held[l] = true
			if due[l] == nil {
				// Nodes that took many partitions over at the same time do not save them all at the same time.
				due[l] = &dueSave{at: time.Now().Add(rand.N(n.opts.Move.SnapshotEvery))}
			}
			if d := due[l]; time.Now().After(d.at) {
				began := time.Now()
				d.done(n.saveDuring(ctx, o, l), time.Since(began), n.opts.Move.SnapshotEvery)
			}
		}
		maps.DeleteFunc(due, func(l *lease, _ *dueSave) bool { return !held[l] })
	}
}

// dueSave is when a partition is to be saved next.
type dueSave struct {
	at     time.Time
	failed int // in a row
}

// done sets the next time, after a save that took so long.
func (d *dueSave) done(err error, took, every time.Duration) {
	wait := max(every, saveShare*took)
	if err == nil {
		d.failed = 0
	} else {
		d.failed++
		wait = min(wait, time.Second<<min(d.failed, 16))
	}
	d.at = time.Now().Add(wait - wait/10 + rand.N(wait/5+1))
}

// saveDuring saves o's state, until ctx ends or the partition is let go.
func (n *Node) saveDuring(ctx context.Context, o *partition, l *lease) error {
	ctx, cancel := context.WithTimeout(ctx, saveWithin)
	defer cancel()
	defer context.AfterFunc(l.life, cancel)()
	return n.save(ctx, o, l.claim)
}

// save stores the durable state of o as a snapshot, if it has moved on since the last.
func (n *Node) save(ctx context.Context, o *partition, claim Claim) error {
	if have := claim.State().Snapshots; len(have) > 0 && placeOf(n.store.Partition(o.id)).Compare(have[0].Place) <= 0 {
		n.moves.saved(o.id, n.opts.Now())
		return nil
	}
	s, err := claim.Save(ctx, func(w io.Writer) (Place, error) {
		meta, err := n.store.Export(o.id, w)
		return placeOf(meta), err
	})
	switch {
	case err == nil:
		n.moves.snapshots.Add(1)
		n.moves.bytes.Add(uint64(s.Bytes))
		n.moves.saved(o.id, n.opts.Now())
		n.moves.reached(o.id, n.opts.Log)
		return nil
	case ctx.Err() != nil || errors.Is(err, ErrFenced):
		return err
	}
	n.moves.failures.Add(1)
	n.moves.unreachable(o.id, err, n.opts.Log)
	return err
}

// letGo leaves o, which does nothing any more, to whoever claims it next: it saves its state and releases it, both within
// ReleaseWithin. What does not succeed is made up for by the next owner, which reads more records again.
func (n *Node) letGo(o *partition, caughtUp bool) {
	l := o.lease.Load()
	if l == nil {
		return
	}
	l.end()
	defer n.moves.forget(o.id)
	ctx, cancel := context.WithTimeout(context.Background(), n.opts.Move.ReleaseWithin)
	defer cancel()
	select {
	case n.letting <- struct{}{}:
		defer func() { <-n.letting }()
	case <-ctx.Done():
		n.opts.Log.Warn("a partition is left without a last snapshot: there was no time", "partition", o.id)
		return
	}
	saving, stop := context.WithTimeout(ctx, n.opts.Move.ReleaseWithin*4/5)
	defer stop()
	err := n.save(saving, o, l.claim)
	if errors.Is(err, ErrFenced) {
		return
	}
	if err != nil {
		n.opts.Log.Warn("a partition is left without a last snapshot", "partition", o.id, "error", err)
	}
	if !caughtUp {
		return // an owner before this one may have come further, or still go on: the next one has to expect that as well
	}
	if err := l.claim.Release(ctx, placeOf(n.store.Partition(o.id))); err != nil && !errors.Is(err, ErrFenced) {
		n.opts.Log.Warn("a partition is left without a word to the next owner, who will wait a moment with idle ticks", "partition", o.id, "error", err)
	}
}
