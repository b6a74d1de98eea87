//go:build !amd64

package simd

func scoreTiles(dst []float32, tiles []uint8, q []int8, excess int32, by float32, scale, base []float32, _ Soon) {
	scoreTilesGo(dst, tiles, q, excess, by, scale, base)
}

func scoreHalfTiles(dst []float32, tiles []uint8, q []int8, excess int32, by float32, scale, base []float32, _ Soon) {
	scoreHalfTilesGo(dst, tiles, q, excess, by, scale, base)
}
