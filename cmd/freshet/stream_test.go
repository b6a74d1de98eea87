package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/sim"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// settingsOf loads a configuration for a run in this process.
func settingsOf(t *testing.T, dir string, set map[string]string) config.Loaded {
	t.Helper()
	places := config.Places{Flags: []config.Flag{{Name: "test", Key: "data_dir", Value: dir}, {Name: "test", Key: "serve.listen", Value: "127.0.0.1:0"}}}
	for key, value := range set {
		places.Flags = append(places.Flags, config.Flag{Name: "test", Key: key, Value: value})
	}
	cfg, err := config.Load(places)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// inProcess is "freshet up" in this process.
type inProcess struct {
	stdout bytes.Buffer // read it after the end
	log    text
	stop   context.CancelFunc
	ended  chan error
}

func startUp(t *testing.T, cfg config.Loaded, verb UpCmd) *inProcess {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &inProcess{stop: cancel, ended: make(chan error, 1)}
	a := &app{cfg: cfg, stdout: &p.stdout, stderr: &p.log, now: time.Now, logs: &logSink{w: &p.log}, stop: cancel, abort: cancel}
	a.log = newLogger(a.logs, cfg.Log, false, true)
	go func() { p.ended <- verb.Run(ctx, a) }()
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			t.Log("the log:\n" + p.log.String())
		}
	})
	return p
}

func (p *inProcess) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(patience):
		t.Fatalf("up has not ended within %v", patience)
		return nil
	}
}

// TestWholeStream runs everything in this process, over the real protocols: what the shop says that it sent is found again,
// to the record, at the other end.
func TestWholeStream(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defer slog.SetDefault(slog.Default())
	dir := t.TempDir()
	set := map[string]string{"source.clicks": "4000", "source.speed": "max", "train.publish_every": "100ms",
		// A slow shop, so that users come back and late records with them, and more of everything that goes wrong than the
		// defaults have: 4000 records hold each several times.
		"sim.rate": "10", "sim.users": "300", "sim.late": "0.01", "sim.duplicate": "0.02", "sim.undecodable": "0.01", "sim.invalid": "0.01"}
	cfg := settingsOf(t, dir, set)
	counts := countsOf(t, cfg.Config)

	live := startUp(t, cfg, UpCmd{})
	eventually(t, "up says its address", func() error {
		select {
		case err := <-live.ended:
			t.Fatalf("up has ended: %v", err)
		default:
		}
		if addressIn(live.log.String()) == "" {
			return errors.New("not yet")
		}
		return nil
	})
	api := addressIn(live.log.String())
	var at view.Status
	eventually(t, "all is trained on and adopted", func() (err error) {
		at, err = allServed(api, 4000)
		return err
	})
	accountedFor(t, at.Summary)
	wantAside := view.Aside{schema.ReasonLate: counts.Late, schema.ReasonDuplicate: counts.Duplicates,
		schema.ReasonUndecodable: counts.Undecodable(), schema.ReasonInvalid: counts.Invalid()}
	if diff := cmp.Diff(wantAside, at.Aside); diff != "" {
		t.Errorf("aside is not what the shop did wrong (-shop +aside):\n%s", diff)
	}
	for reason, n := range wantAside {
		if n == 0 {
			t.Errorf("the shop has nothing %s: this test sees nothing of it", reason)
		}
	}
	checkAPI(t, api, at)
	live.stop()
	if err := live.wait(t); err != nil {
		t.Fatalf("an interrupt is no failure: %v", err)
	}

	// Run again to the end, it has nothing left to do but to say what it has done.
	again := startUp(t, settingsOf(t, dir, set), UpCmd{Once: true, JSON: true})
	if err := again.wait(t); err != nil {
		t.Fatal(err)
	}
	end := summaryIn(t, again.stdout.String())
	if diff := cmp.Diff(wantAside, end.Aside); diff != "" || end.Clicks != 4000 || end.Pending != 0 || end.Trained != at.Trained || end.Steps != at.Steps {
		t.Errorf("the summary %+v is not the status %+v: %s", end, at.Summary, diff)
	}
	checkSummary(t, again.stdout.Bytes(), end)
	checkAside(t, dir, wantAside)
}

// countsOf drains the same shop.
func countsOf(t *testing.T, c config.Config) sim.Counts {
	t.Helper()
	shop, err := sim.New(simConfig(c))
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := shop.Next(); errors.Is(err, io.EOF) {
			return shop.Counts()
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// allServed returns the status once so many records are read, trained on, and both replicas serve what came of them.
func allServed(api string, clicks int64) (view.Status, error) {
	s, err := statusOf(api)
	if err != nil {
		return s, err
	}
	if s.Clicks != clicks || s.Pending != 0 || s.Steps == 0 || len(s.Replicas) != 2 {
		return s, fmt.Errorf("%+v", s)
	}
	serves := map[string]bool{}
	for range 2 {
		code, header, body, err := fetch(api+"/v1/model", "")
		var m schema.Manifest
		if err != nil || code != http.StatusOK || json.Unmarshal([]byte(body), &m) != nil || m.Step != s.Steps {
			return s, fmt.Errorf("not a version of step %d: %d %w %s", s.Steps, code, err, body)
		}
		serves[header.Get(replica.HeaderReplica)] = true
	}
	if len(serves) != 2 {
		return s, fmt.Errorf("two requests went to %v", serves)
	}
	return s, nil
}

// checkAPI asks everything that is documented, of both replicas in turn.
func checkAPI(t *testing.T, api string, at view.Status) {
	t.Helper()
	asked := map[string]int{}
	for _, q := range []struct{ path, body string }{
		{"/v1/recommend?user_id=u1&k=5", ""}, {"/v1/recommend?user_id=nobody&k=5", ""},
		{"/v1/recommend", `{"user_id":"u2","k":5}`}, {"/v1/recommend", `{"clicks":[{"item_id":"nothing"}],"k":5}`},
		{"/v1/model", ""}, {"/v1/model", ""}, {"/livez", ""}, {"/readyz", ""}, {"/livez", ""}, {"/readyz", ""},
	} {
		code, header, body, err := fetch(api+q.path, q.body)
		if err != nil || code != http.StatusOK {
			t.Errorf("%s: %d %v: %s", q.path, code, err, body)
			continue
		}
		asked[header.Get(replica.HeaderReplica)]++
		version, err := strconv.ParseInt(header.Get(replica.HeaderVersion), 10, 64)
		if err != nil || version < at.Versions {
			t.Errorf("%s is answered from version %q, %d is there", q.path, header.Get(replica.HeaderVersion), at.Versions)
		}
		if got := header.Get("Content-Type"); strings.HasPrefix(q.path, "/v1/") && (got != "application/json" || !json.Valid([]byte(body))) {
			t.Errorf("%s: %s: %s", q.path, got, body)
		}
		if strings.Contains(q.path, "recommend") {
			var answer replica.Answer
			if err := json.Unmarshal([]byte(body), &answer); err != nil {
				t.Errorf("%s: %v", q.path, err)
			}
			if len(answer.Items) != 5 || answer.Model.Name != "default" || int64(answer.Model.Version) != version || answer.Model.TrainedThrough == 0 {
				t.Errorf("%s: %s", q.path, body)
			}
			seen := map[string]bool{}
			for _, item := range answer.Items {
				if item.ItemID == "" || seen[item.ItemID] || item.Source != replica.SourceModel && item.Source != replica.SourceBaseline {
					t.Errorf("%s: item %+v", q.path, item)
				}
				seen[item.ItemID] = true
			}
		}
	}
	if asked["replica-1"] != 5 || asked["replica-2"] != 5 {
		t.Errorf("ten requests went to %v", asked)
	}
	for path, want := range map[string]int{"/v1/recommend": 400, "/v1/recommend?user_id=u1&k=0": 400, "/v1/nothing": 404} {
		code, header, body, err := fetch(api+path, "")
		var fault struct {
			Error struct{ Code, Message string }
		}
		if err != nil || code != want || header.Get(replica.HeaderReplica) == "" || json.Unmarshal([]byte(body), &fault) != nil || fault.Error.Code == "" || fault.Error.Message == "" {
			t.Errorf("%s: %d %v, want %d and an error: %s", path, code, err, want, body)
		}
	}
	_, header, body, err := fetch(api+"/metrics", "")
	if err != nil || !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
		t.Errorf("/metrics: %v %v", err, header)
	}
	want := []string{fmt.Sprintf("freshet_clicks_total %d\n", at.Clicks), fmt.Sprintf("freshet_clicks_trained_total %d\n", at.Trained),
		"freshet_clicks_pending 0\n", "# TYPE freshet_freshness_seconds histogram\n", "# TYPE freshet_commit_seconds histogram\n",
		"freshet_parts_total{cause=\"age\"} ", "freshet_sessions_closed_total{cause=\"end\"} ", "freshet_partition_lag_records{partition=\"0\"} 0\n",
		"freshet_partition_watermark_timestamp_seconds{partition=\"0\"} ", "freshet_partition_sessions_open{partition=\"0\"} 0\n",
		fmt.Sprintf("freshet_source_records_total{outcome=\"read\"} %d\n", at.Clicks),
		fmt.Sprintf("freshet_train_level %d\n", at.Training.Level), fmt.Sprintf("freshet_train_runs_total %d\n", at.Training.Runs),
		fmt.Sprintf("freshet_train_run_steps_total %d\n", at.Training.RunSteps), fmt.Sprintf("freshet_train_drift_total %d\n", at.Training.Drift.Detections),
		fmt.Sprintf("freshet_train_shed_total{reason=\"pit_runs\"} %d\n", at.Training.Shed.Runs),
		fmt.Sprintf("freshet_train_shed_total{reason=\"history_parts\"} %d\n", at.Training.Shed.HistoryParts),
		fmt.Sprintf("freshet_train_shed_total{reason=\"parts\"} %d\n", at.Training.Shed.Parts)}
	for reason, n := range at.Aside {
		want = append(want, fmt.Sprintf("freshet_clicks_aside_total{reason=%q} %d\n", reason, n))
	}
	for _, w := range want {
		if !strings.Contains(body, w) {
			t.Errorf("/metrics does not say %q", w)
		}
	}
}

// checkSummary looks for every field that is documented.
func checkSummary(t *testing.T, stdout []byte, s view.Summary) {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(stdout, &fields); err != nil {
		t.Fatalf("standard output is not one JSON object: %v\n%s", err, stdout)
	}
	for _, name := range []string{"clicks", "parts", "aside", "trained", "pending", "steps", "training", "versions", "recall_at_20", "mrr_at_20",
		"scored", "last_third", "rule", "freshness_seconds", "replicas", "digest"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("the summary has no %s: %s", name, stdout)
		}
	}
	for name, n := range map[string]view.Number{"model": s.Recall20.Model, "popularity": s.Recall20.Popularity, "item_to_item": s.Recall20.ItemToItem,
		"MRR of the model": s.MRR20.Model, "last third": s.LastThird.Recall20.Model} {
		if !n.Known() || n < 0 || n > 1 {
			t.Errorf("the score of %s is %v", name, n)
		}
	}
	if s.Recall20.Best == nil || *s.Recall20.Best <= s.Recall20.Model {
		t.Errorf("the best score that can be reached is %v, the model's %v", s.Recall20.Best, s.Recall20.Model)
	}
	if s.Parts == 0 || s.Steps == 0 || s.Scored == 0 || s.LastThird.Scored == 0 || s.Rule == "" || len(s.Digest) != 64 {
		t.Errorf("the summary is not whole: %s", stdout)
	}
	if len(s.Replicas) != 2 || s.Replicas[0].ID != "replica-1" || s.Replicas[1].ID != "replica-2" {
		t.Errorf("replicas: %+v", s.Replicas)
	}
	for _, r := range s.Replicas {
		if int64(r.Version) != s.Versions {
			t.Errorf("%s serves version %d, the last is %d", r.ID, r.Version, s.Versions)
		}
	}
}

// openBuffer opens the log of a data directory that no process uses.
func openBuffer(t *testing.T, dir string) *buffer.Store {
	t.Helper()
	store, err := buffer.Open(filepath.Join(dir, "buffer"), buffer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// checkAside looks for every rejected record, with its bytes and reason; of duplicates only the number is kept.
func checkAside(t *testing.T, dir string, want view.Aside) {
	t.Helper()
	store := openBuffer(t, dir)
	defer store.Close()
	got := view.Aside{schema.ReasonDuplicate: want[schema.ReasonDuplicate]}
	seen := map[string]bool{}
	for r, err := range store.Aside(0) {
		if err != nil {
			t.Fatal(err)
		}
		place := fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)
		if seen[place] || r.Topic != "clicks" || r.Detail == "" || len(r.Value) == 0 || r.ArrivedAt == 0 {
			t.Errorf("aside: %s: %+v", place, r)
		}
		seen[place] = true
		got[r.Reason]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the records aside are not those that were counted (-counted +there):\n%s", diff)
	}
}

// The same seed gives the same bytes, in another directory and at another speed; another seed does not (I4).
func TestSameSeedSameBytes(t *testing.T) {
	t.Parallel()
	first := once(t, t.TempDir(), "--clicks", "3000", "--seed", "5")
	sameOutcome(t, "again", first, once(t, t.TempDir(), "--clicks", "3000", "--seed", "5", "--replicas", "1"))
	sameOutcome(t, "slower", first, once(t, t.TempDir(), "--clicks", "3000", "--seed", "5", "--speed", "30x"))
	if other := once(t, t.TempDir(), "--clicks", "3000", "--seed", "6"); other.Digest == first.Digest {
		t.Error("another seed gives the same checkpoint")
	}
}

// A pipe is a file without a name.
func TestPipe(t *testing.T) {
	t.Parallel()
	simulate := spawn{args: []string{"simulate", "--out", "-", "--clicks", "2000", "--seed", "3"}}.start(t)
	if code := simulate.wait(t); code != 0 {
		t.Fatalf("simulate: exit code %d", code)
	}
	records := simulate.stdout.String()
	if n := strings.Count(records, "\n"); n != 2000 {
		t.Fatalf("simulate wrote %d lines", n)
	}
	name := filepath.Join(t.TempDir(), "clicks.jsonl")
	if err := os.WriteFile(name, []byte(records), 0o600); err != nil {
		t.Fatal(err)
	}
	file := once(t, t.TempDir(), "--source", name)
	accountedFor(t, file)
	piped := spawn{env: quick, stdin: strings.NewReader(records), args: []string{"up", "--source", "-", "--format", "jsonl", "--once", "--json",
		"--data-dir", t.TempDir(), "--listen", "127.0.0.1:0"}}.start(t)
	if code := piped.wait(t); code != 0 {
		t.Fatalf("up: exit code %d", code)
	}
	sameOutcome(t, "by a pipe", file, summaryIn(t, piped.stdout.String()))
	if file.Clicks != 2000 || file.Pending != 0 {
		t.Errorf("%d records, %d pending", file.Clicks, file.Pending)
	}
}

// TestTopicOnce sends the simulated shop to a Kafka of its own, and trains on what the topic holds: the outcome must be that of
// the run that makes its own clicks.
func TestTopicOnce(t *testing.T) {
	t.Parallel()
	kafka, err := embed.StartKafka(embed.KafkaConfig{DataDir: t.TempDir(), Topic: "clicks", Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kafka.Close() })
	sent := spawn{env: quick, args: []string{"simulate", "--brokers", kafka.Address(), "--clicks", "2500", "--seed", "5", "--speed", "max"}}.start(t)
	if code := sent.wait(t); code != 0 {
		t.Fatalf("simulate: exit code %d", code)
	}
	want := once(t, t.TempDir(), "--clicks", "2500", "--seed", "5")
	got := once(t, t.TempDir(), "--source", "kafka", "--brokers", kafka.Address(), "--seed", "5")
	sameOutcome(t, "read from a topic", want, got)
	accountedFor(t, got)
}
