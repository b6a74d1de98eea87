package replica_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// TestLiveClicksCountAsTheRequestsOwn: what came live, in a request, in the log, or in several of them counts once, whichever way it comes, also after the log has it.
func TestLiveClicksCountAsTheRequestsOwn(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	c, p := newCounting(t, 30), newPublisher(t, js, nil)
	c.click(3, 4, 3, 5)
	v := send(t, p, c.base(t)).Version
	histories, live := newGrowing(), replica.NewLiveClicks(1<<20)
	cfg := config("r1")
	cfg.Live, cfg.Metrics = live, live
	r, _ := start(t, cfg, js, histories)
	bare, _ := start(t, config("r2"), js, histories)
	serves(t, r, v)
	serves(t, bare, v)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	at := schema.EventTime(now.UnixMilli()) - 60_000_000
	for round := range 300 {
		user := fmt.Sprintf("u%d", round)
		for range rng.IntN(3) {
			histories.add(user, someItems(rng, 3)...)
		}
		at += 100_000
		var all []replica.RequestClick // what happened since, in order
		for i, id := range someItems(rng, 6) {
			all = append(all, replica.RequestClick{ItemID: id, Action: schema.ActionClick, Timestamp: at + schema.EventTime(1000*i)})
		}
		var own []replica.RequestClick
		for _, i := range rng.Perm(len(all)) { // they come out of order, and one may come again
			where := rng.IntN(3)
			if where != 0 {
				own = append(own, all[i])
			}
			for range 1 + rng.IntN(2) {
				if where != 1 {
					live.Add(&schema.Click{UserID: user, ItemID: all[i].ItemID, Action: all[i].Action, EventTime: all[i].Timestamp})
				}
			}
		}
		request := func(clicks []replica.RequestClick) string {
			b, err := json.Marshal(replica.Request{UserID: user, Clicks: clicks, K: 100})
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		if err := sameScores(ask(t, r.Handler(), request(own)), ask(t, bare.Handler(), request(all))); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		// Some of them are let go as a part: the others wait on.
		n := rng.IntN(len(all) + 1)
		if n > 0 {
			part := schema.Part{UserID: user, Emit: schema.Emit(1e6 + round), SessionStart: at}
			for _, c := range all[:n] {
				part.Clicks = append(part.Clicks, schema.Click{UserID: user, ItemID: c.ItemID, Action: c.Action, EventTime: c.Timestamp})
			}
			histories.put(part)
		}
		for range 2 {
			if err := sameScores(ask(t, r.Handler(), request(own)), ask(t, bare.Handler(), request(all))); err != nil {
				t.Fatalf("round %d, %d of %d in the log: %v", round, n, len(all), err)
			}
		}
		rest := schema.Part{UserID: user, Emit: schema.Emit(2e6 + round), SessionStart: at}
		for _, c := range all[n:] {
			rest.Clicks = append(rest.Clicks, schema.Click{UserID: user, ItemID: c.ItemID, Action: c.Action, EventTime: c.Timestamp})
		}
		if len(rest.Clicks) > 0 {
			histories.put(rest)
		}
		ask(t, r.Handler(), request(nil))
	}
	if held, users := metric(t, r, "freshet_live_clicks_held"), metric(t, r, "freshet_live_users"); held != 0 || users != 0 {
		t.Errorf("%v clicks of %v users are held, and all are in the log", held, users)
	}
}
