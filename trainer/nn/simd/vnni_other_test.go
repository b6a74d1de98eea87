//go:build !amd64

package simd

func withoutVNNI(f func()) { f() }
