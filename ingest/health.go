package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/ingest/buffer"
)

// roomWait is how long to wait before the store is asked for room again.
const roomWait = time.Second

// Health returns why the node does not go on, or nil: the store has no room, or a partition has failed. It does not wait
// for a commit that is under way.
func (n *Node) Health() error {
	var faults []error
	if err := n.noRoom.Load(); err != nil {
		faults = append(faults, *err)
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

// awaitRoom does f, and again as long as it returns ErrNoRoom, which says that it has done nothing.
func (n *Node) awaitRoom(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !errors.Is(err, buffer.ErrNoRoom) {
			if err == nil && n.noRoom.Swap(nil) != nil {
				n.opts.Log.Info("there is room again: reading goes on")
			}
			return err
		}
		if n.noRoom.Swap(&err) == nil {
			n.opts.Log.Error("reading waits: there is no room", "error", err)
		}
		if ended := n.opts.Wait(ctx, roomWait); ended != nil {
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
