package replica_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher/replica"
)

// fleet is a transport whose hosts answer as their scripts say; time passes only where the test, or a script, lets it.
type fleet struct {
	clock   *ticking
	mu      sync.Mutex
	scripts map[string]func(n int, req *http.Request) (*http.Response, error) // n counts the host's requests from 0
	asked   []string                                                          // hosts, in order
	timers  chan timer
}

// timer is a wait of the client.
type timer struct {
	d    time.Duration
	fire chan time.Time
}

func (f *fleet) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	n := 0
	for _, host := range f.asked {
		if host == req.URL.Host {
			n++
		}
	}
	f.asked = append(f.asked, req.URL.Host)
	script := f.scripts[req.URL.Host]
	f.mu.Unlock()
	return script(n, req)
}

func (f *fleet) order() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.asked, " ")
}

// client asks the hosts of f. Its waits before retries pass at once; those before hedges come to f.timers, where that is not nil.
func (f *fleet) client(hosts ...string) *replica.Client {
	f.clock = &ticking{at: now}
	c := &replica.Client{HTTP: &http.Client{Transport: f}}
	for _, h := range hosts {
		c.Replicas = append(c.Replicas, "http://"+h+"/")
	}
	c.SetClock(f.clock.now, func(d time.Duration) <-chan time.Time {
		fire := make(chan time.Time, 1)
		if f.timers != nil {
			f.timers <- timer{d, fire}
			return fire
		}
		f.clock.pass(d)
		fire <- f.clock.now()
		return fire
	}, func() float64 { return 0.5 })
	return c
}

func reply(status int, body string, header ...string) (*http.Response, error) {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// by answers well, in a host's name.
func by(host string) func(int, *http.Request) (*http.Response, error) {
	return func(int, *http.Request) (*http.Response, error) { return reply(200, `{"user_id":"`+host+`"}`) }
}

// stuck never answers; it ends when its request does.
func stuck(_ int, req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func dead(int, *http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func refusing(status int, after string) func(int, *http.Request) (*http.Response, error) {
	return func(int, *http.Request) (*http.Response, error) {
		return reply(status, `{"error":{"code":"overloaded","message":"m","request_id":"r7"}}`, "Retry-After", after)
	}
}

// far is a deadline that no clock of these tests comes to.
func far(t *testing.T) context.Context {
	ctx, cancel := context.WithDeadline(t.Context(), now.Add(100*365*24*time.Hour))
	t.Cleanup(cancel)
	return ctx
}

func TestClientGoesElsewhere(t *testing.T) {
	for name, bad := range map[string]func(int, *http.Request) (*http.Response, error){
		"dead": dead, "429": refusing(429, "3"), "503": refusing(503, "1"), "502 of a proxy": func(int, *http.Request) (*http.Response, error) { return reply(502, "<html>") },
	} {
		f := &fleet{scripts: map[string]func(int, *http.Request) (*http.Response, error){"a": bad, "b": by("b")}}
		c := f.client("a", "b")
		c.HedgeAfter = -1
		for range 3 {
			if a, err := c.Recommend(far(t), replica.Request{UserID: "u"}); err != nil || a.UserID != "b" {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
		}
		// a failed, and is left alone while b answers.
		if got := f.order(); got != "a b b b" {
			t.Errorf("%s: asked %s", name, got)
		}
	}
}

func TestClientWaitsAsLongAsItIsTold(t *testing.T) {
	f := &fleet{scripts: map[string]func(int, *http.Request) (*http.Response, error){"a": func(n int, req *http.Request) (*http.Response, error) {
		if n == 0 {
			return refusing(429, "3")(n, req)
		}
		return by("a")(n, req)
	}}}
	c := f.client("a")
	if a, err := c.Recommend(far(t), replica.Request{UserID: "u"}); err != nil || a.UserID != "a" {
		t.Fatalf("%+v, %v", a, err)
	}
	if waited := f.clock.now().Sub(now); waited != 3*time.Second {
		t.Errorf("the client waited %v, and was told 3 s", waited)
	}
	// Where the wait would be beyond the deadline, it is not begun.
	f = &fleet{scripts: map[string]func(int, *http.Request) (*http.Response, error){"a": refusing(429, "3600")}}
	c = f.client("a")
	soon, cancel := context.WithDeadline(t.Context(), now.Add(time.Minute))
	defer cancel()
	_, err := c.Recommend(soon, replica.Request{UserID: "u"})
	if e := new(replica.Error); !errors.As(err, &e) || e.Status != 429 || e.RetryAfter != time.Hour || e.RequestID != "r7" || f.order() != "a" {
		t.Errorf("%v after %s", err, f.order())
	}
}

func TestClientDoesNotRepeatWhatIsWrong(t *testing.T) {
	for _, status := range []int{400, 401, 404, 413, 415} {
		f := &fleet{scripts: map[string]func(int, *http.Request) (*http.Response, error){"a": refusing(status, "1"), "b": by("b")}}
		c := f.client("a", "b")
		c.HedgeAfter = -1
		_, err := c.Recommend(far(t), replica.Request{UserID: "u"})
		if e := new(replica.Error); !errors.As(err, &e) || e.Status != status || f.order() != "a" {
			t.Errorf("%d: %v after %s", status, err, f.order())
		}
	}
	c := new(replica.Client)
	if _, err := c.Recommend(t.Context(), replica.Request{UserID: "u"}); err == nil || !strings.Contains(err.Error(), "BaseURL") {
		t.Errorf("without a replica: %v", err)
	}
}

// TestRetriesDoNotStorm: with all replicas down, a client that goes on asking makes a fifth more attempts than calls, beside the few that were saved up.
func TestRetriesDoNotStorm(t *testing.T) {
	f := &fleet{scripts: map[string]func(int, *http.Request) (*http.Response, error){"a": dead, "b": dead, "c": dead}}
	c := f.client("a", "b", "c")
	c.HedgeAfter = -1
	const calls = 1000
	ctx := far(t)
	for range calls {
		if _, err := c.Recommend(ctx, replica.Request{UserID: "u"}); err == nil {
			t.Fatal("the dead answer")
		}
	}
	if n := len(strings.Fields(f.order())); n > calls+calls/5+10 || n < calls+calls/10 {
		t.Errorf("%d attempts of %d calls", n, calls)
	}
}

// hedging starts a call whose first attempt is at a, and returns when that one waits and the hedge's timer runs.
func (f *fleet) hedging(t *testing.T, c *replica.Client) (hedge timer, answered chan replica.Answer) {
	t.Helper()
	answered = make(chan replica.Answer, 1)
	go func() {
		a, err := c.Recommend(t.Context(), replica.Request{UserID: "u"})
		if err != nil {
			t.Errorf("a call: %v", err)
		}
		answered <- a
	}()
	return <-f.timers, answered
}

func TestHedge(t *testing.T) {
	cancelled := make(chan string, 2)
	f := &fleet{timers: make(chan timer), scripts: map[string]func(int, *http.Request) (*http.Response, error){"b": by("b"),
		"a": func(n int, req *http.Request) (*http.Response, error) {
			_, err := stuck(n, req)
			cancelled <- "a"
			return nil, err
		}}}
	c := f.client("a", "b")
	c.HedgeAfter = 30 * time.Millisecond
	hedge, answered := f.hedging(t, c)
	if hedge.d != 30*time.Millisecond {
		t.Errorf("the hedge comes after %v", hedge.d)
	}
	hedge.fire <- now
	if a := <-answered; a.UserID != "b" {
		t.Errorf("answered by %s", a.UserID)
	}
	if got := <-cancelled; got != "a" { // and does not go on
		t.Errorf("%s was cancelled", got)
	}
	// To be slow is no failure: a is asked in its turn, as soon as the client has noted that its attempt is over.
	f.scripts["a"], f.scripts["b"] = by("a"), by("b")
	seen := map[string]bool{}
	for i := 0; i < 1000 && len(seen) < 2; i++ {
		_, answered := f.hedging(t, c)
		seen[(<-answered).UserID] = true
	}
	if !seen["a"] || !seen["b"] {
		t.Errorf("answered by %v", seen)
	}
}

// TestHedgesAreFew: when every replica is slow, hedges are a tenth of the calls, beside the few that were saved up; and without a setting they come after the time
// within which 19 of 20 answers came.
func TestHedgesAreFew(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	f := &fleet{timers: make(chan timer)}
	release := make(chan struct{})
	slow := func(host string) func(int, *http.Request) (*http.Response, error) {
		return func(n int, req *http.Request) (*http.Response, error) {
			select {
			case <-release:
				return by(host)(n, req)
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		}
	}
	f.scripts = map[string]func(int, *http.Request) (*http.Response, error){"a": slow("a"), "b": slow("b")}
	c := f.client("a", "b")
	until := func(answered chan replica.Answer) {
		for {
			select {
			case release <- struct{}{}: // perhaps to an attempt that has lost already
			case <-answered:
				return
			}
		}
	}
	const calls = 300
	for range calls {
		hedge, answered := f.hedging(t, c)
		hedge.fire <- now
		until(answered)
	}
	if extra := len(strings.Fields(f.order())) - calls; extra > calls/10+10 || extra < calls/20 {
		t.Errorf("%d hedges of %d calls", extra, calls)
	}
	for range 200 {
		took := time.Duration(10+rng.IntN(10)) * time.Millisecond
		if rng.IntN(20) == 0 {
			took = time.Second
		}
		c.Took(took)
	}
	hedge, answered := f.hedging(t, c)
	until(answered)
	if hedge.d < 19*time.Millisecond || hedge.d > time.Second {
		t.Errorf("the hedge comes after %v", hedge.d)
	}
}

// TestClientEndsInTime: a context that ends ends the call, whatever the replicas do.
func TestClientEndsInTime(t *testing.T) {
	f := &fleet{timers: make(chan timer, 10), scripts: map[string]func(int, *http.Request) (*http.Response, error){"a": stuck, "b": stuck}}
	c := f.client("a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Recommend(ctx, replica.Request{UserID: "u"})
		ended <- err
	}()
	(<-f.timers).fire <- now
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestClientOfABatch(t *testing.T) {
	r, _ := serving(t, nil, nil)
	url, stop := listening(t, r)
	defer stop()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := replica.Client{BaseURL: url, HTTP: &http.Client{Transport: transport}}
	got, err := c.RecommendBatch(t.Context(), []replica.Request{{UserID: "u1", K: 3}, {UserID: "u2", K: -1}, {UserID: "u3", K: 2}})
	if err != nil || len(got) != 3 || len(got[0].Items) != 3 || got[0].Err != nil || got[1].Err == nil || got[1].Err.Status != 400 || got[1].Err.Field != "k" || len(got[2].Items) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.RecommendBatch(t.Context(), nil); err == nil || !strings.Contains(fmt.Sprint(err), "requests") {
		t.Errorf("an empty batch: %v", err)
	}
}
