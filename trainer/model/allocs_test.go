//go:build !race

package model

import (
	"math/rand/v2"
	"testing"
)

// The race detector lets sync.Pool forget at random, so that allocations are counted without it.

// TestMemoryAllocatesOnlyItsAnswer in a steady state, and its size has the bound that is promised.
func TestMemoryAllocatesOnlyItsAnswer(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxTokens = 256
	served := servedOf(t, cfg, 2000)
	rng := rand.New(rand.NewPCG(1, 1))
	past := randomPast(rng, 2000, 19, 12)
	q := Query{Past: past[18:], At: past[18].At + 5000}
	once := func() {
		m := served.Remember("")
		for i := range past[:18] {
			m.Extend(past[i])
		}
		if _, ok := m.Recommend(q, 20, nil); !ok {
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
