package publisher_test

import (
	"errors"
	"testing"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/schema"
)

// A base has what changed beside it only where that follows on what this publisher published last, and all its objects are there as long as it is.
func TestWhatChangedStandsBesideABase(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := open(t, js, config("a")) // three deltas between bases
	both := func(x float32) publisher.Update {
		u := update(schema.KindBase, x, x)
		u.FromParent = update(schema.KindDelta, x).Objects
		return u
	}
	send := func(u publisher.Update) schema.Manifest {
		t.Helper()
		m, err := p.Publish(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := send(both(1)); !p.Follows() || m.FromParent != nil {
		t.Errorf("the first base has %v", m.FromParent)
	}
	for p.NextKind() == schema.KindDelta {
		publish(t, p, 2)
	}
	base := send(both(3))
	if len(base.Objects) != 2 || len(base.FromParent) != 2 || base.Parent != base.Version-1 {
		t.Fatalf("%+v", base)
	}
	if _, err := store(t, js).Collect(t.Context(), "shop", 1, false); err != nil {
		t.Fatal(err)
	}
	for _, o := range base.AllObjects() {
		if _, err := store(t, js).Fetch(t.Context(), o); err != nil {
			t.Errorf("after a collection: %v", err)
		}
	}
	other := both(4)
	other.ConfigDigest = "c2"
	if m := send(other); m.FromParent != nil {
		t.Errorf("a base of another shape has %v", m.FromParent)
	}
	u := both(5)
	u.Kind, u.ConfigDigest = schema.KindDelta, "c2"
	if _, err := p.Publish(t.Context(), u); !errors.Is(err, publisher.ErrUpdate) {
		t.Errorf("a delta with both: %v", err)
	}
	if p.Follows() {
		t.Error("what comes after a failed publication does not follow")
	}
	if m := send(both(6)); m.FromParent != nil {
		t.Errorf("the base after a failed publication has %v", m.FromParent)
	}
}
