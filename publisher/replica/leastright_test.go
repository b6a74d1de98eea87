package replica_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/publisher/snapshots"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// secure is a NATS server that runs the configuration that freshet ships, and what each role has to reach it.
type secure struct {
	server *server.Server
	ca     *authority
	seeds  map[string]string // files, by role
}

func startSecure(t *testing.T) *secure {
	t.Helper()
	s := &secure{ca: newAuthority(t), seeds: map[string]string{}}
	s.ca.issue(t, "nats", time.Hour)
	t.Setenv("FRESHET_NATS_CERT_FILE", s.ca.file("nats.pem"))
	t.Setenv("FRESHET_NATS_KEY_FILE", s.ca.file("nats.key"))
	for _, role := range []string{"trainer", "replica-1", "replica-2", "ingest", "operator"} {
		pair, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		seed, _ := pair.Seed()
		public, _ := pair.PublicKey()
		s.seeds[role] = file(t, role+".nk", string(seed))
		t.Setenv("FRESHET_NKEY_"+strings.ToUpper(strings.ReplaceAll(role, "-", "_")), public)
	}
	o, err := server.ProcessConfigFile("../../deploy/nats-secure.conf")
	if err != nil {
		t.Fatal(err)
	}
	if o.TLSConfig == nil || len(o.Nkeys) != len(s.seeds) || !o.JetStream {
		t.Fatalf("TLS %v, %d users, JetStream %v: the test does not see the configuration", o.TLSConfig, len(o.Nkeys), o.JetStream)
	}
	o.HTTPPort, o.HTTPHost, o.SyncAlways = 0, "", false
	s.server = natstest.Run(t, o)
	return s
}

// user is a role's connection, and what the server has refused it.
type user struct {
	*nats.Conn
	js jetstream.JetStream

	mu      sync.Mutex
	refused []error
	news    chan struct{}
}

func (s *secure) connect(t *testing.T, role string) *user {
	t.Helper()
	options, err := publisher.Security{NKeySeedFile: s.seeds[role], Inbox: role, TLS: publisher.TLS{CAFile: s.ca.file("ca.pem")}}.Options()
	if err != nil {
		t.Fatal(err)
	}
	u := &user{news: make(chan struct{}, 1)}
	u.Conn, u.js, err = publisher.Connect(s.server.ClientURL(), role, append(options, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		u.mu.Lock()
		u.refused = append(u.refused, err)
		u.mu.Unlock()
		select {
		case u.news <- struct{}{}:
		default:
		}
	}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closeAndWait(u.Conn)
		if t.Failed() {
			t.Logf("%s was refused: %v", role, u.faults())
		}
	})
	if strings.HasPrefix(role, "replica") {
		if u.js, err = jetstream.NewWithAPIPrefix(u.Conn, "freshet.api"); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, role+" connects", u.IsConnected)
	return u
}

// faults returns what has been refused since the last call.
func (u *user) faults() []error {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.refused
	u.refused = nil
	return out
}

// mustNot fails the test unless the server refuses the act, whatever else comes of it.
func (u *user) mustNot(t *testing.T, what string, act func() error) {
	t.Helper()
	u.faults()
	if err := act(); err != nil && !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("%s: %v", what, err)
	}
	if err := u.FlushTimeout(20 * time.Second); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	eventually(t, what+" is refused", func() bool {
		for _, err := range u.faults() {
			if errors.Is(err, nats.ErrPermissionViolation) {
				return true
			}
		}
		return false
	})
}

// publishes is an act that sends a message.
func (u *user) publishes(subject, body string) func() error {
	return func() error { return u.Publish(subject, []byte(body)) }
}

func (u *user) listens(subject string) func() error {
	return func() error {
		sub, err := u.SubscribeSync(subject)
		if err == nil {
			t := sub.Unsubscribe
			defer t()
		}
		return err
	}
}

// Each role does its work under the configuration that freshet ships, without being refused anything, and nothing else.
func TestRolesHaveTheRightsTheyNeedAndNoOthers(t *testing.T) {
	s := startSecure(t)
	seed, key := newSeed(t)
	trainer := s.connect(t, "trainer")
	model := func(c *publisher.Config) { c.Model, c.Seed, c.BaseEvery, c.Keep = "default", seed, 2, 1 }
	trainee := newTrainee(t, 20)
	p := newPublisher(t, trainer.js, model)
	reports := make(chan publisher.Report, 1000)
	ctx, stop := context.WithCancel(t.Context())
	followed := make(chan error, 1)
	go func() { followed <- p.Reports(ctx, func(r publisher.Report) { reports <- r }) }()

	users := map[string]*user{"trainer": trainer}
	replicas := map[string]*replica.Replica{}
	for _, id := range []string{"replica-1", "replica-2"} {
		users[id] = s.connect(t, id)
		cfg := config(id)
		cfg.Model, cfg.TrustedKeys, cfg.PollEvery = "default", []string{key}, time.Hour // news alone
		replicas[id], _ = start(t, cfg, users[id].js, nil)
	}
	for range 8 { // bases, deltas, and the removal of what is old
		m := trainee.publish(t, p)
		for id, r := range replicas {
			serves(t, r, m.Version)
			if diff := cmp.Diff(expected(trainee.direct, 10, "i1"), ask(t, r.Handler(), body(10, "i1")).Items); diff != "" {
				t.Fatalf("%s, version %d:\n%s", id, m.Version, diff)
			}
		}
	}
	last := p.Last().Version
	for heard := map[string]bool{}; len(heard) < 2; {
		if r := <-reports; r.Version == last {
			heard[r.ID] = true
		}
	}
	// Another trainer takes the line over, and finds the buckets as they are.
	p = newPublisher(t, trainer.js, model)
	m := trainee.publish(t, p)
	for _, r := range replicas {
		serves(t, r, m.Version)
	}
	users["operator"] = s.connect(t, "operator")
	s.operate(t, users["operator"])
	give := func(serial uint64, v schema.Version) {
		store, err := publisher.OpenStore(t.Context(), users["operator"].js)
		if err != nil {
			t.Fatal(err)
		}
		_, revision, err := store.OrderBytes(t.Context(), "default")
		if err != nil && !errors.Is(err, publisher.ErrNoOrder) {
			t.Fatal(err)
		}
		o := publisher.Order{Format: publisher.OrderFormat, Model: "default", Serial: serial, Version: v, At: now}
		if err := errors.Join(o.Sign(seed), store.GiveOrder(t.Context(), o, revision)); err != nil {
			t.Fatal(err)
		}
	}
	give(1, m.Version)
	for id, r := range replicas {
		eventually(t, id+" obeys", func() bool { return metric(t, r, "freshet_order_serial") == 1 })
	}
	pinned := trainee.publish(t, p)
	for _, r := range replicas {
		serves(t, r, m.Version)
	}
	give(2, 0)
	for _, r := range replicas {
		serves(t, r, pinned.Version)
	}
	users["ingest"] = s.connect(t, "ingest")
	s.ingest(t, users["ingest"])
	for role, u := range users {
		if faults := u.faults(); len(faults) > 0 {
			t.Errorf("%s is refused what it needs: %v", role, faults)
		}
	}

	before := users["operator"].stored(t)
	r := users["replica-1"]
	const deliver = `{"stream_name":"KV_freshet_manifests","config":{"deliver_subject":"$KV.freshet_heads.default"}}`
	for what, subject := range map[string]string{
		"moving the head":               "$KV.freshet_heads.default",
		"another model's head":          "$KV.freshet_heads.other",
		"writing a manifest":            "$KV.freshet_manifests.default.99",
		"writing an object":             "$O.freshet_models.C.abc",
		"entering an object":            "$O.freshet_models.M.abc",
		"giving an order":               "$KV.freshet_orders.default",
		"taking the line":               "$KV.freshet_writers.default",
		"reporting on another model":    "$KV.freshet_replicas.other.replica-1",
		"telling news":                  "freshet.heads.default",
		"any other bucket":              "$KV.shop_sessions.u1",
		"removing a bucket":             "$JS.API.STREAM.DELETE.KV_freshet_heads",
		"removing versions":             "$JS.API.STREAM.PURGE.KV_freshet_manifests",
		"removing one message":          "$JS.API.STREAM.MSG.DELETE.KV_freshet_heads",
		"changing a bucket":             "$JS.API.STREAM.UPDATE.KV_freshet_heads",
		"making a bucket":               "$JS.API.STREAM.CREATE.KV_mine",
		"a snapshot of a bucket":        "$JS.API.STREAM.SNAPSHOT.KV_freshet_heads",
		"a consumer":                    "$JS.API.CONSUMER.CREATE.KV_freshet_manifests",
		"a named consumer":              "$JS.API.CONSUMER.CREATE.KV_freshet_manifests.mine.$KV.freshet_manifests.>",
		"a durable consumer":            "$JS.API.CONSUMER.DURABLE.CREATE.KV_freshet_manifests.mine",
		"what streams there are":        "$JS.API.STREAM.NAMES",
		"another stream":                "$JS.API.STREAM.INFO.KV_freshet_writers",
		"other replicas' reports":       "$JS.API.DIRECT.GET.KV_freshet_replicas.$KV.freshet_replicas.default.replica-2",
		"subjects that are not freshet": "orders.new",
	} {
		r.mustNot(t, "replica: "+what, r.publishes(subject, deliver))
		r.mustNot(t, "replica: "+what+" through the account", r.publishes("freshet.api."+strings.TrimPrefix(subject, "$JS.API."), deliver))
	}
	for what, subject := range map[string]string{"everything": ">", "heads as they are written": "$KV.freshet_heads.>", "objects": "$O.>"} {
		r.mustNot(t, "replica: hearing "+what, r.listens(subject))
	}
	if _, err := r.js.Publish(t.Context(), "freshet.api.$KV.freshet_replicas.default.replica-2", []byte("{}")); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("reporting as another replica: %v", err)
	}
	// The server answers where the request says: nothing of the account of the buckets must be reached by that.
	for _, reply := range []string{"$KV.freshet_heads.default", "$KV.freshet_manifests.default.1", "$KV.freshet_replicas.default.replica-2",
		"$O.freshet_models.M.abc", "$JS.API.STREAM.DELETE.KV_freshet_heads"} {
		for _, subject := range []string{"STREAM.INFO.KV_freshet_heads", "DIRECT.GET.KV_freshet_heads.$KV.freshet_heads.default",
			"DIRECT.GET.KV_freshet_manifests.$KV.freshet_manifests.default.1"} {
			if err := r.PublishRequest("freshet.api."+subject, reply, nil); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := r.js.KeyValue(t.Context(), publisher.HeadsBucket); err != nil { // behind all of that
		t.Error(err)
	}
	// A report that would remove the others is no report.
	report := nats.NewMsg("freshet.api.$KV.freshet_replicas.default.replica-1")
	report.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupAll)
	if _, err := r.js.PublishMsg(t.Context(), report); err == nil {
		t.Error("a replica removes the others' reports")
	}

	for role, subjects := range map[string]map[string]string{
		"trainer": {"another model's head": "$KV.freshet_heads.other", "an order": "$KV.freshet_orders.default",
			"a report": "$KV.freshet_replicas.default.replica-1", "the end of a bucket": "$JS.API.STREAM.DELETE.KV_freshet_heads"},
		"operator": {"a head": "$KV.freshet_heads.default", "a manifest": "$KV.freshet_manifests.default.99",
			"an object": "$O.freshet_models.C.abc", "a lease": "$KV.freshet_writers.default", "the end of a bucket": "$JS.API.STREAM.DELETE.KV_freshet_heads"},
	} {
		for what, subject := range subjects {
			users[role].mustNot(t, role+": "+what, users[role].publishes(subject, "{}"))
		}
	}
	// What ingest nodes write stays among them.
	for _, subject := range []string{"$KV.freshet_heads.default", "$KV.freshet_replicas.default.replica-1", "$JS.API.STREAM.INFO.KV_freshet_heads"} {
		answer, err := users["ingest"].RequestWithContext(t.Context(), subject, []byte("{}"))
		if err == nil && !strings.Contains(string(answer.Data), "stream not found") || err != nil && !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("ingest reaches %s: %v %v", subject, answer, err)
		}
	}
	if diff := cmp.Diff(before, users["operator"].stored(t)); diff != "" {
		t.Errorf("something was written or removed (-before +after):\n%s", diff)
	}
	reported, err := users["operator"].js.KeyValue(t.Context(), publisher.ReplicasBucket)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := reported.Get(t.Context(), "default.replica-2")
	if err != nil || !strings.HasPrefix(string(entry.Value()), `{"id":"replica-2"`) {
		t.Errorf("the report of replica-2: %v, %v", entry, err)
	}

	// After all this everybody goes on.
	m = trainee.publish(t, p)
	for _, r := range replicas {
		serves(t, r, m.Version)
	}
	stop()
	<-followed
}

// stored returns how much was ever written to the buckets, and is in them, but for reports, which come all the time.
func (u *user) stored(t *testing.T) map[string]jetstream.StreamState {
	t.Helper()
	states := map[string]jetstream.StreamState{}
	for _, name := range []string{"OBJ_" + publisher.ObjectsBucket, "KV_" + publisher.ManifestsBucket, "KV_" + publisher.HeadsBucket} {
		stream, err := u.js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		state := stream.CachedInfo().State
		state.Consumers = 0 // those of the trainer and the operator come and go
		states[name] = state
	}
	return states
}

// operate does what an operator does.
func (s *secure) operate(t *testing.T, u *user) {
	t.Helper()
	store, err := publisher.OpenStore(t.Context(), u.js)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Head(t.Context(), "default"); err != nil {
		t.Error(err)
	}
	if versions, err := store.Versions(t.Context(), "default"); err != nil || len(versions) == 0 {
		t.Errorf("versions %v: %v", versions, err)
	}
	if all, err := store.Reports(t.Context(), "default"); err != nil || len(all) == 0 {
		t.Errorf("reports %v: %v", all, err)
	}
	if all, err := store.Published(t.Context(), "default", 3); err != nil || len(all) == 0 {
		t.Errorf("published %v: %v", all, err)
	}
	for _, dry := range []bool{true, false} {
		if removed, err := store.Collect(t.Context(), "default", 1, dry); err != nil {
			t.Errorf("collecting: %v, %v", removed, err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	if err := store.FollowReports(ctx, "default", func(publisher.Report) { stop() }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// ingest does what an ingest node does with a partition.
func (s *secure) ingest(t *testing.T, u *user) {
	t.Helper()
	store, err := snapshots.New(u.js, snapshots.Config{Topic: "clicks", Group: "freshet", Owner: "node-1"})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 { // old snapshots are removed
		c, err := store.Claim(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		at := snapshots.At{Offset: schema.Offset(n + 1), Emit: schema.Emit(n + 1)}
		if err := c.Record(t.Context(), snapshots.Mark{Kind: "tick", At: at}); err != nil {
			t.Fatal(err)
		}
		saved, err := c.Save(t.Context(), func(w io.Writer) (snapshots.At, error) {
			_, err := w.Write(bytes.Repeat([]byte("state"), 200_000)) // several chunks
			return at, err
		})
		if err != nil {
			t.Fatal(err)
		}
		in, err := c.Open(t.Context(), saved)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(in); err != nil || len(b) != 1_000_000 {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		if err := c.Release(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}
}
