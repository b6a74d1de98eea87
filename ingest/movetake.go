package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// lease is a claim while this node uses it.
type lease struct {
	claim   Claim
	claimed time.Time
	life    context.Context // ends when the partition is let go
	end     context.CancelFunc
}

// takeOver claims p and brings the store to where the partition has come, wherever that was. It returns the marks that are
// recorded and not in the store. It waits for as long as the claims cannot be reached: without them nobody knows how far
// another node has gone. Where partitions do not move there is no lease.
func (n *Node) takeOver(ctx context.Context, p schema.Partition) (*lease, []Recorded, error) {
	if n.opts.Moves == nil {
		return nil, nil, nil
	}
	for failed := 1; ; failed++ {
		l, marks, err := n.claim(ctx, p)
		var known *takeOverError
		if err == nil || errors.As(err, &known) || errors.Is(err, ErrRefused) {
			n.moves.reached(p, n.opts.Log)
			return l, marks, err
		}
		n.moves.waits(p, err, n.opts.Log)
		if ended := n.opts.Wait(ctx, n.opts.Move.retry().of(failed)); ended != nil {
			n.moves.forget(p)
			return nil, nil, fmt.Errorf("%w (%w)", ended, err)
		}
	}
}

// takeOverError is an error that does not go away by trying again.
type takeOverError struct{ err error }

func (e *takeOverError) Error() string { return e.err.Error() }
func (e *takeOverError) Unwrap() error { return e.err }

func fatal(format string, args ...any) error { return &takeOverError{fmt.Errorf(format, args...)} }

func (n *Node) claim(ctx context.Context, p schema.Partition) (*lease, []Recorded, error) {
	claim, err := n.opts.Moves.Claim(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	l := &lease{claim: claim, claimed: n.opts.Now()}
	marks, err := n.restore(ctx, claim, p)
	if err != nil {
		return nil, nil, err
	}
	l.life, l.end = context.WithCancel(context.WithoutCancel(ctx))
	return l, marks, nil
}

// restore imports the newest snapshot that is further than the store, and returns the marks that its log lacks.
func (n *Node) restore(ctx context.Context, claim Claim, p schema.Partition) ([]Recorded, error) {
	state := claim.State()
	usable, err := n.usable(p, state)
	if err != nil {
		return nil, &takeOverError{err}
	}
	if !usable || !n.replayable(ctx, p, state) {
		found, err := n.importNewest(ctx, claim, p, state, usable)
		if err != nil {
			return nil, err
		}
		if !found && !usable {
			return nil, fatal("partition %d: its log here is another node's, and there is no snapshot to go on from: start its owner again with snapshots on, or this one with an empty --data-dir", p)
		}
	}
	here := n.store.Partition(p)
	marks, all := state.since(here.NextEmit)
	if len(marks) > 0 && marks[0].Mark.Offset < here.NextOffset {
		return nil, fatal("partition %d: %w: a mark was made before offset %d, and this node is at %d without it: start it with an empty --data-dir",
			p, errDiverged, marks[0].Mark.Offset, here.NextOffset)
	}
	if !all {
		n.moves.fallbacks.Add(1)
		n.opts.Log.Warn("the snapshots of a partition are lost, and marks with them: its sessions come again from the records that Kafka still has, but some end at other times, and are numbered otherwise, than readers have seen",
			"partition", p, "offset", here.NextOffset, "emit", here.NextEmit, "marks_known_from", state.MarksFrom)
	}
	return marks, nil
}

// usable reports whether the store's own state of p can be gone on from: it is no mirror, and no other node has gone another
// way meanwhile. In that case it becomes a mirror.
func (n *Node) usable(p schema.Partition, state Moved) (bool, error) {
	here := n.store.Partition(p)
	if here.Mirror {
		return false, nil
	}
	err := n.sameHistory(here, state)
	if !errors.Is(err, errDiverged) || len(state.Snapshots) == 0 {
		return true, err
	}
	n.moves.diverged.Add(1)
	n.opts.Log.Error("this node's log of the partition is not the one that went on elsewhere: going on with the other; readers of this one have entries that others do not",
		"partition", p, "error", err)
	return false, n.store.Leave(p)
}

// replayAtMost is how many records are rather read again than skipped by an import: some ten seconds of reading.
const replayAtMost = 4_000_000

// replayable reports whether p can go on from where it is here, and need not be imported from where it is elsewhere. An import
// would tear a hole into the log here, and drop what is before it: it may not have been read by all.
func (n *Node) replayable(ctx context.Context, p schema.Partition, state Moved) bool {
	here := n.store.Partition(p)
	if len(state.Snapshots) == 0 || n.opts.Move.Earliest == nil || here.NextEmit == here.FirstEmit ||
		state.Snapshots[0].Offset-here.NextOffset > replayAtMost {
		return false
	}
	if _, all := state.since(here.NextEmit); !all {
		return false
	}
	earliest, err := n.opts.Move.Earliest(ctx, p)
	return err == nil && earliest <= here.NextOffset
}

// importNewest imports the newest snapshot that is not damaged, unless usable says that the store may be gone on from and it
// is as far.
func (n *Node) importNewest(ctx context.Context, claim Claim, p schema.Partition, state Moved, usable bool) (found bool, err error) {
	for _, s := range state.Snapshots {
		if usable && s.Compare(placeOf(n.store.Partition(p))) <= 0 {
			return false, nil
		}
		err := n.load(ctx, claim, p, s)
		if err == nil {
			n.moves.restored.Add(1)
			n.opts.Log.Info("partition restored from a snapshot", "partition", p, "offset", s.Offset, "emit", s.Emit, "bytes", s.Bytes)
			return true, nil
		}
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, buffer.ErrCorrupt) {
			return false, err
		}
		n.moves.damaged.Add(1)
		n.opts.Log.Error("a snapshot is damaged: going on with what is older", "partition", p, "object", s.Object, "offset", s.Offset, "error", err)
		claim.Discard(s)
	}
	return false, nil
}

// load imports snapshot s.
func (n *Node) load(ctx context.Context, claim Claim, p schema.Partition, s Snapshot) error {
	from, err := claim.Open(ctx, s)
	if err != nil {
		return err
	}
	watched := &watchedReader{from: from}
	got, err := n.store.Import(p, watched)
	switch {
	case watched.err != nil && !errors.Is(watched.err, io.EOF):
		return watched.err // the way here, and not what came
	case errors.Is(err, buffer.ErrCorrupt):
		return err
	case err != nil:
		return &takeOverError{err}
	case placeOf(got) != s.Place:
		return fatal("partition %d: snapshot %s is of offset %d, emit %d, and says %d, %d", p, s.Object, got.NextOffset, got.NextEmit, s.Offset, s.Emit)
	}
	return nil
}

// watchedReader keeps the error of a reader.
type watchedReader struct {
	from io.Reader
	err  error
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	w.err = err
	return n, err
}

// errDiverged says that two nodes have made two logs of one partition.
var errDiverged = errors.New("two nodes have made two logs of it")

// sameHistory returns an errDiverged if the log here has come past the place of a recorded mark without it: this node went on
// when it was no longer the owner.
func (n *Node) sameHistory(here buffer.Meta, state Moved) error {
	marks := state.made(here.FirstEmit, here.NextEmit)
	if len(marks) == 0 {
		return nil
	}
	const entries = 4096
	for at := marks[0].Emit; len(marks) > 0; {
		log, err := n.store.Log(here.Partition, at, entries)
		if err != nil {
			return err
		}
		if len(log) == 0 {
			return fmt.Errorf("partition %d: %w: the log here has no %s at offset %d, as it was recorded for entry %d",
				here.Partition, errDiverged, kindName(marks[0].Kind), marks[0].Mark.Offset, marks[0].Emit)
		}
		for _, e := range log {
			if m := marks[0]; e.Kind == m.Kind && e.Mark.Offset == m.Mark.Offset && e.Emit >= m.Emit {
				if marks = marks[1:]; len(marks) == 0 {
					break
				}
			}
		}
		at = log[len(log)-1].Emit + 1
	}
	return nil
}

func kindName(k buffer.Kind) string {
	switch k {
	case buffer.KindTick:
		return "tick"
	case buffer.KindEnd:
		return "end"
	case buffer.KindGrow:
		return "growth"
	}
	return fmt.Sprintf("entry of kind %d", k)
}
