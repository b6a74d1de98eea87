package replica_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// held is a history that answers when the test says so.
type held struct{ enter, leave chan struct{} }

func newHeld() held { return held{make(chan struct{}, 1000), make(chan struct{})} }

func (h held) Recent(string, int) ([]schema.Part, error) {
	h.enter <- struct{}{}
	<-h.leave
	return nil, nil
}

// TestOverload: every turn and every place in the queue is taken, and what comes beyond them gets 429 at once. What was let in is answered, and then all is again.
func TestOverload(t *testing.T) {
	const turns, room, more = 2, 3, 20
	h := newHeld()
	r, _ := serving(t, func(c *replica.Config) { c.MaxInFlight, c.MaxQueue, c.MaxWait = turns, room, time.Hour }, h)
	handler := r.Handler()
	var open sync.WaitGroup
	codes := make(chan int, turns+room)
	ask := func() {
		open.Go(func() { codes <- call(handler, "GET", "/v1/recommend?user_id=u1", "").Code })
	}
	for range turns {
		ask()
	}
	for range turns {
		<-h.enter
	}
	for range room {
		ask()
	}
	eventually(t, "the queue is full", func() bool { return r.Waiting() == room })
	for range more {
		w := call(handler, "GET", "/v1/recommend?user_id=u1", "")
		if after, err := strconv.Atoi(w.Header().Get("Retry-After")); w.Code != 429 || !strings.Contains(w.Body.String(), `"overloaded"`) || err != nil || after < 1 {
			t.Errorf("beyond the queue: %d %v %s", w.Code, w.Header(), w.Body)
		}
	}
	// Who asks for nothing that is computed is not held up, nor is a batch let in as a whole.
	if w := call(handler, "GET", "/v1/model", ""); w.Code != 200 {
		t.Errorf("/v1/model: %d", w.Code)
	}
	if w := call(handler, "POST", "/v1/batch", `{"requests":[{"user_id":"u"},{"user_id":"v"}]}`); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("a batch: %d %s", w.Code, w.Body)
	}
	close(h.leave)
	open.Wait()
	close(codes)
	for code := range codes {
		if code != 200 {
			t.Errorf("a request that was let in: %d", code)
		}
	}
	if w := call(handler, "GET", "/v1/recommend?user_id=u1", ""); w.Code != 200 {
		t.Errorf("after the storm: %d", w.Code)
	}
	if got := metric(t, r, `freshet_shed_total{reason="full"}`); got != more+1 {
		t.Errorf("%v were shed, want %d", got, more+1)
	}
}

// TestWaitersGiveUp: one who waits too long and one who goes away leave the queue, and take no turn with them.
func TestWaitersGiveUp(t *testing.T) {
	h := newHeld()
	r, _ := serving(t, func(c *replica.Config) { c.MaxInFlight, c.MaxWait = 1, time.Millisecond }, h)
	handler := r.Handler()
	var open sync.WaitGroup
	open.Go(func() { call(handler, "GET", "/v1/recommend?user_id=u1", "") })
	<-h.enter
	if w := call(handler, "GET", "/v1/recommend?user_id=u1", ""); w.Code != 429 {
		t.Errorf("who waited too long: %d", w.Code)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w := deliver(handler, httptest.NewRequestWithContext(ctx, "GET", "/v1/recommend?user_id=u1", nil)); w.Code != 429 {
		t.Errorf("who went away: %d", w.Code)
	}
	close(h.leave)
	open.Wait()
	if w := call(handler, "GET", "/v1/recommend?user_id=u1", ""); w.Code != 200 {
		t.Errorf("the turn is lost: %d", w.Code)
	}
	if late, gone := metric(t, r, `freshet_shed_total{reason="late"}`), metric(t, r, `freshet_shed_total{reason="gone"}`); late+gone != 2 || late < 1 {
		t.Errorf("%v late, %v gone", late, gone)
	}
}

// TestStorm: many more callers than there are turns, over real connections, each asking again at once. Some are answered, the others are told to wait, and nobody gets
// anything else; the memory does not grow with the storm.
func TestStorm(t *testing.T) {
	r, _ := serving(t, func(c *replica.Config) { c.MaxInFlight, c.MaxQueue, c.MaxConns = 1, 4, 64 }, nil)
	url, stop := listening(t, r)
	defer stop()
	const callers, each = 32, 50
	transport := &http.Transport{MaxIdleConnsPerHost: callers, MaxConnsPerHost: callers}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var (
		mu    sync.Mutex
		codes = map[int]int{}
		all   sync.WaitGroup
	)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	before := heap()
	request := []byte(body(30, "i1", "i2", "i3", "i4", "i5"))
	for range callers {
		all.Go(func() {
			for range each {
				res, err := client.Post(url+"/v1/recommend", "application/json", bytes.NewReader(request))
				if err != nil {
					t.Errorf("a request: %v", err)
					return
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				mu.Lock()
				codes[res.StatusCode]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if codes[200] == 0 || codes[200]+codes[429] != callers*each {
		t.Errorf("answers %v", codes)
	}
	if grown := int64(heap()) - int64(before); grown > 32<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if n := r.HeldBytes(); n != 0 {
		t.Errorf("%d bytes of bodies are still accounted for", n)
	}
}

// listening serves r on a port of its own until stop.
func listening(t testing.TB, r *replica.Replica) (url string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, l) }()
	return "http://" + l.Addr().String(), sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	})
}

// TestLargeBodiesAreBounded: what many large bodies and answers hold together is bounded, small requests need none of it, and it is given back.
func TestLargeBodiesAreBounded(t *testing.T) {
	h := newHeld()
	r, _ := serving(t, func(c *replica.Config) { c.MaxInFlight, c.MaxQueue, c.MaxWait = 1000, 1000, time.Hour }, h)
	handler := r.Handler()
	large := `{"user_id":"u","x":"` + strings.Repeat("x", replica.MaxBodyBytes-100) + `"}`
	const callers = 2 * replica.MaxHeldBytes / replica.MaxBodyBytes
	codes := make(chan int, callers+1)
	var open sync.WaitGroup
	for range callers {
		open.Go(func() { codes <- call(handler, "POST", "/v1/recommend", large).Code })
	}
	eventually(t, "everyone is let in or refused", func() bool { return len(h.enter)+len(codes) == callers })
	if in := len(h.enter); in == 0 || in == callers {
		t.Errorf("%d of %d are let in", in, callers)
	}
	if n := r.HeldBytes(); n > replica.MaxHeldBytes {
		t.Errorf("%d bytes are held, at most %d are allowed", n, replica.MaxHeldBytes)
	}
	open.Go(func() { codes <- call(handler, "POST", "/v1/recommend", `{"user_id":"u"}`).Code })
	refused := len(codes)
	eventually(t, "a small one is let in", func() bool { return len(h.enter)+refused == callers+1 })
	close(h.leave)
	open.Wait()
	close(codes)
	for code := range codes {
		if code == 429 {
			refused--
		} else if code != 200 {
			t.Errorf("status %d", code)
		}
	}
	if refused != 0 || r.HeldBytes() != 0 {
		t.Errorf("%d refusals are missing, and %d bytes are still held", refused, r.HeldBytes())
	}
}

func TestRates(t *testing.T) {
	clock := now
	var mu sync.Mutex
	r, _ := serving(t, func(c *replica.Config) {
		c.RequestsPerSec, c.RequestsPerSecPerCaller = 6, 2
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return clock }
	}, nil)
	handler := r.Handler()
	from := func(address string) (int, string) {
		req := httptest.NewRequest("GET", "/v1/model", nil)
		req.RemoteAddr = address
		w := deliver(handler, req)
		return w.Code, w.Header().Get("Retry-After")
	}
	f := func(address string, want int) {
		t.Helper()
		if code, after := from(address); code != want || (code == 429) != (after != "") {
			t.Errorf("%s: %d, Retry-After %q, want %d", address, code, after, want)
		}
	}
	f("10.0.0.1:1", 200)
	f("10.0.0.1:2", 200) // another port of the same caller
	f("[::ffff:10.0.0.1]:3", 429)
	f("10.0.0.2:1", 200)
	f("[2001:db8::1]:1", 200)
	f("[2001:db8::2]:1", 200) // the same /64
	f("[2001:db8::3]:1", 429)
	f("10.0.0.2:1", 200) // the sixth of all
	f("10.0.0.3:1", 429)
	f("[2001:db8:0:1::1]:1", 429)
	mu.Lock()
	clock = clock.Add(time.Second)
	mu.Unlock()
	f("10.0.0.1:1", 200)
	f("10.0.0.3:1", 200)
	if caller, all := metric(t, r, `freshet_shed_total{reason="caller"}`), metric(t, r, `freshet_shed_total{reason="rate"}`); caller != 2 || all != 2 {
		t.Errorf("%v over their own rate, %v over that of all, want 2 and 2", caller, all)
	}
	for i := range 3 * replica.MaxCallers {
		from(fmt.Sprintf("10.%d.%d.1:1", 1+i/256, i%256))
	}
	if n := r.Callers(); n != replica.MaxCallers {
		t.Errorf("%d callers are remembered, at most %d are allowed", n, replica.MaxCallers)
	}
	if w := call(handler, "GET", "/readyz", ""); w.Code != 200 {
		t.Errorf("a probe is held to a rate: %d", w.Code)
	}
}
