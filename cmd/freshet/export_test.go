package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/schema"
)

// TestExportVerb exports what a run has left, to all the places that a table can go to.
func TestExportVerb(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	ran := once(t, dir, "--clicks", "3000")
	export := func(args ...string) (e exported) {
		t.Helper()
		c := spawn{args: append([]string{"export", "--data-dir", dir, "--json"}, args...)}.start(t)
		if code := c.wait(t); code != 0 {
			t.Fatalf("%s: exit code %d", c.name, code)
		}
		lines := strings.Split(strings.TrimSpace(c.stdout.String()), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil {
			t.Fatalf("%s: the last line is no summary: %v", c.name, err)
		}
		return e
	}
	in := func(name string) string { return filepath.Join(out, name) }

	clicks := export("clicks", "--out", in("clicks.csv.gz")) // the format by the ending
	if clicks.Rows != ran.Trained || clicks.Format != "csv" || clicks.First == 0 || clicks.Last <= clicks.First {
		t.Errorf("%d clicks were trained on, exported: %+v", ran.Trained, clicks)
	}
	f, err := os.Open(in("clicks.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != clicks.Bytes {
		t.Errorf("%v bytes on the disk, %d told, %v", info.Size(), clicks.Bytes, err)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil || int64(len(rows)) != clicks.Rows+1 {
		t.Fatalf("%d rows read back of %d, %v", len(rows), clicks.Rows, err)
	}

	sessions := export("sessions", "--format", "csv", "--out", out) // a directory
	text, err := os.ReadFile(in("sessions.csv"))
	if err != nil {
		t.Fatal(err)
	}
	header, body, _ := strings.Cut(string(text), "\n")
	if header != "user_id,session_start,session_end,clicks,items" {
		t.Errorf("the header is %q", header)
	}
	inSessions := 0
	bySession, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range bySession {
		n, err := strconv.Atoi(row[3])
		if items := strings.Fields(row[4]); err != nil || len(items) != n {
			t.Errorf("%d items, clicks %q", len(items), row[3])
		}
		inSessions += n
	}
	if int64(inSessions) != ran.Trained || sessions.Rows != int64(len(bySession)) || sessions.SkippedOpen != 0 {
		t.Errorf("%d clicks in sessions, %d were trained on: %+v", inSessions, ran.Trained, sessions)
	}

	putAside := ran.Aside.Total() - ran.Aside[schema.ReasonDuplicate] // of those only the count is kept
	if a := export("aside", "--out", in("a.arrow")); a.Rows != putAside || a.Format != "arrow" || a.Rows == 0 || a.FirstCame == 0 || a.First != 0 {
		t.Errorf("%d records went aside, exported: %+v", putAside, a)
	}

	// Bounds, back from the newest click.
	part := export("clicks", "--since", "5s", "--out", in("part.csv"))
	if part.Rows == 0 || part.Rows >= clicks.Rows || part.Last != clicks.Last || part.First < clicks.Last-5000 {
		t.Errorf("the last five seconds: %+v", part)
	}
	before := export("clicks", "--until", strconv.FormatInt(part.First, 10), "--out", in("before.csv"))
	if before.Rows+part.Rows != clicks.Rows {
		t.Errorf("%d before and %d after are not %d", before.Rows, part.Rows, clicks.Rows)
	}

	for _, tc := range []struct {
		args []string
		says []string
	}{
		{[]string{"clicks", "--out", in("part.csv")}, []string{"part.csv is there already", "--force"}},
		{[]string{"clicks", "--out", in("c.parquet.gz")}, []string{"leave .gz out"}},
		{[]string{"clicks", "--out", in("none/c.csv")}, []string{"--out"}},
		{[]string{"clicks", "--since", "soon"}, []string{"soon", "is no time"}},
		{[]string{"clicks", "--since", "2020-01-02", "--until", "2020-01-01"}, []string{"is not before"}},
		{[]string{"clicks", "--open"}, []string{"only sessions can be open"}},
		{[]string{"parts"}, []string{"sessions", "clicks", "aside"}},
		{[]string{"clicks", "--format", "xml"}, []string{"parquet", "arrow", "csv"}},
	} {
		refused(t, spawn{args: append([]string{"export", "--data-dir", dir}, tc.args...)}.start(t), tc.says...)
	}
	if e := export("clicks", "--out", in("part.csv"), "--force"); e.Rows != clicks.Rows {
		t.Errorf("replaced: %+v", e)
	}
	names, err := filepath.Glob(filepath.Join(out, "*"))
	hidden, _ := filepath.Glob(filepath.Join(out, ".*"))
	if err != nil || len(names) != 5 || len(hidden) > 0 {
		t.Errorf("there are %q and %q, %v", names, hidden, err)
	}

	// To standard output goes the table alone.
	c := spawn{args: []string{"export", "clicks", "--data-dir", dir, "--format", "csv", "--out", "-"}}.start(t)
	if code := c.wait(t); code != 0 || strings.Count(c.stdout.String(), "\n") != int(clicks.Rows)+1 || !strings.Contains(c.log.String(), "rows/s") {
		t.Errorf("to standard output: exit code %d, %d lines, and said: %s", code, strings.Count(c.stdout.String(), "\n"), c.log.String())
	}
	// A visit leaves the directory as a run wants to find it.
	if again := once(t, dir, "--clicks", "3000"); again.Clicks != ran.Clicks || again.Digest != ran.Digest {
		t.Errorf("after the exports the same run ends with %d clicks and %s, before with %d and %s", again.Clicks, again.Digest, ran.Clicks, ran.Digest)
	}
	interruptedExport(t, dir)
}

// TestExportFromRunningNodes: what a node shows gives the tables that its directory gives once it has stopped.
func TestExportFromRunningNodes(t *testing.T) {
	t.Parallel()
	kafka, err := embed.StartKafka(embed.KafkaConfig{Topic: "clicks", Partitions: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	const clicks = 3000
	const start = 1_767_254_400_000
	values := []string{"nonsense"}
	for i := range clicks {
		values = append(values, fmt.Sprintf(`{"user_id":"u%d","item_id":"i%d","timestamp":%d}`, i%2+2*(i/50%40), i%97, start+i*5000))
	}
	send(t, kafka.Address(), 2, values...)
	dir, out := t.TempDir(), t.TempDir()
	node := spawn{env: []string{"FRESHET_WINDOW_IDLE_AFTER=0s"}, args: []string{"ingest", "--brokers", kafka.Address(), "--data-dir", dir,
		"--listen", "127.0.0.1:0", "--flight-listen", "127.0.0.1:0"}}.start(t)
	api := node.awaitAPI(t)
	found := flightOf.FindStringSubmatch(node.log.String())
	if found == nil {
		t.Fatal("the node does not say where its log is")
	}
	eventually(t, "all is read", func() error {
		s, err := statusOf(api)
		if err == nil && s.Clicks != clicks+1 {
			err = fmt.Errorf("%d records", s.Clicks)
		}
		return err
	})
	tables := [][]string{{"clicks"}, {"sessions"}, {"sessions", "--open"}, {"clicks", "--since", "10m"}, {"sessions", "--since", fmt.Sprint(start + 12_000_000)}, {"aside"}}
	name := func(prefix string, i int) string { return filepath.Join(out, fmt.Sprint(prefix, i, ".csv")) }
	export := func(i int, prefix string, from ...string) {
		t.Helper()
		c := spawn{args: append(append([]string{"export", "--out", name(prefix, i)}, tables[i]...), from...)}.start(t)
		if code := c.wait(t); code != 0 {
			t.Fatalf("%s: exit code %d", c.name, code)
		}
	}
	for i, table := range tables {
		if table[0] == "aside" {
			export(i, "live", "--server", api)
		} else {
			export(i, "live", "--feed", found[1])
		}
	}
	refused(t, spawn{args: []string{"export", "clicks", "--data-dir", dir, "--out", "-"}}.start(t), "freshet is running on this directory", "--feed")
	refused(t, spawn{args: []string{"export", "aside", "--data-dir", dir, "--out", "-"}}.start(t), "freshet is running on this directory", "--server")
	refused(t, spawn{args: []string{"export", "aside", "--feed", found[1], "--out", "-"}}.start(t), "--server")
	refused(t, spawn{args: []string{"export", "clicks", "--server", api, "--out", "-"}}.start(t), "--feed")
	refused(t, spawn{args: []string{"export", "clicks", "--feed", "nowhere", "--out", "-"}}.start(t), "nowhere")
	node.cmd.Process.Signal(syscall.SIGTERM)
	if code := node.wait(t); code != 0 {
		t.Fatalf("the node ends with %d", code)
	}
	for i := range tables {
		export(i, "still", "--data-dir", dir)
		live, err := os.ReadFile(name("live", i))
		if err != nil {
			t.Fatal(err)
		}
		still, err := os.ReadFile(name("still", i))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(live, still) || bytes.Count(live, []byte("\n")) < 2 {
			t.Errorf("%v: %d lines from the node, %d from its directory", tables[i], bytes.Count(live, []byte("\n")), bytes.Count(still, []byte("\n")))
		}
	}
	if hidden, _ := filepath.Glob(filepath.Join(out, ".*")); len(hidden) > 0 {
		t.Errorf("left behind: %q", hidden)
	}
}

// interruptedExport: Ctrl-C leaves nothing half-written.
func interruptedExport(t *testing.T, dir string) {
	t.Helper()
	out := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &app{cfg: settingsOf(t, dir, nil), stdout: io.Discard, stderr: io.Discard, now: time.Now, log: slog.New(slog.DiscardHandler)}
	c := ExportCmd{What: "clicks", Out: out}
	if err := c.Run(ctx, a); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(out); err != nil || len(entries) != 0 {
		t.Errorf("it left %v, %v", slices.Collect(func(yield func(string) bool) {
			for _, e := range entries {
				yield(e.Name())
			}
		}), err)
	}
}

// A copy of a log begins early enough for the sessions that end within the bounds.
func TestFeedKeep(t *testing.T) {
	cfg := settingsOf(t, t.TempDir(), map[string]string{"window.max_session_age": "6h", "window.lateness": "1m", "window.max_ahead": "10m"}).Config
	now := time.UnixMilli(1_800_000_000_000)
	beyond := 24*time.Hour + time.Minute + 6*time.Hour + 10*time.Minute
	for _, tc := range []struct {
		c    ExportCmd
		want time.Duration
	}{
		{ExportCmd{}, 0},
		{ExportCmd{Since: when{back: time.Hour}, Open: true}, 0},
		{ExportCmd{Since: when{back: time.Hour}}, time.Hour + beyond},
		{ExportCmd{Since: when{at: now.Add(-2 * time.Hour).UnixMilli()}}, 2*time.Hour + beyond},
		{ExportCmd{Since: when{at: now.Add(time.Hour).UnixMilli()}}, beyond},
	} {
		if got := tc.c.feedKeep(cfg, now); got != tc.want {
			t.Errorf("%+v: %v, want %v", tc.c, got, tc.want)
		}
	}
}
