package replica_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher"
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
	b, err := json.Marshal(m)
	if err != nil {
		f.t.Fatal(err)
	}
	f.put(publisher.ManifestsBucket, fmt.Sprintf("shop.%d", m.Version), b)
	f.put(publisher.HeadsBucket, "shop", b)
}

func TestBadUpdatesAreRefused(t *testing.T) {
	js := dial(t, startNATS(t, t.TempDir(), 0))
	seed, key := newSeed(t)
	foreignSeed, _ := newSeed(t)
	trainee := newTrainee(t, 20)
	p := newPublisher(t, js, func(c *publisher.Config) { c.Seed = seed })
	trainee.publish(t, p)
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
		bytes  map[string][]byte // put in place of the tables', after the manifest has their digests
		seed   []byte
	}
	nan := float32(math.NaN())
	cases := []struct {
		name   string
		reason replica.Reason
		change func(f *forged)
	}{
		{"not JSON", replica.ReasonManifest, nil},
		{"unknown format", replica.ReasonManifest, func(f *forged) { f.m.Format = 99 }},
		{"another model", replica.ReasonManifest, func(f *forged) { f.m.Model = "other" }},
		{"no objects", replica.ReasonManifest, func(f *forged) { f.tables = nil }},
		{"unsigned", replica.ReasonSignature, func(f *forged) { f.seed = nil }},
		{"foreign signature", replica.ReasonSignature, func(f *forged) { f.seed = foreignSeed }},
		{"foreign signature under a trusted name", replica.ReasonSignature, func(f *forged) { f.seed, f.m.Signer = foreignSeed, "steal" }},
		{"downgrade", replica.ReasonDowngrade, func(f *forged) { f.m.Version, f.m.Kind, f.m.Base, f.m.Parent = 1, schema.KindBase, 1, 0 }},
		{"same number, other content", replica.ReasonDowngrade, func(f *forged) { f.m.Version, f.m.Parent = held.Version, 1 }},
		{"epoch of a writer before", replica.ReasonEpoch, func(f *forged) { f.m.Epoch-- }},
		{"config of a delta", replica.ReasonConfig, func(f *forged) { f.m.ConfigDigest = "other" }},
		{"base of a delta", replica.ReasonParent, func(f *forged) { f.m.Base = 2 }},
		{"missing parent", replica.ReasonMissing, func(f *forged) { f.m.Version, f.m.Parent = 90, 80 }},
		{"missing object", replica.ReasonMissing, func(f *forged) { f.bytes["items"] = nil }},
		{"corrupted object", replica.ReasonDigest, func(f *forged) { f.bytes["items"] = []byte("garbage") }},
		{"truncated object", replica.ReasonDigest, func(f *forged) {
			b, _ := f.tables["params"].Bytes()
			f.bytes["params"] = b[:len(b)-8]
		}},
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
	version := schema.Version(10)
	for _, c := range cases {
		version++
		if c.change == nil {
			forge.put(publisher.HeadsBucket, "shop", []byte("{"))
		} else {
			f := forged{m: held, tables: maps.Clone(tables), bytes: map[string][]byte{}, seed: seed}
			f.m.Version, f.m.Parent, f.m.Items, f.m.Signature, f.m.Signer = version, 2, u.Items, "", ""
			c.change(&f)
			steal := f.m.Signer == "steal"
			f.m.Objects = nil
			for name, table := range f.tables {
				table.Meta = append(slices.Clone(table.Meta), [2]string{"case", c.name}) // no two cases share an object
				b, err := table.Bytes()
				if err != nil {
					t.Fatal(err)
				}
				o := schema.Object{Table: name, Name: schema.ObjectName("shop", sum(b)), Bytes: int64(len(b)), SHA256: sum(b)}
				f.m.Objects = append(f.m.Objects, o)
				if other, swap := f.bytes[name]; swap {
					b = other
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
			if steal {
				f.m.Signer = key
			}
			if f.m.Version <= 2 {
				b, _ := json.Marshal(f.m)
				forge.put(publisher.HeadsBucket, "shop", b)
			} else {
				forge.head(f.m)
			}
		}
		eventually(t, fmt.Sprintf("%s is refused as %s", c.name, c.reason), func() bool {
			// The update before may be tried again in the meantime: this one's refusal says something else.
			now := refused(t, r)
			return now != said && strings.HasPrefix(now, string(c.reason)+": ") && rejected(t, r, c.reason) > before[c.reason]
		})
		said = refused(t, r)
		before[c.reason] = rejected(t, r, c.reason)
		if m, _ := r.Current(); m.Version != 2 {
			t.Fatalf("%s: version %d is served", c.name, m.Version)
		}
		if diff := cmp.Diff(want, ask(t, r.Handler(), body(10, "i1", "i2")).Items); diff != "" {
			t.Fatalf("%s: the answer changed:\n%s", c.name, diff)
		}
	}
	// The next good version heals all.
	trainee.admit(1)
	again := newPublisher(t, repaired(t, js, held), func(c *publisher.Config) { c.Seed = seed })
	m := trainee.publish(t, again)
	serves(t, r, m.Version)
	eventually(t, "the refusal is over", func() bool { return refused(t, r) == "" })
}

// refused returns what /v1/model says about the newest version.
func refused(t *testing.T, r *replica.Replica) string {
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
	b, _ := json.Marshal(m)
	forger{t, js}.put(publisher.HeadsBucket, "shop", b)
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
	js := dial(t, startNATS(t, t.TempDir(), 0))
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
	js := dial(t, startNATS(t, t.TempDir(), 0))
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
