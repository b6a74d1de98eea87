package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

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
		n, done := 0, reportCPU(b)
		for b.Loop() {
			if _, ok := m.ask(a, q); !ok {
				b.Fatal("no answer")
			}
			n++
		}
		done(n)
		b.ReportMetric(float64(m.Bytes()), "B/user")
		b.ReportMetric(float64(m.Tokens()), "tokens")
	})
	b.Run("MemoryRequestOnly", func(b *testing.B) {
		m := s.Remember("")
		m.Extend(past...)
		n, done := 0, reportCPU(b)
		for b.Loop() {
			m.ask(a, Query{At: q.At, Scene: "home"})
			n++
		}
		done(n)
	})
	b.Run("Extend", func(b *testing.B) { // all of it, at once
		n, done := 0, reportCPU(b)
		for b.Loop() {
			m := s.Remember("")
			m.Extend(past...)
			m.Forget()
			n++
		}
		done(n)
	})
	all := append(append([]ServedSession{}, past...), part)
	b.Run("Whole", func(b *testing.B) {
		b.ReportAllocs()
		n, done := 0, reportCPU(b)
		for b.Loop() {
			a.name(s, all)
			a.whole(s, Example{Past: a.past, At: q.At, Scene: "home"})
			n++
		}
		done(n)
	})
}

// BenchmarkTop100 looks for the hundred best of all rows, by one goroutine; without terms, and with those of all items and two hundred marks.
func BenchmarkTop100(b *testing.B) {
	for _, items := range []int{10_000, 100_000, 1_000_000} {
		m := filled(b, DefaultConfig(), items)
		query := clustered(m, rand.New(rand.NewPCG(1, 1)))
		var queries [64][]float32
		for i := range queries {
			queries[i] = query()
		}
		rng := rand.New(rand.NewPCG(2, 2))
		live, marks := randomLive(rng, items), manyMarks(rng, items, 200)
		for _, p := range precisions {
			s := serve(b, m, p)
			run := func(name string, s *Served, marks []Mark) {
				b.Run(fmt.Sprintf("%s/%d%s", p, items, name), func(b *testing.B) {
					b.ReportAllocs()
					n, done := 0, reportCPU(b)
					for b.Loop() {
						if got := s.bestWith(queries[n%64], 3, marks, 100, Filter{}); len(got) != 100 {
							b.Fatal(len(got))
						}
						n++
					}
					done(n)
				})
			}
			run("", s, nil)
			run("/terms", s.With(live), marks)
		}
	}
}

// BenchmarkLoad makes a version of a base of 100,000 items, and of a delta that changes 2,000 of them.
func BenchmarkLoad(b *testing.B) {
	const items = 100_000
	for _, cosine := range []bool{false, true} {
		cfg := DefaultConfig()
		cfg.Cosine = cosine
		for _, p := range precisions {
			m := filled(b, cfg, items)
			query := clustered(m, rand.New(rand.NewPCG(1, 1)))
			base := m.Snapshot(true, nil).Objects()
			s, err := Serving{Precision: p}.Load(base[0].Table, base[1].Table)
			if err != nil {
				b.Fatal(err)
			}
			for side := 1; side < m.items.side.n; side++ { // they change with every step
				copy(m.items.side.vector(Row(side)), query())
			}
			rng := rand.New(rand.NewPCG(1, 1))
			for range 2000 {
				m.touch(Row(rng.IntN(items)))
			}
			delta := m.Snapshot(false, nil).Objects()
			b.Run(fmt.Sprintf("%s,cosine=%v/base", p, cosine), func(b *testing.B) {
				n, done := 0, reportCPU(b)
				for b.Loop() {
					if _, err := (Serving{Precision: p}).Load(base[0].Table, base[1].Table); err != nil {
						b.Fatal(err)
					}
					n++
				}
				done(n)
			})
			b.Run(fmt.Sprintf("%s,cosine=%v/delta", p, cosine), func(b *testing.B) {
				n, done := 0, reportCPU(b)
				for b.Loop() {
					if _, err := s.Apply(delta[0].Table, delta[1].Table); err != nil {
						b.Fatal(err)
					}
					n++
				}
				done(n)
			})
		}
	}
}

// BenchmarkAnswer is all of a request: a user with 256 tokens of history who is remembered, 200 marks, and the best 20 of 100,000 items. Its p99 is of single answers.
func BenchmarkAnswer(b *testing.B) {
	const items = 100_000
	cfg := DefaultConfig()
	cfg.MaxTokens, cfg.MaxSessions = 300, 60
	m := filled(b, cfg, items)
	rng := rand.New(rand.NewPCG(1, 1))
	clustered(m, rng)
	past := longPast(&cfg, 256)
	part := ServedSession{At: past[len(past)-1].At + 100_000, Scene: "home", Events: []ServedEvent{
		{"item-7", schema.ActionClick}, {"item-8", schema.ActionClick}, {"item-9", schema.ActionCart}}}
	q := Query{Past: []ServedSession{part}, At: part.At + 60_000, Scene: "home", Marks: manyMarks(rng, items, 200)}
	live := randomLive(rng, items)
	for _, p := range precisions {
		b.Run(string(p), func(b *testing.B) {
			memory := serve(b, m, p).With(live).Remember("")
			memory.Extend(past...)
			memory.Recommend(q, 20) // the bucket's bases
			b.ReportAllocs()
			var took []time.Duration
			done := reportCPU(b)
			for b.Loop() {
				at := time.Now()
				if best, ok := memory.Recommend(q, 20); !ok || len(best) != 20 {
					b.Fatal(len(best))
				}
				took = append(took, time.Since(at))
			}
			done(len(took))
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "answers/s")
		})
	}
}

// BenchmarkIndex looks for the hundred best of items that stand in clusters, with popularity in their biases: at all of them by floats and by bytes, and by an index whose recall by other queries than it was
// tuned by is reported.
func BenchmarkIndex(b *testing.B) {
	for _, items := range []int{100_000, 1_000_000} {
		m := filled(b, DefaultConfig(), items)
		query := tastes(m, rand.New(rand.NewPCG(1, 1)))
		var queries [64][]float32
		for i := range queries {
			queries[i] = query()
		}
		at := time.Now()
		s := indexed(b, m, Serving{Precision: Int8, Index: IVF}, query)
		b.Logf("%d items: %+v, in %v", items, s.Retrieval(), time.Since(at).Round(time.Millisecond))
		floats, bytes := *s, *s
		floats.probing, bytes.probing, floats.how.Precision = false, false, Float32
		for _, way := range []struct {
			name string
			s    *Served
		}{{"float32", &floats}, {"int8", &bytes}, {"ivf", s}} {
			b.Run(fmt.Sprintf("%d/%s", items, way.name), func(b *testing.B) {
				n, done := 0, reportCPU(b)
				for b.Loop() {
					way.s.bestOf(queries[n%64], 100, Filter{})
					n++
				}
				done(n)
				a, found := s.lend(), 0
				for _, z := range queries {
					q := pastQuery{z: z}
					found += common(floats.bestFor(&a.scan, &q), way.s.bestFor(&a.scan, &q))
				}
				b.ReportMetric(float64(found)/6400, "recall")
			})
		}
	}
}
