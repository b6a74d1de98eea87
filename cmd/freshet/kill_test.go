package main

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
)

// How often TestKill kills, and with which seed it picks the moments. TEST_KILLS=100 TEST_SEED=7 go test -run TestKill
const (
	killsVariable = "TEST_KILLS"
	seedVariable  = "TEST_SEED"
)

func fromEnvironment(t *testing.T, name string, otherwise uint64) uint64 {
	if v := os.Getenv(name); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	return otherwise
}

// A moment says when a child is killed. It sees the child's status, where it answers.
type moment struct {
	name string
	args []string
	when func(c *child, began time.Time) bool
}

// statusWhen is a moment at which the status of the child shows something.
func statusWhen(shows func(view.Status) bool) func(*child, time.Time) bool {
	return func(c *child, _ time.Time) bool {
		if c.api() == "" {
			return false
		}
		s, err := statusOf(c.api())
		return err == nil && shows(s)
	}
}

// strike kills c at m and reports whether c was still running then.
func (m moment) strike(c *child) bool {
	for began := time.Now(); c.running() && !m.when(c, began); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > patience {
			break
		}
	}
	return c.kill()
}

// A run that is killed again and again ends as if it had never been: the same log of sessions, part for part, and the same
// checkpoint, byte for byte (I1 to I4).
func TestKill(t *testing.T) {
	t.Parallel()
	const clicks = 12_000
	shop := []string{"--clicks", strconv.Itoa(clicks)}
	seed := fromEnvironment(t, seedVariable, uint64(time.Now().UnixNano()))
	kills := int(fromEnvironment(t, killsVariable, 7))
	t.Logf("%s=%d", seedVariable, seed)
	random := rand.New(rand.NewPCG(seed, 0))

	whole := t.TempDir()
	want := once(t, whole, shop...)
	wantLog := logOf(t, whole)
	if want.Clicks != clicks || want.Pending != 0 || want.Steps < 50 {
		t.Fatalf("the run that is not killed is no measure: %+v", want)
	}

	// At this pace the two minutes of the shop take two seconds.
	paced := append([]string{"--speed", "60x"}, shop...)
	after := func(most time.Duration) func(*child, time.Time) bool {
		delay := time.Duration(random.Int64N(int64(most)))
		return func(_ *child, began time.Time) bool { return time.Since(began) >= delay }
	}
	moments := []func() moment{
		func() moment { return moment{"right after the start", paced, after(50 * time.Millisecond)} },
		func() moment {
			n := 1 + random.Int64N(clicks/4)
			return moment{"while reading", paced, statusWhen(func(s view.Status) bool { return s.Clicks > n })}
		},
		func() moment {
			n := 1 + random.Int64N(clicks/2)
			return moment{"while training", paced, statusWhen(func(s view.Status) bool { return s.Trained > n })}
		},
		func() moment { return moment{"any time", paced, after(1500 * time.Millisecond)} },
		func() moment {
			return moment{"while finishing", shop, statusWhen(func(s view.Status) bool { return s.Stage == view.StageDraining })}
		},
		func() moment { return moment{"at full speed", shop, after(time.Second)} },
	}
	struck := 0
	for try := 0; struck < kills; {
		dir := t.TempDir()
		inDir := 0
		for done := false; !done && inDir < len(moments) && struck < kills; try++ {
			if try > 10*kills {
				t.Fatalf("only %d of %d attempts to kill came before the end", struck, try)
			}
			m := moments[try%len(moments)]()
			c := upOnce(t, dir, m.args...)
			if m.strike(c) {
				struck++
				inDir++
				continue
			}
			done = true
		}
		got := once(t, dir, shop...)
		sameOutcome(t, strconv.Itoa(inDir)+" kills", want, got)
		if diff := cmp.Diff(wantLog, logOf(t, dir)); diff != "" {
			t.Errorf("%d kills: another log (-want +got):\n%.4000s", inDir, diff)
		}
		t.Logf("%d kills: %.12s", inDir, got.Digest)
		if t.Failed() {
			return
		}
	}
}

// logOf returns the logs of all partitions, without the times of arrival, which are each run's own.
func logOf(t *testing.T, dir string) map[schema.Partition][]buffer.Entry {
	t.Helper()
	store := openBuffer(t, dir)
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	partitions, err := store.Partitions()
	if err != nil {
		t.Fatal(err)
	}
	logs := map[schema.Partition][]buffer.Entry{}
	for p := range partitions {
		for {
			entries, err := store.Log(p, schema.Emit(len(logs[p])), 1000)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) == 0 {
				break
			}
			for _, e := range entries {
				for i := range e.Part.Clicks {
					e.Part.Clicks[i].ArrivedAt = 0
				}
				logs[p] = append(logs[p], e)
			}
		}
	}
	return logs
}

// An interrupt is an orderly stop: with --once the end was not reached, which is an error that says how to go on; going on
// ends as if there had been no interrupt.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	shop := []string{"--clicks", "6000"}
	want := once(t, t.TempDir(), shop...)
	for _, tc := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"--once", []string{"--once"}, 1, "interrupted before the end: run the same command again to go on"},
		{"without --once", nil, 0, "stopped in order"},
	} {
		dir := t.TempDir()
		args := append([]string{"up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--speed", "30x"}, shop...)
		c := spawn{env: quick, args: append(args, tc.args...)}.start(t)
		api := c.awaitAPI(t)
		eventually(t, "training", func() error {
			if s, err := statusOf(api); err != nil || s.Trained == 0 {
				return errors.New("nothing trained")
			}
			return nil
		})
		c.cmd.Process.Signal(syscall.SIGTERM)
		if code := c.wait(t); code != tc.code {
			t.Errorf("%s: exit code %d, want %d", tc.name, code, tc.code)
		}
		if !strings.Contains(c.log.String(), tc.says) {
			t.Errorf("%s: it does not say %q", tc.name, tc.says)
		}
		if _, err := os.Stat(dir + "/running"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the stop was not in order: %v", tc.name, err)
		}
		sameOutcome(t, tc.name, want, once(t, dir, shop...))
	}
}

// A longer run on the same directory goes on behind a shorter one.
func TestMoreInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := once(t, dir, "--clicks", "3000")
	again := once(t, dir, "--clicks", "3000")
	sameOutcome(t, "nothing new", first, again)
	second := once(t, dir, "--clicks", "6000")
	accountedFor(t, second)
	if first.Clicks != 3000 || second.Clicks != 6000 || second.Pending != 0 {
		t.Errorf("%d records, then %d, %d of them pending", first.Clicks, second.Clicks, second.Pending)
	}
	if second.Digest == first.Digest || second.Steps <= first.Steps {
		t.Errorf("nothing was learned of the second half: %d steps, then %d", first.Steps, second.Steps)
	}
	for reason, n := range first.Aside {
		if second.Aside[reason] < n {
			t.Errorf("%d records %s, then %d", n, reason, second.Aside[reason])
		}
	}
}
