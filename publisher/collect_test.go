package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/objects"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

func versions(t *testing.T, js jetstream.JetStream) []schema.Version {
	t.Helper()
	all, err := store(t, js).Versions(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// checkWhole fails unless the store holds the objects that the manifests name, and nothing else.
func checkWhole(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	wanted := map[string]bool{}
	for _, v := range versions(t, js) {
		m, err := store(t, js).Manifest(t.Context(), "shop", v)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range m.Objects {
			wanted[o.Name] = true
			if _, err := store(t, js).Fetch(t.Context(), o); err != nil {
				t.Errorf("version %d: %v", v, err)
			}
		}
	}
	list, err := js.ObjectStore(t.Context(), publisher.ObjectsBucket)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := list.List(t.Context(), jetstream.ListObjectsShowDeleted())
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{}
	for _, o := range entries {
		kept[o.Name] = true
	}
	if diff := cmp.Diff(wanted, kept); diff != "" {
		t.Errorf("objects and markers in the store differ from those that are needed (-need +have):\n%s", diff)
	}
	stream, err := js.Stream(t.Context(), "OBJ_"+publisher.ObjectsBucket)
	if err != nil {
		t.Fatal(err)
	}
	if info := stream.CachedInfo(); info.State.Msgs != uint64(2*len(wanted)) { // one chunk and one entry for each
		t.Errorf("%d messages in the object stream, want %d", info.State.Msgs, 2*len(wanted))
	}
}

func report(t *testing.T, js jetstream.JetStream, v schema.Version) {
	t.Helper()
	if err := store(t, js).Report(t.Context(), publisher.Report{ID: "r1", Model: "shop", Version: v}); err != nil {
		t.Fatal(err)
	}
}

func TestOldVersionsAreCollected(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := open(t, js, config("a")) // bases are 1, 5, 9, 13, 17
	for i := range 14 {
		publish(t, p, float32(i))
	}
	if want := []schema.Version{9, 10, 11, 12, 13, 14}; !slices.Equal(versions(t, js), want) {
		t.Fatalf("kept %v, want %v", versions(t, js), want)
	}
	checkWhole(t, js)
	// What a replica serves stays, with its chain; and what was ordered.
	report(t, js, 10)
	for i := range 4 {
		publish(t, p, float32(100+i))
	}
	if want := []schema.Version{9, 10, 11, 12, 13, 14, 15, 16, 17, 18}; !slices.Equal(versions(t, js), want) {
		t.Fatalf("kept %v, want %v", versions(t, js), want)
	}
	orders, err := js.KeyValue(t.Context(), publisher.OrdersBucket)
	if err != nil {
		t.Fatal(err)
	}
	collect := func(dryRun bool) []schema.Version {
		t.Helper()
		out, err := store(t, js).Collect(t.Context(), "shop", 1, dryRun)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Objects) < 2*len(out.Versions) || len(out.Versions) > 0 && out.Bytes == 0 {
			t.Errorf("%+v", out)
		}
		return out.Versions
	}
	report(t, js, 18)
	for _, order := range []string{`{"format":1,"model":"shop","serial":1,"version":10}`,
		`{"format":1,"model":"shop","serial":2,"version":0,"candidate":{"version":11,"share":0.1},"more":"x"}`} {
		if _, err := orders.Put(t.Context(), "shop", []byte(order)); err != nil {
			t.Fatal(err)
		}
		if got, want := collect(true), []schema.Version{13, 14, 15, 16}; !slices.Equal(got, want) {
			t.Errorf("%s: %v would go, want %v", order, got, want)
		}
	}
	before := versions(t, js)
	if _, err := orders.Put(t.Context(), "shop", []byte(`{`)); err != nil {
		t.Fatal(err)
	}
	if _, err := store(t, js).Collect(t.Context(), "shop", 1, false); err == nil || !slices.Equal(versions(t, js), before) {
		t.Errorf("orders that cannot be read: %v, kept %v", err, versions(t, js))
	}
	if err := orders.Purge(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if got, want := collect(false), []schema.Version{9, 10, 11, 12, 13, 14, 15, 16}; !slices.Equal(got, want) {
		t.Errorf("%v went, want %v", got, want)
	}
	checkWhole(t, js)
	if out := collect(false); len(out) > 0 {
		t.Errorf("the second time %v went", out)
	}
}

func TestWhatIsNotPublishedYetStays(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	fail := false
	a := open(t, failing{js, &fail}, config("a"))
	publish(t, a, 1)
	fail = true
	for i := range 3 {
		if _, err := a.Publish(t.Context(), update(schema.KindBase, float32(10+i))); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
	}
	if out, err := store(t, js).Collect(t.Context(), "shop", 1, false); err != nil || len(out.Versions)+len(out.Objects) > 0 {
		t.Errorf("%+v, %v: what is above the head may be about to be published", out, err)
	}
	fail = false
	publish(t, a, 5)                                                          // a base above them, which collects
	if want := []schema.Version{1, 5}; !slices.Equal(versions(t, js), want) { // the failed ones are no chains
		t.Errorf("kept %v, want %v", versions(t, js), want)
	}
	checkWhole(t, js)
	if _, err := store(t, js).Collect(t.Context(), "shop", 1, false); err != nil {
		t.Fatal(err)
	}
	if want := []schema.Version{5}; !slices.Equal(versions(t, js), want) {
		t.Errorf("kept %v, want %v", versions(t, js), want)
	}
	checkWhole(t, js)
}

// Objects without a manifest go, whole or in pieces, unless they are of another model that has only begun.
func TestOrphansAreCollected(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := open(t, js, config("a"))
	m := publish(t, p, 1)
	bucket, err := objects.Open(t.Context(), js, publisher.ObjectsBucket)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(name string) {
		w, err := bucket.Writer(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, objects.ChunkBytes)); err != nil {
			t.Fatal(err)
		}
	}
	putObject(t, js, "shop/1/left.arrow", []byte("left"))
	cut("shop/cut.arrow")
	claimed := m
	claimed.Model, claimed.Objects = "other", []schema.Object{{Table: "items", Name: schema.ObjectName("other", strings.Repeat("ab", 32)), SHA256: strings.Repeat("ab", 32)}}
	putManifest(t, js, claimed)
	cut(claimed.Objects[0].Name)
	for i, want := range []int{2, 0} {
		out, err := store(t, js).Collect(t.Context(), "shop", 1, false)
		if err != nil || len(out.Objects) != want || len(out.Versions) > 0 {
			t.Fatalf("call %d: %+v, %v", i, out, err)
		}
	}
	held, err := bucket.Inventory(t.Context())
	if err != nil || !held.IDs[objects.ID(claimed.Objects[0].Name)] || len(held.IDs) != len(m.Objects)+1 {
		t.Errorf("%+v, %v", held, err)
	}
}

// stopping lets so many purges through, and then none: a crash in the midst of a collection.
type stopping struct {
	jetstream.JetStream
	left *int
}

type stoppingStream struct {
	jetstream.Stream
	left *int
}

func (s stopping) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := s.JetStream.Stream(ctx, name)
	return stoppingStream{stream, s.left}, err
}

func (s stoppingStream) Purge(ctx context.Context, opts ...jetstream.StreamPurgeOpt) error {
	if *s.left--; *s.left < 0 {
		return errCrash
	}
	return s.Stream.Purge(ctx, opts...)
}

// Wherever a collection stops, all that is needed is whole, and the next one finishes.
func TestCollectionMayStopAnywhere(t *testing.T) {
	for left := 0; ; left++ {
		js := dial(t, natstest.Start(t, t.TempDir(), 0))
		cfg := config("a")
		cfg.Keep = 100
		p := open(t, js, cfg)
		for i := range 7 { // bases are 1 and 5
			publish(t, p, float32(i/2))
		}
		n := left
		s, err := publisher.OpenStore(t.Context(), stopping{js, &n})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Collect(t.Context(), "shop", 1, false)
		for _, v := range []schema.Version{5, 6, 7} {
			m, err := store(t, js).Manifest(t.Context(), "shop", v)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range m.Objects {
				if _, err := store(t, js).Fetch(t.Context(), o); err != nil {
					t.Fatalf("stopped after %d: %v", left, err)
				}
			}
		}
		if _, err := store(t, js).Collect(t.Context(), "shop", 1, false); err != nil {
			t.Fatal(err)
		}
		if want := []schema.Version{5, 6, 7}; !slices.Equal(versions(t, js), want) {
			t.Fatalf("stopped after %d: kept %v", left, versions(t, js))
		}
		checkWhole(t, js)
		if err == nil {
			break
		}
	}
}

// Whatever is published, by whom, with what crashes, and collected when: what the head's chain and the replicas' need is whole.
func TestCollectKeepsWhatIsNeeded(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	fail := false
	cfg := config("a")
	p := open(t, failing{js, &fail}, cfg)
	publish(t, p, 0)
	var served schema.Version
	chain := func(v schema.Version) {
		for {
			m, err := store(t, js).Manifest(t.Context(), "shop", v)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for _, o := range m.Objects {
				if _, err := store(t, js).Fetch(t.Context(), o); err != nil {
					t.Fatalf("seed %d: version %d: %v", seed, v, err)
				}
			}
			if m.Kind == schema.KindBase {
				return
			}
			v = m.Parent
		}
	}
	for range 60 {
		switch n := rng.IntN(10); {
		case n < 5:
			publish(t, p, float32(rng.IntN(4)))
		case n == 5:
			fail = true
			if _, err := p.Publish(t.Context(), update(p.NextKind(), float32(rng.IntN(4)))); !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			fail = false
		case n == 6:
			p = open(t, failing{js, &fail}, cfg)
		case n == 7:
			served = p.Last().Version
			report(t, js, served)
		default:
			if _, err := store(t, js).Collect(t.Context(), "shop", 1+rng.IntN(2), false); err != nil {
				t.Fatal(fmt.Errorf("seed %d: %w", seed, err))
			}
		}
		chain(p.Last().Version)
		if served > 0 {
			chain(served)
		}
	}
}
