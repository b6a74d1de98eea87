package snapshots_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/snapshots"
	"github.com/google/go-cmp/cmp"
)

// Where NATS is away nothing is recorded, and it does not take long to find out; where it is back, everything goes on.
func TestNATSIsAway(t *testing.T) {
	dir := t.TempDir()
	s := natstest.Start(t, dir, 0)
	js := dial(t, s.ClientURL())
	store, err := snapshots.New(js, snapshots.Config{Topic: "clicks", Group: "freshet", Owner: "a", Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	c := claim(t, store, 0)
	record(t, c, tick(1, 1))
	mustSave(t, c, snapshots.At{Offset: 1, Emit: 2}, noise(10))
	back := natstest.Port(s)
	natstest.Stop(s)
	if err := c.Record(t.Context(), tick(2, 2)); err == nil || errors.Is(err, snapshots.ErrFenced) || errors.Is(err, snapshots.ErrDoubt) {
		t.Fatal(err)
	}
	if _, err := save(c, snapshots.At{Offset: 2, Emit: 3}, noise(10)); err == nil || errors.Is(err, snapshots.ErrFenced) {
		t.Fatal(err)
	}
	if _, err := store.Claim(t.Context(), 0); err == nil {
		t.Fatal("a partition is claimed without NATS")
	}
	natstest.Start(t, dir, back)
	until(t, func() bool { return js.Conn().IsConnected() })
	until(t, func() bool { return c.Check(t.Context()) == nil })
	record(t, c, tick(3, 3)) // not refused as a moment ago: NATS was known to be away
	mustSave(t, c, snapshots.At{Offset: 3, Emit: 4}, noise(11))
	if m := claim(t, store, 0).State().Marks; !slices.Equal(m, []snapshots.Mark{tick(1, 1), tick(3, 3)}) {
		t.Fatalf("marks %+v", m)
	}
}

// until waits for f, which comes true in another goroutine.
func until(t testing.TB, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come true")
		}
	}
}

// NATS came back without what it held: the owner's next write brings the entry back.
func TestNATSLosesTheEntry(t *testing.T) {
	s := natstest.Start(t, t.TempDir(), 0)
	js := dial(t, s.ClientURL())
	entries, snapshotsName := snapshots.Buckets("clicks", "freshet")
	for what, lose := range map[string]func() error{
		"entry": func() error {
			kv, err := js.KeyValue(t.Context(), entries)
			if err != nil {
				return err
			}
			return kv.Purge(t.Context(), "0")
		},
		"bucket": func() error { return js.DeleteKeyValue(t.Context(), entries) },
		"both": func() error {
			return errors.Join(js.DeleteKeyValue(t.Context(), entries), js.DeleteObjectStore(t.Context(), snapshotsName))
		},
	} {
		c := claim(t, open(t, s.ClientURL(), "a"), 0)
		at := snapshots.At{Offset: 100, Emit: 100}
		if m := c.State().Marks; len(m) > 0 {
			at = m[len(m)-1].At
		}
		record(t, c, tick(at.Offset+1, at.Emit+1))
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		var err error
		for range 3 { // the first may only find out that the bucket is gone
			if err = c.Record(t.Context(), tick(at.Offset+2, at.Emit+2)); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		want := c.State()
		if got := claim(t, open(t, s.ClientURL(), "b"), 0).State(); !cmp.Equal(got, want) {
			t.Fatalf("%s: %s", what, cmp.Diff(want, got))
		}
		if len(want.Marks) < 2 {
			t.Fatalf("%s: %+v", what, want)
		}
	}
}

// The answer to a mark's write is lost. Record does not return before it is known that the mark is there: nothing passes the
// place meanwhile.
func TestDoubt(t *testing.T) {
	s := natstest.Start(t, t.TempDir(), 0)
	w := newWire(t, s.Addr().String())
	store := open(t, w.url(), "a")
	c := claim(t, store, 0)
	record(t, c, tick(1, 1))
	other := open(t, s.ClientURL(), "b") // by another wire

	lost := make(chan struct{})
	w.lose(func(answer []byte) bool {
		if bytes.Contains(answer, []byte(`"stream":"KV_`)) && bytes.Contains(answer, []byte(`"seq"`)) { // an acknowledgement
			close(lost)
			return true
		}
		return false
	})
	result := make(chan error, 1)
	go func() { result <- c.Record(t.Context(), tick(2, 2)) }()
	<-lost
	select {
	case err := <-result:
		t.Fatalf("it returns %v, and cannot know", err)
	default:
	}
	w.heal()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if m := claim(t, other, 0).State().Marks; !slices.Equal(m, []snapshots.Mark{tick(1, 1), tick(2, 2)}) {
		t.Fatalf("marks %+v", m)
	}
}

// The context ends in doubt.
func TestDoubtRemains(t *testing.T) {
	s := natstest.Start(t, t.TempDir(), 0)
	w := newWire(t, s.Addr().String())
	c := claim(t, open(t, w.url(), "a"), 0)
	ctx, cancel := context.WithCancel(t.Context())
	w.lose(func(answer []byte) bool {
		if bytes.Contains(answer, []byte(`"stream":"KV_`)) && bytes.Contains(answer, []byte(`"seq"`)) {
			cancel()
			return true
		}
		return false
	})
	if err := c.Record(ctx, tick(2, 2)); !errors.Is(err, snapshots.ErrDoubt) {
		t.Fatal(err)
	}
	if m := claim(t, open(t, s.ClientURL(), "b"), 0).State().Marks; len(m) != 1 {
		t.Fatalf("the next owner does not know the mark that may have been made: %+v", m)
	}
}
