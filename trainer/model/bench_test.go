package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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
		m.Admit(fmt.Sprintf("item-%d", i), infoOf(i))
	}
	return m
}

func BenchmarkStep(b *testing.B) {
	m := filled(b, DefaultConfig(), 7000)
	rng := rand.New(rand.NewPCG(1, 1))
	var batches [8][]Example
	for i := range batches {
		batches[i] = benchBatch(rng, 7000)
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

// histories are sequences in the shape of MovieLens-1M: lengths lognormal with median 96, at least 20 and cut at length, next to others of like length in
// a batch; items by Zipf's law.
func histories(rng *rand.Rand, users, items, length, batch int) [][]Example {
	zipf := rand.NewZipf(rng, 1.05, 10, uint64(items-1))
	lengths := make([]int, users)
	for u := range lengths {
		lengths[u] = min(length, int(min(2314, max(20, math.Exp(math.Log(96)+1.04*rng.NormFloat64())))))
	}
	slices.Sort(lengths)
	var batches [][]Example
	for u := 0; u < users; u += batch {
		var b []Example
		for _, n := range lengths[u:min(u+batch, users)] {
			at := schema.EventTime(960_000_000_000 + rng.Int64N(3e10))
			e := Example{Learn: n}
			for range n {
				e.Past = append(e.Past, Session{At: at, Events: []Event{{Row(zipf.Uint64()), schema.ActionClick}}})
				at += schema.EventTime(1000 * math.Exp(3+1.5*rng.NormFloat64()))
			}
			e.At, e.Targets = at, []Row{Row(zipf.Uint64())}
			b = append(b, e)
		}
		batches = append(batches, b)
	}
	rng.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
	return batches
}

// HSTUConfig and SASRecConfig are the two as in HSTU's public experiments.
func sequential(c Config, length int) Config {
	c.Tokens, c.Rotary, c.Absolute, c.Init = item, none, true, plain
	c.MaxTokens, c.MaxSessions, c.SideRows, c.Scenes = length, length, 1, 1
	c.NegativesUniform, c.NegativesRecent, c.NegativesInBatch, c.LogQ, c.ItemBias = 128, 0, false, false, false
	c.Dropout, c.DenseRate, c.Beta2, c.Clip, c.RowOptimizer, c.RowRate = 0.2, 1e-3, 0.98, 0, adam, 1e-3
	return c
}

func hstuConfig(length int) Config {
	c := sequential(DefaultConfig(), length)
	c.Distance = true
	return c
}

func sasrecConfig(length int) Config {
	c := sequential(DefaultConfig(), length)
	c.Attention, c.TimeBias, c.FFN = softmax, false, c.Dim
	return c
}

func BenchmarkLearn(b *testing.B) {
	const items = 3706
	run := func(name string, cfg Config) {
		b.Run(name, func(b *testing.B) {
			m := filled(b, cfg, items)
			batches := histories(rand.New(rand.NewPCG(1, 1)), 1280, items, cfg.MaxTokens, 128)
			for _, batch := range batches[:3] {
				m.Learn(batch)
			}
			b.ReportAllocs()
			tokens, flops, n := 0, 0., 0
			for b.Loop() {
				s := m.Learn(batches[n%len(batches)])
				tokens, flops, n = tokens+s.Tokens, flops+s.Flops, n+1
			}
			b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
			b.ReportMetric(flops/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
	run("HSTU/sampled", hstuConfig(200))
	run("SASRec/sampled", sasrecConfig(200))
	c := hstuConfig(200)
	c.Loss = full
	run("HSTU/full", c)
	c = hstuConfig(256)
	c.Dim, c.Blocks, c.Heads = 256, 4, 4
	run("HSTU/d=256", c)
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
				if _, ok := s.Recommend(q, 20, nil); !ok {
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
