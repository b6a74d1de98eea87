package snapshots_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/snapshots"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	nc, js, err := publisher.Connect(url, "test", nats.ReconnectBufSize(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	natstest.CloseAtEnd(t, nc)
	return js
}

// open returns the store of a node called owner.
func open(t testing.TB, url, owner string) *snapshots.Store {
	t.Helper()
	s, err := snapshots.New(dial(t, url), snapshots.Config{Topic: "clicks", Group: "freshet", Owner: owner,
		Backoff: publisher.Backoff{First: time.Millisecond, Most: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wire is a connection to NATS that can be cut in one direction: requests arrive, and their answers are lost.
type wire struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu    sync.Mutex
	deaf  func(answer []byte) bool // says that from this answer on none comes through; guarded by mu, as what follows
	conns []net.Conn
}

func newWire(t testing.TB, server string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, server: server}
	w.running.Go(w.accept)
	t.Cleanup(func() {
		l.Close()
		w.heal()
		w.running.Wait()
	})
	return w
}

func (w *wire) url() string { return "nats://" + w.listener.Addr().String() }

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.server)
		if err != nil {
			client.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, client, server)
		w.mu.Unlock()
		w.running.Go(func() {
			io.Copy(server, client)
			server.Close()
		})
		w.running.Go(func() {
			defer client.Close()
			buf := make([]byte, 1<<16)
			for lost := false; ; {
				n, err := server.Read(buf)
				if err != nil {
					return
				}
				w.mu.Lock()
				lost = lost || w.deaf != nil && w.deaf(buf[:n])
				w.mu.Unlock()
				if lost {
					continue
				}
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
		})
	}
}

// lose loses the first answer that f says yes to, and all that follow on its connection.
func (w *wire) lose(f func(answer []byte) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = f
}

// heal ends the losses. The connections are made anew.
func (w *wire) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = nil
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}
