package publisher_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

func TestObjectsOfManyChunks(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	rows := make([]float32, 400_000) // 2 tables of more than 3 chunks
	for i := range rows {
		rows[i] = float32(i)
	}
	publish(t, open(t, js, config("a")), rows...)
	objects, err := js.ObjectStore(t.Context(), publisher.ObjectsBucket)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range readAll(t, js) {
		got, err := objects.GetBytes(t.Context(), name) // by the client's own rules: sizes, digest
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the NATS client reads %d bytes, want %d: %v", name, len(got), len(want), err)
		}
		info, err := objects.GetInfo(t.Context(), name)
		if err != nil || info.Chunks < 4 || int(info.Size) != len(want) {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

func TestObjectsAreNamedByTheirContent(t *testing.T) {
	for name, change := range map[string]func(m *schema.Manifest){
		"of another content": func(m *schema.Manifest) { m.Objects[0].Name = schema.ObjectName("shop", strings.Repeat("00", 32)) },
		"of another model":   func(m *schema.Manifest) { m.Objects[0].Name = schema.ObjectName("other", m.Objects[0].SHA256) },
		"no table":           func(m *schema.Manifest) { m.Objects[0].Table = "" },
		"table is a path":    func(m *schema.Manifest) { m.Objects[0].Table = "../items" },
		"table twice":        func(m *schema.Manifest) { m.Objects = append(m.Objects, m.Objects[0]) },
		"no epoch":           func(m *schema.Manifest) { m.Epoch = 0 },
	} {
		b, err := os.ReadFile("testdata/manifest_2.json")
		if err != nil {
			t.Fatal(err)
		}
		m, err := publisher.ParseManifest(b)
		if err != nil {
			t.Fatal(err)
		}
		if change(&m); m.Validate() == nil {
			t.Errorf("%s: is taken", name)
		}
	}
}

// puts counts the messages that are written to the object store.
func puts(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	stream, err := js.Stream(t.Context(), "OBJ_"+publisher.ObjectsBucket)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}

func TestWhatTheChainHasIsNotPutAgain(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := open(t, js, config("a"))
	first := publish(t, p, 1, 2)
	before := puts(t, js)
	again := publish(t, p, 1, 2)
	if diff := cmp.Diff(first.Objects, again.Objects); diff != "" || again.Version == first.Version {
		t.Errorf("the same content has other names:\n%s", diff)
	}
	if n := puts(t, js); n != before {
		t.Errorf("%d messages were written for what is there", n-before)
	}
	// A restart knows the head's, and what is gone is put anyway.
	objects, err := js.ObjectStore(t.Context(), publisher.ObjectsBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := objects.Delete(t.Context(), first.Objects[0].Name); err != nil {
		t.Fatal(err)
	}
	before = puts(t, js)
	publish(t, open(t, js, config("a")), 1, 2)
	if n := puts(t, js); n != before+2 { // a chunk and an entry
		t.Errorf("%d messages were written, want 2", n-before)
	}
	readAll(t, js)
}

func TestDamagedObjectsAreRefused(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	m := publish(t, open(t, js, config("a")), 1, 2)
	objects, _ := js.ObjectStore(t.Context(), publisher.ObjectsBucket)
	o := m.Objects[0]
	b, err := store(t, js).Fetch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		damaged []byte
		want    error
	}{
		"truncated": {b[:len(b)-1], publisher.ErrTruncated}, "empty": {nil, publisher.ErrTruncated},
		"longer": {append(slices.Clone(b), 0), publisher.ErrDigest}, "flipped": {append([]byte{b[0] ^ 1}, b[1:]...), publisher.ErrDigest},
	} {
		putObject(t, js, o.Name, c.damaged)
		if _, err := store(t, js).Fetch(t.Context(), o); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if err := objects.Delete(t.Context(), o.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := store(t, js).Fetch(t.Context(), o); !errors.Is(err, publisher.ErrMissing) {
		t.Errorf("deleted: got %v, want ErrMissing", err)
	}
}
