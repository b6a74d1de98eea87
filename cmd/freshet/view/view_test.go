package view

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/cockroachdb/datadriven"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/recency"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func unmeasured() Status {
	none := NoScores()
	return Status{Stage: StageStarting, ClicksPerSecond: None, WatermarkLagSeconds: None,
		Summary: Summary{Recall20: none, MRR20: none, LastThird: LastThird{Recall20: none, MRR20: none}, Training: Training{LagSeconds: None}, Freshness: Quantiles{None, None}}}
}

func running() Status {
	best, bestMRR := Number(0.71), Number(0.4)
	return Status{
		Summary: Summary{
			Clicks: 12_345, Parts: 2_345, Trained: 12_001, Pending: 321, Steps: 412, Versions: 41, Scored: 9_876,
			Aside:     Aside{schema.ReasonLate: 12, schema.ReasonInvalid: 3, schema.ReasonDuplicate: 8},
			Recall20:  Scores{Model: 0.4123, Popularity: 0.211, ItemToItem: 0.3224, Best: &best},
			MRR20:     Scores{Model: 0.201, Popularity: 0.099, ItemToItem: 0.15, Best: &bestMRR},
			LastThird: LastThird{Recall20: Scores{Model: 0.52, Popularity: 0.22, ItemToItem: 0.33, Best: &best}, MRR20: Scores{Model: 0.25, Popularity: 0.1, ItemToItem: 0.16, Best: &bestMRR}, Scored: 3_292},
			Training:  Training{GivesWay: recency.Normal.String(), LagSeconds: 9.6},
			Rule:      "test-then-train; ties count against, unseen items are misses, repeats allowed; a sentence that is long enough to need a second line",
			Freshness: Quantiles{P50: 4.21, P99: 9.1}, Digest: "9f86d081884c7d65",
		},
		Replicas: []Replica{{Adopted{"replica-2", 40}, 5.1, "127.0.0.1:8081", "signature does not verify"},
			{Adopted{"replica-1", 41}, 2.04, "127.0.0.1:8080", ""}},
		Stage: StageRunning, UptimeSeconds: 83, ClicksPerSecond: 102.34, OpenSessions: 812, WatermarkLagSeconds: 5.24, KafkaLag: 1_012,
		Backend: "OpenBLAS 0.3.21", API: "http://127.0.0.1:8080", Kafka: "127.0.0.1:39092", NATS: "nats://127.0.0.1:44222",
		Done: 12_345, Total: 20_000,
	}
}

func statusNamed(name string) Status {
	switch name {
	case "starting":
		return unmeasured()
	case "running":
		return running()
	case "live": // no end to the input, nothing known to be best, everything as large as it gets
		s := running()
		s.Total, s.Stage, s.UptimeSeconds = 0, StageStopping, 40*24*3600
		s.Clicks, s.Trained, s.ClicksPerSecond, s.Scored = 12_345_678_901, 12_345_000_000, 98_765, 9_000_000_000
		s.Recall20.Best, s.MRR20.Best = nil, nil
		s.Training = Training{Level: recency.QuarterHistory, GivesWay: recency.QuarterHistory.String(), LagSeconds: 42, Runs: 24, RunSteps: 1_234,
			Shed: recency.Shed{Runs: 3, HistoryParts: 45_678, Parts: 9}, Drift: Drift{Detections: 2, Last: 1_700_000_000_000}}
		s.Replicas = nil
		for i := range 12 {
			s.Replicas = append(s.Replicas, Replica{Adopted{fmt.Sprintf("replica-in-a-far-zone-%d", i), schema.Version(i)}, 4000, "", ""})
		}
		return s
	}
	panic(name)
}

func TestPictures(t *testing.T) {
	h := &History{}
	for i := range 100 {
		s := running()
		s.ClicksPerSecond = Number(100 + 20*math.Sin(float64(i)/4))
		s.Recall20.Model = Number(0.4 * (1 - math.Exp(-float64(i)/20)))
		if i < 5 {
			s.Recall20.Model = None
		}
		h.Add(s)
	}
	datadriven.RunTest(t, "testdata/pictures", func(t *testing.T, d *datadriven.TestData) string {
		var name string
		d.ScanArgs(t, "status", &name)
		s := statusNamed(name)
		switch d.Cmd {
		case "draw":
			var width, height int
			d.ScanArgs(t, "width", &width)
			d.ScanArgs(t, "height", &height)
			return draw(s, h, width, height, plainPalette, "q or Ctrl-C stops") + "\n"
		case "table":
			return s.End().Table()
		case "summary":
			return indented(t, s.End())
		case "status":
			return indented(t, s)
		case "log":
			var out bytes.Buffer
			slog.New(slog.NewTextHandler(&out, nil)).LogAttrs(context.Background(), slog.LevelInfo, "status", attrs(s)...)
			_, line, _ := strings.Cut(out.String(), "msg=")
			return line
		}
		t.Fatalf("unknown command %s", d.Cmd)
		return ""
	})
}

func indented(t *testing.T, v any) string {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// Whatever the figures and the size, the picture fits the terminal and the JSON is JSON.
func TestPictureFitsAndJSONHolds(t *testing.T) {
	number := rapid.Custom(func(t *rapid.T) Number {
		return Number(rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, 1e300})).Draw(t, "n"))
	})
	rapid.Check(t, func(t *rapid.T) {
		s := statusNamed(rapid.SampledFrom([]string{"starting", "running", "live"}).Draw(t, "status"))
		s.ClicksPerSecond, s.WatermarkLagSeconds = number.Draw(t, "rate"), number.Draw(t, "lag")
		s.Recall20.Model, s.Freshness.P99 = number.Draw(t, "recall"), number.Draw(t, "p99")
		s.UptimeSeconds = rapid.Float64().Draw(t, "uptime")
		s.Done, s.Total = rapid.Int64().Draw(t, "done"), rapid.Int64().Draw(t, "total")
		s.Clicks = rapid.Int64().Draw(t, "clicks")
		h := &History{}
		for range rapid.IntRange(0, 300).Draw(t, "history") {
			h.Add(s)
		}
		width, height := rapid.IntRange(1, 200).Draw(t, "width"), rapid.IntRange(1, 60).Draw(t, "height")
		for _, p := range []palette{plainPalette, colourPalette} {
			picture := draw(s, h, width, height, p, "q stops")
			lines := strings.Split(picture, "\n")
			if len(lines) > height {
				t.Fatalf("%d lines in a terminal of %d:\n%s", len(lines), height, picture)
			}
			for _, l := range lines {
				if w := lipgloss.Width(l); w > width {
					t.Fatalf("a line takes %d columns of %d: %q", w, width, l)
				}
			}
		}
		for _, v := range []any{s, s.End()} {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte("NaN")) || bytes.Contains(b, []byte("Inf")) {
				t.Fatalf("JSON has a number that is none: %s", b)
			}
		}
		_ = s.End().Table()
	})
}

func TestNumberReadsBack(t *testing.T) {
	for _, want := range []Number{0, 0.25, None, Number(math.Inf(1))} {
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Number
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if got != want && (got.Known() || want.Known()) {
			t.Errorf("%v reads back as %v", want, got)
		}
	}
}

// lockedBuffer is a terminal that the test can read while it is drawn on.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestTerminalStopsInOrderThenAborts(t *testing.T) {
	keys, typed := io.Pipe()
	defer typed.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := &lockedBuffer{}
	stopped, aborted := make(chan struct{}), make(chan struct{})
	term := NewTerminal(TerminalConfig{
		In: keys, Out: out, Poll: running,
		Stop: func() { close(stopped) }, Abort: func() { close(aborted) },
		Options: []tea.ProgramOption{tea.WithWindowSize(80, 30), tea.WithEnvironment([]string{"TERM=xterm-256color"})},
	})
	fmt.Fprintln(term, "before the picture")
	done := make(chan error, 1)
	go func() { done <- term.Run(ctx) }()
	typed.Write([]byte("q"))
	<-stopped
	fmt.Fprintln(term, "while it is there")
	typed.Write([]byte{3}) // Ctrl-C
	<-aborted
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(term, "after it")
	text := out.String()
	at := 0
	for _, want := range []string{"before the picture", "recall@20", "after it"} {
		i := strings.Index(text[at:], want)
		if i < 0 {
			t.Fatalf("%q is missing or out of order:\n%q", want, text)
		}
		at += i
	}
	if strings.Count(text, "while it is there") != 1 {
		t.Errorf("the logged line is there %d times", strings.Count(text, "while it is there"))
	}
}

func TestTerminalBoundsAFloodOfLogs(t *testing.T) {
	term := NewTerminal(TerminalConfig{Out: io.Discard})
	term.running = true
	for i := range linesMax + 7 {
		fmt.Fprintln(term, i)
	}
	lines := strings.Split(term.take(), "\n")
	if len(lines) != linesMax+1 || lines[linesMax] != "(7 more log lines)" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	if rest := term.take(); rest != "" {
		t.Errorf("taken twice: %q", rest)
	}
}

func TestProgress(t *testing.T) {
	clock := time.Unix(0, 0)
	now := func() time.Time { return clock }
	var logged, drawn bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))

	p := NewProgress(nil, log, "produce", 1000, now)
	for range 10 {
		clock = clock.Add(2 * time.Second)
		p.Add(50)
	}
	p.Close()
	if n := strings.Count(logged.String(), "msg=produce "); n != 3 { // at 6, 12 and 18 s: every five seconds, when something is done
		t.Errorf("%d lines:\n%s", n, logged.String())
	}
	for _, want := range []string{"done=450 total=1000 left=22s", `msg="produce done" done=500 seconds=20`} {
		if !strings.Contains(logged.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, logged.String())
		}
	}

	bar := NewProgress(&drawn, log, "produce", 100, time.Now)
	bar.Add(100)
	bar.Add(5) // more than announced stops nothing
	bar.Close()
	bar.Close()
	if !strings.Contains(drawn.String(), "produce 100%") || !strings.HasSuffix(drawn.String(), "\n") || strings.Count(drawn.String(), "\n") != 1 {
		t.Errorf("bar: %q", drawn.String())
	}

	drawn.Reset()
	bar = NewProgressOf("entries", &drawn, log, "export", 100, time.Now)
	bar.Note("7 rows")
	bar.Add(50)
	bar.Close()
	if got := drawn.String(); !strings.Contains(got, "export, 7 rows") || !strings.HasSuffix(got, "\n") {
		t.Errorf("bar: %q", got)
	}
}
