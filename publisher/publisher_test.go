package publisher_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

func update(kind schema.Kind, rows ...float32) publisher.Update {
	ids := make([]string, len(rows))
	for i := range ids {
		ids[i] = fmt.Sprintf("i%d", i)
	}
	return publisher.Update{
		Kind: kind, Step: 7, Items: len(rows), ConfigDigest: "c1",
		TrainedThrough: schema.TrainedThrough{EventTime: 1_700_000_000_000, Positions: map[schema.Partition]schema.Emit{0: 5, 10: 6, 2: 1}},
		Metrics:        map[string]float64{"hit_rate_20": 0.25, "none_yet": math.NaN()},
		Objects: []publisher.Object{
			{Name: "items", Table: schema.Table{Columns: []schema.Column{{Name: "item_id", Data: ids}, {Name: "bias", Data: rows}}}},
			{Name: "params", Table: schema.Table{Columns: []schema.Column{{Name: "values", Data: [][]float32{rows}}}}},
		},
	}
}

func config(id string) publisher.Config {
	return publisher.Config{Model: "shop", ID: id, BaseEvery: 3, Attempts: 2, PutTimeout: 5 * time.Second,
		Backoff: publisher.Backoff{First: time.Millisecond, Most: 10 * time.Millisecond}}
}

func open(t testing.TB, js jetstream.JetStream, cfg publisher.Config) *publisher.Publisher {
	t.Helper()
	p, err := publisher.New(t.Context(), js, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func publish(t testing.TB, p *publisher.Publisher, rows ...float32) schema.Manifest {
	t.Helper()
	m, err := p.Publish(t.Context(), update(p.NextKind(), rows...))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func store(t testing.TB, js jetstream.JetStream) *publisher.Store {
	t.Helper()
	s, err := publisher.OpenStore(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPublishedVersionCanBeReadBack(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := open(t, js, config("a"))
	var kinds []schema.Kind
	for i := range 6 {
		m := publish(t, p, float32(i))
		kinds = append(kinds, m.Kind)
		if want := schema.Version(i + 1); m.Version != want {
			t.Fatalf("version %d, want %d", m.Version, want)
		}
		head, err := store(t, js).Head(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, head); diff != "" {
			t.Fatalf("head differs from what Publish returned (-returned +head):\n%s", diff)
		}
		kept, err := store(t, js).Manifest(t.Context(), "shop", m.Version)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, kept); diff != "" {
			t.Fatalf("kept manifest differs:\n%s", diff)
		}
		for j, o := range m.Objects {
			b, err := store(t, js).Fetch(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := schema.DecodeTable(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(update(m.Kind, float32(i)).Objects[j].Table, got); diff != "" {
				t.Fatalf("table differs:\n%s", diff)
			}
		}
		if _, there := m.Metrics["none_yet"]; there || m.Metrics["hit_rate_20"] != 0.25 {
			t.Fatalf("metrics %v", m.Metrics)
		}
	}
	base, delta := schema.KindBase, schema.KindDelta
	if want := []schema.Kind{base, delta, delta, delta, base, delta}; !slices.Equal(kinds, want) {
		t.Errorf("kinds %v, want %v", kinds, want)
	}
	if last := p.Last(); last.Parent != 5 || last.Base != 5 {
		t.Errorf("version 6 has parent %d and base %d, want 5 and 5", last.Parent, last.Base)
	}
}

func putManifest(t *testing.T, js jetstream.JetStream, m schema.Manifest) {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), publisher.ManifestsBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), fmt.Sprintf("%s.%d", m.Model, m.Version), b); err != nil {
		t.Fatal(err)
	}
}

// readAll returns the objects of the head by name.
func readAll(t *testing.T, js jetstream.JetStream) map[string][]byte {
	t.Helper()
	head, err := store(t, js).Head(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, o := range head.Objects {
		if all[o.Name], err = store(t, js).Fetch(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestUpdateMistakesAreRefused(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := open(t, js, config("a"))
	publish(t, p, 1)
	for name, change := range map[string]func(u *publisher.Update){
		"kind":       func(u *publisher.Update) { u.Kind = "whole" },
		"no objects": func(u *publisher.Update) { u.Objects = nil },
		"twice":      func(u *publisher.Update) { u.Objects[1].Name = "items" },
		"path":       func(u *publisher.Update) { u.Objects[1].Name = "../items" },
		"config":     func(u *publisher.Update) { u.Kind, u.ConfigDigest = schema.KindDelta, "c2" },
	} {
		u := update(schema.KindBase, 1)
		change(&u)
		if _, err := p.Publish(t.Context(), u); !errors.Is(err, publisher.ErrUpdate) {
			t.Errorf("%s: got %v, want ErrUpdate", name, err)
		}
		publish(t, p, 1)
	}
}

func TestSignature(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := pair.Seed()
	key, _ := pair.PublicKey()
	other, _ := nkeys.CreateUser()
	otherKey, _ := other.PublicKey()
	cfg := config("a")
	cfg.Seed = seed
	m := publish(t, open(t, js, cfg), 1, 2)

	if err := publisher.Verify(m, []string{otherKey, key}); err != nil {
		t.Errorf("own signature: %v", err)
	}
	if err := publisher.Verify(m, nil); err != nil {
		t.Errorf("no trusted keys: %v", err)
	}
	for name, c := range map[string]struct {
		want   error
		change func(m *schema.Manifest)
	}{
		"step":      {publisher.ErrTampered, func(m *schema.Manifest) { m.Step++ }},
		"object":    {publisher.ErrTampered, func(m *schema.Manifest) { m.Objects[0].SHA256 = strings.Repeat("0", 64) }},
		"unsigned":  {publisher.ErrUnsigned, func(m *schema.Manifest) { m.Signature = "" }},
		"no signer": {publisher.ErrUnsigned, func(m *schema.Manifest) { m.Signer = "" }},
		"other key": {publisher.ErrTampered, func(m *schema.Manifest) { m.Signer = otherKey }},
		"no base64": {publisher.ErrTampered, func(m *schema.Manifest) { m.Signature = "!" }},
	} {
		changed := m
		changed.Objects = slices.Clone(m.Objects)
		c.change(&changed)
		if err := publisher.Verify(changed, []string{key, otherKey}); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if err := publisher.Verify(m, []string{otherKey}); !errors.Is(err, publisher.ErrSigner) {
		t.Errorf("foreign signature: got %v", err)
	}
	// The rule that doc.go gives to other languages: the stored bytes without the last member are what is signed.
	heads, _ := js.KeyValue(t.Context(), publisher.HeadsBucket)
	entry, err := heads.Get(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	signature, _ := json.Marshal(m.Signature)
	cut, ok := bytes.CutSuffix(entry.Value(), append(append([]byte(`,"signature":`), signature...), '}'))
	text, _ := m.SigningBytes()
	if !ok || string(cut)+"}" != string(text) {
		t.Errorf("stored %s\nsigned %s", entry.Value(), text)
	}
}

// The bytes of a format never change: what an older freshet signed, a newer one must be able to verify.
func TestGoldenManifest(t *testing.T) {
	seed, err := nkeys.EncodeSeed(nkeys.PrefixByteUser, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	for format, change := range map[int]func(m *schema.Manifest){
		1: func(*schema.Manifest) {},
		2: func(m *schema.Manifest) {
			m.Epoch = 1_700_000_003
			m.Objects = []schema.Object{{Table: "items", Name: schema.ObjectName("shop", strings.Repeat("ab", 32)), Bytes: 5, SHA256: strings.Repeat("ab", 32)}}
		},
	} {
		m := schema.Manifest{
			Format: format, Model: "shop", Version: 9, Kind: schema.KindDelta, Parent: 8, Base: 6,
			Objects:        []schema.Object{{Name: "shop/9/items.arrow", Bytes: 5, SHA256: strings.Repeat("ab", 32)}},
			TrainedThrough: schema.TrainedThrough{EventTime: 1_700_000_000_000, Positions: schema.Position{0: 5, 10: 6, 2: 1}},
			Step:           7, Items: 3, Metrics: map[string]float64{"recall_at_20": 0.1, "loss": 1e-7}, ConfigDigest: strings.Repeat("cd", 32),
			CreatedAt: time.UnixMilli(1_700_000_000_123).UTC(), Publisher: "host:1",
		}
		change(&m)
		if err := publisher.Sign(&m, seed); err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(fmt.Sprintf("testdata/manifest_%d.json", format))
		if err != nil {
			t.Fatal(err)
		}
		if want = bytes.TrimSpace(want); !bytes.Equal(got, want) {
			t.Errorf("the manifest is written as\n%s\nwas\n%s", got, want)
		}
		read, err := publisher.ParseManifest(want)
		if err != nil {
			t.Fatal(err)
		}
		if err := publisher.Verify(read, []string{m.Signer}); err != nil {
			t.Error(err)
		}
		if table, ok := publisher.TableOf(read, read.Objects[0]); !ok || table != "items" {
			t.Errorf("format %d: the object holds %q, %v", format, table, ok)
		}
	}
}

func TestReports(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := open(t, js, config("a"))
	want := publisher.Report{ID: "r1", Model: "shop", Version: 3, Step: 9, AppliedAt: time.UnixMilli(1_700_000_000_123).UTC(), Address: "http://r1:8080"}
	other := want
	other.Model = "other"
	for _, r := range []publisher.Report{want, other} {
		if err := store(t, js).Report(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []publisher.Report
	err := p.Reports(ctx, func(r publisher.Report) {
		got = append(got, r)
		if len(got) == 1 {
			want.Version = 4
			if err := store(t, js).Report(t.Context(), want); err != nil {
				t.Error(err)
			}
			return
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Reports returned %v", err)
	}
	if len(got) != 2 || got[0].Version != 3 || got[1] != want {
		t.Errorf("got %+v", got)
	}
}

func TestConfigValidateNamesEveryFault(t *testing.T) {
	err := publisher.Config{Model: "a.b", BaseEvery: -1, Keep: -1, Copies: 9, MaxDrop: 2, Attempts: -1, Seed: []byte("x")}.Validate()
	for _, want := range []string{"model", "id", "base_every", "keep", "copies", "max_drop", "metric", "attempts", "seed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("fault of %s is not named in %v", want, err)
		}
	}
	if err := config("a").Validate(); err != nil {
		t.Error(err)
	}
}

func FuzzParseManifest(t *testing.F) {
	f := fuzz.Of(t)
	f.Add([]byte(`{"format":1,"model":"m","version":1,"kind":"base","base":1,"objects":[{"name":"m/1/items.arrow","bytes":3,"sha256":"` +
		strings.Repeat("0", 64) + `"}],"trained_through":{"event_time":0,"positions":{"0":1}},"step":1,"items":1,"config_digest":"","created_at":"2026-01-01T00:00:00Z"}`))
	if b, err := os.ReadFile("testdata/manifest_2.json"); err == nil {
		f.Add(b)
	}
	f.Add([]byte(`{"version":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := publisher.ParseManifest(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("a manifest that parses must encode: %v", err)
		}
		m2, err := publisher.ParseManifest(again)
		if err != nil || cmp.Diff(m, m2) != "" {
			t.Fatalf("decode(encode(m)) differs: %v\n%s", err, cmp.Diff(m, m2))
		}
	})
}

func BenchmarkPublishDelta(b *testing.B) {
	js := dial(b, natstest.Start(b, b.TempDir(), 0))
	cfg := config("a")
	cfg.BaseEvery = publisher.MaxChain
	p := open(b, js, cfg)
	publish(b, p, 1)
	u := update(schema.KindDelta, make([]float32, 64*1000)...) // 1000 rows of 64
	b.ReportAllocs()
	for b.Loop() {
		u.Kind = p.NextKind()
		if _, err := p.Publish(b.Context(), u); err != nil {
			b.Fatal(err)
		}
	}
}
