package flight

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/live"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
)

// ears are what a mirror hears.
type ears struct {
	mu     sync.Mutex
	clicks []schema.Click
	news   chan struct{}
}

func (e *ears) hear(c *schema.Click) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clicks = append(e.clicks, schema.Click{UserID: string([]byte(c.UserID)), ItemID: string([]byte(c.ItemID)), Action: c.Action, EventTime: c.EventTime, Scene: c.Scene})
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// await waits until n clicks were heard.
func (e *ears) await(t *testing.T, n int) []schema.Click {
	t.Helper()
	for {
		e.mu.Lock()
		clicks := e.clicks
		e.mu.Unlock()
		if len(clicks) >= n {
			return clicks
		}
		select {
		case <-e.news:
		case <-time.After(30 * time.Second):
			t.Fatalf("%d clicks were heard, want %d", len(clicks), n)
		}
	}
}

// listening waits until somebody listens to b.
func listening(t *testing.T, b *live.Broadcast, n int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); b.Stats().Listeners != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d listen, want %d", b.Stats().Listeners, n)
		}
	}
}

func tellSome(b *live.Broadcast, from, n int) (want []schema.Click) {
	var k live.Clicks
	for i := from; i < from+n; i++ {
		c := schema.Click{UserID: fmt.Sprint("u", i%7), ItemID: fmt.Sprint("i", i), Action: "cart", EventTime: noon + schema.EventTime(i), Scene: "home"}
		k.Add(&c)
		want = append(want, c)
	}
	b.Tell(k)
	return want
}

// TestLiveClicksAreHeard by a mirror, in their order, in batches and over a restart of the node, behind which it starts at now.
func TestLiveClicksAreHeard(t *testing.T) {
	told := &live.Broadcast{}
	node := newMachine(t, nil, ServerConfig{Live: told})
	silent := newMachine(t, nil, ServerConfig{}) // takes no clicks itself
	m, err := NewMirror(openStoreOf(t), MirrorConfig{Nodes: []string{node.url(), silent.url()}, BatchBytes: leastMaxBytes, RetryLeast: time.Millisecond, RetryMost: 20 * time.Millisecond})
	must(t, err)
	defer m.Close()
	e := &ears{news: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Listen(ctx, e.hear) }()
	listening(t, told, 1)
	want := tellSome(told, 0, 3)
	want = append(want, tellSome(told, 3, 9000)...) // more than a batch may have
	if diff := cmp.Diff(want, e.await(t, len(want))); diff != "" {
		t.Fatal(diff)
	}
	node.kill()
	listening(t, told, 0)
	tellSome(told, 9003, 5) // nobody hears
	node.start()
	listening(t, told, 1)
	want = append(want, tellSome(told, 9008, 2)...)
	if diff := cmp.Diff(want, e.await(t, len(want))); diff != "" {
		t.Fatal(diff)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if s := m.Stats(); s.Live != uint64(len(want)) || s.Faults == 0 {
		t.Errorf("%+v", s)
	}
}

func openStoreOf(t *testing.T) *buffer.Store {
	s := openStore(t, buffer.Memory())
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}
