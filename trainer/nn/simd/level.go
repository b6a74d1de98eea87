package simd

// Level is a set of instructions that the kernels are written for.
type Level int

// The levels, each with what it needs beside the one before.
const (
	Go     Level = iota
	AVX2         // and FMA, BMI2
	AVX512       // F, DQ, BW, VL
)

func (l Level) String() string { return [...]string{"Go", "AVX2", "AVX-512"}[l] }

var level = best()

// Active is the level that runs.
func Active() Level { return level }

// Levels are those this machine has, the narrowest first.
func Levels() []Level {
	all := []Level{Go, AVX2, AVX512}
	return all[:best()+1]
}

// Use lets l run, one of Levels, and returns what ran before. It is for tests and measurements: nothing may run beside it.
func Use(l Level) (before Level) {
	if l < Go || l > best() {
		panic("simd: use: this machine has no " + l.String())
	}
	before, level = level, l
	return before
}

func same(op string, n, want int) {
	if n != want {
		panic("simd: " + op + ": slices of different lengths")
	}
}
