package simd

import (
	"fmt"
	"testing"
)

// BenchmarkKernel gives ns a number of each kernel, for a row of a token, for what the first cache holds, and for more.
func BenchmarkKernel(b *testing.B) {
	kernels := []struct {
		name string
		run  func(x, y, z []float32)
	}{
		{"exp", func(x, y, _ []float32) { Exp(y, x) }},
		{"expShift", func(x, y, _ []float32) { ExpShift(y, x, 1) }},
		{"silu", func(x, y, z []float32) { SiLU(y, z, x) }},
		{"siluOnly", func(x, y, _ []float32) { SiLU(y, nil, x) }},
		{"biasSiLU", func(x, y, z []float32) { BiasSiLU(y, z, x, x, 0.1) }},
		{"max", func(x, _, _ []float32) { Max(x) }},
		{"sum", func(x, _, _ []float32) { Sum(x) }},
		{"dot", func(x, y, _ []float32) { Dot(x, y) }},
		{"add", func(x, y, _ []float32) { Add(y, x) }},
		{"addScaled", func(x, y, _ []float32) { AddScaled(y, 0.5, x) }},
		{"mul", func(x, y, z []float32) { Mul(y, x, z) }},
		{"mulAdd", func(x, y, z []float32) { MulAdd(y, x, z) }},
		{"scale", func(x, y, _ []float32) { Scale(y, 1) }},
	}
	index := make([]uint8, 65536)
	for i := range index {
		index[i] = uint8(30 + i/7%40)
	}
	table, inv := make([]float32, 129), make([]float32, 1024)
	m, v := make([]float32, 65536), make([]float32, 65536)
	adam := AdamW{Scale: 1, Beta1: 0.9, Rest1: 0.1, Beta2: 0.99, Rest2: 0.01, Rate: 0.001, Correct: 1, Eps: 1e-8, Keep: 1}
	kernels = append(kernels, []struct {
		name string
		run  func(x, y, z []float32)
	}{
		{"sumSquares", func(x, _, _ []float32) { SumSquares(x) }},
		{"addBias", func(x, y, _ []float32) { AddBias(y, x[:64]) }},
		{"addBiasBackward", func(x, y, _ []float32) { AddBiasBackward(x[:64], y) }},
		{"gate", func(x, y, z []float32) { Gate(y, x, z, len(x)/64, 64, 64) }},
		{"gateBackward", func(x, y, z []float32) { GateBackward(y, z, x, x, x, len(x)/64, 64, 64, 64) }},
		{"layerNorm", func(x, y, _ []float32) { LayerNorm(y, inv[:len(x)/64], x, 64, 1e-6) }},
		{"layerNormBackward", func(x, y, z []float32) { LayerNormBackward(z, x, y, inv[:len(x)/64], 64) }},
		{"rotate", func(x, _, z []float32) {
			for i := 0; i < len(x); i += 64 {
				Rotate(x[i:][:64], z[:16], z[16:32], 1)
			}
		}},
		{"gatherTable", func(_, y, _ []float32) { GatherTable(y, table, index[:len(y)]) }},
		{"scatterAdd", func(x, _, _ []float32) { ScatterAdd(table, index[:len(x)], x) }},
		{"adamW", func(x, y, z []float32) { adam.Step(y, x, m[:len(x)], v[:len(x)]) }},
	}...)
	for _, k := range kernels {
		for _, n := range []int{64, 2048, 65536} {
			for _, l := range Levels() {
				b.Run(fmt.Sprintf("%s/%d/%v", k.name, n, l), func(b *testing.B) {
					defer Use(Use(l))
					x, y, z := make([]float32, n), make([]float32, n), make([]float32, n)
					for i := range x {
						x[i], z[i] = float32(i%100)/10-5, float32(i%7)
					}
					for b.Loop() {
						k.run(x, y, z)
					}
					b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(n), "ns/number")
				})
			}
		}
	}
}

// BenchmarkRetrieval scans a million rows of 64 numbers and the scores of a million items, where memory is the bound, and two thousand,
// which the caches hold.
func BenchmarkRetrieval(b *testing.B) {
	for _, n := range []int{1 << 11, 1 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkRetrieval(b, n) })
	}
}

func benchmarkRetrieval(b *testing.B, n int) {
	const d = 64
	items, tiles := make([]float32, n*d), make([]uint8, n*d)
	for i := range items {
		items[i], tiles[i] = float32(i%100)-50, uint8(i)
	}
	scores, q, q8, found := make([]float32, n), items[:d], make([]int8, d), make([]uint32, (n+31)/32)
	for _, k := range []struct {
		name string
		size int // bytes read
		run  func()
	}{
		{"gemv", 4 * n * d, func() { Gemv(scores, items, d, q) }},
		{"scoreTiles", n * d, func() { ScoreTiles(scores, tiles, q8, 0.1, items[:n], items[n:2*n], Soon{}) }},
		{"scoreHalfTiles", n * d / 2, func() { ScoreHalfTiles(scores, tiles[:n*d/2], q8, 0.1, items[:n], items[n:2*n], Soon{}) }},
		{"countAtLeast", 4 * n, func() { CountAtLeast(scores, 1e30) }},
		{"above", 4 * n, func() { Above(found, scores, 1e30) }},
		{"sum", 4 * n, func() { Sum(scores) }},
		{"copy", 4 * n * d, func() { copy(items, items[:n*d/2]); copy(items[n*d/2:], items) }},
	} {
		for _, l := range Levels() {
			b.Run(fmt.Sprintf("%s/%v", k.name, l), func(b *testing.B) {
				defer Use(Use(l))
				b.SetBytes(int64(k.size))
				for b.Loop() {
					k.run()
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(n), "ns/item")
			})
		}
	}
}
