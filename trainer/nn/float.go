package nn

import (
	"fmt"
	"unsafe"
)

// Float is the type of a number of the network.
type Float interface{ ~float32 | ~float64 }

// single says whether F is 4 bytes wide.
func single[F Float]() bool { return unsafe.Sizeof(F(0)) == 4 }

// f32 and f64 see x as what it is. The caller has asked single.
func f32[F Float](x []F) []float32 { return *(*[]float32)(unsafe.Pointer(&x)) }
func f64[F Float](x []F) []float64 { return *(*[]float64)(unsafe.Pointer(&x)) }

// want panics where an operand of op has another length than its shape says.
func want(op, operand string, got, want int) {
	if got != want {
		panic(fmt.Sprintf("nn: %s: len(%s)=%d, want %d", op, operand, got, want))
	}
}
