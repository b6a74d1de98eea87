//go:build race

package sim

import "flag"

// raceEnabled says that the race detector makes everything ten times slower. A shop has one goroutine: it can find nothing in
// what takes long because it is a statistic.
const raceEnabled = true

// Fewer random rounds do then. Who says -rapid.checks has the last word.
func init() { flag.Set("rapid.checks", "20") }
