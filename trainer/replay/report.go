package replay

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Protocol is the name of what this room measures.
const Protocol = "leave-one-out"

// Report is what an experiment found.
type Report struct {
	Results                       []Result // one an arm
	Popularity                    Metrics
	Users, LeftOut, Items, Events int
	Again                         int // users who are asked for an item that they had before
	Validate, Repeats             bool
	Threads                       int
	Peak                          float64 // floating point operations per second; the highest that was measured
}

// Rule says how the numbers came about, in whole sentences.
func (r *Report) Rule() string {
	var b strings.Builder
	which, without := "the last item", "The last item is not trained on."
	if r.Validate {
		which, without = "the last item but one", "The last two items are not trained on."
	}
	fmt.Fprintf(&b, "Rule: %s of each user is asked for, given those before it, and ranked among all %d items", which, r.Items)
	if r.Repeats {
		b.WriteString(", those included that the user had before")
	} else {
		b.WriteString(" without those that the user had before")
		if r.Again > 0 {
			fmt.Fprintf(&b, "; it stays itself where it is one of them (%d users)", r.Again)
		}
	}
	fmt.Fprintf(&b, ". Equal scores count against it. %s Users tested: %d; left out, with fewer than %d items: %d.", without, r.Users, minItems, r.LeftOut)
	return b.String()
}

// Table writes the report for a person.
func (r *Report) Table() string {
	heads := []string{"HR@10", "NDCG@10", "HR@50", "NDCG@50", "HR@200", "NDCG@200", "MRR", "epochs", "tokens/s", "peak", "seconds"}
	rows := [][]string{append([]string{"arm"}, heads...)}
	var notes []string
	for _, x := range r.Results {
		row := append([]string{x.Arm}, scores(x.Metrics)...)
		epochs, share := strconv.Itoa(x.Epoch), "-"
		if x.Epoch < x.Epochs {
			epochs += "/" + strconv.Itoa(x.Epochs)
		}
		if x.PeakShare > 0 {
			share = fmt.Sprintf("%.1f%%", 100*x.PeakShare)
		}
		rows = append(rows, append(row, epochs, fmt.Sprintf("%.0f", x.TokensPerSecond), share, fmt.Sprintf("%.1f", x.Seconds)))
		if x.Skipped > 0 {
			notes = append(notes, fmt.Sprintf("Arm %s: %d steps had numbers that were not finite, and moved nothing.", x.Arm, x.Skipped))
		}
	}
	rows = append(rows, append(append([]string{"(popularity)"}, scores(r.Popularity)...), "-", "-", "-", "-"))
	var b strings.Builder
	b.WriteString(aligned(rows) + "\n" + wrapped(r.Rule()))
	note := "Tokens are items read in training, padding not counted, by the clock of training alone; so are seconds."
	if r.Peak > 0 {
		note += fmt.Sprintf(" Peak is the share of %.1f GFLOP/s, which products of 1024x1024 matrices reach on %d threads.", r.Peak/1e9, r.Threads)
	}
	b.WriteString(wrapped(note))
	for _, n := range notes {
		b.WriteString(wrapped(n))
	}
	return b.String()
}

// aligned writes rows below one another: names to the left, figures to the right.
func aligned(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "%-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			fmt.Fprintf(&b, "  %*s", widths[i+1], cell)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// wrapped breaks text at spaces into lines as long as the table is wide.
func wrapped(text string) string {
	const width = 100
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String() + "\n"
}

// Table writes the plan for a person.
func (p Plan) Table() string {
	rows := [][]string{{"arm", "parameters", "tokens/epoch", "steps/epoch", "epochs"}}
	var settings strings.Builder
	for _, a := range p.Arms {
		rows = append(rows, []string{a.Arm.Name, strconv.Itoa(a.Parameters), strconv.Itoa(a.TokensPerEpoch), strconv.Itoa(a.StepsPerEpoch), strconv.Itoa(a.Arm.Training.Epochs)})
		fmt.Fprintf(&settings, "%s:%s\n", a.Arm.Name, a.Arm.Settings())
	}
	return aligned(rows) + "\n" + settings.String()
}

// MarshalJSON writes the plan for a program.
func (p Plan) MarshalJSON() ([]byte, error) {
	type planned struct {
		Name           string `json:"name"`
		Parameters     int    `json:"parameters"`
		TokensPerEpoch int    `json:"tokens_per_epoch"`
		StepsPerEpoch  int    `json:"steps_per_epoch"`
		Epochs         int    `json:"epochs"`
		Settings       string `json:"settings"`
	}
	arms := []planned{}
	for _, a := range p.Arms {
		arms = append(arms, planned{a.Arm.Name, a.Parameters, a.TokensPerEpoch, a.StepsPerEpoch, a.Arm.Training.Epochs, a.Arm.Settings()})
	}
	return json.Marshal(struct {
		Protocol string    `json:"protocol"`
		DryRun   bool      `json:"dry_run"`
		Users    int       `json:"users"`
		LeftOut  int       `json:"left_out"`
		Items    int       `json:"items"`
		Events   int       `json:"events"`
		Arms     []planned `json:"arms"`
	}{Protocol, true, p.Users, p.LeftOut, p.Items, p.Events, arms})
}

func scores(m Metrics) (cells []string) {
	for _, v := range m.values() {
		cells = append(cells, fmt.Sprintf("%.4f", v))
	}
	return cells
}

type armJSON struct {
	Name            string  `json:"name"`
	Metrics         Metrics `json:"metrics"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	PeakShare       float64 `json:"peak_share"`
	Epochs          int     `json:"epochs"`
	Seconds         float64 `json:"seconds"`
	Digest          string  `json:"digest"`
}

// MarshalJSON writes the report for a program: the protocol, and the arms.
func (r *Report) MarshalJSON() ([]byte, error) {
	arms := make([]armJSON, 0, len(r.Results))
	for _, x := range r.Results {
		arms = append(arms, armJSON{x.Arm, x.Metrics, x.TokensPerSecond, x.PeakShare, x.Epoch, x.Seconds, x.Digest})
	}
	return json.Marshal(struct {
		Protocol string    `json:"protocol"`
		Arms     []armJSON `json:"arms"`
	}{Protocol, arms})
}

// Columns are the names of what Record returns.
func Columns() []string {
	names := append([]string{"arm", "epoch"}, metricNames...)
	return append(names, "loss", "tokens_per_second", "peak_share", "seconds", "skipped_steps", "digest")
}

// Record returns the result as a row of a table.
func (x Result) Record() []string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	row := []string{x.Arm, strconv.Itoa(x.Epoch)}
	for _, v := range x.Metrics.values() {
		row = append(row, number(v))
	}
	return append(row, number(x.Loss), number(x.TokensPerSecond), number(x.PeakShare), number(x.Seconds), strconv.Itoa(x.Skipped), x.Digest)
}
