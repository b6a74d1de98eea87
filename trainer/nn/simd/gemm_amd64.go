package simd

// directRows is up to how many rows of a product b is read where it lies: packing it would cost more than it wins.
var directRows = 32

// gemmPanels goes through c in panels of two vectors' width. What a panel reads of b is packed first, or lies well already.
func gemmPanels(transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	const bytes = 4
	rs, cs := lda*bytes, bytes
	if transA {
		rs, cs = cs, rs
	}
	lanes := 16
	if level == AVX2 {
		lanes = 8
	}
	pack := transB || m > directRows && ldb > 2*lanes
	var packed *[panelDepth * panelWidth]float32
	if pack {
		packed = panels.Get().(*[panelDepth * panelWidth]float32)
		defer panels.Put(packed)
	}
	for i0 := 0; i0 < m; i0 += blockRows {
		rows := min(blockRows, m-i0)
		for l0 := 0; l0 < k; l0 += panelDepth {
			depth := min(panelDepth, k-l0)
			keep := beta
			if l0 > 0 {
				keep = 1
			}
			fromA := &a[(i0*rs+l0*cs)/bytes]
			for j0 := 0; j0 < n; j0 += 2 * lanes {
				width := min(2*lanes, n-j0)
				var fromB *float32
				bs := ldb * bytes
				switch {
				case transB:
					transposePanel(packed[:], b[j0*ldb+l0:], ldb, width, depth, 2*lanes)
					fromB, bs = &packed[0], 2*lanes*bytes
				case pack:
					packPanel(packed, &b[l0*ldb+j0], ldb*bytes, width, depth, 2*lanes*bytes)
					fromB, bs = &packed[0], 2*lanes*bytes
				default:
					fromB = &b[l0*ldb+j0]
				}
				panel(fromA, rs, cs, fromB, bs, &c[i0*ldc+j0], ldc*bytes, rows, width, depth, alpha, keep)
			}
		}
	}
}

func panel(a *float32, rs, cs int, b *float32, bs int, c *float32, ldc, m, n, k int, alpha, beta float32) {
	switch {
	case level == AVX512 && n > 16:
		gemmPanel2AVX512(a, rs, cs, b, bs, c, ldc, m, n, k, alpha, beta)
	case level == AVX512:
		gemmPanel1AVX512(a, rs, cs, b, bs, c, ldc, m, n, k, alpha, beta)
	case n > 8:
		gemmPanel2AVX2(a, rs, cs, b, bs, c, ldc, m, n, k, alpha, beta)
	default:
		gemmPanel1AVX2(a, rs, cs, b, bs, c, ldc, m, n, k, alpha, beta)
	}
}

func packPanel(packed *[panelDepth * panelWidth]float32, src *float32, stride, width, depth, step int) {
	if level == AVX512 {
		packRowsAVX512(&packed[0], step, src, stride, width, depth)
	} else {
		packRowsAVX2(&packed[0], step, src, stride, width, depth)
	}
}

// transposePanel sets packed[l·step+j] = src[j·stride+l] for j below width and l below depth: whole vectors of rows, four columns at a
// time, and what is left over number by number.
func transposePanel(packed, src []float32, stride, width, depth, step int) {
	quads := depth / 4
	j := 0
	if quads > 0 {
		for ; level == AVX512 && j+16 <= width; j += 16 {
			transposeAVX512(&packed[j], 4*step, &src[j*stride], 4*stride, quads)
		}
		for ; j+8 <= width; j += 8 {
			transposeAVX2(&packed[j], 4*step, &src[j*stride], 4*stride, quads)
		}
	}
	for r := range width {
		from := 0
		if r < j {
			from = 4 * quads
		}
		line := src[r*stride:][:depth]
		for l := from; l < depth; l++ {
			packed[l*step+r] = line[l]
		}
	}
}
