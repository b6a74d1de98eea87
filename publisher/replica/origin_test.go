package replica_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
)

// originEnv holds, in the environment of a process of this test binary, JSON of the origin that it is to be.
const originEnv = "FRESHET_TEST_ORIGIN"

// origin is NATS and a publisher in a process that gives way to all others, because they stand for machines of their own. It makes all versions before, because a
// trainer's use of caches and memory is not what a replica would feel of it, says what the soak's requests are answered by each, and publishes one when told.
type origin struct {
	Items, Versions int // the first version is published from the start

	url  string
	word io.Writer
}

// made is what an origin says of a version that it has made.
type made struct {
	URL     string // of NATS
	Version schema.Version
	Want    [8][]replica.Item
}

// begin starts the origin, which ends with the test, and waits until it has made its versions.
func (o *origin) begin(tb testing.TB, asked *soakRequests) {
	tb.Helper()
	command := []string{os.Args[0], "-test.run", "^TestAsOrigin$", "-test.timeout", "30m"}
	if chrt, err := exec.LookPath("chrt"); err == nil {
		command = append([]string{chrt, "--idle", "0"}, command...)
	}
	var out io.Reader
	o.word, out = process(tb, "origin", originEnv, o, command)
	said := json.NewDecoder(out)
	for range o.Versions {
		var m made
		if err := said.Decode(&m); err != nil {
			tb.Fatalf("the origin makes no version: %v", err)
		}
		o.url = m.URL
		asked.want.Store(m.Version, m.Want)
	}
}

// publish makes the origin publish its next version.
func (o *origin) publish(tb testing.TB) {
	tb.Helper()
	if _, err := io.WriteString(o.word, "\n"); err != nil {
		tb.Fatalf("the origin takes no word: %v", err)
	}
}

// TestAsOrigin is the origin that the environment names, until its standard input ends.
func TestAsOrigin(t *testing.T) {
	text := os.Getenv(originEnv)
	if text == "" {
		t.Skip("it is a part of a benchmark, a process of its own")
	}
	var o origin
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	s, asked, out := newShop(t, o.Items, 1000, nil), newSoakRequests(o.Items), json.NewEncoder(os.Stdout)
	say := func(v int) {
		if err := out.Encode(made{s.url, schema.Version(v), asked.answers(s.direct)}); err != nil {
			t.Fatal(err)
		}
	}
	say(1)
	var updates []publisher.Update
	for v := 2; v <= o.Versions; v++ {
		if (v-1)%(baseEvery+1) == 0 {
			updates = append(updates, s.following(t))
		} else {
			updates = append(updates, s.update(t, schema.KindDelta))
		}
		say(v)
	}
	s.trainee = nil
	runtime.GC()
	in := bufio.NewReader(os.Stdin)
	for _, u := range updates {
		if _, err := in.ReadString('\n'); err != nil {
			return
		}
		if _, err := s.p.Publish(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	io.Copy(io.Discard, in)
}
