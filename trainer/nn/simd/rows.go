package simd

import "math"

// AddBias adds b to each row of y.   y (N,D)  b (D)
func AddBias(y, b []float32) {
	same("add bias", ragged(len(y), len(b)), 0)
	addBias(y, b)
}

// AddBiasBackward adds each row of dy to db, the first row first.   dy (N,D)  db (D)
func AddBiasBackward(db, dy []float32) {
	same("add bias backward", ragged(len(dy), len(db)), 0)
	addBiasBackward(db, dy)
}

// ragged is what n numbers leave over after rows of d.
func ragged(n, d int) int {
	if d == 0 {
		return n
	}
	return n % d
}

// span panics where x is too short for rows of d numbers, stride apart.
func span(op string, x []float32, rows, d, stride int) {
	if rows > 0 && d > 0 && (stride < d || len(x) < (rows-1)*stride+d) {
		panic("simd: " + op + ": a slice is shorter than its rows")
	}
}

// Gate sets y = x ⊙ u, where the rows of u are stride numbers apart.   x, y (rows,d)
func Gate(y, x, u []float32, rows, d, stride int) {
	span("gate", y, rows, d, d)
	span("gate", x, rows, d, d)
	span("gate", u, rows, d, stride)
	gate(y, x, u, rows, d, stride)
}

// GateBackward adds to dx and du.   dy, x, dx (rows,d)
func GateBackward(dx, du, dy, x, u []float32, rows, d, strideDU, strideU int) {
	for _, dense := range [][]float32{dx, dy, x} {
		span("gate backward", dense, rows, d, d)
	}
	span("gate backward", du, rows, d, strideDU)
	span("gate backward", u, rows, d, strideU)
	gateBackward(dx, du, dy, x, u, rows, d, strideDU, strideU)
}

// LayerNorm sets each row of y to that of x with mean 0 and variance 1, and inv to 1/sqrt(variance + eps).   x, y (N,d)  inv (N)
func LayerNorm(y, inv, x []float32, d int, eps float64) {
	same("layer norm", len(y), len(inv)*d)
	same("layer norm", len(x), len(inv)*d)
	layerNorm(y, inv, x, d, eps)
}

// LayerNormBackward adds (dy - mean(dy) - y·mean(dy ⊙ y))·inv to dx.   dx, dy, y (N,d)  inv (N)
func LayerNormBackward(dx, dy, y, inv []float32, d int) {
	for _, x := range [][]float32{dx, dy, y} {
		same("layer norm backward", len(x), len(inv)*d)
	}
	layerNormBackward(dx, dy, y, inv, d)
}

// Rotate turns the pairs (z, z+half) of each head of 2·half numbers of row by angles of these cosines and sign·sines.
//
//	row (heads·2·half)  cos, sin (half)
func Rotate(row, cos, sin []float32, sign float32) {
	same("rotate", len(sin), len(cos))
	same("rotate", ragged(len(row), 2*len(cos)), 0)
	rotate(row, cos, sin, sign)
}

// SumSquares returns the sum of x², added up in float64.
func SumSquares(x []float32) float64 {
	sum := 0.0
	for ; len(x) > turn; x = x[turn:] {
		sum += sumSquares(x[:turn])
	}
	return sum + sumSquares(x)
}

func addBiasGo(y, b []float32) {
	for ; len(y) > 0; y = y[len(b):] {
		addGo(y[:len(b)], b)
	}
}

func addBiasBackwardGo(db, dy []float32) {
	for ; len(dy) > 0; dy = dy[len(db):] {
		addGo(db, dy[:len(db)])
	}
}

func gateGo(y, x, u []float32, rows, d, stride int) {
	for i := range rows {
		mulGo(y[i*d:][:d], x[i*d:][:d], u[i*stride:][:d])
	}
}

func gateBackwardGo(dx, du, dy, x, u []float32, rows, d, strideDU, strideU int) {
	for i := range rows {
		mulAddGo(dx[i*d:][:d], dy[i*d:][:d], u[i*strideU:][:d])
		mulAddGo(du[i*strideDU:][:d], dy[i*d:][:d], x[i*d:][:d])
	}
}

func layerNormGo(y, inv, x []float32, d int, eps float64) {
	for i := range inv {
		row, out := x[i*d:][:d], y[i*d:][:d]
		mean := sumGo(row) / float32(d)
		for j, v := range row {
			out[j] = v - mean
		}
		inv[i] = float32(1 / math.Sqrt(float64(dotGo(out, out))/float64(d)+eps))
		scaleGo(out, inv[i])
	}
}

func layerNormBackwardGo(dx, dy, y, inv []float32, d int) {
	for i, scale := range inv {
		grad, out, to := dy[i*d:][:d], y[i*d:][:d], dx[i*d:][:d]
		mean := sumGo(grad) / float32(d)
		along := dotGo(grad, out) / float32(d)
		for j, g := range grad {
			to[j] += (g - mean - out[j]*along) * scale
		}
	}
}

func rotateGo(row, cos, sin []float32, sign float32) {
	half := len(cos)
	for ; len(row) > 0; row = row[2*half:] {
		a, b := row[:half], row[half:][:half]
		for z, u := range a {
			c, s, v := cos[z], sign*sin[z], b[z]
			a[z], b[z] = u*c-v*s, u*s+v*c
		}
	}
}

func sumSquaresGo(x []float32) float64 {
	var a, b, c, d float64
	for ; len(x) >= 4; x = x[4:] {
		p, q, r, s := float64(x[0]), float64(x[1]), float64(x[2]), float64(x[3])
		a, b, c, d = a+p*p, b+q*q, c+r*r, d+s*s
	}
	for _, v := range x {
		a += float64(v) * float64(v)
	}
	return a + b + c + d
}
