package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// tryAgain is how long to wait before the store is asked for room again, or the decoder for a click.
const tryAgain = time.Second

// Health returns why the node does not go on, or nil: the store has no room, the decoder is not ready, or a partition has
// failed. It does not wait
// for a commit that is under way.
func (n *Node) Health() error {
	var faults []error
	for _, w := range []*waiting{&n.noRoom, &n.notReady} {
		if err := w.because.Load(); err != nil {
			faults = append(faults, *err)
		}
	}
	if err := n.moves.health(); err != nil {
		faults = append(faults, err)
	}
	for _, o := range n.sorted() {
		if err := o.fault(); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// waiting is a state in which the node does nothing but try again: something that it needs is not there.
type waiting struct {
	until         error // what the errors of the state wrap
	begins, ended string
	because       atomic.Pointer[error] // nil outside of the state
}

// awaitRoom does f, and again as long as it returns ErrNoRoom, which says that it has done nothing.
func (n *Node) awaitRoom(ctx context.Context, f func() error) error {
	return n.await(ctx, &n.noRoom, f)
}

// await does f, and again as long as its error wraps w.until.
func (n *Node) await(ctx context.Context, w *waiting, f func() error) error {
	for {
		err := f()
		if !errors.Is(err, w.until) {
			if err == nil && w.because.Load() != nil && w.because.Swap(nil) != nil {
				n.opts.Log.Info(w.ended)
			}
			return err
		}
		if w.because.Swap(&err) == nil {
			n.opts.Log.Error(w.begins, "error", err)
		}
		if ended := n.opts.Wait(ctx, tryAgain); ended != nil {
			return fmt.Errorf("%w (%w)", ended, err)
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
