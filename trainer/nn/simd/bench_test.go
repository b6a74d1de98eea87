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
