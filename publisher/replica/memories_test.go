package replica_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// growing is histories that go on, and lose their beginnings.
type growing struct {
	mu    sync.Mutex
	parts map[string][]schema.Part
	emit  schema.Emit
	at    schema.EventTime
}

func newGrowing() *growing {
	return &growing{parts: map[string][]schema.Part{}, at: schema.EventTime(now.UnixMilli()) - 1e9}
}

func (g *growing) Recent(user string, n int) ([]schema.Part, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	parts := g.parts[user]
	return parts[max(0, len(parts)-n):], nil
}

// add gives a user a part of some clicks: a session of its own.
func (g *growing) add(user string, items ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at += 100_000
	p := schema.Part{UserID: user, Emit: g.emit, SessionStart: g.at, Final: true}
	for i, id := range items {
		p.Clicks = append(p.Clicks, schema.Click{UserID: user, ItemID: id, Action: schema.ActionClick, EventTime: g.at + schema.EventTime(i)})
	}
	g.emit++
	g.parts[user] = append(g.parts[user], p)
}

// put adds a part as it is.
func (g *growing) put(p schema.Part) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parts[p.UserID] = append(g.parts[p.UserID], p)
}

// forget takes the oldest part away, as retention does.
func (g *growing) forget(user string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if parts := g.parts[user]; len(parts) > 0 {
		g.parts[user] = parts[1:]
	}
}

func someItems(rng *rand.Rand, most int) (ids []string) {
	for range 1 + rng.IntN(most) {
		ids = append(ids, fmt.Sprintf("i%d", rng.IntN(34))) // the last four are unknown
	}
	return ids
}

// sameScores says how two answers of all items differ by more than the order of sums.
func sameScores(got, want replica.Answer) error {
	if got.Model != want.Model || len(got.Items) != len(want.Items) {
		return fmt.Errorf("%+v with %d items, want %+v with %d", got.Model, len(got.Items), want.Model, len(want.Items))
	}
	scores := map[string]replica.Item{}
	for _, i := range want.Items {
		scores[i.ItemID] = i
	}
	for _, i := range got.Items {
		if w, ok := scores[i.ItemID]; !ok || w.Source != i.Source || math.Abs(float64(w.Score-i.Score)) > 1e-4*max(1, math.Abs(float64(w.Score))) {
			return fmt.Errorf("%+v, want %+v", i, w)
		}
	}
	return nil
}

func cacheRequests(t testing.TB, r *replica.Replica, outcome string) float64 {
	t.Helper()
	return metric(t, r, fmt.Sprintf("freshet_user_cache_requests_total{outcome=%q}", outcome))
}

// TestRememberedAnswersAreTheOthers: over histories that grow and lose their beginnings, open sessions, and versions with and without weights, a replica that remembers a few users answers as one
// that remembers none.
func TestRememberedAnswersAreTheOthers(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	c, p := newCounting(t, 30), newPublisher(t, js, nil)
	c.click(3, 4, 3, 5)
	histories := newGrowing()
	with := func(id string, bytes int64) *replica.Replica {
		cfg := config(id)
		cfg.CacheBytes = bytes
		r, _ := start(t, cfg, js, histories)
		return r
	}
	const most = 8 << 10
	r, bare := with("r1", most), with("r2", -1)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for round := range 30 {
		var u publisher.Update
		switch {
		case p.NextKind() == schema.KindBase:
			u = c.base(t)
		case round%3 == 0:
			u = c.update(t, schema.KindDelta)
			c.add(t, &u)
		default:
			c.click(model.Row(rng.IntN(30)), model.Row(rng.IntN(30)))
			u = c.tables(t)
		}
		v := send(t, p, u).Version
		serves(t, r, v)
		serves(t, bare, v)
		for range 40 {
			user := fmt.Sprintf("u%d", rng.IntN(6))
			switch rng.IntN(8) {
			case 0, 1:
				histories.add(user, someItems(rng, 9)...)
			case 2:
				histories.forget(user)
			}
			q := replica.Request{UserID: user, K: 100}
			if rng.IntN(2) == 0 {
				for i, id := range someItems(rng, 5) {
					q.Clicks = append(q.Clicks, replica.RequestClick{ItemID: id, Timestamp: schema.EventTime(now.UnixMilli() - 9000 + int64(i))})
				}
			}
			request, err := json.Marshal(q)
			if err != nil {
				t.Fatal(err)
			}
			if err := sameScores(ask(t, r.Handler(), string(request)), ask(t, bare.Handler(), string(request))); err != nil {
				t.Fatalf("round %d, %s: %v", round, request, err)
			}
			if bytes := metric(t, r, "freshet_user_cache_bytes"); bytes < 0 || bytes > most {
				t.Fatalf("%v bytes are kept, %d may be", bytes, most)
			}
		}
	}
	for _, outcome := range []string{"hit", "miss", "cut"} {
		if n := cacheRequests(t, r, outcome); n < 10 {
			t.Errorf("%v times a %s: too few to say anything", n, outcome)
		}
	}
	if n := metric(t, r, "freshet_user_cache_evictions_total"); n == 0 {
		t.Error("nobody made room")
	}
	if n := metric(t, bare, "freshet_user_cache_users"); n != 0 {
		t.Errorf("%v users are kept by whom keeps none", n)
	}
}

// TestMemoryIsFreedWithItsWeights: new tables keep what was read, new weights do not, whether or not the user comes again.
func TestMemoryIsFreedWithItsWeights(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	c, p := newCounting(t, 30), newPublisher(t, js, nil)
	histories := newGrowing()
	histories.add("u1", "i1", "i2")
	r, _ := start(t, config("r1"), js, histories)
	serves(t, r, send(t, p, c.base(t)).Version)
	users := func() float64 { return metric(t, r, "freshet_user_cache_users") }
	ask(t, r.Handler(), `{"user_id":"u1"}`)
	c.click(1, 2)
	serves(t, r, send(t, p, c.tables(t)).Version)
	if ask(t, r.Handler(), `{"user_id":"u1"}`); users() != 1 || cacheRequests(t, r, "hit") != 1 {
		t.Errorf("after new tables %v users are kept, with %v hits", users(), cacheRequests(t, r, "hit"))
	}
	serves(t, r, send(t, p, c.update(t, schema.KindDelta)).Version)
	if bytes := metric(t, r, "freshet_user_cache_bytes"); users() != 0 || bytes != 0 {
		t.Errorf("after new weights %v users are kept, with %v bytes", users(), bytes)
	}
	if ask(t, r.Handler(), `{"user_id":"u1"}`); cacheRequests(t, r, "miss") != 2 {
		t.Errorf("%v misses", cacheRequests(t, r, "miss"))
	}
	for range 3 { // neither those without a history nor those without a name are kept
		ask(t, r.Handler(), `{"user_id":"u2"}`)
		ask(t, r.Handler(), `{"clicks":[{"item_id":"i1"}]}`)
	}
	if users() != 1 {
		t.Errorf("%v users are kept", users())
	}
}

// TestOneUserAsksFromManySides at once, while weights change: each answer is that of its version, and in the end nobody has the memory.
func TestOneUserAsksFromManySides(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	c, p := newCounting(t, 30), newPublisher(t, js, nil)
	histories := newGrowing()
	r, _ := start(t, config("r1"), js, histories)
	cfg := config("r2")
	cfg.CacheBytes = -1
	bare, _ := start(t, cfg, js, histories)
	for range 5 {
		u := c.update(t, p.NextKind())
		c.add(t, &u)
		v := send(t, p, u).Version
		histories.add("u1", "i1", "i2", "i3")
		serves(t, r, v)
		serves(t, bare, v)
		want := ask(t, bare.Handler(), `{"user_id":"u1","k":100}`)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 {
					var got replica.Answer
					w := call(r.Handler(), "POST", "/v1/recommend", `{"user_id":"u1","k":100}`)
					if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
						t.Error(err)
					} else if err := sameScores(got, want); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	all := 0.
	for _, outcome := range []string{"hit", "miss", "cut", "busy"} {
		all += cacheRequests(t, r, outcome)
	}
	if all != 5*4*20 {
		t.Errorf("%v requests are counted, there were %d", all, 5*4*20)
	}
	busy := cacheRequests(t, r, "busy")
	if ask(t, r.Handler(), `{"user_id":"u1"}`); cacheRequests(t, r, "busy") != busy || metric(t, r, "freshet_user_cache_users") != 1 {
		t.Error("the memory is still taken")
	}
}

// TestNewItemsAlone: who clicked nothing that the version knows is answered by what is popular, marked so, and by the model as soon as a version knows one of the items.
func TestNewItemsAlone(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	c, p := newCounting(t, 30), newPublisher(t, js, nil)
	c.click(3, 4, 3, 5)
	histories := newGrowing()
	histories.add("u1", "i30", "i31")
	r, _ := start(t, config("r1"), js, histories)
	serves(t, r, send(t, p, c.base(t)).Version)
	for range 2 { // also by who remembers that there is nothing
		for user, clicks := range map[string]string{"u1": "", "u2": `,"clicks":[{"item_id":"i30"}]`, "u3": ""} {
			items := ask(t, r.Handler(), `{"user_id":"`+user+`","k":3`+clicks+`}`).Items
			if len(items) != 3 || items[0].ItemID != "i3" || items[0].Score != 1 || items[0].Source != replica.SourceBaseline || items[2].Source != replica.SourceBaseline {
				t.Errorf("%s: %+v", user, items)
			}
		}
	}
	c.admit(1) // i30
	u := c.update(t, p.NextKind())
	c.add(t, &u)
	serves(t, r, send(t, p, u).Version)
	if items := ask(t, r.Handler(), `{"user_id":"u1","k":3}`).Items; items[0].Source != replica.SourceModel {
		t.Errorf("a version that knows i30: %+v", items)
	}
	if items := ask(t, r.Handler(), `{"user_id":"u1","k":100,"exclude_seen":true}`).Items; len(items) != 30 {
		t.Errorf("%d items beside the one that was seen", len(items))
	}
}

// BenchmarkUser asks for a user with 256 tokens of history, from 10 000 items of width 64, in a replica that remembers what it has read and in one that does not.
func BenchmarkUser(b *testing.B) {
	js := dial(b, natstest.Start(b, b.TempDir(), 0))
	full := model.DefaultConfig()
	full.MaxTokens = 256
	full.NegativesUniform, full.NegativesRecent = 8, 8
	m := newTraineeOf(b, full, 10_000)
	m.publish(b, newPublisher(b, js, nil))
	histories := newGrowing()
	rng := rand.New(rand.NewPCG(1, 1))
	for range full.MaxSessions {
		items := make([]string, full.MaxTokens/full.MaxSessions-1)
		for i := range items {
			items[i] = fmt.Sprintf("i%d", rng.IntN(10_000))
		}
		histories.add("u1", items...)
	}
	for name, bytes := range map[string]int64{"cold": -1, "warm": 0} {
		cfg := config(name)
		cfg.CacheBytes = bytes
		r, _ := start(b, cfg, js, histories)
		serves(b, r, 1)
		h := r.Handler()
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if w := call(h, "GET", "/v1/recommend?user_id=u1", ""); w.Code != 200 {
					b.Fatal(w.Body)
				}
			}
		})
	}
}
