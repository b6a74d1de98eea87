package replica_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
)

// TestSlowCallersHoldUpNobody: those who stop in the middle of a request, and those who ask and do not read, hold up neither others nor
// adoptions, although only one request is computed at a time.
func TestSlowCallersHoldUpNobody(t *testing.T) {
	js := dial(t, natstest.Start(t, t.TempDir(), 0))
	p := newPublisher(t, js, nil)
	trainee := newTrainee(t, 1000)
	cfg := config("r1")
	cfg.MaxInFlight, cfg.MaxWait = 1, time.Minute // a busy machine is slow for everybody; who is held up for ever still gets a 429
	r, _ := start(t, cfg, js, nil)
	serves(t, r, trainee.publish(t, p).Version)
	asked := poll(t, r)
	send := func(b []byte) {
		t.Helper()
		conn, err := net.Dial("tcp", strings.TrimPrefix(asked.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	whole := post("/v1/recommend", body(1000, "i1", "i2"))
	for i := range 32 {
		send(whole[:len(whole)*i/32])
	}
	for range 4 {
		send(bytes.Repeat(whole, 400)) // the answers are some 20 MB, more than a connection holds
	}
	for range 4 {
		asked.more()
		serves(t, r, trainee.publish(t, p).Version)
	}
	asked.end()
	for _, code := range []string{"429", "500", "503"} {
		if n := requestsWith(t, r, code); n > 0 {
			t.Errorf("%v requests got status %s", n, code)
		}
	}
}

// requestsWith returns how many requests got a status code.
func requestsWith(t *testing.T, r *replica.Replica, code string) float64 {
	t.Helper()
	b, err := io.ReadAll(call(r.Handler(), "GET", "/metrics", "").Body)
	if err != nil {
		t.Fatal(err)
	}
	name := `freshet_requests_total{code="` + code + `"}`
	if !bytes.Contains(b, []byte(name)) {
		return 0
	}
	return valueOf(t, bytes.NewReader(b), name)
}
