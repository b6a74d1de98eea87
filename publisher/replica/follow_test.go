package replica_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestReplicasAnswerAsTheModelItself(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	a, _ := start(t, config("r1"), js, nil) // before there is a publisher
	p := newPublisher(t, js, nil)
	trainee := newTrainee(t, 30)
	b, _ := start(t, config("r2"), js, nil)
	for i := range 7 { // base, 4 deltas, base, delta
		m := trainee.publish(t, p)
		trainee.admit(3) // in the next version
		for _, r := range []*replica.Replica{a, b} {
			serves(t, r, m.Version)
			for _, items := range [][]string{{"i1", "i2"}, {fmt.Sprintf("i%d", 29+3*i)}, {"unknown"}, nil} {
				if len(items) == 0 {
					continue
				}
				got := ask(t, r.Handler(), body(10, items...))
				if diff := cmp.Diff(expected(trainee.direct, 10, items...), got.Items); diff != "" {
					t.Fatalf("version %d, clicks %v (-direct +replica):\n%s", m.Version, items, diff)
				}
			}
		}
	}
	late, _ := start(t, config("r3"), js, nil)
	serves(t, late, 7)
	if diff := cmp.Diff(expected(trainee.direct, 10, "i1"), ask(t, late.Handler(), body(10, "i1")).Items); diff != "" {
		t.Errorf("a late replica (-direct +replica):\n%s", diff)
	}
	for r, want := range map[*replica.Replica][2]float64{a: {1, 6}, b: {1, 6}, late: {1, 0}} { // who follows needs one base, who is late swaps once for the whole chain
		got := [2]float64{metric(t, r, `freshet_adoptions_total{kind="base"}`), metric(t, r, `freshet_adoptions_total{kind="delta"}`)}
		if got != want {
			t.Errorf("a replica loaded %v bases and deltas, want %v", got, want)
		}
	}
}

func TestLateReplicaWalksTheWholeChain(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := newPublisher(t, js, func(c *publisher.Config) { c.BaseEvery = 100 })
	trainee := newTrainee(t, 10)
	for range 21 {
		trainee.publish(t, p)
		trainee.admit(1)
	}
	r, _ := start(t, config("r1"), js, nil)
	serves(t, r, 21)
	if diff := cmp.Diff(expected(trainee.direct, 50, "i3", "i29"), ask(t, r.Handler(), body(50, "i3", "i29")).Items); diff != "" {
		t.Errorf("(-direct +replica):\n%s", diff)
	}
}

func TestReplicaReports(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := newPublisher(t, js, nil)
	trainee := newTrainee(t, 10)
	start(t, config("r1"), js, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	trainee.publish(t, p)
	want := publisher.Report{ID: "r1", Model: "shop", Version: 1, Step: 1, AppliedAt: now, Address: "http://r1"}
	p.Reports(ctx, func(r publisher.Report) {
		if r.Version == 1 && r.Refused == "" {
			if r != want {
				t.Errorf("report %+v, want %+v", r, want)
			}
			cancel()
		}
	})
}

func TestLastGoodVersionServesWithNATSDown(t *testing.T) {
	s := natstest.Start(t, t.TempDir(), 0)
	js := dial(t, s)
	p := newPublisher(t, js, nil)
	trainee := newTrainee(t, 10)
	cfg := config("r1")
	cfg.Dir = t.TempDir()
	r, stop := start(t, cfg, js, nil)
	for range 7 {
		serves(t, r, trainee.publish(t, p).Version)
		trainee.admit(2)
	}
	want := ask(t, r.Handler(), body(20, "i1", "i9"))
	eventually(t, "version 7 is on the disk", func() bool { return lastOnDisk(cfg.Dir) == 7 })
	stop()
	files, _ := os.ReadDir(filepath.Join(cfg.Dir, "objects"))
	if len(files) != 4 { // base 6 and delta 7
		t.Errorf("%d objects on the disk, want 4", len(files))
	}
	natstest.Stop(s)

	again, stop := start(t, cfg, js, nil)
	serves(t, again, 7)
	if diff := cmp.Diff(want, ask(t, again.Handler(), body(20, "i1", "i9"))); diff != "" {
		t.Errorf("after the restart:\n%s", diff)
	}
	if w := call(again.Handler(), "GET", "/readyz", ""); w.Code != http.StatusOK {
		t.Errorf("readyz %d: %s", w.Code, w.Body)
	}
	stop()

	// A damaged file is refused, not served.
	name := filepath.Join(cfg.Dir, "objects", files[0].Name())
	b, _ := os.ReadFile(name)
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	damaged, _ := start(t, cfg, js, nil)
	eventually(t, "the damaged file is refused", func() bool { return rejected(t, damaged, replica.ReasonDigest) == 1 })
	if w := call(damaged.Handler(), "GET", "/readyz", ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("readyz %d: %s", w.Code, w.Body)
	}
}

// lastOnDisk returns the version that last.json names.
func lastOnDisk(dir string) schema.Version {
	b, err := os.ReadFile(filepath.Join(dir, "last.json"))
	if err != nil {
		return 0
	}
	var l struct{ Chain []schema.Manifest }
	if json.Unmarshal(b, &l) != nil || len(l.Chain) == 0 {
		return 0
	}
	return l.Chain[len(l.Chain)-1].Version
}

// Whatever the order of versions, refusals, takeovers and restarts: the replica ends at the newest version, answers as the
// model itself, and never goes back.
func TestAnyOrderOfEvents(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	line := 0
	rapid.Check(t, func(rt *rapid.T) {
		line++
		name := fmt.Sprintf("line-%d", line)
		open := func() *publisher.Publisher {
			return newPublisher(t, js, func(c *publisher.Config) { c.Model, c.BaseEvery = name, 3 })
		}
		cfg := config("r1")
		cfg.Model, cfg.Dir = name, t.TempDir()
		trainee := newTrainee(t, 5)
		p := open()
		var overtaken []*publisher.Publisher
		r, stop := start(t, cfg, js, nil)
		defer func() { stop() }()
		var head schema.Version
		check := func() {
			if head == 0 {
				return
			}
			serves(t, r, head)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(*rapid.T) {
				trainee.admit(1)
				m := trainee.publish(t, p)
				if m.Version <= head {
					rt.Fatalf("version %d after %d", m.Version, head)
				}
				head = m.Version
				check()
				want := expected(trainee.direct, 10, "i1", "i5")
				if diff := cmp.Diff(want, ask(t, r.Handler(), body(10, "i1", "i5")).Items); diff != "" {
					rt.Fatalf("version %d (-direct +replica):\n%s", head, diff)
				}
			},
			"publish what the guard refuses": func(*rapid.T) {
				u := trainee.update(t, p.NextKind())
				u.Objects = append(u.Objects, publisher.Object{Name: "bad", Table: schema.Table{
					Columns: []schema.Column{{Name: "x", Data: []float32{float32(math.NaN())}}}}})
				if _, err := p.Publish(t.Context(), u); !errors.Is(err, publisher.ErrGuard) {
					rt.Fatalf("got %v", err)
				}
				check()
			},
			"another publisher takes over": func(*rapid.T) {
				overtaken = append(overtaken, p)
				p = open()
				head = trainee.publish(t, p).Version
				check()
			},
			"an overtaken publisher tries": func(*rapid.T) {
				for _, old := range overtaken {
					if _, err := old.Publish(t.Context(), trainee.update(t, schema.KindBase)); !errors.Is(err, publisher.ErrLine) {
						rt.Fatalf("got %v, want ErrLine", err)
					}
				}
				if len(overtaken) > 0 { // the trainee's changed rows went with the refused update
					head = must(p.Publish(t.Context(), trainee.update(t, schema.KindBase))).Version
				}
				check()
			},
			"the replica starts again": func(*rapid.T) {
				stop()
				r, stop = start(t, cfg, js, nil)
				check()
			},
		})
	})
}

func must(m schema.Manifest, err error) schema.Manifest {
	if err != nil {
		panic(err)
	}
	return m
}

// Under load, while version after version is swapped in, no request fails and each answer is that of the version it names (I8).
func TestSwapsUnderLoad(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := newPublisher(t, js, nil)
	trainee := newTrainee(t, 50)
	r, _ := start(t, config("r1"), js, nil)
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	var answers sync.Map // version → its answer
	const swaps, callers = 60, 4
	publish := func(v schema.Version) {
		u := trainee.update(t, p.NextKind())
		answers.Store(v, expected(trainee.direct, 20, "i1", "i7"))
		if m, err := p.Publish(t.Context(), u); err != nil || m.Version != v {
			t.Fatalf("version %d, want %d: %v", m.Version, v, err)
		}
		serves(t, r, v)
	}
	publish(1)
	var asked, versions atomic.Int64
	var seen sync.Map
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			client := replica.Client{BaseURL: server.URL}
			q := replica.Request{UserID: "u1", K: 20}
			for _, id := range []string{"i1", "i7"} {
				q.Clicks = append(q.Clicks, replica.RequestClick{ItemID: id, Timestamp: schema.EventTime(now.UnixMilli() - 1000)})
			}
			var last schema.Version
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := client.Recommend(context.Background(), q)
				if err != nil {
					t.Error(err)
					return
				}
				asked.Add(1)
				want, ok := answers.Load(a.Model.Version)
				if !ok || cmp.Diff(want, a.Items) != "" {
					t.Errorf("version %d: the answer is not that version's:\n%s", a.Model.Version, cmp.Diff(want, a.Items))
					return
				}
				if a.Model.Version < last {
					t.Errorf("version %d after %d", a.Model.Version, last)
					return
				}
				last = a.Model.Version
				if _, again := seen.LoadOrStore(last, true); !again {
					versions.Add(1)
				}
			}
		})
	}
	for v := schema.Version(2); v <= swaps; v++ {
		publish(v)
	}
	close(stop)
	wg.Wait()
	if versions.Load() < 3 || asked.Load() < swaps {
		t.Errorf("only %d requests saw %d versions: the test has not tested", asked.Load(), versions.Load())
	}
	t.Logf("%d requests over %d swaps saw %d versions", asked.Load(), swaps, versions.Load())
}
