package replica_test

import (
	"encoding/json"
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

// operator gives orders, each with the next serial.
type operator struct {
	t     testing.TB
	store *publisher.Store
	model string
	seed  []byte
	last  publisher.Order
}

func newOperator(t testing.TB, js jetstream.JetStream, seed []byte) *operator {
	t.Helper()
	store, err := publisher.OpenStore(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	return &operator{t: t, store: store, model: "shop", seed: seed}
}

func (o *operator) order(v schema.Version, c *publisher.Candidate) uint64 {
	o.t.Helper()
	o.last = publisher.Order{Format: publisher.OrderFormat, Model: o.model, Serial: o.last.Serial + 1, Version: v, Candidate: c, By: "test", At: now}
	if o.seed != nil {
		if err := o.last.Sign(o.seed); err != nil {
			o.t.Fatal(err)
		}
	}
	o.give(o.last)
	return o.last.Serial
}

func (o *operator) give(order publisher.Order) {
	o.t.Helper()
	_, revision, _ := o.store.OrderBytes(o.t.Context(), o.model)
	if err := o.store.GiveOrder(o.t.Context(), order, revision); err != nil {
		o.t.Fatal(err)
	}
}

// world is a line of versions with the answer that each gives, and two replicas.
type world struct {
	js       jetstream.JetStream
	p        *publisher.Publisher
	trainee  *trainee
	answers  map[schema.Version][]replica.Item
	replicas []*replica.Replica
	stop     []func()
}

func newWorld(t *testing.T, versions int, change func(*replica.Config)) *world {
	t.Helper()
	w := &world{js: dial(t, natstest.Start(t, t.TempDir(), 0)), trainee: newTrainee(t, 30), answers: map[schema.Version][]replica.Item{}}
	w.p = newPublisher(t, w.js, nil)
	for range versions {
		w.publish(t)
	}
	for _, id := range []string{"r1", "r2"} {
		cfg := config(id)
		if change != nil {
			change(&cfg)
		}
		r, stop := start(t, cfg, w.js, nil)
		w.replicas, w.stop = append(w.replicas, r), append(w.stop, stop)
	}
	return w
}

func (w *world) publish(t testing.TB) schema.Version {
	t.Helper()
	m := w.trainee.publish(t, w.p)
	w.answers[m.Version] = expected(w.trainee.direct, 10, "i1", "i2")
	return m.Version
}

// serve waits until all replicas serve v, and checks that they answer as it does.
func (w *world) serve(t testing.TB, v schema.Version) {
	t.Helper()
	for _, r := range w.replicas {
		serves(t, r, v)
		a := ask(t, r.Handler(), body(10, "i1", "i2"))
		if diff := cmp.Diff(w.answers[v], a.Items); diff != "" || a.Model.Version != v || a.Model.Lane != replica.LaneStable {
			t.Fatalf("%+v (-version %d +replica):\n%s", a.Model, v, diff)
		}
	}
}

// obeyed waits until r has the order in force.
func obeyed(t testing.TB, r *replica.Replica, serial uint64) {
	t.Helper()
	eventually(t, fmt.Sprintf("order %d is in force", serial), func() bool { return metric(t, r, "freshet_order_serial") == float64(serial) })
}

func TestPinRollbackUnpin(t *testing.T) {
	w := newWorld(t, 4, nil) // base 1, deltas 2 to 4
	w.serve(t, 4)
	op := newOperator(t, w.js, nil)
	op.order(2, nil)
	w.serve(t, 2) // an older one, because an order says so
	head := w.publish(t)
	op.order(1, nil)
	w.serve(t, 1)
	op.order(3, nil)
	w.serve(t, 3)
	late, _ := start(t, config("r3"), w.js, nil)
	w.replicas = append(w.replicas, late)
	w.serve(t, 3)
	eventually(t, "r3 has seen the head", func() bool { return metric(t, late, "freshet_head_version") == float64(head) })
	if got := metric(t, late, `freshet_adoptions_total{kind="delta"}`) + metric(t, late, `freshet_adoptions_total{kind="base"}`); got != 1 {
		t.Errorf("a replica that starts under a pin adopted %v versions: it must not serve the head first", got)
	}
	op.order(0, nil)
	w.serve(t, head)
	w.serve(t, w.publish(t))
}

// What was served as the head stays the floor while an order has a replica serve an older version.
func TestUnpinDoesNotLetAnOlderHeadIn(t *testing.T) {
	dirs := map[string]string{"r1": t.TempDir(), "r2": t.TempDir()}
	w := newWorld(t, 4, func(c *replica.Config) { c.Dir = dirs[c.ID] })
	w.serve(t, 4)
	older, err := newOperator(t, w.js, nil).store.Manifest(t.Context(), "shop", 3)
	if err != nil {
		t.Fatal(err)
	}
	op := newOperator(t, w.js, nil)
	op.order(1, nil)
	w.serve(t, 1)
	forger{t, w.js}.head(older)
	for _, r := range w.replicas { // else the order may come first, and the head before lawfully serves
		eventually(t, "the older head is seen", func() bool { return metric(t, r, "freshet_head_version") == 3 })
	}
	op.order(0, nil)
	eventually(t, "the disk has what is served", func() bool { return lastOnDisk(dirs["r1"]) == 1 })
	w.stop[0]()
	cfg := config("r1")
	cfg.Dir = dirs["r1"]
	w.replicas[0], _ = start(t, cfg, w.js, nil)
	for _, r := range w.replicas {
		eventually(t, "the older head is refused", func() bool { return rejected(t, r, replica.ReasonReplay) > 0 })
	}
	w.serve(t, 1)
}

func TestOrdersThatMustNotBeObeyed(t *testing.T) {
	seed, key := newSeed(t)
	foreign, _ := newSeed(t)
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := newPublisher(t, js, func(c *publisher.Config) { c.Seed = seed })
	trainee := newTrainee(t, 10)
	for range 3 {
		trainee.publish(t, p)
	}
	cfg := config("r1")
	cfg.TrustedKeys, cfg.Dir = []string{key}, t.TempDir()
	r, stop := start(t, cfg, js, nil)
	op := newOperator(t, js, seed)
	for range 4 {
		op.order(2, nil)
	}
	replayed := op.last
	op.order(2, nil)
	serves(t, r, 2)
	obeyed(t, r, 5)
	refused := func(reason replica.Reason) float64 {
		return metric(t, r, fmt.Sprintf(`freshet_orders_refused_total{reason="%s"}`, reason))
	}
	forge := forger{t, js}
	cases := []struct {
		name   string
		reason replica.Reason
		value  func() any
	}{
		{"not JSON", replica.ReasonOrder, func() any { return json.RawMessage("7") }},
		{"share of all", replica.ReasonOrder, func() any {
			o := op.last
			o.Serial, o.Candidate = 9, &publisher.Candidate{Version: 1, Share: 1}
			return o
		}},
		{"another model", replica.ReasonOrder, func() any {
			o := op.last
			o.Serial, o.Model = 9, "other"
			o.Sign(seed)
			return o
		}},
		{"replayed", replica.ReasonReplay, func() any { return replayed }},
		{"same serial, other content", replica.ReasonReplay, func() any {
			o := op.last
			o.Version = 1
			o.Sign(seed)
			return o
		}},
		{"unsigned", replica.ReasonUnsigned, func() any {
			o := op.last
			o.Serial, o.Version, o.Signer, o.Signature = 9, 1, "", ""
			return o
		}},
		{"foreign", replica.ReasonSigner, func() any {
			o := op.last
			o.Serial, o.Version = 9, 1
			o.Sign(foreign)
			return o
		}},
		{"changed behind its signature", replica.ReasonTampered, func() any {
			o := op.last
			o.Serial, o.Version = 9, 1
			return o
		}},
	}
	check := func(when string) {
		t.Helper()
		for _, c := range cases {
			before := refused(c.reason)
			b, err := json.Marshal(c.value())
			if err != nil {
				t.Fatal(err)
			}
			forge.put(publisher.OrdersBucket, "shop", b)
			eventually(t, when+": "+c.name+" is refused as "+string(c.reason), func() bool { return refused(c.reason) > before })
			if m, _ := r.Current(); m.Version != 2 || metric(t, r, "freshet_order_serial") != 5 {
				t.Fatalf("%s: %s: version %d serves", when, c.name, m.Version)
			}
			if w := call(r.Handler(), "GET", "/v1/model", ""); !strings.Contains(w.Body.String(), "order: "+string(c.reason)) {
				t.Errorf("%s: %s: /v1/model does not say why: %s", when, c.name, w.Body)
			}
		}
	}
	check("at once")
	stop()
	r, _ = start(t, cfg, js, nil)
	check("after a restart")
	op.order(0, nil)
	serves(t, r, 3)
	eventually(t, "nothing is refused", func() bool {
		return !strings.Contains(call(r.Handler(), "GET", "/v1/model", "").Body.String(), "refused")
	})
}

func TestPinnedVersionThatIsGone(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.serve(t, 3)
	op := newOperator(t, w.js, nil)
	manifests, err := w.js.KeyValue(t.Context(), publisher.ManifestsBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := manifests.Purge(t.Context(), "shop.1"); err != nil {
		t.Fatal(err)
	}
	for _, v := range []schema.Version{1, 2, 77} { // gone; its base is gone; never was
		op.order(v, &publisher.Candidate{Share: 0.5})
		for _, r := range w.replicas {
			obeyed(t, r, op.last.Serial)
			eventually(t, "the replica says why", func() bool {
				return strings.Contains(call(r.Handler(), "GET", "/v1/model", "").Body.String(), "missing: ")
			})
		}
		w.serve(t, 3)
	}
	op.order(0, &publisher.Candidate{Version: 1, Share: 0.5})
	for _, r := range w.replicas {
		obeyed(t, r, op.last.Serial)
		eventually(t, "the candidate is refused", func() bool {
			return strings.Contains(call(r.Handler(), "GET", "/v1/model", "").Body.String(), "candidate: missing: ")
		})
	}
	w.serve(t, w.publish(t)) // the stable lane goes on
	op.order(0, nil)
	for _, r := range w.replicas {
		eventually(t, "nothing is refused", func() bool {
			return !strings.Contains(call(r.Handler(), "GET", "/v1/model", "").Body.String(), "refused")
		})
	}
}

// A bucket of orders that comes into being after the replica has started is found.
func TestFirstOrderOfAnOldStore(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := newPublisher(t, js, nil)
	if err := js.DeleteKeyValue(t.Context(), publisher.OrdersBucket); err != nil {
		t.Fatal(err)
	}
	trainee := newTrainee(t, 10)
	trainee.publish(t, p)
	trainee.publish(t, p)
	r, _ := start(t, config("r1"), js, nil)
	serves(t, r, 2)
	newOperator(t, js, nil).order(1, nil)
	serves(t, r, 1)
}

// An order that is removed stays in force where it was seen.
func TestRemovedOrderStaysInForce(t *testing.T) {
	w := newWorld(t, 2, nil)
	newOperator(t, w.js, nil).order(1, nil)
	w.serve(t, 1)
	kv, err := w.js.KeyValue(t.Context(), publisher.OrdersBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Purge(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	head := w.publish(t)
	for _, r := range w.replicas {
		eventually(t, "the head is seen", func() bool { return metric(t, r, "freshet_head_version") == float64(head) })
	}
	w.serve(t, 1)
}
