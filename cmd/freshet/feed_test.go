package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/google/go-cmp/cmp"
)

// Roles on machines of their own: ingest nodes show their logs, and trainer and replicas have no Kafka.

var flightOf = regexp.MustCompile(`flight=(grpc://\S+)`)

// startIngest starts an ingest node and returns where its log is. group tells consumer groups apart.
func (r *roles) startIngest(t *testing.T, name, group, listen string) (c *child, feed string) {
	t.Helper()
	if r.dirs[name] == "" {
		r.dirs[name] = t.TempDir()
	}
	c = spawn{name: name, env: r.env, args: []string{"ingest", "--brokers", r.kafka.Address(), "--group", group, "--data-dir", r.dirs[name],
		"--listen", "127.0.0.1:0", "--flight-listen", listen}}.start(t)
	c.awaitAPI(t)
	found := flightOf.FindStringSubmatch(c.log.String())
	if found == nil {
		t.Fatalf("%s does not say where its log is", name)
	}
	return c, found[1]
}

func newRoles(t *testing.T, env ...string) *roles {
	t.Helper()
	kafka, err := embed.StartKafka(embed.KafkaConfig{DataDir: t.TempDir(), Topic: "clicks", Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kafka.Close() })
	r := &roles{kafka: kafka, natsDir: t.TempDir(), dirs: map[string]string{}, env: append(env, quick...)}
	r.startNATS(t, 0)
	return r
}

// stopAll ends the children in order and checks that they do.
func stopAll(t *testing.T, children ...*child) {
	t.Helper()
	for _, c := range children {
		c.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, c := range children {
		if code := c.wait(t); code != 0 || !strings.Contains(c.log.String(), "stopped in order") {
			t.Errorf("%s ends with exit code %d", c.name, code)
		}
	}
}

func (r *roles) startFeedTrainer(t *testing.T, feed string) {
	t.Helper()
	r.trainer = r.start(t, "trainer", "train", "--feed", feed)
	r.trainer.awaitAPI(t)
}

func (r *roles) startFeedReplica(t *testing.T, feed string) {
	t.Helper()
	c := r.start(t, "replica-1", "serve", "--id", "replica-1", "--feed", feed)
	c.awaitAPI(t)
	r.replicas = []*child{c}
}

// TestFeed trains and serves on the log of another process, each of which is killed once.
func TestFeed(t *testing.T) {
	t.Parallel()
	r := newRoles(t, "FRESHET_WINDOW_IDLE_AFTER=300ms", "FRESHET_WINDOW_PART_AGE=1s", "FRESHET_WINDOW_LATENESS=1s", "FRESHET_TRAIN_BATCH_SPAN=1s",
		"FRESHET_FLIGHT_TOKEN=secret")
	ingest, feed := r.startIngest(t, "ingest", "freshet", "127.0.0.1:0")
	r.startFeedReplica(t, feed)
	r.startFeedTrainer(t, feed)
	if out := r.run(t, "simulate", "--clicks", "3000", "--speed", "max", "--brokers", r.kafka.Address()); !strings.HasPrefix(out, "3000 records sent") {
		t.Fatalf("simulate says %q", out)
	}
	r.clicks = 3000
	first := r.served(t, r.trained(t))

	// The replica knows the user from the feed: the request brings nothing.
	r.produce(t, time.Hour)
	s := r.trained(t)
	second := r.served(t, s)
	if second <= first {
		t.Errorf("version %d follows %d", second, first)
	}
	var answer replica.Answer
	eventually(t, "the replica knows the user", func() error {
		code, _, body, err := fetch(r.replicas[0].api()+"/v1/recommend?user_id=person-1&k=5", "")
		if err != nil || code != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil || len(answer.Items) != 5 {
			t.Fatalf("recommend: %d %v %s", code, err, body)
		}
		if answer.Items[0].Source != replica.SourceModel {
			return fmt.Errorf("%s", body)
		}
		return nil
	})
	code, _, body, err := fetch(r.replicas[0].api()+"/metrics", "")
	if err != nil || code != http.StatusOK || !strings.Contains(body, "\nfreshet_feed_entries_total ") || !strings.Contains(body, "\nfreshet_histories_users ") || !strings.Contains(body, "\nfreshet_model_version{lane=") {
		t.Errorf("metrics of the replica: %d %v", code, err)
	}

	// The trainer goes on where it was.
	r.trainer.kill()
	r.produce(t, 2*time.Hour)
	r.startFeedTrainer(t, feed)
	s = r.trained(t)
	third := r.served(t, s)
	if third <= second {
		t.Errorf("version %d follows %d", third, second)
	}

	// Without the node the trainer says so, and the replica serves on.
	ingest.kill()
	eventually(t, "the trainer says that the node is away", func() error {
		code, _, body, err := fetch(r.trainer.api()+"/readyz", "")
		if err != nil || code != http.StatusServiceUnavailable || !strings.Contains(body, feed) {
			return fmt.Errorf("%d %w %s", code, err, body)
		}
		return nil
	})
	r.run(t, "health", r.replicas[0].api()+"/readyz")
	r.produce(t, 3*time.Hour)
	ingest, _ = r.startIngest(t, "ingest", "freshet", strings.TrimPrefix(feed, "grpc://"))
	if fourth := r.served(t, r.trained(t)); fourth <= third {
		t.Errorf("version %d follows %d", fourth, third)
	}
	eventually(t, "all is well", func() error {
		code, _, body, err := fetch(r.trainer.api()+"/readyz", "")
		if err != nil || code != http.StatusOK {
			return fmt.Errorf("%d %w %s", code, err, body)
		}
		return nil
	})
	r.replicas[0].kill()
	r.startFeedReplica(t, feed)
	r.served(t, r.trained(t))
	stopAll(t, r.replicas[0], r.trainer, ingest)
}

// TestFeedOfSeveralNodes: two nodes share a topic, one is killed, and its partitions go to the other, which reads them from
// their beginning. The trainer's copy is the log that a node which was never disturbed has.
func TestFeedOfSeveralNodes(t *testing.T) {
	t.Parallel()
	// No idle time: all that moves a watermark are records, so that two nodes give the same log.
	r := newRoles(t, "FRESHET_WINDOW_IDLE_AFTER=0s", "FRESHET_WINDOW_PART_AGE=1s", "FRESHET_WINDOW_LATENESS=1s")
	one, feedOne := r.startIngest(t, "one", "freshet", "127.0.0.1:0")
	two, feedTwo := r.startIngest(t, "two", "freshet", "127.0.0.1:0")
	alone, feedAlone := r.startIngest(t, "alone", "another-group", "127.0.0.1:0")
	r.startFeedTrainer(t, feedOne+","+feedTwo)
	const clicks = 20_000
	shop := spawn{env: r.env, args: []string{"simulate", "--clicks", fmt.Sprint(clicks), "--speed", "100x", "--brokers", r.kafka.Address()}}.start(t)
	eventually(t, "some is copied", func() error {
		if s, err := statusOf(r.trainer.api()); err != nil || s.Clicks < clicks/10 {
			return fmt.Errorf("%d clicks, %w", s.Clicks, err)
		}
		return nil
	})
	one.kill()
	if code := shop.wait(t); code != 0 {
		t.Fatalf("simulate: exit code %d", code)
	}
	for _, c := range []*child{two, alone, r.trainer} {
		eventually(t, c.name+" has all", func() error {
			s, err := statusOf(c.api())
			if err != nil || s.Clicks != clicks {
				return fmt.Errorf("%d clicks, %w", s.Clicks, err)
			}
			return nil
		})
	}
	s, err := statusOf(r.trainer.api())
	if err != nil {
		t.Fatal(err)
	}
	accountedFor(t, s.Summary)
	if code, _, body, err := fetch(r.trainer.api()+"/readyz", ""); err != nil || code != http.StatusServiceUnavailable || !strings.Contains(body, feedOne) {
		t.Errorf("a node is gone, and the trainer says %d %v %s", code, err, body)
	}
	stopAll(t, r.trainer, two, alone)
	if diff := cmp.Diff(logOf(t, r.dirs["alone"]), logOf(t, r.dirs["trainer"])); diff != "" {
		t.Errorf("the trainer's copy is another log (-alone +copy):\n%.4000s", diff)
	}

	// A directory that has a log of its own is not written over.
	c := spawn{env: r.env, args: []string{"train", "--feed", feedAlone, "--nats", r.nats.URL(), "--data-dir", r.dirs["alone"], "--listen", "127.0.0.1:0"}}.start(t)
	if code := c.wait(t); code != 1 || !strings.Contains(c.log.String(), "give --feed an empty --data-dir") {
		t.Errorf("a directory of an ingest node: exit code %d", code)
	}
}
