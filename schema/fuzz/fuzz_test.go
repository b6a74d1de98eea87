package fuzz

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestMutants: the same seed gives the same mutants, another one or another target others; seeds stay what they are, and most mutants differ from all of them.
func TestMutants(t *testing.T) {
	seeds := func() [][]any {
		return [][]any{{[]byte(`{"a":[1,22,"x"]}`), "k=1&l=%20", int64(7), uint8(3), true, 1.5}, {[]byte{}, "", int64(-1), uint8(0), false, 0.0}}
	}
	bytes := int64(0)
	draw := func(name string, seed uint64) (mutants []string) { // in text, where no number is not itself
		given := seeds()
		m := newMutator(name, seed, given)
		for range 5000 {
			mutant := m.next()
			bytes += size(mutant)
			mutants = append(mutants, file(mutant))
		}
		if !reflect.DeepEqual(given, seeds()) {
			t.Fatalf("the seeds became %v", given)
		}
		return mutants
	}
	first := draw("FuzzA", 1)
	if !slices.Equal(first, draw("FuzzA", 1)) {
		t.Error("the same seed gives other mutants")
	}
	if slices.Equal(first, draw("FuzzA", 2)) || slices.Equal(first, draw("FuzzB", 1)) {
		t.Error("another seed, or another target, gives the same mutants")
	}
	same := 0
	for _, seed := range seeds() {
		for _, mutant := range first {
			if mutant == file(seed) {
				same++
			}
		}
	}
	if same > len(first)/10 {
		t.Errorf("%d of %d mutants are seeds", same, len(first))
	}
	if n := int64(4 * len(first)); bytes/n > 5*size(seeds()[0]) {
		t.Errorf("%d mutants have %d bytes: they grow", n, bytes)
	}
}

// TestFile is what a failure prints: a file as Go's fuzzer reads it.
func TestFile(t *testing.T) {
	got := file([]any{[]byte("\x00\""), "a\n", int64(-3), true})
	if want := "go test fuzz v1\n[]byte(\"\\x00\\\"\")\nstring(\"a\\n\")\nint64(-3)\nbool(true)\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if n := size([]any{[]byte("ab"), "c", int64(1), strings.Repeat("d", 3)}); n != 14 {
		t.Errorf("they have %d bytes", n)
	}
}
