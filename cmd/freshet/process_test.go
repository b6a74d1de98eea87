package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/google/go-cmp/cmp"
)

// What the tests of whole processes share: start one, see what it says, wait for it, kill it. The test binary is the
// program (TestMain), so that a child has all the checks that the test was built with.

// patience bounds every wait of a test. It is never the measure of anything: a machine under load takes what it needs.
const patience = 2 * time.Minute

// text is output that is read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// child is a running freshet.
type child struct {
	name        string
	cmd         *exec.Cmd
	stdout, log text
	ended       chan struct{}
}

// spawn says what a child is started with.
type spawn struct {
	name  string
	env   []string // beside the essentials; nothing of the tester's own FRESHET_ settings reaches a child
	stdin io.Reader
	args  []string
}

// start starts a freshet that ends with the test at the latest. Its log is printed when the test fails.
func (s spawn) start(t *testing.T) *child {
	t.Helper()
	c := &child{name: s.name, cmd: exec.Command(os.Args[0], s.args...), ended: make(chan struct{})}
	if c.name == "" {
		c.name = "freshet " + strings.Join(s.args, " ")
	}
	c.cmd.Dir, c.cmd.Stdin = t.TempDir(), s.stdin
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, &c.log
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "FRESHET_") {
			c.cmd.Env = append(c.cmd.Env, kv)
		}
	}
	c.cmd.Env = append(append(c.cmd.Env, asProgram+"=1"), s.env...)
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	go func() {
		c.cmd.Wait() // the exit code says it
		close(c.ended)
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("%s, exit code %d:\n%s%s", c.name, c.cmd.ProcessState.ExitCode(), c.log.String(), c.stdout.String())
		}
	})
	return c
}

// kill ends the child as kill -9 does, and reports whether it was still running.
func (c *child) kill() bool {
	c.cmd.Process.Kill()
	<-c.ended
	return !c.cmd.ProcessState.Exited()
}

func (c *child) running() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// wait returns the exit code.
func (c *child) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		t.Fatalf("%s has not ended within %v", c.name, patience)
	}
	return c.cmd.ProcessState.ExitCode()
}

var apiOf = regexp.MustCompile(`(?:api|http)=(http://\S+)`)

// api returns the address that the child has logged, or "" while it has not.
func (c *child) api() string { return addressIn(c.log.String()) }

func addressIn(log string) string {
	if found := apiOf.FindStringSubmatch(log); found != nil {
		return found[1]
	}
	return ""
}

// awaitAPI waits for the address.
func (c *child) awaitAPI(t *testing.T) string {
	t.Helper()
	eventually(t, c.name+" says its address", func() error {
		if !c.running() {
			t.Fatalf("%s has ended", c.name)
		}
		if c.api() == "" {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	return c.api()
}

// eventually returns once what holds.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
	}
}

// web is the client of the tests. Connections are not kept, so that none outlives what it is about.
var web = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// fetch asks url, with body as POST where there is one.
func fetch(url, body string) (status int, header http.Header, answer string, err error) {
	var resp *http.Response
	if body == "" {
		resp, err = web.Get(url)
	} else {
		resp, err = web.Post(url, "application/json", strings.NewReader(body))
	}
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(b), err
}

// statusOf returns what a node says of itself.
func statusOf(api string) (s view.Status, err error) {
	code, _, body, err := fetch(api+"/v1/status", "")
	if err != nil || code != http.StatusOK {
		return s, fmt.Errorf("status: %d %w", code, err)
	}
	return s, json.Unmarshal([]byte(body), &s)
}

// summaryIn returns the summary that --json prints as the last line.
func summaryIn(t *testing.T, stdout string) (s view.Summary) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		t.Fatalf("the last line is no summary: %v\n%s", err, stdout)
	}
	return s
}

// once runs "freshet up --once --json" on dir to its end.
func once(t *testing.T, dir string, args ...string) view.Summary {
	t.Helper()
	c := upOnce(t, dir, args...)
	if code := c.wait(t); code != 0 {
		t.Fatalf("%s: exit code %d", c.name, code)
	}
	return summaryIn(t, c.stdout.String())
}

// upOnce starts "freshet up --once --json" on dir, with many checkpoints.
func upOnce(t *testing.T, dir string, args ...string) *child {
	t.Helper()
	return spawn{env: quick, args: append([]string{"up", "--once", "--json", "--data-dir", dir, "--listen", "127.0.0.1:0"}, args...)}.start(t)
}

// quick makes checkpoints and versions so often that a short run has many.
var quick = []string{"FRESHET_TRAIN_CHECKPOINT_EVERY=100ms", "FRESHET_TRAIN_PUBLISH_EVERY=200ms"}

// outcome is the part of a summary that is a function of input, settings and seed, and of nothing else (I4).
type outcome struct {
	Clicks, Parts, Trained, Pending, Scored int64
	Steps                                   uint64
	Aside                                   view.Aside
	Scores                                  string
	Digest                                  string
}

func outcomeOf(s view.Summary) outcome {
	scores, err := json.Marshal([]any{s.Recall20, s.MRR20, s.LastThird})
	if err != nil {
		panic(err)
	}
	return outcome{Clicks: s.Clicks, Parts: s.Parts, Trained: s.Trained, Pending: s.Pending, Scored: s.Scored,
		Steps: uint64(s.Steps), Aside: s.Aside, Scores: string(scores), Digest: s.Digest}
}

// sameOutcome fails the test where two runs differ in what must not differ.
func sameOutcome(t *testing.T, what string, want, got view.Summary) {
	t.Helper()
	if diff := cmp.Diff(outcomeOf(want), outcomeOf(got)); diff != "" {
		t.Errorf("%s: another outcome (-want +got):\n%s", what, diff)
	}
}

// accountedFor fails the test unless every record is trained on, aside or pending (I7).
func accountedFor(t *testing.T, s view.Summary) {
	t.Helper()
	if s.Clicks != s.Trained+s.Aside.Total()+s.Pending {
		t.Errorf("%d records in, but %d trained + %d aside + %d pending", s.Clicks, s.Trained, s.Aside.Total(), s.Pending)
	}
}
