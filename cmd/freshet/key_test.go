package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
)

// A key is made once, for its owner alone, and versions are signed with it.
func TestKeys(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "publisher.nk")
	run := func(args ...string) string {
		t.Helper()
		c := spawn{args: args}.start(t)
		if code := c.wait(t); code != 0 {
			t.Fatalf("%v: exit code %d", args, code)
		}
		return strings.TrimSpace(c.stdout.String())
	}
	public := run("key", "make", name)
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 || !nkeys.IsValidPublicUserKey(public) {
		t.Fatalf("%q, %v, %v", public, info, err)
	}
	if shown := run("key", "show", name); shown != public {
		t.Errorf("%s is shown as %s", public, shown)
	}
	refused(t, spawn{args: []string{"key", "make", name}}.start(t), name, "is there already")
	refused(t, spawn{args: []string{"key", "show", name + "x"}}.start(t), name+"x", "no such file")
	up := []string{"up", "--once", "--clicks", "300", "--listen", "127.0.0.1:0"}
	c := spawn{env: append([]string{"FRESHET_PUBLISH_KEY_FILE=" + name}, quick...), args: append(up, "--data-dir", t.TempDir())}.start(t)
	if code := c.wait(t); code != 0 || !strings.Contains(c.log.String(), "key="+public) {
		t.Errorf("exit code %d, or the key %s is not in the log", code, public)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, spawn{env: []string{"FRESHET_PUBLISH_KEY_FILE=" + name}, args: append(up, "--data-dir", t.TempDir())}.start(t), "publish.key_file", "chmod 600")
	damaged := filepath.Join(t.TempDir(), "damaged.nk")
	if err := os.WriteFile(damaged, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, spawn{args: []string{"key", "show", damaged}}.start(t), damaged, "no seed")
}
