// Package nn holds the operations of the network, each forward directly above its backward.
//
// # Conventions
//
// Every operation is generic over float32 and float64: training runs in float32, gradients are checked in float64. The
// destination comes first, shapes stand in the comments, matrices are row-major. Backward ADDS to the gradients it is given and
// the caller zeroes, so that weights used twice need no special case; the few that overwrite say "sets".
//
//	N  tokens of a batch, all sequences one after the other    T  tokens of one sequence
//	D  width of a token                                        H  heads, each D/H wide
//	B  queries (examples) of a batch                           C  candidates of the sampled softmax
//	x  an input, y an output, dx the gradient of the loss by x
//
// # Matrix products
//
// Weights are tensors of gorgonia.org/tensor over one arena (Tensor). Products go to the engine that tensor is given as well, by Gemm, which
// adds to a matrix, transposes and reads blocks of columns, and makes no headers for activations whose shapes change with each batch. The engine is
// package simd for products of small and middling size, which are all that a training step makes, and OpenBLAS, loaded when the
// program runs, above that; both on one thread, so that sums have one order. Where OpenBLAS is missing, or with FRESHET_BLAS=go in the
// environment, or in a build with the tag static, simd multiplies everything. Backend says what runs.
// Results are a pure function of the inputs on one machine and engine (I4); two engines differ in the last bits.
//
// # Promise
//
// Operations keep no state, start no goroutine and may run concurrently on different destinations. A wrong length is a mistake of
// the program and panics. Numbers that are not finite go through as they are: the caller looks at the loss and at the norm.
//
// What this package does not do: know what the tokens mean (trainer/model), or decide when to step (trainer).
package nn
