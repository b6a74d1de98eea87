//go:build !amd64

package simd

func dotInt8Rows(dst []int32, rows []int8, d int, q []int8) { dotInt8RowsGo(dst, rows, d, q) }
