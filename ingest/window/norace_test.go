//go:build !race

package window_test

// raceEnabled says that the race detector makes everything ten times slower.
const raceEnabled = false
