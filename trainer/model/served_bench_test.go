package model

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// longPast is a history of tokens tokens: sessions of some five items.
func longPast(c *Config, tokens int) []ServedSession {
	rng := rand.New(rand.NewPCG(1, 1))
	at := schema.EventTime(1_700_000_000_000)
	var past []ServedSession
	for left := tokens; left > 0; {
		s := ServedSession{At: at, Scene: "home"}
		for range min(5, max(1, left-1)) {
			s.Events = append(s.Events, ServedEvent{fmt.Sprintf("item-%d", rng.IntN(2000)), schema.ActionClick})
		}
		left -= 1 + len(s.Events)
		past = append(past, s)
		at += schema.EventTime(600_000 + rng.Int64N(50_000_000))
	}
	return past
}

// BenchmarkAsk is the query vector of a user with 256 tokens of history and a new part of three items: from a memory, and by the whole network.
func BenchmarkAsk(b *testing.B) {
	cfg := DefaultConfig()
	cfg.MaxTokens, cfg.MaxSessions = 300, 60
	s := servedOf(b, cfg, 2000)
	past := longPast(&cfg, 256)
	part := ServedSession{At: past[len(past)-1].At + 100_000, Scene: "home", Events: []ServedEvent{
		{"item-7", schema.ActionClick}, {"item-8", schema.ActionClick}, {"item-9", schema.ActionCart}}}
	q := Query{Past: []ServedSession{part}, At: part.At + 60_000, Scene: "home"}
	a := s.lend()
	b.Log(nn.Backend())
	b.Run("Memory", func(b *testing.B) {
		m := s.Remember("")
		m.Extend(past...)
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := m.ask(a, q); !ok {
				b.Fatal("no answer")
			}
		}
		b.ReportMetric(float64(m.Bytes()), "B/user")
		b.ReportMetric(float64(m.Tokens()), "tokens")
	})
	b.Run("MemoryRequestOnly", func(b *testing.B) {
		m := s.Remember("")
		m.Extend(past...)
		for b.Loop() {
			m.ask(a, Query{At: q.At, Scene: "home"})
		}
	})
	b.Run("Extend", func(b *testing.B) { // all of it, at once
		for b.Loop() {
			m := s.Remember("")
			m.Extend(past...)
			m.Forget()
		}
	})
	all := append(append([]ServedSession{}, past...), part)
	b.Run("Whole", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a.name(s, all)
			a.whole(s, Example{Past: a.past, At: q.At, Scene: "home"})
		}
	})
}
