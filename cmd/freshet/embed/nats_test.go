package embed_test

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func startNATS(t *testing.T, c embed.NATSConfig) *embed.NATS {
	t.Helper()
	n, err := embed.StartNATS(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestNATSGoesOnAfterClose(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	for run := range 3 {
		n := startNATS(t, embed.NATSConfig{StoreDir: dir})
		nc, err := nats.Connect(n.URL())
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "heads"})
		if err != nil {
			t.Fatal(err)
		}
		if run > 0 {
			entry, err := kv.Get(ctx, "model")
			if err != nil || string(entry.Value()) != strconv.Itoa(run-1) {
				t.Fatalf("run %d: entry %v, %v", run, entry, err)
			}
		}
		if _, err := kv.Put(ctx, "model", []byte(strconv.Itoa(run))); err != nil {
			t.Fatal(err)
		}
		nc.Close()
		n.Close()
		n.Close() // closing twice is allowed
	}
}

func TestNATSRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		c    embed.NATSConfig
		want []string
	}{
		"port in use": {embed.NATSConfig{Port: port, StoreDir: t.TempDir()}, []string{strconv.Itoa(port), "in use", "nats.port"}},
		"directory":   {embed.NATSConfig{StoreDir: file}, []string{"not a directory", "--data-dir"}},
		"two faults":  {embed.NATSConfig{Port: -1}, []string{"port -1", "store directory is missing"}},
	} {
		n, err := embed.StartNATS(tc.c)
		if err == nil {
			n.Close()
			t.Errorf("%s: it started", name)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
	}
}
