//go:build !race

package model

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/freshet-ml/freshet/schema"
)

// The race detector lets sync.Pool forget at random, so that allocations are counted without it.

// TestMemoryAllocatesOnlyItsAnswer in a steady state, and its size has the bound that is promised.
func TestMemoryAllocatesOnlyItsAnswer(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxTokens = 256
	rng := rand.New(rand.NewPCG(1, 1))
	served := servedOf(t, cfg, 2000).With(randomLive(rng, 2000))
	past := randomPast(rng, 2000, 19, 12)
	q := Query{Past: past[18:], At: past[18].At + 5000, Marks: manyMarks(rng, 2000, 100)}
	once := func() {
		m := served.Remember("")
		for i := range past[:18] {
			m.Extend(past[i])
		}
		if _, ok := m.Recommend(q, 20); !ok {
			t.Fatal("no answer")
		}
		if bound := 8*cfg.Dim*cfg.Blocks*cfg.MaxTokens + 32*cfg.MaxTokens + 56*cfg.MaxSessions; m.Bytes() > bound || m.Tokens() < 90 {
			t.Fatalf("%d bytes for %d tokens, at most %d are promised", m.Bytes(), m.Tokens(), bound)
		}
		m.Forget()
	}
	once()
	if n := testing.AllocsPerRun(20, once); n > 1 { // the answer
		t.Errorf("%v allocations", n)
	}
}

// TestBytesAnItem holds a model and its versions to what doc.go, Served and the promise of a million items within 600 MB say of them.
func TestBytesAnItem(t *testing.T) {
	const items = 100_000
	var m *Model
	var served [3]*Served
	f := func(name string, least, most int, make func()) {
		t.Helper()
		before := heapBytes()
		make()
		if got := int(heapBytes()-before) / items; got < least || got > most {
			t.Errorf("%s: %d bytes an item, want %d to %d", name, got, least, most)
		} else {
			t.Logf("%s: %d bytes an item", name, got)
		}
	}
	f("model", 300, 380, func() { m = admitted(t, items) }) // 16 of them are the name
	o := m.Snapshot(true, nil).Objects()
	decoded := func() (tables [2]schema.Table) { // as they come, with strings of their own
		for i := range o {
			b, err := o[i].Table.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if tables[i], err = schema.DecodeTable(b); err != nil {
				t.Fatal(err)
			}
		}
		return tables
	}
	for i, p := range precisions {
		bound := []int{370, 440, 405}[i]
		f(string(p), bound-60, bound, func() {
			tables := decoded()
			var err error
			if served[i], err = (Serving{Precision: p}).Load(tables[0], tables[1]); err != nil {
				t.Fatal(err)
			}
		})
	}
	runtime.KeepAlive(m)
	runtime.KeepAlive(served)
}

// TestNamesDoNotHoldTheirMessage: an item's name and category are parts of a message of a megabyte, which is not kept for them.
func TestNamesDoNotHoldTheirMessage(t *testing.T) {
	m := filled(t, DefaultConfig(), 0)
	before := heapBytes()
	for i := range 64 {
		message := fmt.Sprintf("%04d", i) + string(make([]byte, 1<<20))
		m.Admit(message[:4], schema.ItemInfo{Category: message[2:4]}, 0)
	}
	if grown := int(heapBytes() - before); grown > 8<<20 {
		t.Errorf("64 items took %d bytes", grown)
	}
	if m.ID(7) != "0007" || m.categories[7] != "07" {
		t.Errorf("row 7 is %q of %q", m.ID(7), m.categories[7])
	}
	runtime.KeepAlive(m)
}

// TestTermsAllocateNothing: a step in its stride, with a table and marks, allocates what one without terms does; ranks with them as well.
func TestTermsAllocateNothing(t *testing.T) {
	var got [2][3]float64
	for k := range got {
		cfg := small()
		cfg.Lanes, cfg.Terms = 2, k == 1
		m := filled(t, cfg, 200)
		rng := rand.New(rand.NewPCG(1, 1))
		m.Attach(randomLive(rng, 200))
		batch := termedExamples(rng, 200, 24, 5, 4)
		for j, act := range []func(){
			func() { m.Step() },
			func() { m.Ranks(200) },
			func() { m.StepTerms() },
		} {
			got[k][j] = testing.AllocsPerRun(50, func() {
				m.Forward(batch)
				act()
			})
		}
	}
	if with, without := got[1], got[0]; with[0] > without[0] || with[1] > without[1] || with[2] > with[0] {
		t.Errorf("allocations of Step, Ranks and StepTerms: %v with terms, %v without", with, without)
	} else {
		t.Logf("allocations of Step, Ranks and StepTerms: %v with terms, %v without", with, without)
	}
}
