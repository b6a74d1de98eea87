package flight

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
)

// TestAMirrorOfHistories has of each user what the node has, over restarts of both; and notices a node whose log is another one.
func TestAMirrorOfHistories(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 2)
	node := newMachine(t, o.store, ServerConfig{})
	fs := buffer.Memory()
	grow := func() {
		for range 100 {
			o.grow(t, schema.Partition(o.rand.IntN(2)))
		}
	}
	for life := range 3 {
		grow()
		h, err := buffer.OpenHistories("store", buffer.HistoriesOptions{Store: buffer.Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20}, Parts: 20})
		must(t, err)
		m, err := NewMirror(h, MirrorConfig{Nodes: []string{node.url()}, Keep: time.Hour, AcceptGaps: true, PollEvery: 5 * time.Millisecond, RetryLeast: time.Millisecond, RetryMost: 10 * time.Millisecond})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		caughtUp := func() bool {
			for p := range schema.Partition(2) {
				if h.Partition(p).NextEmit != o.store.Partition(p).NextEmit {
					return false
				}
			}
			return true
		}
		wait := func(what string, holds func() bool) {
			t.Helper()
			for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("never: %s; %v", what, m.Health())
				}
			}
		}
		wait("it is as far as the node", caughtUp)
		node.kill()
		grow()
		node.start()
		wait("it goes on behind a restart of the node", caughtUp)
		for p := range 2 {
			for u := range 5 {
				user := fmt.Sprint("user-", p, "-", u)
				want, err := o.store.Recent(user, 20)
				must(t, err)
				got, err := h.Recent(user, 20)
				must(t, err)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%s (-node +mirror):\n%s", user, diff)
				}
			}
		}
		if life == 2 { // another log, which is longer, in the place of the node
			other := newTopic(t, seeded(t, 1), 2)
			for other.store.Partition(0).NextEmit <= o.store.Partition(0).NextEmit+5 || other.store.Partition(1).NextEmit <= o.store.Partition(1).NextEmit+5 {
				other.grow(t, schema.Partition(other.rand.IntN(2)))
			}
			node.kill()
			node.store = other.store
			node.start()
			wait("it sees that the log is another", func() bool {
				err := m.Health()
				return err != nil && strings.Contains(err.Error(), "is another on this node")
			})
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		must(t, m.Close())
		must(t, h.Close())
	}
}
