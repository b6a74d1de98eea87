package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/vfs"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// disk is a file system in memory that says how much room it has.
type disk struct {
	vfs.FS
	free atomic.Uint64
}

func (d *disk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free.Load(), TotalBytes: 1 << 40}, nil
}

const enough = 1 << 40

// world is a node on a disk that can be full.
type world struct {
	disk  *disk
	store *buffer.Store
	node  *ingest.Node
	waits int
	wait  func(ctx context.Context) error
	// decoding is called before each record is decoded.
	decoding func(offset schema.Offset)
}

func newWorld(t *testing.T) *world {
	w := &world{disk: &disk{FS: buffer.Memory()}, decoding: func(schema.Offset) {}}
	w.disk.free.Store(enough)
	clock := time.Unix(0, 0)
	s, err := buffer.Open("store", buffer.Options{FS: w.disk, CacheBytes: 1 << 20, MemTableBytes: 1 << 20, Now: func() time.Time {
		clock = clock.Add(time.Minute) // the disk is asked each time
		return clock
	}})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	w.store = s
	o := ingest.DefaultOptions("clicks")
	o.Wait = func(ctx context.Context, d time.Duration) error {
		if d <= 0 || w.node.Health() == nil {
			t.Errorf("it waits for %v, and its health is %v", d, w.node.Health())
		}
		w.waits++
		return w.wait(ctx)
	}
	w.node, err = ingest.New(s, func(r source.Record, c *schema.Click) error {
		w.decoding(r.Offset)
		return decode(r, c)
	}, o)
	must(t, err)
	_, err = w.node.Assign(context.Background(), 0)
	must(t, err)
	return w
}

func (w *world) records(from int) source.Batch {
	var all []source.Record
	for i := from; i < from+3; i++ {
		all = append(all, record(i, schema.Click{UserID: fmt.Sprint(i), ItemID: "x", EventTime: noon.Add(time.Duration(i) * time.Minute)}))
	}
	return batch(all...)
}

func TestApplyWaitsForRoom(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	must(t, w.node.Apply(ctx, 0, w.records(0)))
	before := w.store.Partition(0)

	w.disk.free.Store(1)
	w.wait = func(context.Context) error {
		if diff := gocmp.Diff(before, w.store.Partition(0)); diff != "" {
			t.Errorf("something was written:\n%s", diff)
		}
		if w.waits == 3 {
			w.disk.free.Store(enough)
		}
		return nil
	}
	must(t, w.node.Apply(ctx, 0, w.records(3)))
	if w.waits != 3 || w.node.Health() != nil {
		t.Errorf("it waited %d times, and its health is %v", w.waits, w.node.Health())
	}
	balance(t, w.store, 6)
}

// TestRoomThatRunsOutWithinABatch fills the disk after the batch was begun: its commit is made when there is room.
func TestRoomThatRunsOutWithinABatch(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	w.decoding = func(schema.Offset) { w.disk.free.Store(1) }
	w.wait = func(context.Context) error {
		w.disk.free.Store(enough)
		return nil
	}
	must(t, w.node.Apply(ctx, 0, w.records(0)))
	if w.waits != 1 || w.store.Partition(0).NextOffset != 3 {
		t.Errorf("it waited %d times, and is at offset %d", w.waits, w.store.Partition(0).NextOffset)
	}
	w.decoding = func(schema.Offset) {}
	must(t, w.node.End(ctx))
	balance(t, w.store, 3)
}

func TestTheContextEndsTheWait(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ended := errors.New("ended")
	w.wait = func(context.Context) error { return ended }
	w.disk.free.Store(1)
	if err := w.node.Apply(ctx, 0, w.records(0)); !errors.Is(err, ended) || !errors.Is(err, buffer.ErrNoRoom) {
		t.Errorf("apply: %v", err)
	}
	if w.node.Health() == nil {
		t.Error("it is healthy without room")
	}
	w.disk.free.Store(enough)
	must(t, w.node.Apply(ctx, 0, w.records(0))) // nothing of the batch had been taken
	if err := w.node.Health(); err != nil {
		t.Error(err)
	}

	// Here the windows have moved on already: the partition must be assigned again.
	w.decoding = func(schema.Offset) { w.disk.free.Store(1) }
	if err := w.node.Apply(ctx, 0, w.records(3)); !errors.Is(err, ended) {
		t.Errorf("apply: %v", err)
	}
	w.decoding = func(schema.Offset) {}
	w.disk.free.Store(enough)
	if err := w.node.Apply(ctx, 0, w.records(3)); err == nil || w.node.Health() == nil {
		t.Errorf("it goes on from windows that are ahead of the store: %v", err)
	}
	next, err := w.node.Assign(ctx, 0)
	must(t, err)
	if next != 3 {
		t.Errorf("assigned at offset %d, want 3", next)
	}
	must(t, w.node.Apply(ctx, 0, w.records(3)))
	if err := w.node.Health(); err != nil {
		t.Error(err)
	}
	must(t, w.node.End(ctx))
	balance(t, w.store, 6)
}
