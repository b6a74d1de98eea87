package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestGeneratedFilesAreCurrent writes the kernels again and compares: an edit of the generator that was not run, or of what it
// wrote, fails here.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	dir := t.TempDir()
	gen := filepath.Join(dir, "gen")
	run := func(name string, args ...string) {
		t.Helper()
		c := exec.Command(name, args...)
		if name == gen {
			c.Dir = dir
		}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run("go", "build", "-o", gen, ".")
	for _, width := range []string{"avx512", "avx2"} {
		run(gen, "-isa", width, "-out", width+"_amd64.s", "-stubs", width+"_amd64.go", "-pkg", "simd")
	}
	run(gen, "-dispatch")
	for _, name := range []string{"avx512_amd64.s", "avx512_amd64.go", "avx2_amd64.s", "avx2_amd64.go", "dispatch_amd64.go", "dispatch_other.go"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(body(got), body(want)) {
			t.Errorf("%s is not what gen writes: run go generate in trainer/nn/simd", name)
		}
	}
}

// body is a file without its first line, which quotes the command.
func body(file []byte) []byte {
	_, rest, _ := bytes.Cut(file, []byte("\n"))
	return rest
}

// TestNarrowKernelsUseNarrowRegisters keeps registers that AVX2 does not have out of its kernels.
func TestNarrowKernelsUseNarrowRegisters(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "avx2_amd64.s"))
	if err != nil {
		t.Fatal(err)
	}
	vectors := 0
	for _, word := range bytes.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\t' }) {
		switch {
		case len(word) < 2 || word[1] < '0' || word[1] > '9':
		case word[0] == 'Z' || word[0] == 'K' || (word[0] == 'X' || word[0] == 'Y') && len(word) == 3 && (word[1] > '1' || word[2] > '5'):
			t.Fatalf("a kernel for AVX2 uses %s", word)
		case word[0] == 'Y':
			vectors++
		}
	}
	if vectors == 0 {
		t.Error("no vector register was seen: the test reads the file wrongly")
	}
}
