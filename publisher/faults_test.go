package publisher_test

import (
	"context"
	"errors"
	"testing"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// failing refuses to move the head: what a crash between the objects and the head leaves behind.
type failing struct {
	jetstream.JetStream
	headsFail *bool
}

type failingKV struct {
	jetstream.KeyValue
	fail *bool
}

var errCrash = errors.New("crash")

func (f failing) KeyValue(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	kv, err := f.JetStream.KeyValue(ctx, bucket)
	if bucket == publisher.HeadsBucket {
		return failingKV{kv, f.headsFail}, err
	}
	return kv, err
}

func (f failingKV) Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error) {
	if *f.fail {
		return 0, errCrash
	}
	return f.KeyValue.Create(ctx, key, value, opts...)
}

func (f failingKV) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if *f.fail {
		return 0, errCrash
	}
	return f.KeyValue.Update(ctx, key, value, revision)
}

func TestCrashBeforeTheHeadLeavesTheOldVersionWhole(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	fail := false
	a := open(t, failing{js, &fail}, config("a"))
	publish(t, a, 1)
	before := readAll(t, js)
	fail = true
	if _, err := a.Publish(t.Context(), update(schema.KindDelta, 2)); !errors.Is(err, errCrash) {
		t.Fatalf("got %v, want the crash", err)
	}
	if diff := cmp.Diff(before, readAll(t, js)); diff != "" {
		t.Fatalf("the head changed:\n%s", diff)
	}
	fail = false
	if a.NextKind() != schema.KindBase {
		t.Error("after a failed publish the next must be a base")
	}
	if _, err := a.Publish(t.Context(), update(schema.KindDelta, 3)); !errors.Is(err, publisher.ErrUpdate) {
		t.Errorf("a delta after a failed publish: got %v, want ErrUpdate", err)
	}
	// Another process finds the half-written version 2 and passes it by.
	cfg := config("b")
	cfg.Holder = "a"
	b := open(t, js, cfg)
	if m := publish(t, b, 4); m.Version != 3 || m.Kind != schema.KindBase {
		t.Errorf("got %s %d, want base 3", m.Kind, m.Version)
	}
}

// lossy answers with a timeout although the write was done.
type lossy struct {
	jetstream.JetStream
	lose *int
}

type lossyKV struct {
	jetstream.KeyValue
	lose *int
}

func (l lossy) KeyValue(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	kv, err := l.JetStream.KeyValue(ctx, bucket)
	return lossyKV{kv, l.lose}, err
}

func (l lossyKV) answer(revision uint64, err error) (uint64, error) {
	if *l.lose > 0 && err == nil {
		*l.lose--
		return 0, context.DeadlineExceeded
	}
	return revision, err
}

func (l lossyKV) Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error) {
	return l.answer(l.KeyValue.Create(ctx, key, value, opts...))
}

func (l lossyKV) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return l.answer(l.KeyValue.Update(ctx, key, value, revision))
}

func TestLostAnswersAreNotLostWrites(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	lose := 0
	p := open(t, lossy{js, &lose}, config("a"))
	for i := range 5 {
		lose = 2 // the answer to the manifest and the answer to the head
		if m := publish(t, p, float32(i)); m.Version != schema.Version(i+1) || lose != 0 {
			t.Fatalf("version %d with %d answers still to lose, want %d and 0", m.Version, lose, i+1)
		}
	}
}

func TestNATSComesBackEmpty(t *testing.T) {
	s := natstest.Start(t, t.TempDir(), 0)
	js := dial(t, s)
	p := open(t, js, config("a"))
	publish(t, p, 1)
	publish(t, p, 2)
	at := natstest.Port(s)
	natstest.Stop(s)
	natstest.Start(t, t.TempDir(), at)
	var m schema.Manifest
	for i := 0; ; i++ { // the first attempts find no buckets, then a head that is gone
		var err error
		if m, err = p.Publish(t.Context(), update(p.NextKind(), 3)); err == nil {
			break
		}
		if i == 20 || errors.Is(err, publisher.ErrLine) {
			t.Fatal(err)
		}
	}
	if m.Kind != schema.KindBase || m.Version <= 2 {
		t.Errorf("the line goes on with %s %d, want a base above 2", m.Kind, m.Version)
	}
}
