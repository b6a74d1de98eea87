package simd

import "golang.org/x/sys/cpu"

// vnni says that AVX-512 has its products of bytes.
var vnni = cpu.X86.HasAVX512VNNI

func scoreTiles(dst []float32, tiles []uint8, q []int8, excess int32, by float32, scale, base []float32) {
	switch {
	case level == AVX512 && vnni:
		scoreTilesAVX512(dst, tiles, q, excess, by, scale, base)
	case level >= AVX2:
		scoreTilesAVX2(dst, tiles, q, excess, by, scale, base)
	default:
		scoreTilesGo(dst, tiles, q, excess, by, scale, base)
	}
}

func scoreHalfTiles(dst []float32, tiles []uint8, q []int8, excess int32, by float32, scale, base []float32, soon Soon) {
	if level >= AVX2 {
		if soon.Tiles == nil {
			soon = Soon{tiles, scale, base} // what is at hand costs least
		}
		scoreHalfTilesAVX2(dst, tiles, q, excess, by, scale, base, soon.Tiles, soon.Scale, soon.Base)
		return
	}
	scoreHalfTilesGo(dst, tiles, q, excess, by, scale, base)
}
