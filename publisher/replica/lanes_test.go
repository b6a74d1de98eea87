package replica_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCandidateAnswersAShareOfTheUsers(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.serve(t, 3)
	op := newOperator(t, w.js, nil)
	lane := func(h http.Handler, user int) replica.AnswerModel {
		return ask(t, h, fmt.Sprintf(`{"user_id":"user-%d","k":1}`, user)).Model
	}
	inCandidate := map[int]bool{}
	for _, c := range []struct {
		stable, candidate schema.Version
		share             float64
		users             int
	}{{2, 1, 0.1, 10_000}, {2, 1, 0.25, 2000}, {2, 0, 0.25, 2000}, {0, 2, 0.25, 2000}} {
		serial := op.order(c.stable, &publisher.Candidate{Version: c.candidate, Share: c.share})
		stable, candidate := c.stable, c.candidate
		if stable == 0 {
			stable = 3
		}
		if candidate == 0 {
			candidate = 3
		}
		for _, r := range w.replicas {
			obeyed(t, r, serial)
			eventually(t, "both lanes serve", func() bool {
				return metric(t, r, `freshet_model_version{lane="stable"}`) == float64(stable) && metric(t, r, `freshet_model_version{lane="candidate"}`) == float64(candidate) &&
					metric(t, r, "freshet_candidate_share") == c.share
			})
		}
		first, second := w.replicas[0], w.replicas[1]
		const counter = `freshet_recommendations_total{lane="candidate",source="baseline"}`
		before, n := metric(t, first, counter), 0.0
		h, other := first.Handler(), second.Handler()
		for user := range c.users {
			m := lane(h, user)
			switch {
			case m.Lane == replica.LaneCandidate && m.Version == candidate:
				n++
				inCandidate[user] = true
			case m.Lane != replica.LaneStable || m.Version != stable:
				t.Fatalf("user %d is answered by %+v", user, m)
			case inCandidate[user]:
				t.Fatalf("user %d was in the candidate's lane, and is not any more at share %v", user, c.share)
			}
			if user%10 == 0 && lane(other, user) != m {
				t.Fatalf("user %d is answered by %+v on one replica, by %+v on another", user, m, lane(other, user))
			}
		}
		// Five standard deviations of a binomial: one false alarm in a million, were the hash not fixed.
		users := float64(c.users)
		if slack := 5 * math.Sqrt(users*c.share*(1-c.share)); math.Abs(n-users*c.share) > slack {
			t.Errorf("share %v: %v of %v users, want %v ± %.0f", c.share, n, users, users*c.share, slack)
		}
		t.Logf("share %v: %v of %v users", c.share, n, users)
		if counted := metric(t, first, counter) - before; counted != n {
			t.Errorf("%v answers were counted for the candidate, want %v", counted, n)
		}
	}
	for _, r := range w.replicas {
		a := ask(t, r.Handler(), `{"clicks":[{"item_id":"i1"}],"k":1}`)
		if a.Model.Lane != replica.LaneStable {
			t.Errorf("who is not named is answered by %+v", a.Model)
		}
		var m struct {
			Order     uint64
			Candidate publisher.Candidate
		}
		if err := json.Unmarshal(call(r.Handler(), "GET", "/v1/model", "").Body.Bytes(), &m); err != nil || m.Order != 4 || m.Candidate != (publisher.Candidate{Version: 2, Share: 0.25}) {
			t.Errorf("/v1/model says %+v, %v", m, err)
		}
	}
	serial := op.order(0, nil)
	w.serve(t, 3)
	for _, r := range w.replicas {
		obeyed(t, r, serial)
		eventually(t, "the candidate is gone", func() bool { return metric(t, r, `freshet_model_version{lane="candidate"}`) == 0 })
	}
}

func TestOrderHoldsWithNATSDown(t *testing.T) {
	s := natstest.Start(t, t.TempDir(), 0)
	js := dial(t, s)
	p := newPublisher(t, js, nil)
	trainee := newTrainee(t, 10)
	for range 6 { // base 1, deltas to 5, base 6
		trainee.publish(t, p)
	}
	cfg := config("r1")
	cfg.Dir = t.TempDir()
	r, stop := start(t, cfg, js, nil)
	serves(t, r, 6)
	op := newOperator(t, js, nil)
	op.order(3, &publisher.Candidate{Share: 0.5})
	serves(t, r, 3)
	eventually(t, "the candidate serves", func() bool { return metric(t, r, `freshet_model_version{lane="candidate"}`) == 6 })
	eventually(t, "both are on the disk", func() bool {
		b, _ := os.ReadFile(filepath.Join(cfg.Dir, "last.json"))
		var l struct{ Chain, Candidate []schema.Manifest }
		return json.Unmarshal(b, &l) == nil && len(l.Chain) == 3 && len(l.Candidate) == 1
	})
	stop()
	natstest.Stop(s)

	again, stop := start(t, cfg, js, nil)
	serves(t, again, 3)
	lanes := map[replica.Lane]schema.Version{}
	for i := range 50 {
		m := ask(t, again.Handler(), fmt.Sprintf(`{"user_id":"u%d"}`, i)).Model
		lanes[m.Lane] = m.Version
	}
	if diff := cmp.Diff(map[replica.Lane]schema.Version{replica.LaneStable: 3, replica.LaneCandidate: 6}, lanes); diff != "" {
		t.Errorf("after the restart:\n%s", diff)
	}
	if got := metric(t, again, "freshet_order_serial"); got != 1 {
		t.Errorf("order %v is in force", got)
	}
	stop()

	// A damaged order is not obeyed, and what was served still is.
	if err := os.WriteFile(filepath.Join(cfg.Dir, "order.json"), []byte(`{"format":1`), 0o644); err != nil {
		t.Fatal(err)
	}
	damaged, _ := start(t, cfg, js, nil)
	serves(t, damaged, 3)
	if got := metric(t, damaged, `freshet_orders_refused_total{reason="order"}`); got != 1 {
		t.Errorf("%v orders were refused", got)
	}
}

// Over many adoptions in both lanes memory stays where it was: a version is freed after its last request.
func TestOldVersionsAreFreed(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := newPublisher(t, js, func(c *publisher.Config) { c.BaseEvery = 2 })
	trainee := newTrainee(t, 2000)
	r, _ := start(t, config("r1"), js, nil)
	trainee.publish(t, p)
	op := newOperator(t, js, nil)
	var freed []func() bool
	const rounds = 20
	for i := range rounds {
		v := trainee.publish(t, p).Version
		op.order(0, &publisher.Candidate{Version: v - 1, Share: 0.5})
		obeyed(t, r, op.last.Serial)
		serves(t, r, v)
		eventually(t, "the candidate serves", func() bool { return metric(t, r, `freshet_model_version{lane="candidate"}`) == float64(v-1) })
		ask(t, r.Handler(), fmt.Sprintf(`{"user_id":"u%d","clicks":[{"item_id":"i1"}]}`, i))
		freed = append(freed, r.StableIsFreed())
	}
	held := 0
	eventually(t, "old versions are freed", func() bool {
		runtime.GC()
		held = 0
		for _, f := range freed {
			if !f() {
				held++
			}
		}
		return held <= 2 // the two that serve
	})
	if held == 0 {
		t.Error("even the version that serves is freed: the test has not tested")
	}
}

// Whatever the order of versions, orders and restarts: the replica ends at what the last order says, and each lane answers as its version does.
func TestAnyOrderOfOrders(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	line := 0
	rapid.Check(t, func(rt *rapid.T) {
		line++
		name := fmt.Sprintf("line-%d", line)
		p := newPublisher(t, js, func(c *publisher.Config) { c.Model, c.BaseEvery, c.Keep = name, 3, 100 })
		trainee := newTrainee(t, 5)
		answers := map[schema.Version][]replica.Item{}
		publish := func() {
			trainee.admit(1)
			answers[trainee.publish(t, p).Version] = expected(trainee.direct, 10, "i1", "i5")
		}
		publish()
		cfg := config("r1")
		cfg.Model, cfg.Dir = name, t.TempDir()
		r, stop := start(t, cfg, js, nil)
		defer func() { stop() }()
		op := newOperator(t, js, nil)
		op.model = name
		users := map[replica.Lane]string{}
		for i := 0; len(users) < 2; i++ { // one of each lane at share 0.5
			lane := replica.LaneStable
			if replica.Place(fmt.Sprintf("u%d", i)) < 0.5 {
				lane = replica.LaneCandidate
			}
			users[lane] = fmt.Sprintf("u%d", i)
		}
		pick := func(rt *rapid.T, what string) schema.Version {
			return schema.Version(rapid.IntRange(0, len(answers)).Draw(rt, what))
		}
		rt.Repeat(map[string]func(*rapid.T){
			"publish": func(*rapid.T) { publish() },
			"pin":     func(rt *rapid.T) { op.order(pick(rt, "version"), nil) },
			"try": func(rt *rapid.T) {
				stable, candidate := pick(rt, "stable"), pick(rt, "candidate")
				if stable != candidate {
					op.order(stable, &publisher.Candidate{Version: candidate, Share: 0.5})
				}
			},
			"the replica starts again": func(*rapid.T) {
				stop()
				r, stop = start(t, cfg, js, nil)
			},
			"": func(rt *rapid.T) {
				number := func(v schema.Version) schema.Version {
					if v == 0 {
						return schema.Version(len(answers))
					}
					return v
				}
				want := map[replica.Lane]schema.Version{replica.LaneStable: number(op.last.Version), replica.LaneCandidate: number(op.last.Version)}
				if c := op.last.Candidate; c != nil {
					want[replica.LaneCandidate] = number(c.Version)
				}
				for lane, user := range users {
					q := strings.Replace(body(10, "i1", "i5"), `"u1"`, fmt.Sprintf("%q", user), 1)
					var a replica.Answer
					eventually(t, fmt.Sprintf("%s gets version %d", lane, want[lane]), func() bool {
						if _, ok := r.Current(); !ok {
							return false
						}
						a = ask(t, r.Handler(), q)
						return a.Model.Version == want[lane]
					})
					if diff := cmp.Diff(answers[want[lane]], a.Items); diff != "" {
						rt.Fatalf("%s of %+v (-version %d +replica):\n%s", lane, op.last, want[lane], diff)
					}
				}
			},
		})
	})
}
