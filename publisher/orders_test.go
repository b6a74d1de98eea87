package publisher_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nkeys"
)

func order(serial uint64, v schema.Version) publisher.Order {
	return publisher.Order{Format: publisher.OrderFormat, Model: "shop", Serial: serial, Version: v,
		By: "an operator", At: time.UnixMilli(1_700_000_000_123).UTC(), Why: "recall <fell> & fell"}
}

func TestOrdersAreGivenByCompareAndSet(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	open(t, js, config("trainer-1"))
	s := store(t, js)
	if _, _, err := s.OrderBytes(t.Context(), "shop"); !errors.Is(err, publisher.ErrNoOrder) {
		t.Fatalf("before any order: %v", err)
	}
	// A store of before there were orders.
	if err := js.DeleteKeyValue(t.Context(), publisher.OrdersBucket); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.OrderBytes(t.Context(), "shop"); !errors.Is(err, publisher.ErrNoOrder) {
		t.Fatalf("without the bucket: %v", err)
	}
	if err := s.FollowOrders(t.Context(), "shop", nil); !errors.Is(err, publisher.ErrNoOrder) {
		t.Fatalf("without the bucket: %v", err)
	}
	first := order(1, 7)
	first.Candidate = &publisher.Candidate{Share: 0.1}
	if err := s.GiveOrder(t.Context(), first, 0); err != nil {
		t.Fatal(err)
	}
	b, revision, err := s.OrderBytes(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	got, err := publisher.ParseOrder(b)
	if diff := cmp.Diff(first, got); err != nil || diff != "" {
		t.Fatalf("%v (-given +stored):\n%s", err, diff)
	}
	for _, seen := range []uint64{0, revision + 1} {
		if err := s.GiveOrder(t.Context(), order(2, 8), seen); !errors.Is(err, publisher.ErrOrderChanged) {
			t.Errorf("revision %d: got %v, want ErrOrderChanged", seen, err)
		}
	}
	if err := s.GiveOrder(t.Context(), order(2, 0), revision); err != nil {
		t.Error(err)
	}
}

func TestOrdersAreSigned(t *testing.T) {
	pair, _ := nkeys.CreateUser()
	seed, _ := pair.Seed()
	key, _ := pair.PublicKey()
	other, _ := nkeys.CreateUser()
	foreign, _ := other.PublicKey()
	good := order(3, 7)
	good.Candidate = &publisher.Candidate{Version: 9, Share: 0.25}
	if err := good.Sign(seed); err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(good)
	read, err := publisher.ParseOrder(b)
	if err != nil || read.Verify([]string{foreign, key}) != nil {
		t.Fatalf("%v, %v", err, read.Verify([]string{foreign, key}))
	}
	cases := []struct {
		name    string
		change  func(o *publisher.Order)
		trusted string
		want    string
	}{
		{"unsigned", func(o *publisher.Order) { o.Signature = "" }, key, "order 3 is not signed"},
		{"foreign", func(*publisher.Order) {}, foreign, "its signer is not trusted"},
		{"under another's name", func(o *publisher.Order) { o.Signer = foreign }, foreign, "does not match"},
		{"another serial", func(o *publisher.Order) { o.Serial++ }, key, "does not match"},
		{"another version", func(o *publisher.Order) { o.Version = 8 }, key, "does not match"},
		{"another share", func(o *publisher.Order) { o.Candidate = &publisher.Candidate{Version: 9, Share: 0.5} }, key, "does not match"},
		{"no candidate", func(o *publisher.Order) { o.Candidate = nil }, key, "does not match"},
		{"another model", func(o *publisher.Order) { o.Model = "other" }, key, "does not match"},
	}
	for _, c := range cases {
		o := read
		c.change(&o)
		if err := o.Verify([]string{c.trusted}); !errors.Is(err, publisher.ErrSignature) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if err := o.Verify(nil); err != nil {
			t.Errorf("%s, without trusted keys: %v", c.name, err)
		}
	}
	// No signature of an order is one of a manifest, whatever is in either.
	m := schema.Manifest{Format: 1, Model: "shop"}
	manifest, _ := m.SigningBytes()
	text, _ := publisher.Order{Format: 1, Model: "shop"}.SigningBytes()
	if n := len(`{"format":1,"model":"shop","`); bytes.Equal(manifest[:n+4], text[:n+4]) {
		t.Errorf("a manifest and an order begin alike: %s, %s", manifest, text)
	}
}

func TestOrderValidateNamesEveryFault(t *testing.T) {
	o := publisher.Order{Format: 2, Model: "a b", Version: 7, Candidate: &publisher.Candidate{Version: 7, Share: 1}, By: strings.Repeat("x", 300), Why: "\xff"}
	err := o.Validate()
	for _, want := range []string{"format 2", `name "a b"`, "serial is missing", "share 1", "everybody", "by has 300", "why is not UTF-8"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

func FuzzParseOrder(t *testing.F) {
	f := fuzz.Of(t)
	b, _ := json.Marshal(order(1, 2))
	f.Add(b)
	f.Add([]byte(`{"format":1,"model":"m","serial":1,"candidate":{"version":3,"share":1e-9}}`))
	f.Add([]byte(`{"format":1,"candidate":7}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := publisher.ParseOrder(b)
		if err != nil {
			return
		}
		once, err := json.Marshal(o)
		if err != nil {
			t.Skip("a year beyond 9999")
		}
		again, err := publisher.ParseOrder(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, _ := json.Marshal(again); !bytes.Equal(once, twice) {
			t.Fatalf("%s became %s", once, twice)
		}
	})
}

// The line is walked back by parents, over bases, until one is gone.
func TestPublishedWalksTheLineBack(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	cfg := config("trainer-1")
	cfg.BaseEvery, cfg.Keep = 2, 8
	p := open(t, js, cfg)
	s := store(t, js)
	if _, err := s.Published(t.Context(), cfg.Model, 10); !errors.Is(err, publisher.ErrNoHead) {
		t.Fatalf("got %v, want ErrNoHead", err)
	}
	for range 7 {
		publish(t, p, 1)
	}
	numbers := func(most int) (out []schema.Version) {
		t.Helper()
		all, err := s.Published(t.Context(), cfg.Model, most)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			out = append(out, m.Version)
		}
		return out
	}
	if diff := cmp.Diff([]schema.Version{7, 6, 5, 4, 3, 2, 1}, numbers(100)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]schema.Version{7, 6}, numbers(2)); diff != "" {
		t.Error(diff)
	}
	kv, err := js.KeyValue(t.Context(), publisher.ManifestsBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Purge(t.Context(), cfg.Model+".4"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]schema.Version{7, 6, 5}, numbers(100)); diff != "" {
		t.Error(diff)
	}
}
