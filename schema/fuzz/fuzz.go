// Package fuzz gives fuzz targets a number of mutated bytes that anybody can have again.
//
// Go's fuzzer looks for new paths, from wherever chance leads it, and says how often it called, not with how much. Where
// FRESHET_FUZZ_BYTES is set, a target of this package is called, beside its seeds, with mutants of them until the arguments that it
// was given add up to as many bytes. They come from a generator whose seed is in the log, so that they are the same on every
// machine, and what fails is printed as a file that belongs into testdata/fuzz.
//
// # What this package does not do
//
// It does not follow coverage: that is what `go test -fuzz` is for, which the same targets serve.
package fuzz

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// F is a testing.F that remembers its seeds.
type F struct {
	*testing.F
	seeds [][]any
	given int64 // bytes
	leave bool  // the last call
}

// Of returns f with mutants.
func Of(f *testing.F) *F { return &F{F: f} }

// Add is that of testing.F.
func (f *F) Add(args ...any) {
	f.seeds = append(f.seeds, args)
	f.F.Add(args...)
}

// Made says that target made n bytes of its arguments, and gave them to what is tested. They count as those of the arguments do.
func (f *F) Made(n int) { f.given += int64(n) }

// Leave says that target gives its arguments to nobody, for they are not what the rest of it is for. They do not count.
func (f *F) Leave() { f.leave = true }

const (
	bytesEnv = "FRESHET_FUZZ_BYTES" // how many bytes of mutants a target gets; none where it is not set
	seedEnv  = "FRESHET_FUZZ_SEED"  // 1 where it is not set
	mostLeft = 100_000              // mutants that nobody was given before a target fails that gives on less than one in a hundred
	perTest  = 1000                 // mutants in one subtest, whose directories are removed at its end
)

// Fuzz is that of testing.F, and gives target the mutants after the first seed.
func (f *F) Fuzz(target any) {
	f.Helper()
	wanted, seed := number(f, bytesEnv, 0), number(f, seedEnv, 1)
	call := reflect.ValueOf(target)
	if wanted == 0 {
		f.F.Fuzz(target)
		return
	}
	if len(f.seeds) == 0 {
		f.Fatal("mutants need a seed: call Add before Fuzz")
	}
	name := f.Name()
	begun := false
	f.F.Fuzz(reflect.MakeFunc(call.Type(), func(args []reflect.Value) []reflect.Value {
		call.Call(args)
		if begun {
			return nil
		}
		begun = true
		t := args[0].Interface().(*testing.T)
		m := newMutator(name, uint64(seed), f.seeds)
		calls, left := 0, 0
		for f.given = 0; f.given < wanted && !t.Failed(); {
			t.Run("mutants", func(t *testing.T) {
				for range perTest {
					if f.given >= wanted || t.Failed() {
						return
					}
					mutant := m.next()
					f.leave = false
					one(t, call, mutant)
					if f.leave {
						if left++; left > mostLeft && left > 100*calls {
							t.Fatalf("%d of %d mutants are given to nobody: seeds and target do not fit", left, left+calls)
						}
						continue
					}
					f.given += size(mutant)
					calls++
				}
			})
		}
		t.Logf("mutants: %s: %d bytes in %d calls, %d left out, %s=%d", name, f.given, calls, left, seedEnv, seed)
		return nil
	}).Interface())
}

// one calls target with a mutant, and prints it where that fails or panics.
func one(t *testing.T, target reflect.Value, mutant []any) {
	done := false
	defer func() {
		if t.Failed() || !done && !t.Skipped() {
			t.Logf("failed with\n%s", file(mutant))
		}
	}()
	in := []reflect.Value{reflect.ValueOf(t)}
	for _, arg := range mutant {
		in = append(in, reflect.ValueOf(arg))
	}
	target.Call(in)
	done = true
}

// file writes arguments as Go's fuzzer does.
func file(args []any) string {
	b := []byte("go test fuzz v1\n")
	for _, arg := range args {
		switch v := arg.(type) {
		case []byte:
			b = fmt.Appendf(b, "[]byte(%q)\n", v)
		case string:
			b = fmt.Appendf(b, "string(%q)\n", v)
		default:
			b = fmt.Appendf(b, "%T(%v)\n", v, v)
		}
	}
	return string(b)
}

// size counts the bytes of arguments: of a number, those that it takes.
func size(args []any) (n int64) {
	for _, arg := range args {
		switch v := arg.(type) {
		case []byte:
			n += int64(len(v))
		case string:
			n += int64(len(v))
		default:
			n += int64(reflect.TypeOf(arg).Size())
		}
	}
	return n
}

func number(tb testing.TB, name string, unset int64) int64 {
	tb.Helper()
	text := os.Getenv(name)
	if text == "" {
		return unset
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
	if err != nil || n < 0 {
		tb.Fatalf("%s=%s: give a whole number", name, text)
	}
	return n
}

// generator makes a target's own stream of a seed.
func generator(name string, seed uint64) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}
