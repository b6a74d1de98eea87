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
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/prometheus/client_golang/prometheus"
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
	js := dial(t, startNATS(t, t.TempDir(), 0))
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
	js := dial(t, startNATS(t, t.TempDir(), 0))
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
	js := dial(t, startNATS(t, t.TempDir(), 0))
	lose := 0
	p := open(t, lossy{js, &lose}, config("a"))
	for i := range 5 {
		lose = 2 // the answer to the manifest and the answer to the head
		if m := publish(t, p, float32(i)); m.Version != schema.Version(i+1) || lose != 0 {
			t.Fatalf("version %d with %d answers still to lose, want %d and 0", m.Version, lose, i+1)
		}
	}
}

// gauge returns the value of a gauge, or of a counter of a reason.
func gauge(t *testing.T, from prometheus.Gatherer, name, reason string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && (reason == "" || m.Label[0].GetValue() == reason) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no metric %s of %q", name, reason)
	return 0
}

func TestReasons(t *testing.T) {
	for _, of := range []struct {
		err  error
		want publisher.Reason
	}{
		{publisher.ErrNotFinite, publisher.ReasonNotFinite}, {publisher.ErrMetric, publisher.ReasonMetric}, {publisher.ErrUpdate, publisher.ReasonUpdate},
		{publisher.ErrLine, publisher.ReasonLine}, {publisher.ErrNoHead, publisher.ReasonLost}, {context.Canceled, publisher.ReasonStopped},
		{context.DeadlineExceeded, publisher.ReasonStore}, {errors.New("no responders"), publisher.ReasonStore},
	} {
		if got := publisher.ReasonOf(fmt.Errorf("publish: %w", of.err)); got != of.want {
			t.Errorf("%v is of reason %s, want %s", of.err, got, of.want)
		}
	}
}

func TestGuard(t *testing.T) {
	js := dial(t, startNATS(t, t.TempDir(), 0))
	cfg := config("a")
	cfg.Metric, cfg.MaxDrop = "hit_rate_20", 0.2
	registry := prometheus.NewRegistry()
	cfg.Registerer = registry
	p := open(t, js, cfg)
	publish(t, p, 1)
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	bad := func(name string, change func(u *publisher.Update)) {
		t.Helper()
		u := update(schema.KindBase, 1, 2)
		change(&u)
		if _, err := p.Publish(t.Context(), u); !errors.Is(err, publisher.ErrGuard) {
			t.Errorf("%s: got %v, want ErrGuard", name, err)
		}
		if p.NextKind() != schema.KindBase {
			t.Errorf("%s: the next version must be a base", name)
		}
		if gauge(t, registry, "freshet_publish_held_back", "") != 1 {
			t.Errorf("%s: the gauge does not say that it is held back", name)
		}
	}
	column := func(data any) func(u *publisher.Update) {
		return func(u *publisher.Update) {
			u.Objects[0].Table = schema.Table{Columns: []schema.Column{{Name: "x", Data: data}}}
		}
	}
	bad("nan", column([]float32{0, nan}))
	bad("inf in a vector", column(schema.Vectors{Dim: 2, Values: []float32{0, 0, inf, 0}}))
	bad("nan in a list", column([][]float32{{1}, {2, nan}}))
	for _, word := range []string{"NaN", "-Inf", "1e999"} {
		bad("metadata "+word, func(u *publisher.Update) {
			u.Objects[0].Table.Meta = [][2]string{{"rows", "1"}, {"popularity_0", word}}
		})
	}
	bad("inf float64", column([]float64{math.Inf(-1)}))
	bad("metric", func(u *publisher.Update) { u.Metrics = map[string]float64{"hit_rate_20": 0.19} })
	for reason, want := range map[publisher.Reason]float64{publisher.ReasonNotFinite: 7, publisher.ReasonMetric: 1, publisher.ReasonStore: 0} {
		if got := gauge(t, registry, "freshet_publish_failures_total", string(reason)); got != want {
			t.Errorf("%v failures of reason %s, want %v", got, reason, want)
		}
	}
	u := update(schema.KindBase, 1, 2)
	u.Metrics = map[string]float64{"hit_rate_20": 0.21}
	if _, err := p.Publish(t.Context(), u); err != nil {
		t.Errorf("a drop within the bound: %v", err)
	}
	if gauge(t, registry, "freshet_publish_held_back", "") != 0 {
		t.Error("the gauge says that a published version is held back")
	}
	if head, _ := store(t, js).Head(t.Context(), "shop"); head.Version != 2 {
		t.Errorf("head %d: a refused version must not use up a number", head.Version)
	}
}

func TestUpdateMistakesAreRefused(t *testing.T) {
	js := dial(t, startNATS(t, t.TempDir(), 0))
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

func TestObjectsOfManyChunks(t *testing.T) {
	js := dial(t, startNATS(t, t.TempDir(), 0))
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

func TestSignature(t *testing.T) {
	js := dial(t, startNATS(t, t.TempDir(), 0))
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
	js := dial(t, startNATS(t, t.TempDir(), 0))
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
	js := dial(t, startNATS(t, t.TempDir(), 0))
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

func TestReports(t *testing.T) {
	js := dial(t, startNATS(t, t.TempDir(), 0))
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

func TestNATSComesBackEmpty(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	js := dial(t, s)
	p := open(t, js, config("a"))
	publish(t, p, 1)
	publish(t, p, 2)
	at := port(s)
	stopNATS(s)
	startNATS(t, t.TempDir(), at)
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

func FuzzParseManifest(f *testing.F) {
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
	js := dial(b, startNATS(b, b.TempDir(), 0))
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
