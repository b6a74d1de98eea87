package model

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// benchBatch is 64 requests of 40 tokens each: 13 past sessions of two items, and the request.
func benchBatch(rng *rand.Rand, items int) []Example {
	var out []Example
	for range 64 {
		at := schema.EventTime(1_700_000_000_000)
		var e Example
		for range 13 {
			s := Session{At: at, Scene: "home"}
			for range 2 {
				s.Events = append(s.Events, Event{Row(rng.IntN(items)), schema.ActionClick})
			}
			e.Past = append(e.Past, s)
			at += schema.EventTime(rng.Int64N(600_000))
		}
		e.At, e.Targets = at, []Row{Row(rng.IntN(items))}
		out = append(out, e)
	}
	return out
}

// infoOf gives most items a category and a price, some one of the two, and some none.
func infoOf(i int) schema.ItemInfo {
	info := schema.ItemInfo{Category: fmt.Sprint(i % 7), Price: float64(1 + i%40)}
	if i%11 == 10 {
		info.Category = ""
	}
	if i%5 == 4 {
		info.Price = 0
	}
	return info
}

func filled(tb testing.TB, cfg Config, items int) *Model {
	m, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range items {
		m.Admit(fmt.Sprintf("item-%d", i), infoOf(i), 0)
	}
	return m
}

func BenchmarkStep(b *testing.B) { benchStep(b, false) }

// BenchmarkStepWithTerms is BenchmarkStep with a table, and a hundred marks for each request.
func BenchmarkStepWithTerms(b *testing.B) { benchStep(b, true) }

func benchStep(b *testing.B, terms bool) {
	m := filled(b, DefaultConfig(), 7000)
	rng := rand.New(rand.NewPCG(1, 1))
	var batches [8][]Example
	for i := range batches {
		batches[i] = benchBatch(rng, 7000)
		for j := range batches[i] {
			if terms {
				batches[i][j].Marks = manyMarks(rng, 7000, 100)
			}
		}
	}
	if terms {
		m.Attach(randomLive(rng, 7000))
	}
	b.Log(nn.Backend())
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		m.Forward(batches[n%8])
		m.Ranks(m.Items())
		m.Step()
		n++
	}
	b.ReportMetric(float64(64*n)/b.Elapsed().Seconds(), "examples/s")
}

// BenchmarkLook is what the tests of a micro-batch cost: 16 examples, with a hundred marks each, are compared with all items, and the best 100 kept.
func BenchmarkLook(b *testing.B) {
	for _, items := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(items), func(b *testing.B) {
			m := filled(b, DefaultConfig(), items)
			rng := rand.New(rand.NewPCG(1, 1))
			m.Attach(randomLive(rng, items))
			batch := benchBatch(rng, items)[:16]
			for i := range batch {
				batch[i].Marks = manyMarks(rng, items, 100)
			}
			m.Forward(batch)
			m.Judge(items, 100, len(batch))
			b.ReportAllocs()
			b.ResetTimer()
			used := cpuTime(b)
			for b.Loop() {
				m.Judge(items, 100, len(batch))
			}
			b.ReportMetric(float64((cpuTime(b)-used).Nanoseconds())/float64(b.N*items*len(batch)), "cpu-ns/score")
		})
	}
}

func BenchmarkRecommend(b *testing.B) {
	for _, items := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(items), func(b *testing.B) {
			m := filled(b, DefaultConfig(), items)
			o := m.Snapshot(true, nil).Objects()
			s, err := LoadServed(o[0].Table, o[1].Table)
			if err != nil {
				b.Fatal(err)
			}
			q := Query{At: 1_700_000_600_000}
			for i := range 13 {
				q.Past = append(q.Past, ServedSession{At: schema.EventTime(1_700_000_000_000 + 1000*i), Events: []ServedEvent{
					{fmt.Sprintf("item-%d", i), schema.ActionClick}, {fmt.Sprintf("item-%d", i+100), schema.ActionCart}}})
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := s.Recommend(q, 20); !ok {
					b.Fatal("no history")
				}
			}
		})
	}
}

// BenchmarkDelta is 2,000 changed rows of 100,000: the copy that training waits for, and the version a replica makes of it.
func BenchmarkDelta(b *testing.B) {
	m := filled(b, DefaultConfig(), 100_000)
	o := m.Snapshot(true, nil).Objects()
	s, err := LoadServed(o[0].Table, o[1].Table)
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	change := func() {
		for range 2000 {
			m.touch(Row(rng.IntN(100_000)))
		}
	}
	b.Run("Snapshot", func(b *testing.B) {
		for b.Loop() {
			change()
			m.Snapshot(false, nil)
		}
	})
	change()
	o = m.Snapshot(false, nil).Objects()
	b.Run("Apply", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Apply(o[0].Table, o[1].Table); err != nil {
				b.Fatal(err)
			}
		}
	})
}
