package replica_test

import (
	"flag"
	"net"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/objects"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if asChild() {
		return
	}
	// Each run of the property test opens a line on a real server: 15 take 4 s. -rapid.checks asks for more.
	if err := flag.Set("rapid.checks", "15"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// startNATS runs a NATS server with JetStream on dir. Port 0 picks a free one.
func startNATS(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("nats server does not start")
	}
	t.Cleanup(func() { stopNATS(s) })
	return s
}

func stopNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func port(s *server.Server) int { return s.Addr().(*net.TCPAddr).Port }

func dial(t testing.TB, s *server.Server) jetstream.JetStream {
	t.Helper()
	nc, js, err := publisher.Connect(s.ClientURL(), "test", nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closed := make(chan struct{})
		nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
		nc.Close()
		<-closed
	})
	return js
}

// putObject puts any bytes under a name.
func putObject(t testing.TB, js jetstream.JetStream, name string, b []byte) {
	t.Helper()
	bucket, err := objects.Open(t.Context(), js, publisher.ObjectsBucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Put(t.Context(), name, b); err != nil {
		t.Fatal(err)
	}
}
