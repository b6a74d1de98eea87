package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
)

// TestUpDrains: up ends as serve does: /readyz says no, all else is answered for serve.drain_delay, and a second signal does not wait for that.
func TestUpDrains(t *testing.T) {
	c := spawn{env: append([]string{"FRESHET_SERVE_DRAIN_DELAY=1h"}, quick...), args: []string{"up", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0", "--clicks", "3000"}}.start(t)
	api := c.awaitAPI(t)
	get := func(path string) (int, bool) {
		r, err := http.Get(api + path)
		if err != nil {
			return 0, false
		}
		defer r.Body.Close()
		io.Copy(io.Discard, r.Body)
		return r.StatusCode, r.Close
	}
	ready := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("both replicas say %d", want), func() error {
			for range 2 { // the front asks them in turn
				if code, _ := get("/readyz"); code != want {
					return fmt.Errorf("readyz says %d", code)
				}
			}
			return nil
		})
	}
	ready(200)
	c.cmd.Process.Signal(os.Interrupt)
	ready(503)
	if code, closes := get("/v1/model"); code != 200 || !closes {
		t.Errorf("while load balancers look: status %d, closes the connection: %v", code, closes)
	}
	c.cmd.Process.Signal(os.Interrupt)
	if code := c.wait(t); code != exitInterrupted {
		t.Errorf("exit %d", code)
	}
}

// TestListenBoundsConnections: one more than serve.max_conns is let in when another has gone, over TLS or not, in every role.
func TestListenBoundsConnections(t *testing.T) {
	loaded, err := config.Load(config.Places{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := loaded.Config
	cfg.Serve.Listen, cfg.Serve.MaxConns, cfg.Flight.Listen = "127.0.0.1:0", 1, "none"
	var closers closers
	api, _, err := listenAll(cfg, slog.New(slog.DiscardHandler), true, &closers)
	if err != nil {
		t.Fatal(err)
	}
	defer closers.close(&err)
	let := make(chan net.Conn)
	go func() {
		for {
			c, err := api.Accept()
			if err != nil {
				close(let)
				return
			}
			let <- c
		}
	}()
	for range 2 {
		c, err := net.Dial("tcp", api.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first := <-let
	select {
	case <-let:
		t.Error("two are let in, and serve.max_conns is 1")
	case <-time.After(50 * time.Millisecond): // one that is let in after all would be missed, and none that is not can fail the test
	}
	first.Close()
	(<-let).Close()
}
