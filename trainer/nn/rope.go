package nn

import (
	"math"

	"github.com/freshet-ml/freshet/trainer/nn/simd"
)

// Rotation holds the angles of rotary position embedding (RoPE): position p turns the pair (z, z+W/2) of a head of width W by
// p · 10000^(-2z/W), so that the product of two rotated vectors depends on the difference of their positions alone.
type Rotation[F Float] struct {
	half     int
	cos, sin []F // (positions, half)
}

// NewRotation makes the angles for the positions 0..positions-1 and heads of an even width.
func NewRotation[F Float](positions, width int) Rotation[F] {
	r := Rotation[F]{half: width / 2}
	for p := range positions {
		for z := range r.half {
			sin, cos := math.Sincos(float64(p) * math.Pow(10000, -2*float64(z)/float64(width)))
			r.cos, r.sin = append(r.cos, F(cos)), append(r.sin, F(sin))
		}
	}
	return r
}

// Apply turns each head of each row of x in place by the row's position.   x (N, heads·W)  positions (N)
func (r Rotation[F]) Apply(x Block[F], positions []int32) { r.turn(x, positions, 1) }

// ApplyBackward turns the gradient back, in place.
func (r Rotation[F]) ApplyBackward(dx Block[F], positions []int32) { r.turn(dx, positions, -1) }

func (r Rotation[F]) turn(x Block[F], positions []int32, sign F) {
	want("rotation", "positions", len(positions), x.Rows)
	for i, p := range positions {
		cos, sin := r.cos[int(p)*r.half:][:r.half], r.sin[int(p)*r.half:][:r.half]
		if single[F]() {
			simd.Rotate(f32(x.Data[i*x.Stride:][:x.Cols]), f32(cos), f32(sin), float32(sign))
			continue
		}
		for row := x.Data[i*x.Stride:][:x.Cols]; len(row) > 0; row = row[2*r.half:] {
			a, b := row[:r.half], row[r.half:][:r.half]
			for z, u := range a {
				c, s, v := cos[z], sign*sin[z], b[z]
				a[z], b[z] = u*c-v*s, u*s+v*c
			}
		}
	}
}
