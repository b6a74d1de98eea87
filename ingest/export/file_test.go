package export_test

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/ingest/export"
)

func write(t *testing.T, f *export.File, text string) {
	t.Helper()
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
}

// only fails the test unless dir holds nothing but names.
func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, names)
	}
}

func TestFileIsWholeOrNotThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.csv")
	f, err := export.Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	write(t, f, "half")
	if _, err := os.Stat(path); err == nil {
		t.Error("the name is there before the end")
	}
	if err := f.Abort(); err != nil {
		t.Fatal(err)
	}
	only(t, dir)

	if f, err = export.Create(path, false); err != nil {
		t.Fatal(err)
	}
	write(t, f, "whole")
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
	only(t, dir, "a.csv")
	if text, err := os.ReadFile(path); err != nil || string(text) != "whole" || f.Bytes() != 5 {
		t.Errorf("%q, %v, %d bytes", text, err, f.Bytes())
	}
}

func TestFileRefusesToReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.csv")
	late, err := export.Create(path, false) // while it is written, somebody else puts a file there
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := late.Commit(); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("%v", err)
	}
	if _, err := export.Create(path, false); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--force") {
		t.Errorf("%v", err)
	}
	only(t, dir, "a.csv")
	forced, err := export.Create(path, true)
	if err != nil {
		t.Fatal(err)
	}
	write(t, forced, "new")
	if text, _ := os.ReadFile(path); string(text) != "dear" {
		t.Errorf("before the end it holds %q", text)
	}
	if err := forced.Commit(); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(path); string(text) != "new" {
		t.Errorf("it holds %q", text)
	}
	only(t, dir, "a.csv")
	if _, err := export.Create(dir, true); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := export.Create(filepath.Join(dir, "none", "a.csv"), false); err == nil {
		t.Error("a directory that is not there was taken")
	}
}

func TestFileIsZippedByItsName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.csv.gz")
	f, err := export.Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("so it goes\n", 1000)
	write(t, f, text)
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if info, _ := in.Stat(); err != nil || string(got) != text || f.Bytes() != info.Size() || info.Size() > 1000 {
		t.Errorf("%v, %d bytes of text, %d counted, %d on the disk", err, len(got), f.Bytes(), info.Size())
	}
}
