package simd

// withoutVNNI runs f as on a machine with AVX-512 alone.
func withoutVNNI(f func()) {
	defer func(before bool) { vnni = before }(vnni)
	vnni = false
	f()
}
