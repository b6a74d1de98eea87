//go:build race

package export_test

import "flag"

// Under the race detector everything is ten times slower: fewer random rounds do. Who says -rapid.checks has the last word.
func init() { flag.Set("rapid.checks", "30") }
