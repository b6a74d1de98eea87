// Package simd holds the inner loops of the network on []float32: element-wise operations, sums, small matrix products and scans,
// each written for AVX-512, for AVX2 and in plain Go.
//
// The assembly is generated (folder gen); go generate writes it again. At start the widest level is chosen that the processor has.
// Use chooses another, for tests and measurements.
//
// # Promise
//
// A kernel keeps no state, allocates nothing and starts no goroutine. It takes any length, 0 included, and reads and writes nothing
// outside its slices. What it gives for an element does not depend on where the element stands or on how the slice is aligned; a
// sum has one order, which follows from its length. Levels differ in the order of sums and in the last bits of an exponential.
// Numbers that are not finite go through.
//
// A slice of another length than its kernel says is a mistake of the program and panics.
//
// What this package does not do: decide when a product goes to another library, or know of float64 (trainer/nn).
package simd

//go:generate go run ./gen -isa avx512 -out avx512_amd64.s -stubs avx512_amd64.go -pkg simd
//go:generate go run ./gen -isa avx2 -out avx2_amd64.s -stubs avx2_amd64.go -pkg simd
//go:generate go run ./gen -dispatch
