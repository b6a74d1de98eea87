package replica_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/nats-io/nats.go/jetstream"
)

// now is the clock of every test: what depends on it comes out the same each time.
var now = time.UnixMilli(1_800_000_000_000).UTC()

// trainee is a small model that learns a little before each version.
type trainee struct {
	cfg model.Config
	m   *model.Model
	rng *rand.Rand
	n   int
	// direct is the model as a replica should have it, built from the same tables without NATS.
	direct *model.Served
}

func modelConfig() model.Config {
	c := model.DefaultConfig()
	c.Dim, c.Blocks, c.Heads, c.MaxSessions, c.MaxTokens, c.Scenes = 8, 1, 2, 4, 32, 4
	c.NegativesUniform, c.NegativesRecent, c.RecentWindow = 8, 8, 64
	c.LossWithoutHistory = true
	return c
}

func newTrainee(t testing.TB, items int) *trainee {
	t.Helper()
	return newTraineeOf(t, modelConfig(), items)
}

func newTraineeOf(t testing.TB, cfg model.Config, items int) *trainee {
	t.Helper()
	m, err := model.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a := &trainee{cfg: cfg, m: m, rng: rand.New(rand.NewPCG(1, 2))}
	a.admit(items)
	return a
}

func (a *trainee) admit(items int) {
	for range items {
		a.m.Admit(fmt.Sprintf("i%d", a.n), schema.ItemInfo{Category: fmt.Sprintf("c%d", a.n%3)}, 0)
		a.n++
	}
}

// update trains one step and returns the next version's update. It also brings direct up to it.
func (a *trainee) update(t testing.TB, kind schema.Kind) publisher.Update {
	t.Helper()
	row := func() model.Row { return model.Row(a.rng.IntN(a.n)) }
	a.m.Forward([]model.Example{{
		Past:    []model.Session{{At: 1_700_000_000_000, Events: []model.Event{{Row: row(), Action: schema.ActionClick}}}},
		At:      1_700_000_100_000,
		Targets: []model.Row{row()},
	}})
	a.m.Step()
	u := publisher.Update{Kind: kind, Step: 1, Items: a.m.Items(), ConfigDigest: a.cfg.Digest(),
		TrainedThrough: schema.TrainedThrough{EventTime: schema.EventTime(now.UnixMilli() - 5000), Positions: schema.Position{0: 1}}}
	var err error
	if u.Objects = objectsOf(a.m.Snapshot(kind == schema.KindBase, popularity)); kind == schema.KindBase {
		a.direct, err = model.LoadServed(u.Objects[0].Table, u.Objects[1].Table)
	} else {
		a.direct, err = a.direct.Apply(u.Objects[0].Table, u.Objects[1].Table)
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// following is update for a base that follows on the version before.
func (a *trainee) following(t testing.TB) publisher.Update {
	t.Helper()
	u := a.update(t, schema.KindDelta)
	u.Kind, u.FromParent, u.Objects = schema.KindBase, u.Objects, objectsOf(a.m.Published())
	return u
}

func popularity(r model.Row) float32 { return float32(1000 - int(r)) }

func objectsOf(s model.Snapshot) (objects []publisher.Object) {
	for _, o := range s.Objects() {
		objects = append(objects, publisher.Object{Name: o.Name, Table: o.Table})
	}
	return objects
}

// publish publishes what the trainee has learned since it published last, by the same publisher.
func (a *trainee) publish(t testing.TB, p *publisher.Publisher) schema.Manifest {
	t.Helper()
	var u publisher.Update
	if kind := p.NextKind(); kind == schema.KindBase && p.Follows() {
		u = a.following(t)
	} else {
		u = a.update(t, kind)
	}
	m, err := p.Publish(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newPublisher(t testing.TB, js jetstream.JetStream, change func(*publisher.Config)) *publisher.Publisher {
	t.Helper()
	cfg := publisher.Config{Model: "shop", ID: "trainer-1", Now: func() time.Time { return now }, Log: quiet(), BaseEvery: 4}
	if change != nil {
		change(&cfg)
	}
	p, err := publisher.New(t.Context(), js, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func config(id string) replica.Config {
	return replica.Config{ID: id, Model: "shop", Address: "http://" + id, MaxJitter: -1, PollEvery: 200 * time.Millisecond,
		Backoff: publisher.Backoff{First: 5 * time.Millisecond, Most: 50 * time.Millisecond}, Now: func() time.Time { return now }, Log: quiet()}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start runs a replica until the test, or the returned function, ends it.
func start(t testing.TB, cfg replica.Config, js jetstream.JetStream, h replica.Histories) (*replica.Replica, func()) {
	t.Helper()
	r, err := replica.New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, js) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("replica ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return r, stop
}

// eventually waits until condition holds; the bound only says when a hopeless test ends.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func serves(t testing.TB, r *replica.Replica, v schema.Version) {
	t.Helper()
	eventually(t, fmt.Sprintf("replica serves version %d", v), func() bool {
		m, ok := r.Current()
		return ok && m.Version == v
	})
}

// call sends a request to a handler, as JSON where it has a body.
func call(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	return deliver(h, req)
}

// deliver sends a request as it is to a handler.
func deliver(h http.Handler, req *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// ask posts a request that must succeed.
func ask(t testing.TB, h http.Handler, body string) replica.Answer {
	t.Helper()
	w := call(h, "POST", "/v1/recommend", body)
	var a replica.Answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); w.Code != http.StatusOK || err != nil {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	if got := w.Header().Get(replica.HeaderVersion); got != fmt.Sprint(a.Model.Version) {
		t.Fatalf("header says version %s, body says %d", got, a.Model.Version)
	}
	return a
}

// metric reads a value from /metrics, by its name and labels as they are written there.
func metric(t testing.TB, r *replica.Replica, name string) float64 {
	t.Helper()
	return valueOf(t, call(r.Handler(), "GET", "/metrics", "").Body, name)
}

func valueOf(t testing.TB, metrics io.Reader, name string) float64 {
	t.Helper()
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func rejected(t testing.TB, r *replica.Replica, reason replica.Reason) float64 {
	t.Helper()
	return metric(t, r, fmt.Sprintf(`freshet_updates_rejected_total{reason="%s"}`, reason))
}

// expected is what direct answers to clicks on the items, one session, now.
func expected(direct *model.Served, k int, items ...string) []replica.Item {
	var clicks []schema.Click
	for _, id := range items {
		clicks = append(clicks, schema.Click{ItemID: id, Action: schema.ActionClick, EventTime: schema.EventTime(now.UnixMilli() - 1000)})
	}
	q := model.Query{At: schema.EventTime(now.UnixMilli())}
	if len(clicks) > 0 {
		q.Past = []model.ServedSession{model.NewServedSession(clicks)}
	}
	source := replica.SourceModel
	scored, ok := direct.Recommend(q, k)
	if !ok {
		source, scored = replica.SourceBaseline, direct.Popular(k, model.Filter{})
	}
	var out []replica.Item
	for i, s := range scored {
		score := s.Score
		if source == replica.SourceBaseline {
			score = float32(math.Exp2(-float64(i))) // each item is half as popular as the one before
		}
		out = append(out, replica.Item{ItemID: s.ItemID, Score: score, Source: source})
	}
	return out
}

// body is the request whose answer expected computes.
func body(k int, items ...string) string {
	q := replica.Request{UserID: "u1", K: k}
	for _, id := range items {
		q.Clicks = append(q.Clicks, replica.RequestClick{ItemID: id, Timestamp: schema.EventTime(now.UnixMilli() - 1000)})
	}
	b, _ := json.Marshal(q)
	return string(b)
}
