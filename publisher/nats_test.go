package publisher_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// putObject puts any bytes under a name, as NATS' object store lays them down in one chunk. The client's own Put can leave a
// goroutine behind (see object.go), which would hide ours.
func putObject(t testing.TB, js jetstream.JetStream, name string, b []byte) {
	t.Helper()
	h := sha256.New()
	h.Write(b)
	id := rand.Text()
	info := jetstream.ObjectInfo{ObjectMeta: jetstream.ObjectMeta{Name: name}, Bucket: publisher.ObjectsBucket, NUID: id,
		Size: uint64(len(b)), Digest: jetstream.GetObjectDigestValue(h)}
	if len(b) > 0 {
		info.Chunks = 1
		if _, err := js.Publish(t.Context(), "$O."+publisher.ObjectsBucket+".C."+id, b); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	meta := nats.NewMsg("$O." + publisher.ObjectsBucket + ".M." + base64.URLEncoding.EncodeToString([]byte(name)))
	meta.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	meta.Data = text
	if _, err := js.PublishMsg(t.Context(), meta); err != nil {
		t.Fatal(err)
	}
}
