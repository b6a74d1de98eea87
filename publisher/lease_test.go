package publisher_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// writer is the lease on the line.
func writer(t *testing.T, js jetstream.JetStream) (l publisher.Lease) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), publisher.WritersBucket)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(entry.Value(), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

// expire does what the server does LeaseTTL after the last refresh.
func expire(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	stream, err := js.Stream(t.Context(), "KV_"+publisher.WritersBucket)
	if err != nil {
		t.Fatal(err)
	}
	if ttl := stream.CachedInfo().Config.MaxAge; ttl != publisher.LeaseTTL {
		t.Fatalf("a lease lives for %v", ttl)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestSecondWriterIsRefusedAtItsStart(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	a := open(t, js, config("host-a"))
	publish(t, a, 1)
	before, held := readAll(t, js), writer(t, js)
	_, err := publisher.New(t.Context(), js, config("host-b"))
	if !errors.Is(err, publisher.ErrLine) {
		t.Fatalf("got %v, want ErrLine", err)
	}
	for _, word := range []string{"host-a", held.Since.Format(time.RFC3339), "another model name", "15s", "publish.take_over"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %q", err, word)
		}
	}
	if diff := cmp.Diff(before, readAll(t, js)) + cmp.Diff(held, writer(t, js)); diff != "" {
		t.Fatalf("the refused publisher changed something:\n%s", diff)
	}
	if m := publish(t, a, 3); m.Kind != schema.KindDelta || m.Epoch != held.Epoch {
		t.Errorf("the first publisher goes on with %s of epoch %d", m.Kind, m.Epoch)
	}
	other := config("host-b")
	other.Model = "other"
	open(t, js, other)
}

func TestTakeOver(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	a := open(t, js, config("host-a"))
	first := publish(t, a, 1)
	cfg := config("host-b")
	cfg.TakeOver = true
	b := open(t, js, cfg)
	if m := publish(t, b, 2); m.Kind != schema.KindBase || m.Version <= first.Version || m.Epoch != first.Epoch+1 {
		t.Errorf("the new writer begins with %s %d of epoch %d behind %d of %d", m.Kind, m.Version, m.Epoch, first.Version, first.Epoch)
	}
	for range 2 {
		if _, err := a.Publish(t.Context(), update(schema.KindBase, 5)); !errors.Is(err, publisher.ErrLine) || !strings.Contains(err.Error(), "host-b") {
			t.Errorf("the overtaken publisher got %v", err)
		}
	}
	publish(t, b, 3)
}

// What an overtaken writer had begun may still move the head once; it does not stop the one that has the line.
func TestLastWordOfTheWriterBefore(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	a := open(t, js, config("host-a"))
	publish(t, a, 1)
	cfg := config("host-b")
	cfg.TakeOver = true
	b := open(t, js, cfg)
	heads, err := js.KeyValue(t.Context(), publisher.HeadsBucket)
	if err != nil {
		t.Fatal(err)
	}
	last := a.Last()
	last.Version, last.Base = 2, 2
	stored, _ := json.Marshal(last)
	if _, err := heads.Put(t.Context(), "shop", stored); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(t.Context(), update(schema.KindBase, 2)); err == nil || errors.Is(err, publisher.ErrLine) {
		t.Fatalf("got %v, want an error that is no ErrLine", err)
	}
	if m := publish(t, b, 2); m.Kind != schema.KindBase || m.Version <= 2 {
		t.Errorf("the line goes on with %s %d", m.Kind, m.Version)
	}
}

func TestRestartAfterKillNeedNotWait(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	cfg := config("host:1")
	cfg.Holder = "the directory's id"
	epoch := publish(t, open(t, js, cfg), 1).Epoch
	for i := range 3 { // each without a word of the one before
		cfg.ID = "host:" + string(rune('2'+i))
		m := publish(t, open(t, js, cfg), float32(i))
		if epoch++; m.Epoch != epoch || m.Kind != schema.KindBase {
			t.Errorf("start %d: %s of epoch %d, want a base of %d", i, m.Kind, m.Epoch, epoch)
		}
	}
	// After a clean end nobody waits.
	p := open(t, js, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Hold(ctx); err != nil {
		t.Fatal(err)
	}
	if m := publish(t, open(t, js, config("another")), 9); m.Epoch <= epoch {
		t.Errorf("epoch %d after %d", m.Epoch, epoch)
	}
}

// A lease that expired while NATS was away is taken again by a sole writer, and is lost where another took it.
func TestNATSAwayLongerThanTheLease(t *testing.T) {
	dir := t.TempDir()
	s := natstest.Start(t, dir, 0)
	js, other := dial(t, s), dial(t, s)
	p := open(t, js, config("a"))
	first := publish(t, p, 1)
	at := natstest.Port(s)
	natstest.Stop(s)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	if _, err := p.Publish(ctx, update(schema.KindDelta, 2)); err == nil || errors.Is(err, publisher.ErrLine) {
		t.Fatalf("without NATS: %v", err)
	}
	cancel()
	natstest.Start(t, dir, at)
	var m schema.Manifest
	for i := 0; ; i++ {
		var err error
		if m, err = p.Publish(t.Context(), update(p.NextKind(), 3)); err == nil {
			break
		}
		if i == 50 || errors.Is(err, publisher.ErrLine) {
			t.Fatal(err)
		}
	}
	expire(t, other)
	m = publish(t, p, 4)
	if now := writer(t, other); m.Epoch != first.Epoch || now.Epoch != first.Epoch || now.ID != "a" {
		t.Errorf("after the lease expired: version of epoch %d, lease %+v, was %d", m.Epoch, now, first.Epoch)
	}
	expire(t, other)
	b := open(t, other, config("b"))
	if _, err := p.Publish(t.Context(), update(schema.KindBase, 5)); !errors.Is(err, publisher.ErrLine) || !strings.Contains(err.Error(), "b took it") {
		t.Errorf("the writer that was away too long got %v", err)
	}
	if m := publish(t, b, 6); m.Epoch <= first.Epoch {
		t.Errorf("epoch %d after %d", m.Epoch, first.Epoch)
	}
}

// Clocks that differ by days decide nothing: the lease is the server's, and epochs count on from what is known.
func TestClocksThatDiffer(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	var epoch schema.WriterEpoch
	for i, off := range []time.Duration{0, -48 * time.Hour, 48 * time.Hour, -1e6 * time.Hour} {
		cfg := config("same")
		cfg.Now = func() time.Time { return time.Now().Add(off) }
		p := open(t, js, cfg)
		stranger := config("other")
		stranger.Now = func() time.Time { return time.Now().Add(-off) }
		if _, err := publisher.New(t.Context(), js, stranger); !errors.Is(err, publisher.ErrLine) {
			t.Errorf("clock %v: a stranger got %v", off, err)
		}
		m := publish(t, p, float32(i))
		if i > 0 && m.Epoch != epoch+1 {
			t.Errorf("clock %v: epoch %d after %d", off, m.Epoch, epoch)
		}
		epoch = m.Epoch
	}
	expire(t, js)
	cfg := config("third")
	cfg.Now = func() time.Time { return time.UnixMilli(0) }
	if m := publish(t, open(t, js, cfg), 1); m.Epoch != epoch+1 {
		t.Errorf("without a lease: epoch %d after %d", m.Epoch, epoch)
	}
}

// Who holds the line hears of it when another takes it, without publishing; a lease that is gone comes back, and goes with its holder.
func TestHold(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := open(t, js, config("a"))
	epoch := writer(t, js).Epoch
	ctx, cancel := context.WithCancel(t.Context())
	held := make(chan error, 1)
	go func() { held <- p.HoldEvery(ctx, time.Millisecond) }()
	for range 3 {
		expire(t, js)
		awaitLease(t, js, func(l *publisher.Lease) bool { return l != nil && l.ID == "a" && l.Epoch == epoch })
	}
	cancel()
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	awaitLease(t, js, func(l *publisher.Lease) bool { return l == nil })

	a := open(t, js, config("a"))
	go func() { held <- a.HoldEvery(t.Context(), time.Millisecond) }()
	cfg := config("b")
	cfg.TakeOver = true
	for { // a refresh may come between
		if _, err := publisher.New(t.Context(), js, cfg); err == nil {
			break
		}
	}
	if err := <-held; !errors.Is(err, publisher.ErrLine) || !strings.Contains(err.Error(), "b took it") {
		t.Errorf("who was overtaken hears %v", err)
	}
}

// awaitLease waits until the lease, nil for none, is as it should be; the bound only says when a hopeless test ends.
func awaitLease(t *testing.T, js jetstream.JetStream, is func(*publisher.Lease) bool) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), publisher.WritersBucket)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		entry, err := kv.Get(t.Context(), "shop")
		var l *publisher.Lease
		if err == nil {
			l = &publisher.Lease{}
			if err := json.Unmarshal(entry.Value(), l); err != nil {
				t.Fatal(err)
			}
		}
		if is(l) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the lease is %+v, %v", l, err)
		}
	}
}
