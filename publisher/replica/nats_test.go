package replica_test

import (
	"flag"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
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

func dial(t testing.TB, s *server.Server) jetstream.JetStream {
	t.Helper()
	nc, js, err := publisher.Connect(s.ClientURL(), "test", nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	natstest.CloseAtEnd(t, nc)
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
