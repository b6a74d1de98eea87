package flight

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// failing is a store that may refuse to write.
type failing struct {
	*buffer.Store
	with atomic.Pointer[error]
}

func (f *failing) Append(p schema.Partition, m buffer.Meta, entries []buffer.Entry) error {
	if err := f.with.Load(); err != nil {
		return *err
	}
	return f.Store.Append(p, m, entries)
}

// TestMirrorWaitsForRoom, and ends with any other fault of its store: what is durable is then not known.
func TestMirrorWaitsForRoom(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 2)
	o.grow(t, 0)
	o.grow(t, 1)
	m := newMachine(t, o.store, ServerConfig{})
	store := &failing{Store: openStore(t, buffer.Memory())}
	defer store.Close()
	full := errOf("%w on the disk: make some", buffer.ErrNoRoom)
	store.with.Store(&full)
	mirror, err := NewMirror(store, quickMirror(m))
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- mirror.Run(context.Background()) }()
	until(t, store.Store, "health says that there is no room", func() error {
		if err := mirror.Health(); err == nil || !strings.Contains(err.Error(), full.Error()) {
			return errOf("it says %v", err)
		}
		return nil
	})
	store.with.Store(nil)
	until(t, store.Store, "it goes on", func() error {
		for p := range schema.Partition(2) {
			if store.Partition(p).Window != o.store.Partition(p).Window {
				return errOf("partition %d: %w", p, mirror.Health())
			}
		}
		return mirror.Health()
	})
	equalLogs(t, o, store.Store)

	broken := errors.New("the disk is gone")
	store.with.Store(&broken)
	for m := o.store.Partition(0); o.store.Partition(0).NextEmit == m.NextEmit; {
		o.grow(t, 0)
	}
	if err := <-done; !errors.Is(err, broken) || !errors.Is(err, errStore) {
		t.Errorf("it ends with %v", err)
	}
	must(t, mirror.Close())
}

// TestMirrorOfAMirror: a copy is shown as a log of its own is.
func TestMirrorOfAMirror(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 2)
	first := startMirror(t, buffer.Memory(), quickMirror(newMachine(t, o.store, ServerConfig{})))
	second := startMirror(t, buffer.Memory(), quickMirror(newMachine(t, first.store, ServerConfig{})))
	for range 20 {
		o.grow(t, 0)
		o.grow(t, 1)
	}
	o.end(t)
	second.reaches(o)
	equalLogs(t, o, second.store)
	reader := &reading{t: t}
	reader.begin(second.store)
	reader.read()
	if !reader.progress.Ended || reader.progress.Epoch != 1 {
		t.Errorf("progress %+v", reader.progress)
	}
	second.stop() // before what it reads from
	first.stop()
}
