package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// roles is what docker-compose.yml runs: brokers, a trainer and two replicas, each on its own.
type roles struct {
	kafka    *embed.Kafka
	nats     *embed.NATS
	natsDir  string
	env      []string
	trainer  *child
	replicas []*child
	dirs     map[string]string
	clicks   int64 // produced so far
}

func (r *roles) startNATS(t *testing.T, port int) {
	t.Helper()
	server, err := embed.StartNATS(embed.NATSConfig{Port: port, StoreDir: r.natsDir})
	if err != nil {
		t.Fatal(err)
	}
	r.nats = server
	t.Cleanup(func() { server.Close() })
}

func (r *roles) start(t *testing.T, name string, args ...string) *child {
	t.Helper()
	if r.dirs[name] == "" {
		r.dirs[name] = t.TempDir()
	}
	return spawn{name: name, env: r.env, args: append(args, "--data-dir", r.dirs[name], "--listen", "127.0.0.1:0", "--nats", r.nats.URL())}.start(t)
}

func (r *roles) startTrainer(t *testing.T) {
	t.Helper()
	r.trainer = r.start(t, "trainer", "train", "--brokers", r.kafka.Address())
	r.trainer.awaitAPI(t)
}

func (r *roles) startReplica(t *testing.T, n int) *child {
	t.Helper()
	name := fmt.Sprintf("replica-%d", n)
	c := r.start(t, name, "serve", "--id", name)
	c.awaitAPI(t)
	return c
}

// run runs a verb to its end and returns what it printed.
func (r *roles) run(t *testing.T, args ...string) string {
	t.Helper()
	c := spawn{env: r.env, args: args}.start(t)
	if code := c.wait(t); code != 0 {
		t.Fatalf("%s: exit code %d", c.name, code)
	}
	return c.stdout.String()
}

// produce sends a CSV of clicks of thirty users, who begin the given time after the simulated shop has opened.
func (r *roles) produce(t *testing.T, after time.Duration) {
	t.Helper()
	const clicks = 300
	start := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC).Add(after)
	var b strings.Builder
	b.WriteString("user,item,ts\n")
	for i := range clicks {
		fmt.Fprintf(&b, "person-%d,thing-%d,%d\n", i%30, (i*7)%40, start.Add(time.Duration(i)*100*time.Millisecond).UnixMilli())
	}
	file := filepath.Join(t.TempDir(), "clicks.csv")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out := r.run(t, "produce", file, "--brokers", r.kafka.Address())
	if want := fmt.Sprintf("%d records sent to topic clicks, 0 were there already\n", clicks); out != want {
		t.Fatalf("produce says %q, want %q", out, want)
	}
	if out = r.run(t, "produce", file, "--brokers", r.kafka.Address()); !strings.Contains(out, "0 records sent") {
		t.Fatalf("producing the same file again: %q", out)
	}
	r.clicks += clicks
}

// trained waits until all that was produced is trained on or aside, and returns the trainer's status.
func (r *roles) trained(t *testing.T) (s view.Status) {
	t.Helper()
	eventually(t, fmt.Sprintf("the trainer has trained on %d clicks", r.clicks), func() (err error) {
		if s, err = statusOf(r.trainer.api()); err != nil {
			return err
		}
		if s.Clicks == r.clicks && s.Pending == 0 {
			return nil
		}
		return fmt.Errorf("%+v", s)
	})
	accountedFor(t, s.Summary)
	return s
}

// served waits until both replicas serve what was trained, and returns the version.
func (r *roles) served(t *testing.T, s view.Status) (version schema.Version) {
	t.Helper()
	for _, c := range r.replicas {
		eventually(t, fmt.Sprintf("%s serves step %d", c.name, s.Steps), func() error {
			code, header, body, err := fetch(c.api()+"/v1/model", "")
			var m schema.Manifest
			if err != nil || code != http.StatusOK || json.Unmarshal([]byte(body), &m) != nil || m.Step != s.Steps {
				return fmt.Errorf("%d %w %s", code, err, body)
			}
			if got := header.Get(replica.HeaderReplica); got != c.name {
				t.Fatalf("%s calls itself %q", c.name, got)
			}
			version = m.Version
			return nil
		})
	}
	return version
}

func TestRoles(t *testing.T) {
	t.Parallel()
	kafka, err := embed.StartKafka(embed.KafkaConfig{DataDir: t.TempDir(), Topic: "clicks", Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kafka.Close() })
	r := &roles{kafka: kafka, natsDir: t.TempDir(), dirs: map[string]string{},
		// Silence of a third of a second moves the watermark, so that the last clicks are trained on within seconds.
		env: append([]string{"FRESHET_WINDOW_IDLE_AFTER=300ms", "FRESHET_WINDOW_PART_AGE=1s", "FRESHET_WINDOW_LATENESS=1s", "FRESHET_TRAIN_BATCH_SPAN=1s"}, quick...)}
	r.startNATS(t, 0)
	for n := 1; n <= 2; n++ { // before the trainer: they wait for the first version
		r.replicas = append(r.replicas, r.startReplica(t, n))
	}
	if code, _, body, err := fetch(r.replicas[0].api()+"/readyz", ""); err != nil || code != http.StatusServiceUnavailable {
		t.Errorf("a replica without a version is ready: %d %v %s", code, err, body)
	}
	r.startTrainer(t)
	r.run(t, "health", r.trainer.api()+"/readyz")

	out := r.run(t, "simulate", "--clicks", "3000", "--speed", "max", "--brokers", kafka.Address())
	if out != "3000 records sent to topic clicks, 0 were there already\n" {
		t.Errorf("simulate says %q", out)
	}
	r.clicks = 3000
	first := r.served(t, r.trained(t))
	r.produce(t, time.Hour)
	s := r.trained(t)
	second := r.served(t, s)
	if second <= first {
		t.Errorf("version %d follows %d", second, first)
	}
	for _, c := range r.replicas {
		r.run(t, "health", c.api()+"/readyz")
		out := r.run(t, "recommend", "--user", "person-1", "--server", c.api(), "-k", "7", "--click", "thing-7")
		if strings.Count(out, " model\n") != 7 || !strings.Contains(out, fmt.Sprintf("model default, version %d, trained through 2026-01-01T", second)) {
			t.Errorf("recommend by %s:\n%s", c.name, out)
		}
		var answer replica.Answer
		if err := json.Unmarshal([]byte(r.run(t, "recommend", "--user", "nobody", "--server", c.api(), "--json")), &answer); err != nil || len(answer.Items) != 20 {
			t.Errorf("recommend --json by %s: %v, %d items", c.name, err, len(answer.Items))
		}
	}

	// A trainer that is killed goes on where it was, and extends the same line.
	r.trainer.kill()
	r.produce(t, 2*time.Hour)
	r.startTrainer(t)
	after := r.trained(t)
	if after.Trained < s.Trained+300 || after.Aside.Total() != s.Aside.Total() {
		t.Errorf("after the kill: %d trained and %d aside, before: %d and %d", after.Trained, after.Aside.Total(), s.Trained, s.Aside.Total())
	}
	third := r.served(t, after)
	if third <= second {
		t.Errorf("version %d follows %d", third, second)
	}

	// Without NATS replicas serve what they have, also when they are started; the trainer goes on.
	u, err := url.Parse(r.nats.URL())
	if err != nil {
		t.Fatal(err)
	}
	_, digits, _ := net.SplitHostPort(u.Host)
	port, _ := strconv.Atoi(digits)
	r.nats.Close()
	r.replicas[1].kill()
	r.replicas[1] = r.start(t, "replica-2", "serve", "--id", "replica-2")
	r.replicas[1].awaitAPI(t)
	for _, c := range r.replicas {
		r.run(t, "health", c.api()+"/readyz")
	}
	r.produce(t, 3*time.Hour)
	late := r.trained(t)
	r.startNATS(t, port)
	if fourth := r.served(t, late); fourth <= third {
		t.Errorf("version %d follows %d", fourth, third)
	}

	for _, c := range append(r.replicas, r.trainer) {
		c.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, c := range append(r.replicas, r.trainer) {
		if code := c.wait(t); code != 0 || !strings.Contains(c.log.String(), "stopped in order") {
			t.Errorf("%s ends with exit code %d", c.name, code)
		}
		if _, err := os.Stat(filepath.Join(r.dirs[c.name], "running")); !os.IsNotExist(err) {
			t.Errorf("%s: the stop was not in order: %v", c.name, err)
		}
	}
}
