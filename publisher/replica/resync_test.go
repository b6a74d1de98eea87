package replica_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// purge removes manifests, as a collection does.
func purge(t *testing.T, js jetstream.JetStream, versions ...schema.Version) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), publisher.ManifestsBucket)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		if err := kv.Purge(t.Context(), fmt.Sprintf("shop.%d", v)); err != nil {
			t.Fatal(err)
		}
	}
}

// A replica whose version is no longer in the head's chain starts from the head's base, wherever it stood: in a chain that is gone as a whole, in the middle of one
// that another line has replaced, or nowhere.
func TestResyncFromTheBaseOfTheHead(t *testing.T) {
	for _, held := range []schema.Version{0, 1, 3} {
		t.Run(fmt.Sprintf("from version %d", held), func(t *testing.T) {
			js := dial(t, natstest.Start(t, t.TempDir(), 0))
			p := newPublisher(t, js, func(c *publisher.Config) { c.BaseEvery, c.Keep = 2, 8 })
			trainee := newTrainee(t, 10)
			cfg := config("r1")
			cfg.Dir = t.TempDir()
			r, stop := start(t, cfg, js, nil)
			for v := schema.Version(1); v <= held; v++ {
				serves(t, r, trainee.publish(t, p).Version)
				eventually(t, "it is on the disk", func() bool { return lastOnDisk(cfg.Dir) == v })
			}
			stop()
			for v := held + 1; v <= 8; v++ { // bases 1, 4 and 7
				trainee.publish(t, p)
			}
			purge(t, js, 1, 2, 3, 4, 5)
			again, _ := start(t, cfg, js, nil)
			serves(t, again, 8)
			if diff := cmp.Diff(expected(trainee.direct, 10, "i1", "i2"), ask(t, again.Handler(), body(10, "i1", "i2")).Items); diff != "" {
				t.Errorf("(-direct +replica):\n%s", diff)
			}
			for _, reason := range []replica.Reason{replica.ReasonMissing, replica.ReasonParent} {
				if n := rejected(t, again, reason); n != 0 {
					t.Errorf("%v updates were refused as %s on the way", n, reason)
				}
			}
			serves(t, again, trainee.publish(t, p).Version)
		})
	}
}

// Where the head's own chain has a hole, a replica goes on serving, says what it waits for, and goes on from the next base.
func TestHoleInTheChainOfTheHead(t *testing.T) {
	for _, hole := range []schema.Version{1, 3} { // the base, and a delta
		t.Run(fmt.Sprintf("at version %d", hole), func(t *testing.T) {
			js := dial(t, natstest.Start(t, t.TempDir(), 0))
			p := newPublisher(t, js, nil) // base 1, deltas to 5, base 6
			trainee := newTrainee(t, 10)
			cfg := config("r1")
			cfg.Dir = t.TempDir()
			trainee.publish(t, p)
			r, stop := start(t, cfg, js, nil)
			serves(t, r, trainee.publish(t, p).Version)
			eventually(t, "it is on the disk", func() bool { return lastOnDisk(cfg.Dir) == 2 })
			stop()
			want := expected(trainee.direct, 10, "i1", "i2")
			for range 3 {
				trainee.publish(t, p)
			}
			purge(t, js, hole)
			late := config("r2")
			fresh, _ := start(t, late, js, nil)
			eventually(t, "a replica that holds nothing is refused", func() bool { return rejected(t, fresh, replica.ReasonMissing) > 1 })
			again, _ := start(t, cfg, js, nil)
			if hole == 1 { // which who holds version 2 does not need
				serves(t, again, 5)
			} else {
				eventually(t, "the hole is seen", func() bool { return rejected(t, again, replica.ReasonMissing) > 1 })
				if diff := cmp.Diff(want, ask(t, again.Handler(), body(10, "i1", "i2")).Items); diff != "" {
					t.Errorf("while it waits (-direct +replica):\n%s", diff)
				}
				said := call(again.Handler(), "GET", "/v1/model", "").Body.String()
				if !strings.Contains(said, "version 5 cannot be reached from its base 1 before the next base is published") {
					t.Errorf("it says %s", said)
				}
			}
			base := trainee.publish(t, p)
			if base.Kind != schema.KindBase {
				t.Fatalf("version %d is a %s", base.Version, base.Kind)
			}
			serves(t, again, base.Version)
			serves(t, fresh, base.Version)
			if diff := cmp.Diff(expected(trainee.direct, 10, "i1", "i2"), ask(t, again.Handler(), body(10, "i1", "i2")).Items); diff != "" {
				t.Errorf("after it (-direct +replica):\n%s", diff)
			}
		})
	}
}

// A replica that cannot reach the head, because an object on the way is lost, says so, and gets a base long before one is due.
func TestLostObjectBringsTheBaseForward(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := newPublisher(t, js, func(c *publisher.Config) { c.BaseEvery = 1000 })
	go p.Reports(t.Context(), func(publisher.Report) {})
	trainee, cfg := newTrainee(t, 10), config("r1")
	cfg.Dir = t.TempDir()
	r, stop := start(t, cfg, js, nil)
	serves(t, r, trainee.publish(t, p).Version)
	eventually(t, "it is on the disk", func() bool { return lastOnDisk(cfg.Dir) == 1 })
	stop()
	lost := trainee.publish(t, p).Objects[0].Name
	objects, err := js.ObjectStore(t.Context(), publisher.ObjectsBucket)
	if err == nil {
		err = objects.Delete(t.Context(), lost)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 8 { // as early as the first delta none is brought forward
		if m := trainee.publish(t, p); m.Kind != schema.KindDelta {
			t.Fatalf("version %d is a %s", m.Version, m.Kind)
		}
	}
	r, _ = start(t, cfg, js, nil)
	eventually(t, "the trainer hears of it", func() bool { return p.NextKind() == schema.KindBase })
	if m, _ := r.Current(); m.Version != 1 {
		t.Errorf("version %d is served in the meantime", m.Version)
	}
	late, err := p.Publish(t.Context(), trainee.update(t, schema.KindDelta)) // the trainer had asked before
	if err != nil {
		t.Fatal(err)
	}
	base := trainee.publish(t, p)
	if base.Kind != schema.KindBase || base.Parent != late.Version {
		t.Errorf("version %d, a %s, follows on %d", base.Version, base.Kind, base.Parent)
	}
	serves(t, r, base.Version)
	serves(t, r, trainee.publish(t, p).Version)
	if kind := p.NextKind(); kind != schema.KindDelta {
		t.Errorf("the next is a %s again", kind)
	}
}
