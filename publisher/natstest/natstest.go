// Package natstest gives tests a NATS server, and ends their connections so that no goroutine of them is left.
//
// The server is the real one, in this process, on a free port of 127.0.0.1, with JetStream in a directory of the test's.
//
// # What this package does not do
//
// It does not connect: each room's tests do so with the settings that they are about.
package natstest

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Start runs a server on dir until the test ends or Stop is called. Port 0 picks a free one.
func Start(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return run(t, &server.Options{Port: port, StoreDir: dir})
}

// Run runs a server with options of its own, on a free port and a new directory, until the test ends or Stop is called.
func Run(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	o.Port, o.StoreDir = server.RANDOM_PORT, t.TempDir()
	return run(t, o)
}

func run(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.JetStream, o.NoSigs, o.NoLog = "127.0.0.1", true, true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { Stop(s) })
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("nats server does not start")
	}
	return s
}

// Stop ends a server, and returns when it has ended. It may be called more than once.
func Stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// Port returns the port of a server, for another that comes in its place.
func Port(s *server.Server) int { return s.Addr().(*net.TCPAddr).Port }

// CloseAtEnd closes a connection when the test ends, and waits until it is closed.
func CloseAtEnd(t testing.TB, nc *nats.Conn) {
	t.Cleanup(func() {
		closed := make(chan struct{})
		nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
		nc.Close()
		<-closed
	})
}
