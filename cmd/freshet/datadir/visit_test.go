package datadir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
)

// TestVisitLeavesNoTrace: a tool that looks does not make a directory, and does not hide how the last run ended.
func TestVisitLeavesNoTrace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	if _, err := datadir.Visit(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a directory was made")
	}
	d := open(t, path)
	running, err := os.ReadFile(filepath.Join(path, "running"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = datadir.Visit(path)
	var held *datadir.Held
	if !errors.As(err, &held) || !strings.HasPrefix(held.By, "process ") {
		t.Errorf("a directory that is held: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "running"), running, 0o600); err != nil { // the last run was killed
		t.Fatal(err)
	}
	before := tree(t, path)
	v, err := datadir.Visit(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := datadir.Open(path, started); !errors.As(err, &held) {
		t.Errorf("a directory that is visited: %v", err)
	}
	if err := errors.Join(v.Close(), v.Close()); err != nil {
		t.Error(err)
	}
	if after := tree(t, path); after != before {
		t.Errorf("the visit changed the directory:\n%s\n%s", before, after)
	}
	if d := open(t, path); d.Unclean() == "" {
		t.Error("the visit hid that the last run was killed")
	}
	wantError(t, func() error { _, err := datadir.Visit(""); return err }(), "--data-dir")
}
