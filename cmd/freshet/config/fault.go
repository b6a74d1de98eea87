package config

import (
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with the configuration.
type Fault struct {
	Key     string // "window.gap"; empty for the file as a whole
	Where   string // "freshet.yaml line 3", "FRESHET_WINDOW_GAP", "--clicks"
	Problem string
	Next    string // what to do about it
}

func (f Fault) Error() string {
	var b strings.Builder
	if f.Key != "" {
		b.WriteString(f.Key)
		if f.Where != "" {
			fmt.Fprintf(&b, " (%s)", f.Where)
		}
	} else {
		b.WriteString(f.Where)
	}
	fmt.Fprintf(&b, ": %s", f.Problem)
	if f.Next != "" {
		fmt.Fprintf(&b, ": %s", f.Next)
	}
	return b.String()
}

// Faults is everything that is wrong with the configuration, in the order of the keys.
type Faults []Fault

func (f Faults) Error() string {
	if len(f) == 1 {
		return "configuration: " + f[0].Error()
	}
	lines := make([]string, 0, len(f)+1)
	lines = append(lines, fmt.Sprintf("the configuration has %d faults:", len(f)))
	for _, fault := range f {
		lines = append(lines, "  "+fault.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.Is and errors.As every fault.
func (f Faults) Unwrap() []error {
	out := make([]error, len(f))
	for i := range f {
		out[i] = f[i]
	}
	return out
}

func (f Faults) sorted() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.Where, b.Where)
	})
	return f
}

// nearest returns "did you mean X?" for the known name closest to name, or fallback when none is close.
func nearest(name string, known []string, fallback string) string {
	best, bestDistance := "", 1+max(2, len(name)/3)
	for _, k := range known {
		if d := distance(name, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best == "" {
		return fallback
	}
	return fmt.Sprintf("did you mean %s?", best)
}

// distance is the number of single letters to insert, remove or exchange to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
