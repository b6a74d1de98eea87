package replica_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher/replica"
)

// started runs the server of r with timeouts of a test.
func started(t *testing.T, r *replica.Replica, change func(*http.Server)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := r.Server()
	change(s)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-ended
	})
	return l.Addr().String()
}

func dialed(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestSlowCallers: who sends a head or a body too slowly is told so and hung up on; others do not notice.
func TestSlowCallers(t *testing.T) {
	r, _ := serving(t, nil, nil)
	short := 100 * time.Millisecond
	address := started(t, r, func(s *http.Server) { s.ReadHeaderTimeout, s.ReadTimeout = short, short })
	head, err := io.ReadAll(hello(dialed(t, address), "GET /v1/model HTTP/1.1\r\nHost: a\r\nX-Slow:"))
	if err != nil || len(head) > 0 && !strings.HasPrefix(string(head), "HTTP/1.1 4") {
		t.Errorf("half a head is answered with %q, %v", head, err)
	}
	body, err := io.ReadAll(hello(dialed(t, address), "POST /v1/recommend HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"))
	if err != nil || !strings.HasPrefix(string(body), "HTTP/1.1 408 ") || !strings.Contains(string(body), `"timeout"`) {
		t.Errorf("half a body is answered with %q, %v", body, err)
	}
	if n := r.HeldBytes(); n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
}

func hello(c net.Conn, text string) net.Conn {
	io.WriteString(c, text)
	return c
}

// TestSlowReader: who does not read its answer is hung up on, however large that is.
func TestSlowReader(t *testing.T) {
	r, _ := serving(t, nil, nil)
	address := started(t, r, func(s *http.Server) { s.WriteTimeout = 100 * time.Millisecond })
	c := dialed(t, address)
	c.(*net.TCPConn).SetReadBuffer(1024)
	one := `{"user_id":"` + strings.Repeat("u", 200) + `"},`
	request := `{"requests":[` + strings.TrimSuffix(strings.Repeat(one, 100), ",") + `]}`
	for range 200 { // more than the kernel keeps for one connection
		if _, err := fmt.Fprintf(c, "POST /v1/batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(request), request); err != nil {
			break // hung up on while it sent
		}
	}
	eventually(t, "nothing is held for it", func() bool { return r.HeldBytes() == 0 && metric(t, r, "freshet_requests_in_flight") == 1 })
}

// TestOddRequests: what callers of other makes send over a connection.
func TestOddRequests(t *testing.T) {
	r, _ := serving(t, nil, nil)
	address := started(t, r, func(*http.Server) {})
	for request, want := range map[string]string{
		"GET /v1/recommend?user_id=u1 HTTP/1.0\r\n\r\n":                                       "HTTP/1.0 200 ",
		"HEAD /v1/recommend?user_id=u1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":      "HTTP/1.1 200 ",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":                          "HTTP/1.1 ",
		"GET /v1/recommend?user_id=u1 HTTP/1.1\r\n\r\n":                                       "HTTP/1.1 400 ", // no host
		"GET /v1/model HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n": "HTTP/1.1 431 ",
		"nonsense\r\n\r\n":                         "HTTP/1.1 400 ",
		"GET /v1/\x00 HTTP/1.1\r\nHost: a\r\n\r\n": "HTTP/1.1 400 ",
		"POST /v1/recommend HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n":                                                                                                  "HTTP/1.1 501 ",
		"POST /v1/recommend HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}":                                                                                 "HTTP/1.1 400 ",
		"POST /v1/recommend HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9999999\r\n\r\n":                                                                "HTTP/1.1 413 ",
		"POST /v1/recommend HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"user_id\":\"u1\"}\r\n0\r\n\r\n": "HTTP/1.1 200 ",
		"POST /v1/recommend HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n":                                  "HTTP/1.1 400 ",
	} {
		answer, err := io.ReadAll(hello(dialed(t, address), request))
		if err != nil || !strings.HasPrefix(string(answer), want) {
			t.Errorf("%.80q is answered with %.100q, %v; want %q", request, answer, err, want)
		}
		if strings.HasPrefix(request, "HEAD") && !strings.HasSuffix(string(answer), "\r\n\r\n") {
			t.Errorf("HEAD has a body: %q", answer)
		}
	}
}

// TestDrain: readyz says no at once; for the delay requests are answered, and their connections closed; then open requests finish, and nothing new is let in.
func TestDrain(t *testing.T) {
	h := newHeld()
	r, _ := serving(t, func(c *replica.Config) { c.DrainDelay, c.DrainTimeout = time.Hour, time.Hour }, h)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	delay := make(chan time.Time)
	go func() { ended <- r.ServeUntil(ctx, l, func(time.Duration) <-chan time.Time { return delay }) }()
	idle := bufio.NewReader(hello(dialed(t, l.Addr().String()), "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"))
	res, err := http.ReadResponse(idle, nil)
	if err != nil || res.StatusCode != 200 || res.Close {
		t.Fatalf("before the end: %+v, %v", res, err)
	}
	io.Copy(io.Discard, res.Body)
	open := bufio.NewReader(hello(dialed(t, l.Addr().String()), "GET /v1/recommend?user_id=u1 HTTP/1.1\r\nHost: a\r\n\r\n"))
	<-h.enter
	cancel()
	get := func(path string) (*http.Response, error) {
		return http.ReadResponse(bufio.NewReader(hello(dialed(t, l.Addr().String()), "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")), nil)
	}
	eventually(t, "readyz says no", func() bool {
		res, err := get("/readyz")
		return err == nil && res.StatusCode == 503
	})
	if res, err := get("/v1/model"); err != nil || res.StatusCode != 200 || !res.Close {
		t.Errorf("while load balancers look: %+v, %v", res, err)
	}
	close(delay)
	eventually(t, "nothing new is let in", func() bool {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if _, err := idle.ReadByte(); err != io.EOF {
		t.Errorf("an idle connection is left open: %v", err)
	}
	close(h.leave)
	if res, err := http.ReadResponse(open, nil); err != nil || res.StatusCode != 200 {
		t.Errorf("the open request: %+v, %v", res, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve returned %v", err)
	}
}
