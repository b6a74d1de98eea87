package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

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

// sequential is what hstuConfig and sasrecConfig, those of HSTU's public experiments, have in common.
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

// benchLearn reports tokens a second, and the share of what OpenBLAS or its substitute reaches with products of 1024³ in the same run.
func benchLearn(b *testing.B, cfg Config, items, batch int) {
	if err := cfg.Validate(); err != nil {
		b.Fatal(err)
	}
	m := filled(b, cfg, items)
	batches := histories(rand.New(rand.NewPCG(1, 1)), 8*batch, items, cfg.MaxTokens, batch)
	for _, batch := range batches[:3] {
		m.Learn(batch)
	}
	peak := nn.Peak(runtime.GOMAXPROCS(0), 300*time.Millisecond)
	b.ReportAllocs()
	tokens, flops, n := 0, 0., 0
	for b.Loop() {
		s := m.Learn(batches[n%len(batches)])
		if s.Skipped {
			b.Fatal("a step was skipped: ", s.Where)
		}
		tokens, flops, n = tokens+s.Tokens, flops+s.Flops, n+1
	}
	seconds := b.Elapsed().Seconds()
	peak = max(peak, nn.Peak(runtime.GOMAXPROCS(0), 300*time.Millisecond))
	b.ReportMetric(float64(tokens)/seconds, "tokens/s")
	b.ReportMetric(flops/seconds/1e9, "GFLOP/s")
	b.ReportMetric(100*flops/seconds/peak, "%peak")
}

// BenchmarkLearn is the training of whole histories.
func BenchmarkLearn(b *testing.B) {
	run := func(name string, cfg Config, items, batch int, set func(c *Config)) {
		if set != nil {
			set(&cfg)
		}
		b.Run(name, func(b *testing.B) { benchLearn(b, cfg, items, batch) })
	}
	const movies = 3706
	run("HSTU/sampled", hstuConfig(200), movies, 128, nil)
	run("HSTU/full", hstuConfig(200), movies, 128, func(c *Config) { c.Loss = full })
	run("SASRec/sampled", sasrecConfig(200), movies, 128, nil)
	run("SASRec/full", sasrecConfig(200), movies, 128, func(c *Config) { c.Loss = full })
	run("wide", hstuConfig(256), movies, 64, func(c *Config) { c.Dim, c.Blocks, c.Heads = 256, 4, 4 })
	for _, blocks := range []int{1, 2, 4, 8} {
		run(fmt.Sprint("blocks=", blocks), hstuConfig(200), movies, 128, func(c *Config) { c.Blocks = blocks })
	}
	for _, items := range []int{10_000, 100_000, 1_000_000} {
		run(fmt.Sprint("items=", items), hstuConfig(200), items, 128, func(c *Config) { c.RowOptimizer, c.RowRate = adagrad, 0.05 })
	}
	for _, d := range []int{32, 64, 128, 256} {
		for _, length := range []int{50, 200, 512} {
			run(fmt.Sprintf("d=%d/length=%d", d, length), hstuConfig(length), movies, 12800/length, func(c *Config) { c.Dim = d })
		}
	}
}
