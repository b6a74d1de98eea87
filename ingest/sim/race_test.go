//go:build race

package sim

import "flag"

// Under the race detector everything is ten times slower, and a shop has one goroutine: fewer random rounds do. Who says
// -rapid.checks has the last word.
func init() { flag.Set("rapid.checks", "20") }
