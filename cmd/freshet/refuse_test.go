package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What cannot be done is said once, with cause and next step, and harms nothing: the data directory of a run is offered to
// everything that must be refused, and afterwards holds what it held.
func TestRefusals(t *testing.T) {
	t.Parallel()
	files, dir := t.TempDir(), t.TempDir()
	shop := []string{"--clicks", "1500"}
	want := once(t, dir, shop...)

	file := func(name, content string) string {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	folder := func(name, holds, content string) string {
		path := filepath.Join(files, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		file(filepath.Join(name, holds), content)
		return path
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	newer := folder("newer", "FORMAT", "freshet data directory, format 2\n")
	home := folder("home", "thesis.txt", "never to be touched\n")
	const nobody = "127.0.0.1:1" // a port that only the superuser could open, and that nothing uses

	// These wait for somebody to answer, so they wait together, in directories of their own.
	var waiting []*child
	var waitingFor [][]string
	for _, tc := range []struct{ args, says []string }{
		{[]string{"up", "--source", "kafka", "--brokers", nobody}, []string{nobody, "--brokers"}},
		{[]string{"up", "--brokers", nobody}, []string{nobody, "--brokers"}},
		{[]string{"train", "--brokers", nobody, "--nats", "nats://" + nobody}, []string{nobody, "--brokers"}},
		{[]string{"up", "--nats", "nats://" + nobody}, []string{nobody, "NATS", "--nats"}},
		{[]string{"serve", "--nats", "nats://" + nobody}, []string{nobody, "NATS", "--nats"}},
	} {
		args := append(tc.args, "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0")
		waiting, waitingFor = append(waiting, spawn{args: args}.start(t)), append(waitingFor, tc.says)
	}

	for _, tc := range []struct {
		env, args, says []string
	}{
		{nil, []string{"up", "--source", file("clicks.bin", "")}, []string{"clicks.bin", "--format csv, jsonl, or the name of a data set"}},
		{nil, []string{"up", "--source", filepath.Join(files, "none.csv")}, []string{"none.csv", "no such file"}},
		{nil, []string{"up", "--source", files, "--format", "csv"}, []string{files, "directory"}},
		{nil, []string{"up", "--source", file("headless.csv", "a,b,c\n1,2,3\n")}, []string{"headless.csv", "user"}},
		{nil, []string{"up", "--listen", taken.Addr().String()}, []string{taken.Addr().String(), "in use", "--listen"}},
		{nil, []string{"ingest", "--brokers", nobody, "--listen", taken.Addr().String(), "--flight-listen", taken.Addr().String()},
			[]string{"2 things went wrong", "in use", "give another --listen", "give another --flight-listen"}},
		{nil, []string{"up", "--data-dir", newer}, []string{newer, "newer freshet", "format 2", "--data-dir"}},
		{nil, []string{"up", "--data-dir", home}, []string{home, "thesis.txt", "--data-dir"}},
		{nil, []string{"train"}, []string{"2 things went wrong", "--brokers", "--nats"}},
		{nil, []string{"serve"}, []string{"--nats"}},
		{nil, []string{"produce", file("one.csv", "user,item,ts\nu1,i1,1767254400\n")}, []string{"--brokers"}},
		{[]string{"FRESHET_KAFKA_PARTITIONS=2"}, []string{"up"}, []string{"4 partitions", "2 are configured", "kafka.partitions"}},
		{[]string{"FRESHET_TRAIN_MODEL_DIM=32"}, []string{"up"}, []string{"another config", "another data directory"}},
		{nil, []string{"up", "--config", file("three.yaml", "window: {gap: soon}\ntrain: {batch_parts: -1}\nservf: {}\n")},
			[]string{"3 faults", "window.gap", "train.batch_parts", "servf", "three.yaml"}},
	} {
		args := tc.args
		for flag, value := range map[string]string{"--data-dir": dir, "--listen": "127.0.0.1:0"} {
			if !slices.Contains(args, flag) && args[0] != "produce" {
				args = append(args, flag, value)
			}
		}
		refused(t, spawn{env: tc.env, args: args}.start(t), tc.says...)
	}

	holder := spawn{args: append([]string{"up", "--data-dir", dir, "--listen", "127.0.0.1:0"}, shop...)}.start(t)
	api := holder.awaitAPI(t)
	refused(t, spawn{args: []string{"up", "--data-dir", dir, "--listen", "127.0.0.1:0"}}.start(t), dir, fmt.Sprintf("process %d", holder.cmd.Process.Pid), "--data-dir")
	if _, err := statusOf(api); err != nil {
		t.Errorf("the process that has the directory: %v", err)
	}
	holder.kill()

	for i, c := range waiting {
		refused(t, c, waitingFor[i]...)
	}
	for path, want := range map[string]string{filepath.Join(newer, "FORMAT"): "freshet data directory, format 2\n", filepath.Join(home, "thesis.txt"): "never to be touched\n"} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", path, got, err)
		}
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
			t.Errorf("something was left in %s: %v %v", filepath.Dir(path), entries, err)
		}
	}
	sameOutcome(t, "after all this", want, once(t, dir, shop...))
}

// refused fails the test unless c ends with one error that says all of this.
func refused(t *testing.T, c *child, says ...string) {
	t.Helper()
	if code := c.wait(t); code != 1 {
		t.Errorf("%s: exit code %d, want 1", c.name, code)
	}
	if out := c.stdout.String(); out != "" {
		t.Errorf("%s: standard output: %s", c.name, out)
	}
	_, message, ok := strings.Cut("\n"+c.log.String(), "\nfreshet: ")
	if !ok || strings.Contains(message, "\nfreshet: ") || strings.Contains(message, "goroutine ") {
		t.Errorf("%s: not one error:\n%s", c.name, c.log.String())
	}
	for _, part := range says {
		if !strings.Contains(message, part) {
			t.Errorf("%s: it does not say %q:\n%s", c.name, part, message)
		}
	}
}

// A damaged checkpoint is passed over for the one before, and the log makes up for what is missing. Where none is whole
// freshet stops: beginning anew is not for it to decide.
func TestDamagedCheckpoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shop := []string{"--clicks", "6000"}
	want := once(t, dir, append([]string{"--speed", "60x"}, shop...)...)
	list := func() []string {
		names, err := filepath.Glob(filepath.Join(dir, "checkpoints", "*.checkpoint.zip")) // in order of their names
		if err != nil || len(names) < 2 {                                                  // a delta keeps what it builds on
			t.Fatalf("checkpoints: %v %v", names, err)
		}
		return names
	}
	damage := func(name string) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		copy(b[len(b)/2:], "damaged")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := list()
	newest := before[len(before)-1]
	damage(newest)
	c := upOnce(t, dir, shop...)
	if code := c.wait(t); code != 0 || !strings.Contains(c.log.String(), filepath.Base(newest)) || !strings.Contains(c.log.String(), "checkpoint is damaged") {
		t.Fatalf("the newest is damaged: exit code %d", code)
	}
	sameOutcome(t, "the newest is damaged", want, summaryIn(t, c.stdout.String()))

	all := list() // the run before may have let go of the newest of then
	for _, name := range all {
		damage(name)
	}
	refused(t, upOnce(t, dir, shop...), filepath.Join(dir, "checkpoints"), filepath.Base(all[len(all)-1]), "restore one from a backup, or remove them all to train on the log from its start")
	for _, name := range list() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	sameOutcome(t, "trained on the log again", want, once(t, dir, shop...))
}

// A file that breaks off in the middle ends the run with the reason; the whole file, on the same directory, goes on behind
// what was read.
func TestFileBreaksOff(t *testing.T) {
	t.Parallel()
	files, dir := t.TempDir(), t.TempDir()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	for i := range 4000 {
		fmt.Fprintf(z, `{"user_id":"u%d","item_id":"i%d","timestamp":%d}`+"\n", i%100, i*i%977, 1_767_254_400_000+i*100)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(files, "clicks.jsonl.gz")
	for _, b := range [][]byte{zipped.Bytes()[:zipped.Len()/2], zipped.Bytes()} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if len(b) < zipped.Len() {
			refused(t, upOnce(t, dir, "--source", name), name, "break off", "fetch the file again")
			continue
		}
		got := once(t, dir, "--source", name)
		if got.Clicks != 4000 || got.Pending != 0 {
			t.Errorf("%d records, %d pending", got.Clicks, got.Pending)
		}
		sameOutcome(t, "the whole file", once(t, t.TempDir(), "--source", name), got)
	}
}
