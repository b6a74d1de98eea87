package replica_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
)

func TestWarmUpIsWithTheLastUsers(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := newPublisher(t, js, nil)
	trainee := newTrainee(t, 10)
	cfg := config("r1")
	cfg.Dir, cfg.WarmupRequests = t.TempDir(), 5
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	r, stop := start(t, cfg, js, nil)
	serves(t, r, trainee.publish(t, p).Version)
	for i := range 8 {
		ask(t, r.Handler(), fmt.Sprintf(`{"user_id":"secret-%d","clicks":[{"item_id":"i1"}]}`, i))
	}
	for range 20 { // one user takes one place, and has the last request in it
		ask(t, r.Handler(), `{"user_id":"secret-7","clicks":[{"item_id":"i2"}]}`)
	}
	ask(t, r.Handler(), `{"clicks":[{"item_id":"i3"},{"item_id":"i1"}]}`)
	ask(t, r.Handler(), `{"clicks":[{"item_id":"i3"},{"item_id":"i2"}]}`) // the same, as far as can be told
	ask(t, r.Handler(), `{"user_id":"unknown"}`)                          // teaches nothing about a model
	var users []string
	for _, q := range r.Recorded() {
		users = append(users, q.UserID+":"+q.Clicks[len(q.Clicks)-1].ItemID)
	}
	slices.Sort(users)
	if diff := cmp.Diff([]string{":i2", "secret-4:i1", "secret-5:i1", "secret-6:i1", "secret-7:i2"}, users); diff != "" {
		t.Errorf("recorded (-want +got):\n%s", diff)
	}
	serves(t, r, trainee.publish(t, p).Version)
	if got := metric(t, r, "freshet_warmup_requests"); got != 5 {
		t.Errorf("version 2 was warmed up with %v requests", got)
	}
	eventually(t, "version 2 is on the disk", func() bool { return lastOnDisk(cfg.Dir) == 2 })
	stop()

	again, stop := start(t, cfg, js, nil)
	serves(t, again, 2)
	if got := metric(t, again, "freshet_warmup_requests"); got != 5 {
		t.Errorf("after a restart the first version was warmed up with %v requests", got)
	}
	stop()

	name := filepath.Join(cfg.Dir, "requests.json")
	if err := os.WriteFile(name, []byte(`{"format":1,"requests":[{"user_id":"secret-1"},{"user_id":7},"secret"`), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged, stop := start(t, cfg, js, nil)
	serves(t, damaged, 2)
	if n := len(damaged.Recorded()); n != 0 {
		t.Errorf("%d requests of a damaged file", n)
	}
	stop()
	if strings.Contains(log.String(), "secret") {
		t.Errorf("the log tells of users:\n%s", &log)
	}
	if !strings.Contains(log.String(), "requests.json is damaged") {
		t.Errorf("the log does not tell of the damaged file:\n%s", &log)
	}
}

func TestRecordedRequestsHaveABound(t *testing.T) {
	var requests []replica.Request
	for i := range 2000 {
		q := replica.Request{UserID: fmt.Sprintf("u%d", i)}
		for j := range 50 {
			q.Clicks = append(q.Clicks, replica.RequestClick{ItemID: fmt.Sprintf("item-%d-%d", i, j), Action: schema.ActionClick, Timestamp: 1_800_000_000_000})
		}
		requests = append(requests, q)
	}
	b, err := replica.EncodeRequests(requests)
	if err != nil || len(b) > replica.MaxRecordedBytes {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	back, err := replica.DecodeRequests(b, len(requests))
	if err != nil || len(back) < 100 {
		t.Fatalf("%d requests came back, %v", len(back), err)
	}
	if diff := cmp.Diff(requests[:len(back)], back); diff != "" {
		t.Errorf("(-in +out):\n%s", diff)
	}
	if back, _ := replica.DecodeRequests(b, 3); len(back) != 3 {
		t.Errorf("%d requests, want 3", len(back))
	}
}

func FuzzDecodeRequests(t *testing.F) {
	f := fuzz.Of(t)
	b, err := replica.EncodeRequests([]replica.Request{{UserID: "u1"}, {Clicks: []replica.RequestClick{{ItemID: "i1", Timestamp: 1}}, Scene: "home"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"requests":[null,7,{},{"user_id":"u"},{"clicks":[{}]}]}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := replica.DecodeRequests(b, 100)
		if err != nil {
			return
		}
		text, err := replica.EncodeRequests(once)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) == 0 || len(text) > replica.MaxRecordedBytes {
			t.Fatalf("%d bytes", len(text))
		}
	})
}
