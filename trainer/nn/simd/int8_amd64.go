package simd

import "golang.org/x/sys/cpu"

// vnni says that AVX-512 has its products of bytes.
var vnni = cpu.X86.HasAVX512VNNI

func dotInt8Rows(dst []int32, rows []int8, d int, q []int8) {
	switch {
	case level == AVX512 && vnni:
		excess := int32(0)
		for _, v := range q {
			excess += 128 * int32(v)
		}
		dotInt8RowsVNNIAVX512(dst, rows, d, q, excess)
	case level == AVX512:
		dotInt8RowsAVX512(dst, rows, d, q)
	case level == AVX2:
		dotInt8RowsAVX2(dst, rows, d, q)
	default:
		dotInt8RowsGo(dst, rows, d, q)
	}
}
