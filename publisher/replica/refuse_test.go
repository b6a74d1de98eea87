package replica_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

func newSeed(t *testing.T) (seed []byte, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ = pair.Seed()
	public, _ = pair.PublicKey()
	return seed, public
}

// forger writes whatever it is told into the store.
type forger struct {
	t  *testing.T
	js jetstream.JetStream
}

func (f forger) put(bucket, key string, value []byte) {
	f.t.Helper()
	kv, err := f.js.KeyValue(f.t.Context(), bucket)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := kv.Put(f.t.Context(), key, value); err != nil {
		f.t.Fatal(err)
	}
}

func (f forger) head(m schema.Manifest) {
	f.t.Helper()
	b := encoded(f.t, m)
	f.put(publisher.ManifestsBucket, fmt.Sprintf("shop.%d", m.Version), b)
	f.put(publisher.HeadsBucket, "shop", b)
}

func encoded(t *testing.T, m schema.Manifest) []byte {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whatever is wrong with an update, the replica says so under a reason of its own and goes on serving what it has.
func TestBadUpdatesAreRefused(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	seed, key := newSeed(t)
	foreignSeed, _ := newSeed(t)
	trainee := newTrainee(t, 20)
	p := newPublisher(t, js, func(c *publisher.Config) { c.Seed = seed })
	first := trainee.publish(t, p)
	held := trainee.publish(t, p) // version 2, a delta

	cfg := config("r1")
	cfg.TrustedKeys = []string{key}
	r, _ := start(t, cfg, js, nil)
	serves(t, r, 2)
	want := expected(trainee.direct, 10, "i1", "i2")

	// A delta that would be good.
	u := trainee.update(t, schema.KindDelta)
	tables := map[string]schema.Table{}
	for _, o := range u.Objects {
		tables[o.Name] = o.Table
	}
	type forged struct {
		m      schema.Manifest
		tables map[string]schema.Table
		bytes  map[string]func(b []byte) []byte // what is put in place of a table's bytes
		seed   []byte
		after  func(m *schema.Manifest) // what happens to it after it was signed
	}
	nan := float32(math.NaN())
	cases := []struct {
		name   string
		reason replica.Reason
		change func(f *forged)
	}{
		{"unknown format", replica.ReasonManifest, func(f *forged) { f.m.Format = 99 }},
		{"another model", replica.ReasonManifest, func(f *forged) { f.m.Model = "other" }},
		{"no objects", replica.ReasonManifest, func(f *forged) { f.tables = nil }},
		{"unsigned", replica.ReasonUnsigned, func(f *forged) { f.seed = nil }},
		{"foreign signature", replica.ReasonSigner, func(f *forged) { f.seed = foreignSeed }},
		{"foreign signature under a trusted name", replica.ReasonTampered, func(f *forged) { f.seed, f.after = foreignSeed, func(m *schema.Manifest) { m.Signer = key } }},
		{"changed after it was signed", replica.ReasonTampered, func(f *forged) { f.after = func(m *schema.Manifest) { m.Step++ } }},
		{"another size under the signature", replica.ReasonTampered, func(f *forged) { f.after = func(m *schema.Manifest) { m.Objects[0].Bytes++ } }},
		{"begun again below", replica.ReasonDowngrade, func(f *forged) {
			f.m.Version, f.m.Kind, f.m.Base, f.m.Parent, f.m.CreatedAt = 1, schema.KindBase, 1, 0, held.CreatedAt.Add(time.Hour)
		}},
		{"same number, other content", replica.ReasonForked, func(f *forged) { f.m.Version, f.m.Parent = held.Version, 1 }},
		{"epoch of a writer before", replica.ReasonEpoch, func(f *forged) { f.m.Epoch-- }},
		{"config of a delta", replica.ReasonConfig, func(f *forged) { f.m.ConfigDigest = "other" }},
		{"base of a delta", replica.ReasonParent, func(f *forged) { f.m.Base = 2 }},
		{"missing parent", replica.ReasonMissing, func(f *forged) { f.m.Version, f.m.Parent = 90, 80 }},
		{"missing object", replica.ReasonMissing, func(f *forged) { f.bytes["items"] = func([]byte) []byte { return nil } }},
		{"corrupted object", replica.ReasonDigest, func(f *forged) {
			f.bytes["items"] = func(b []byte) []byte { return append([]byte{b[0] ^ 1}, b[1:]...) }
		}},
		{"object with more", replica.ReasonDigest, func(f *forged) { f.bytes["params"] = func(b []byte) []byte { return append(b, 0) } }},
		{"truncated object", replica.ReasonTruncated, func(f *forged) { f.bytes["params"] = func(b []byte) []byte { return b[:len(b)-8] } }},
		{"not a number", replica.ReasonTable, func(f *forged) {
			items := f.tables["items"]
			items.Columns = append(items.Columns[:len(items.Columns):len(items.Columns)], schema.Column{Name: "extra", Data: column(items, nan)})
			f.tables["items"] = items
		}},
		{"another table", replica.ReasonTable, func(f *forged) {
			f.tables["items"] = schema.Table{Columns: []schema.Column{{Name: "x", Data: []int32{1}}}}
		}},
		{"no params", replica.ReasonTable, func(f *forged) { delete(f.tables, "params") }},
		{"item count", replica.ReasonTable, func(f *forged) { f.m.Items++ }},
	}
	forge := forger{t, js}
	before := map[replica.Reason]float64{}
	said := ""
	check := func(name string, reason replica.Reason) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s is refused as %s", name, reason), func() bool {
			// The update before may be tried again in the meantime: this one's refusal says something else.
			now := refused(t, r)
			return now != said && strings.HasPrefix(now, string(reason)+": ") && rejected(t, r, reason) > before[reason]
		})
		said = refused(t, r)
		before[reason] = rejected(t, r, reason)
		if m, _ := r.Current(); m.Version != 2 {
			t.Fatalf("%s: version %d is served", name, m.Version)
		}
		if diff := cmp.Diff(want, ask(t, r.Handler(), body(10, "i1", "i2")).Items); diff != "" {
			t.Fatalf("%s: the answer changed:\n%s", name, diff)
		}
	}
	version := schema.Version(10)
	for _, c := range cases {
		version++
		f := forged{m: held, tables: maps.Clone(tables), bytes: map[string]func([]byte) []byte{}, seed: seed}
		f.m.Version, f.m.Parent, f.m.Items, f.m.Signature, f.m.Signer = version, 2, u.Items, "", ""
		c.change(&f)
		f.m.Objects = nil
		for name, table := range f.tables {
			table.Meta = append(slices.Clone(table.Meta), [2]string{"case", c.name}) // no two cases share an object
			b, err := table.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			o := schema.Object{Table: name, Name: schema.ObjectName("shop", sum(b)), Bytes: int64(len(b)), SHA256: sum(b)}
			f.m.Objects = append(f.m.Objects, o)
			if change, ok := f.bytes[name]; ok {
				b = change(b)
			}
			if f.m.Version > 2 && b != nil { // never touch what is published
				putObject(t, js, o.Name, b)
			}
		}
		if f.seed != nil {
			if err := publisher.Sign(&f.m, f.seed); err != nil {
				t.Fatal(err)
			}
		}
		if f.after != nil {
			f.after(&f.m)
		}
		if f.m.Version <= 2 {
			forge.put(publisher.HeadsBucket, "shop", encoded(t, f.m))
		} else {
			forge.head(f.m)
		}
		check(c.name, c.reason)
	}
	// What is no manifest, and what once was a good one.
	good := encoded(t, held)
	for _, c := range []struct {
		name   string
		reason replica.Reason
		stored []byte
	}{
		{"not JSON", replica.ReasonManifest, []byte("hello")},
		{"half a manifest", replica.ReasonTruncated, good[:len(good)/2]},
		{"the version before, put back", replica.ReasonReplay, encoded(t, first)},
	} {
		forge.put(publisher.HeadsBucket, "shop", c.stored)
		check(c.name, c.reason)
	}
	// The next good version heals all.
	trainee.admit(1)
	again := newPublisher(t, repaired(t, js, held), func(c *publisher.Config) { c.Seed = seed })
	m := trainee.publish(t, again)
	serves(t, r, m.Version)
	eventually(t, "the refusal is over", func() bool { return refused(t, r) == "" })
}

// refused returns what /v1/model says about the newest version.
func refused(t testing.TB, r *replica.Replica) string {
	t.Helper()
	var answer struct{ Refused string }
	if err := json.Unmarshal(call(r.Handler(), "GET", "/v1/model", "").Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Refused
}

// repaired puts the head back to what the publisher wrote, so that a new publisher can begin there.
func repaired(t *testing.T, js jetstream.JetStream, m schema.Manifest) jetstream.JetStream {
	t.Helper()
	forger{t, js}.put(publisher.HeadsBucket, "shop", encoded(t, m))
	return js
}

// column is a float column of as many rows as table has, with x in the last.
func column(table schema.Table, x float32) []float32 {
	ids, _ := schema.Col[[]string](table, "item_id")
	out := make([]float32, len(ids))
	if len(out) > 0 {
		out[len(out)-1] = x
	}
	return out
}

func TestRefusedForNowIsTriedAgain(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	trainee := newTrainee(t, 20)
	p := newPublisher(t, js, nil)
	held := trainee.publish(t, p)
	r, _ := start(t, config("r1"), js, nil)
	serves(t, r, 1)
	u := trainee.update(t, schema.KindDelta)
	m := held
	m.Version, m.Kind, m.Parent, m.Items, m.Objects = 2, schema.KindDelta, 1, u.Items, nil
	bytes := map[string][]byte{}
	for _, o := range u.Objects {
		b, _ := o.Table.Bytes()
		name := schema.ObjectName("shop", sum(b))
		m.Objects = append(m.Objects, schema.Object{Table: o.Name, Name: name, Bytes: int64(len(b)), SHA256: sum(b)})
		bytes[name] = b
	}
	forge := forger{t, js}
	forge.head(m)
	eventually(t, "the update is refused twice", func() bool { return rejected(t, r, replica.ReasonMissing) >= 2 })
	for name, b := range bytes {
		putObject(t, js, name, b)
	}
	serves(t, r, 2)
	if diff := cmp.Diff(expected(trainee.direct, 10, "i1"), ask(t, r.Handler(), body(10, "i1")).Items); diff != "" {
		t.Errorf("%s", diff)
	}
}

func TestPinnedConfig(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := newPublisher(t, js, nil)
	newTrainee(t, 5).publish(t, p)
	cfg := config("r1")
	cfg.ConfigDigest = strings.Repeat("0", 64)
	r, _ := start(t, cfg, js, nil)
	eventually(t, "a base of another shape is refused", func() bool { return rejected(t, r, replica.ReasonConfig) == 1 })
	if _, ok := r.Current(); ok {
		t.Error("it is served nevertheless")
	}
}

// The steps of doc.go by which one key takes the place of another: no replica ever refuses what is good.
func TestKeysAreRotated(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	oldSeed, oldKey := newSeed(t)
	newSeed, newKey := newSeed(t)
	trusting := func(id string, keys ...string) *replica.Replica {
		cfg := config(id)
		cfg.TrustedKeys = keys
		r, _ := start(t, cfg, js, nil)
		return r
	}
	trainee := newTrainee(t, 20)
	p := newPublisher(t, js, func(c *publisher.Config) { c.Seed = oldSeed })
	trainee.publish(t, p)
	trainee.publish(t, p)
	both := trusting("both", oldKey, newKey)
	late := trusting("late", oldKey) // nobody has told it
	serves(t, both, 2)
	serves(t, late, 2)

	p = newPublisher(t, js, func(c *publisher.Config) { c.Seed, c.TakeOver = newSeed, true })
	trainee.publish(t, p)
	trainee.publish(t, p)
	serves(t, both, 4)
	eventually(t, "who does not know the new key refuses it", func() bool { return rejected(t, late, replica.ReasonSigner) >= 1 })
	serves(t, late, 2)

	only := trusting("only", newKey)
	serves(t, only, 4)
	for name, r := range map[string]*replica.Replica{"both": both, "only": only} {
		if diff := cmp.Diff(expected(trainee.direct, 10, "i1"), ask(t, r.Handler(), body(10, "i1")).Items); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		if n := rejected(t, r, replica.ReasonSigner); n != 0 {
			t.Errorf("%s refuses %v versions", name, n)
		}
	}
}
