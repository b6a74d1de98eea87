package replica_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// load asks a replica over connections that are kept. Where it has a rate, it is an open loop: requests come as they do from
// many callers who do not know of each other, at random (Poisson), whatever became of those before. The latency of a
// request counts from when it was due where its connection was still busy, so that a stall is in the latencies of all
// requests that fell into it. Where the connection was free, it counts from when it was sent: how late the generator's
// own timer wakes is no latency of the replica's.
type load struct {
	address string
	conns   int                  // connection c asks requests c, c+conns, …
	rate    float64              // requests a second over all connections; 0 = a closed loop, as many as are answered
	request func(i int) []byte   // a whole HTTP/1.1 request
	check   func(a answer) error // what it returns makes the request a failed one; nil checks the status alone
}

// answer is what a request got.
type answer struct {
	request int
	status  int
	header  http.Header
	body    []byte
}

// loaded is what a load measured.
type loaded struct {
	latency *hdrhistogram.Histogram // µs, of all answers
	failed  int
	fault   error // of the first that failed
	elapsed time.Duration
}

func (l loaded) requestsPerSec() float64 {
	return float64(l.latency.TotalCount()) / l.elapsed.Seconds()
}
func (l loaded) millis(percent float64) float64 {
	return float64(l.latency.ValueAtQuantile(percent)) / 1000
}
func newLatencies() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

// run asks until ctx is done.
func (l load) run(ctx context.Context) loaded {
	out := loaded{latency: newLatencies()}
	var mu sync.Mutex
	var wg sync.WaitGroup
	began := time.Now()
	for c := range l.conns {
		wg.Go(func() {
			mine := loaded{latency: newLatencies()}
			err := l.connection(ctx, began, c, &mine)
			mu.Lock()
			defer mu.Unlock()
			out.latency.Merge(mine.latency)
			if err != nil {
				mine.failed, mine.fault = mine.failed+1, err
			}
			if out.failed += mine.failed; out.fault == nil {
				out.fault = mine.fault
			}
		})
	}
	wg.Wait()
	out.elapsed = time.Since(began)
	return out
}

// during asks for a while; no request may fail.
func (l load) during(tb testing.TB, d time.Duration) loaded {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	out := l.run(ctx)
	if out.failed > 0 {
		tb.Fatalf("%d of %d requests failed: %v", out.failed, out.latency.TotalCount(), out.fault)
	}
	return out
}

func (l load) connection(ctx context.Context, began time.Time, first int, out *loaded) error {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	pause, err := newPause()
	if err != nil {
		return err
	}
	defer pause.close()
	in := bufio.NewReader(conn)
	rng := rand.New(rand.NewPCG(1, uint64(first)))
	planned := began
	for i := first; ctx.Err() == nil; i += l.conns {
		due := time.Now()
		if l.rate > 0 {
			planned = planned.Add(time.Duration(rng.ExpFloat64() * float64(l.conns) / l.rate * float64(time.Second)))
			if wait := time.Until(planned); wait > 0 {
				if err := pause.sleep(wait); err != nil {
					return err
				}
				due = time.Now()
			} else {
				due = planned
			}
		}
		if _, err := conn.Write(l.request(i)); err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
		a, err := readAnswer(in)
		if err != nil {
			return fmt.Errorf("request %d: %w", i, err)
		}
		out.latency.RecordValue(max(1, time.Since(due).Microseconds()))
		if a.request = i; a.status != http.StatusOK {
			err = fmt.Errorf("status %d: %s", a.status, a.body)
		} else if l.check != nil {
			err = l.check(a)
		}
		if err != nil {
			if out.failed++; out.fault == nil {
				out.fault = fmt.Errorf("request %d: %w", i, err)
			}
		}
	}
	return nil
}

func readAnswer(in *bufio.Reader) (answer, error) {
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, body: body}, err
}

// get and post are whole requests.
func get(target string) []byte {
	return []byte("GET " + target + " HTTP/1.1\r\nHost: replica\r\n\r\n")
}

func post(target, body string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: replica\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", target, len(body), body)
	return []byte(b.String())
}
