package datadir_test

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
)

const childDir = "DATADIR_TEST_HOLD"

var started = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// As a child, the test binary opens the directory, says so and holds it until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if _, err := datadir.Open(dir, started); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		select {}
	}
	os.Exit(m.Run())
}

func open(t *testing.T, path string) *datadir.Dir {
	t.Helper()
	d, err := datadir.Open(path, started)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func wantError(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}

// tree renders names, modes and contents below dir, to show that nothing was touched.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		info, _ := e.Info()
		fmt.Fprintf(&b, "%s %v %q\n", path, info.Mode(), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestOpenCloseOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	for range 3 {
		d := open(t, path)
		if d.Unclean() != "" {
			t.Errorf("after an orderly stop: unclean %q", d.Unclean())
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
	}
}

func TestHeldByAnotherProcessAndKilled(t *testing.T) {
	path := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "held\n" {
		t.Fatalf("child says %q", line)
	}
	before := tree(t, path)
	_, err = datadir.Open(path, started)
	wantError(t, err, fmt.Sprintf("held by process %d", child.Process.Pid), "--data-dir")
	if after := tree(t, path); after != before {
		t.Errorf("the refused open changed the directory:\n%s\nbefore:\n%s", after, before)
	}

	child.Process.Kill()
	child.Wait()
	d := open(t, path)
	if want := fmt.Sprintf("process %d, started 2026-05-01T12:00:00Z", child.Process.Pid); d.Unclean() != want {
		t.Errorf("unclean %q, want %q", d.Unclean(), want)
	}
}

func TestHeldByThisProcess(t *testing.T) {
	path := t.TempDir()
	open(t, path)
	_, err := datadir.Open(path, started)
	wantError(t, err, fmt.Sprintf("held by process %d", os.Getpid()))
}

func TestRefusesAndTouchesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		file, content string
		want          []string
	}{
		"newer":   {"FORMAT", "freshet data directory, format 3\n", []string{"newer freshet (format 3, this program knows 1)", "--data-dir"}},
		"damaged": {"FORMAT", "fresh", []string{"FORMAT is damaged", "restore"}},
		"foreign": {"thesis.tex", "years of work", []string{"thesis.tex", "not a data directory"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			if err := os.WriteFile(filepath.Join(path, tc.file), []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			before := tree(t, path)
			_, err := datadir.Open(path, started)
			wantError(t, err, tc.want...)
			if after := tree(t, path); after != before {
				t.Errorf("the refused open changed the directory:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	_, err := datadir.Open(file, started)
	wantError(t, err, "not a directory", "--data-dir")
	_, err = datadir.Open("", started)
	wantError(t, err, "--data-dir")
}

func TestSigningKeyStaysTheSameAndPrivate(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	first, err := d.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	d = open(t, path)
	again, err := d.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	a, _ := first.PublicKey()
	b, _ := again.PublicKey()
	if a == "" || a != b {
		t.Errorf("public keys %q and %q", a, b)
	}
	file := filepath.Join(d.Keys(), "publisher.nk")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v", info, err)
	}

	os.Chmod(file, 0o644)
	_, err = d.SigningKey()
	wantError(t, err, "readable by others", "chmod 600")
	os.Chmod(file, 0o600)
	os.WriteFile(file, []byte("junk"), 0o600)
	_, err = d.SigningKey()
	wantError(t, err, "restore", "remove it")
}

func TestIDStaysTheSame(t *testing.T) {
	path := t.TempDir()
	var first string
	for run := range 3 {
		d, err := datadir.Open(path, time.UnixMilli(0))
		if err != nil {
			t.Fatal(err)
		}
		id, err := d.ID()
		if err != nil {
			t.Fatal(err)
		}
		if run == 0 {
			first = id
		}
		if id != first || len(id) != 32 {
			t.Errorf("run %d: id %q, was %q", run, id, first)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(path, "ID"), []byte("no\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	d, err := datadir.Open(path, time.UnixMilli(0))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.ID(); err == nil {
		t.Error("a damaged id is taken")
	}
}

func TestPathsAreBelowTheDirectory(t *testing.T) {
	d := open(t, t.TempDir())
	seen := map[string]bool{}
	for _, p := range []string{d.Kafka(), d.NATS(), d.Buffer(), d.Checkpoints(), d.Replica("replica-1"), d.Replica("../../x"), d.Keys()} {
		if !strings.HasPrefix(p, d.Path()+"/") || seen[p] {
			t.Errorf("path %q is outside or shared", p)
		}
		seen[p] = true
	}
}
