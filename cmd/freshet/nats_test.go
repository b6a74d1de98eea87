package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/publisher/natstest"
)

// Whom NATS does not let in reads that, and not that there is no NATS; and whom it does, runs.
func TestNATSCredentials(t *testing.T) {
	t.Parallel()
	s := natstest.Run(t, &server.Options{Users: []*server.User{{Username: "joe", Password: "s3cret"}}})
	kafka, err := embed.StartKafka(embed.KafkaConfig{DataDir: t.TempDir(), Topic: "clicks", Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kafka.Close() })
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := func(env []string, args ...string) *child {
		return spawn{env: append(env, quick...), args: append(args, "--nats", s.ClientURL(), "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0")}.start(t)
	}
	for _, env := range [][]string{nil, {"FRESHET_NATS_USER=joe", "FRESHET_NATS_PASSWORD=hunter2"}} {
		for _, args := range [][]string{{"serve"}, {"train", "--brokers", kafka.Address()}, {"up", "--clicks", "10"}} {
			c := begin(env, args...)
			refused(t, c, s.ClientURL(), "NATS refuses this process", "nats.user and its password")
			if log := c.log.String(); strings.Contains(log, "no NATS server answers") || strings.Contains(log, "hunter2") {
				t.Errorf("%v: %s", args, log)
			}
		}
	}
	refused(t, begin([]string{"FRESHET_NATS_NKEY_SEED_FILE=/nowhere/u.nk"}, "serve"), "nats.nkey_seed_file", "no such file")

	known := []string{"FRESHET_NATS_USER=joe", "FRESHET_NATS_PASSWORD_FILE=" + password}
	begin(known, "serve").awaitAPI(t)
	c := begin(known, "up", "--clicks", "300", "--once")
	if code := c.wait(t); code != 0 {
		t.Errorf("up with a password: exit code %d", code)
	}
}
