package simd

import "golang.org/x/sys/cpu"

// vnni says that AVX-512 has its products of bytes.
var vnni = cpu.X86.HasAVX512VNNI

func scoreTiles(dst []float32, tiles []uint8, q []int8, excess int32, by float32, scale, base []float32, soon Soon) {
	switch {
	case level == AVX512 && vnni:
		scoreTilesAVX512(dst, tiles, q, excess, by, scale, base, soon.Tiles, soon.Scale, soon.Base)
	case level >= AVX2:
		scoreTilesAVX2(dst, tiles, q, excess, by, scale, base, soon.Tiles, soon.Scale, soon.Base)
	default:
		scoreTilesGo(dst, tiles, q, excess, by, scale, base)
	}
}

func scoreHalfTiles(dst []float32, tiles []uint8, q []int8, excess int32, by float32, scale, base []float32, soon Soon) {
	switch {
	case level == AVX512 && vnni:
		scoreHalfTilesAVX512(dst, tiles, q, excess, by, scale, base, soon.Tiles, soon.Scale, soon.Base)
	case level >= AVX2:
		scoreHalfTilesAVX2(dst, tiles, q, excess, by, scale, base, soon.Tiles, soon.Scale, soon.Base)
	default:
		scoreHalfTilesGo(dst, tiles, q, excess, by, scale, base)
	}
}
