package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
)

// streamed is what a program reads of a prequential replay.
type streamed struct {
	Protocol, Kind, Rule string
	Clicks               int64
	Arms                 []struct {
		Name       string
		Metrics    map[string]float64
		Seconds    float64
		CPUSeconds float64 `json:"cpu_seconds"`
		Tokens     int64
		Digest     string
	}
	Beside []struct {
		Name    string
		Metrics map[string]float64
	}
	Comparisons []struct {
		A, B, Metric string
		P            float64
	}
}

func streamedIn(t *testing.T, stdout string) (r streamed) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatalf("the last line is no result: %v\n%s", err, stdout)
	}
	return r
}

// A file, its log when it is kept, that log as a data directory, and the same records in a topic are one stream: the same arm ends with the same bytes.
func TestReplayStream(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clicks, kept := filepath.Join(dir, "clicks.jsonl"), filepath.Join(dir, "log")
	if _, errs, code := freshet(t, nil, "simulate", "--out", clicks, "--clicks", "12000"); code != 0 {
		t.Fatal(errs)
	}
	const arm = "dim=16,heads=1,blocks=1"
	report, table, parquet := filepath.Join(dir, "report.html"), filepath.Join(dir, "over.csv"), filepath.Join(dir, "over.parquet")
	base := []string{"replay", "--json", "--arm", "fresh:" + arm}
	digest := ""
	check := func(what string, args ...string) streamed {
		t.Helper()
		out, errs, code := freshet(t, nil, append(base, args...)...)
		if code != 0 {
			t.Fatalf("%s: exit %d: %s", what, code, errs)
		}
		r := streamedIn(t, out)
		a := r.Arms[0]
		if r.Protocol != "prequential" || a.Name != "fresh" || len(a.Metrics) != 12 || a.Metrics["recall_at_20"] <= 0 || a.Metrics["recall_at_20"] > 1 || a.Tokens <= 0 || a.CPUSeconds <= 0 || len(a.Digest) != 64 {
			t.Errorf("%s: %+v", what, r)
		}
		if digest != "" && a.Digest != digest {
			t.Errorf("%s: the same clicks give other weights", what)
		}
		digest = a.Digest
		return r
	}
	out, errs, code := freshet(t, nil, append(base, clicks, "--arm", "late:delay=30s,"+arm, "--arm", "weights late:weights_delay=30s,"+arm, "--keep-log", kept,
		"--report", report, "--csv", table, "--parquet", parquet)...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	r := streamedIn(t, out)
	digest = r.Arms[0].Digest
	if len(r.Arms) != 3 || len(r.Beside) != 6 || len(r.Comparisons) == 0 {
		t.Errorf("%d arms, %d beside, %d comparisons", len(r.Arms), len(r.Beside), len(r.Comparisons))
	}
	for i, name := range []string{"fresh", "late", "weights late"} {
		if r.Arms[i].Name != name {
			t.Errorf("%q, want %q", r.Arms[i].Name, name)
		}
	}
	if fresh, late, weights := r.Arms[0].Metrics["recall_at_20"], r.Arms[1].Metrics["recall_at_20"], r.Arms[2].Metrics["recall_at_20"]; fresh <= late || weights <= late {
		t.Errorf("recall@20 %v fresh, %v with late weights, %v with everything late", fresh, weights, late)
	}
	for _, want := range []string{"recall@20", "(v_sknn)", "fresh + blend", "Rule: test-then-train", "recall@20: late - fresh is -"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
			t.Errorf("it does not print %q:\n%s", want, out)
		}
	}
	html, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<!DOCTYPE html>", "<svg", "Freshness against quality", "How sure are the differences?", "weights late", "freshet replay --json"} {
		if !strings.Contains(string(html), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	if strings.Contains(string(html), "http") && strings.Contains(string(html), "src=") {
		t.Error("the report asks for something else")
	}
	file, err := os.Open(table)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil || len(rows) < 12 || strings.Join(rows[0][:6], ",") != "arm,kind,from,to,tests,unseen" {
		t.Errorf("%v: %d rows, %q", err, len(rows), rows[0])
	}
	if b, err := os.ReadFile(parquet); err != nil || string(b[:4]) != "PAR1" {
		t.Errorf("%v", err)
	}

	check("a file", clicks)
	check("a kept log", clicks, "--keep-log", kept)
	check("a data directory", "--data-dir", kept)
	if _, errs, code := freshet(t, nil, append(base, clicks, "--keep-log", kept, "--limit", "3000")...); code != 1 || !strings.Contains(errs, "holds the log of another input") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if some := streamOf(t, append(base, clicks, "--limit", "3000")...); some.Clicks > 3000 || some.Arms[0].Digest == digest {
		t.Errorf("%d clicks", some.Clicks)
	}
	if some := streamOf(t, append(base, "--data-dir", kept, "--until", "2026-01-01T08:00:20Z")...); some.Clicks == 0 || some.Clicks >= r.Clicks {
		t.Errorf("%d clicks of %d", some.Clicks, r.Clicks)
	}

	kafka, err := embed.StartKafka(embed.KafkaConfig{Topic: "clicks", Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	if _, errs, code := freshet(t, nil, "produce", "--brokers", kafka.Address(), clicks); code != 0 {
		t.Fatal(errs)
	}
	if r := check("a topic", "--source", "kafka", "--brokers", kafka.Address()); r.Clicks == 0 {
		t.Error("no clicks")
	}
	if _, errs, code := freshet(t, nil, append(base, "--source", "kafka", "--brokers", kafka.Address(), "--until", "2020-01-01")...); code != 1 || !strings.Contains(errs, "has no record within --from and --until") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// streamOf replays and returns the result.
func streamOf(t *testing.T, args ...string) streamed {
	t.Helper()
	out, errs, code := freshet(t, nil, args...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	return streamedIn(t, out)
}

// Rows that come too late for their windows are left out of the log, and named; in the order of their times none is.
func TestReplaySorts(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("user,item,ts\n")
	for at := 300; at > 0; at-- {
		fmt.Fprintf(&b, "u%d,i%d,%d\n", at%7, at%11, 1700000000+at)
	}
	file := written(t, "backwards.csv", b.String())
	out, errs, code := freshet(t, nil, "replay", file, "--json", "--arm", "a:dim=16,heads=1,blocks=1")
	if code != 0 || !strings.Contains(errs, "--sort yes") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if r := streamedIn(t, out); r.Clicks == 0 || r.Clicks == 300 {
		t.Errorf("%d clicks of 300 rows, the newest first", r.Clicks)
	}
	out, errs, code = freshet(t, nil, "replay", file, "--json", "--arm", "a:dim=16,heads=1,blocks=1", "--sort", "yes")
	if code != 0 || strings.Contains(errs, "left out") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if r := streamedIn(t, out); r.Clicks != 300 {
		t.Errorf("%d clicks of 300 rows in order", r.Clicks)
	}
}

func TestReplayStreamRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := written(t, "c.csv", "user,item,ts\nu,i,1700000000\nu,j,1700000001\n")
	html := written(t, "mine.html", "my page")
	for _, tc := range []struct {
		name string
		args []string
		says []string
	}{
		{"all faults", []string{filepath.Join(dir, "none.csv"), "--arm", "a:delai=1m", "--arm", "a:delay=1m,weights_delay=1m", "--validate", "--report", html, "--csv", "-"},
			[]string{`no key "delai": did you mean delay?`, "two of this name", "delay and weights_delay are both given", "--validate is not for", "mine.html is there already", "--csv -", "no such file", "7 things went wrong"}},
		{"nothing", nil, []string{"there is nothing to read"}},
		{"both", []string{good, "--data-dir", dir}, []string{"name one"}},
		{"endless", []string{"--source", "sim"}, []string{"no end: say how many clicks with --limit"}},
		{"no log", []string{"--data-dir", dir}, []string{"no data directory of freshet"}},
		{"empty range", []string{good, "--from", "2030-01-01"}, []string{"no record in it"}},
		{"no broker", []string{"--source", "kafka"}, []string{"needs --brokers"}},
		{"ader without periods", []string{good, "--protocol", "ader"}, []string{"no column period", "--period"}},
		{"ader of one period", []string{written(t, "p.csv", "user,item,ts,period\nu,i,1700000000,3\nu,j,1700000001,3\n"), "--protocol", "ader"}, []string{"all of it is in period 3"}},
		{"ader with a word", []string{written(t, "p.csv", "user,item,ts,period\nu,i,1700000000,3\nu,j,1700000001,May\n"), "--protocol", "ader"}, []string{"line 3:", `its period is "May": want a whole number`}},
		{"ader of a topic", []string{"--source", "kafka", "--protocol", "ader", "--keep-log", dir}, []string{"reads a file: name one", "--keep-log is not for"}},
	} {
		refusesReplay(t, tc.name, tc.args, tc.says...)
	}
	if b, _ := os.ReadFile(html); string(b) != "my page" {
		t.Error("a file that is no report was written over")
	}
}

func TestReplayAder(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("user,item,ts,day\n")
	for day := range 3 {
		for s := range 40 {
			for k := range 4 {
				fmt.Fprintf(&b, "s%d,i%d,%d,%d\n", s, (s+k)%10, 1700000000+day*86400+s*10+k, day)
			}
		}
	}
	file := written(t, "days.csv.gz", b.String())
	report := filepath.Join(t.TempDir(), "r.html")
	args := []string{"replay", "--protocol", "ader", file, "--period", "day", "--arm", "fine:" + quickArm, "--arm", "all:periods=0," + quickArm, "--json", "--report", report}
	out, errs, code := freshet(t, nil, append(args, "--dry-run")...)
	if code != 0 || !strings.Contains(out, `"cycles":2`) {
		t.Fatalf("exit %d: %s\n%s", code, errs, out)
	}
	if _, err := os.Stat(report); err == nil {
		t.Error("a dry run writes")
	}
	out, errs, code = freshet(t, nil, args...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	r := streamedIn(t, out)
	if r.Protocol != "ader" || len(r.Arms) != 2 || r.Arms[0].Metrics["recall_at_5"] < 0.9 || r.Arms[1].Tokens <= r.Arms[0].Tokens {
		t.Errorf("%+v", r)
	}
	if html, err := os.ReadFile(report); err != nil || !strings.Contains(string(html), "period that was tested") {
		t.Errorf("%v", err)
	}
}
