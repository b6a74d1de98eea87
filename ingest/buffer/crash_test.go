package buffer_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/vfs"
	"github.com/cockroachdb/pebble/vfs/errorfs"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// stream is a run of records of two partitions, the same for every crash.
type stream struct {
	clicks  []schema.Click
	batches []source.Batch
	of      []schema.Partition
}

func newStream(batches, size int) *stream {
	random := rand.New(rand.NewPCG(7, 7))
	s := &stream{}
	next := [2]schema.Offset{}
	now := [2]schema.EventTime{1_700_000_000_000, 1_700_000_000_000}
	for i := range batches {
		p := schema.Partition(i % 2)
		var b source.Batch
		for range size {
			now[p] += schema.EventTime(random.IntN(30) - 8)
			s.clicks = append(s.clicks, schema.Click{
				UserID: fmt.Sprint("u", p, random.IntN(6)), ItemID: fmt.Sprint("i", random.IntN(50)), EventTime: now[p], Action: schema.ActionClick,
				EventID: fmt.Sprint(random.IntN(200)),
			})
			value := binary.AppendUvarint(nil, uint64(len(s.clicks)-1))
			if random.IntN(40) == 0 {
				value = nil
			}
			b.Records = append(b.Records, source.Record{Offset: next[p], ArrivedAt: schema.ArrivalTime(now[p]), Value: value})
			next[p]++
		}
		b.Next, b.HighWatermark = next[p], next[p]
		s.batches, s.of = append(s.batches, b), append(s.of, p)
	}
	return s
}

func (s *stream) decode(r source.Record) (schema.Click, error) {
	i, n := binary.Uvarint(r.Value)
	if n <= 0 {
		return schema.Click{}, fmt.Errorf("no click")
	}
	return s.clicks[i], nil
}

// run applies what the store has not had yet, and ends the input. It may be stopped by an error.
func (s *stream) run(fs buffer.FS) error {
	store, err := buffer.Open("store", buffer.Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		return err
	}
	defer store.Close()
	o := ingest.DefaultOptions("clicks")
	o.Window = window.Config{
		Gap: 60 * time.Millisecond, LatenessBound: 20 * time.Millisecond, PartAge: 20 * time.Millisecond, PartClicks: 4,
		MaxSessionAge: time.Second, MaxSessionClicks: 30,
	}
	node, err := ingest.New(store, s.decode, o)
	if err != nil {
		return err
	}
	ctx := context.Background()
	var next [2]schema.Offset
	for p := range next {
		if next[p], err = node.Assign(ctx, schema.Partition(p)); err != nil {
			return err
		}
	}
	for i, b := range s.batches {
		if p := s.of[i]; b.Next > next[p] {
			if err := node.Apply(ctx, p, b); err != nil {
				return err
			}
		}
	}
	return node.End(ctx)
}

// contents is all that a store holds.
type contents struct {
	Logs     [2][]buffer.Entry
	Metas    map[schema.Partition]buffer.Meta
	Aside    []schema.Rejected
	Sessions [2][]window.Session
}

func read(t *testing.T, fs buffer.FS) contents {
	t.Helper()
	store, err := buffer.Open("store", buffer.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var c contents
	if c.Metas, err = store.Partitions(); err != nil {
		t.Fatal(err)
	}
	for p := range c.Logs {
		if c.Logs[p], err = store.Log(schema.Partition(p), 0, 1<<20); err != nil {
			t.Fatal(err)
		}
		if c.Sessions[p], err = store.Sessions(schema.Partition(p)); err != nil {
			t.Fatal(err)
		}
	}
	for r, err := range store.Aside(0) {
		if err != nil {
			t.Fatal(err)
		}
		c.Aside = append(c.Aside, r)
	}
	return c
}

// TestACrashAtAnySyncLosesAndDoublesNothing lets the disk stop keeping anything at the n-th sync, for every n: what was
// written since is gone after the crash, as if the power had failed. Gone on from what is left, the store must come to hold
// what it holds without a crash.
func TestACrashAtAnySyncLosesAndDoublesNothing(t *testing.T) {
	s := newStream(12, 40)
	calm := vfs.NewStrictMem()
	if err := s.run(calm); err != nil {
		t.Fatal(err)
	}
	want := read(t, calm)
	if len(want.Logs[0]) < 50 || len(want.Aside) < 10 || len(want.Sessions[0]) > 0 {
		t.Fatalf("the stream is too tame: %d entries, %d aside", len(want.Logs[0]), len(want.Aside))
	}
	crashes := 0
	for n := int64(1); ; n++ {
		disk := vfs.NewStrictMem()
		var syncs atomic.Int64 // Pebble syncs from more than one goroutine
		fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op, _ string) error {
			if op == errorfs.OpFileSync && syncs.Add(1) == n {
				disk.SetIgnoreSyncs(true)
			}
			return nil
		}))
		if err := s.run(fs); err != nil { // the process does not notice: its writes just do not last
			t.Fatal(err)
		}
		if syncs.Load() < n {
			break
		}
		disk.ResetToSyncedState()
		disk.SetIgnoreSyncs(false)
		crashes++
		if err := s.run(disk); err != nil {
			t.Fatalf("after a crash at sync %d: %v", n, err)
		}
		if diff := gocmp.Diff(want, read(t, disk)); diff != "" {
			t.Fatalf("after a crash at sync %d (-want +got):\n%s", n, diff)
		}
	}
	if crashes < len(s.batches) {
		t.Fatalf("only %d crashes: fewer than commits", crashes)
	}
	t.Logf("%d crashes", crashes)
}
