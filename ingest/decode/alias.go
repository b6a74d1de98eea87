package decode

import "unsafe"

// alias returns b as a string without copying it. This is the package's only use of unsafe, and what makes a click free of
// allocations: the strings of the click are the bytes of the record. They change if the record's bytes do, so whoever keeps
// a click beyond its record copies it (Decoder.Decode).
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
