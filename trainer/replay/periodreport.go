package replay

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/evaluate"
)

// AderProtocol is the name of what PeriodExperiment measures: that of ADER (Mi, Lin & Faltings 2020, "ADER: Adaptively distilled exemplar replay towards
// continual learning for session-based recommendation").
const AderProtocol = "ader"

// PeriodReport is what a PeriodExperiment found.
type PeriodReport struct {
	Arms                             []PeriodArm
	Popularity                       CutMetrics // by how often an item was clicked in the period that is over
	Sessions, LeftOut, Items, Events int
	Cycles, Threads                  int
}

// Rule says how the numbers came about.
func (r *PeriodReport) Rule() string {
	return fmt.Sprintf("%d cycles; each trains on sessions up to a period and tests on the next. Every click of a session after its first is asked for, given those before it. "+
		"Items that are in no period up to then are taken out of the test; all others are candidates, those of the session too. Equal scores count against the target. "+
		"recall@k: it is among the first k; MRR@k: 1/rank within k; means over the tests of a cycle, then over cycles, each weighing the same. Within a test nothing is learned, but by arms with live=true, which is another protocol.", r.Cycles)
}

// Comparisons are the differences of the arms to the first one, by cycle.
func (r *PeriodReport) Comparisons() (all []Difference) {
	for _, metric := range []struct {
		name string
		of   func(CutMetrics) float64
	}{{"recall_at_20", CutMetrics.Recall20}, {"mrr_at_20", CutMetrics.MRR20}} {
		for i := 1; i < len(r.Arms); i++ {
			a, b := &r.Arms[i], &r.Arms[0]
			var differences []float64
			for c := range min(len(a.Cycles), len(b.Cycles)) {
				differences = append(differences, metric.of(a.Cycles[c].Metrics)-metric.of(b.Cycles[c].Metrics))
			}
			if c, ok := evaluate.Paired(differences); ok {
				all = append(all, Difference{a.Arm.Name, b.Arm.Name, metric.name, c.Blocks, c.Difference, c.Low, c.High, c.P})
			}
		}
	}
	return all
}

// Table writes the report for a person.
func (r *PeriodReport) Table() string {
	rows := [][]string{{"arm", "recall@1", "recall@5", "recall@20", "recall@100", "MRR@20", "NDCG@20", "cycles", "tokens", "tokens/s", "seconds"}}
	row := func(name string, m CutMetrics, more ...string) {
		cells := []string{name}
		for _, v := range append(m.Recall[:], m.MRR[2], m.NDCG[2]) {
			cells = append(cells, fmt.Sprintf("%.4f", v))
		}
		rows = append(rows, append(cells, more...))
	}
	var notes []string
	for _, a := range r.Arms {
		cycles, name := strconv.Itoa(len(a.Cycles)), a.Arm.Name
		if len(a.Cycles) < r.Cycles {
			cycles += "/" + strconv.Itoa(r.Cycles)
		}
		if a.Arm.Cycles.Live {
			name += " (live)"
		}
		row(name, a.Mean, cycles, strconv.FormatInt(a.Tokens, 10), fmt.Sprintf("%.0f", a.speed()), fmt.Sprintf("%.1f", a.Took.Seconds()))
		if a.Skipped > 0 {
			notes = append(notes, fmt.Sprintf("Arm %s: %d steps had numbers that were not finite, and moved nothing.", a.Arm.Name, a.Skipped))
		}
	}
	row("(popularity)", r.Popularity, "-", "-", "-", "-")
	var b strings.Builder
	b.WriteString(aligned(rows) + "\n" + wrapped("Rule: "+r.Rule()))
	b.WriteString(wrapped("Tokens are items read in training, by the clock of training alone; so are seconds."))
	for _, d := range r.Comparisons() {
		b.WriteString(wrapped(d.String()))
	}
	for _, n := range notes {
		b.WriteString(wrapped(n))
	}
	return b.String()
}

// String says the difference in a sentence.
func (d Difference) String() string {
	return fmt.Sprintf("%s: %s - %s is %+.4f (95 %% interval %+.4f to %+.4f, p = %s, %d pairs).", metricTitle(d.Metric), d.Arm, d.Than, d.Mean, d.Low, d.High, pText(d.P), d.Pairs)
}

var metricNamer = strings.NewReplacer("_at_", "@", "mrr", "MRR", "ndcg", "NDCG")

// pText writes a p-value.
func pText(p float64) string {
	if p < 0.0001 {
		return "< 0.0001"
	}
	return fmt.Sprintf("%.4f", p)
}

func (a *PeriodArm) speed() float64 { return float64(a.Tokens) / max(a.Took.Seconds(), 1e-9) }

// MarshalJSON writes the report for a program.
func (r *PeriodReport) MarshalJSON() ([]byte, error) {
	type arm struct {
		Name            string     `json:"name"`
		Metrics         CutMetrics `json:"metrics"`
		Cycles          int        `json:"cycles"`
		Live            bool       `json:"live,omitempty"`
		Seconds         float64    `json:"seconds"`
		TokensPerSecond float64    `json:"tokens_per_second"`
		Tokens          int64      `json:"tokens"`
		Flops           float64    `json:"flops"`
		Digest          string     `json:"digest"`
	}
	arms := []arm{}
	for _, a := range r.Arms {
		arms = append(arms, arm{a.Arm.Name, a.Mean, len(a.Cycles), a.Arm.Cycles.Live, a.Took.Seconds(), a.speed(), a.Tokens, a.Flops, a.Digest})
	}
	return json.Marshal(struct {
		Protocol    string       `json:"protocol"`
		Arms        []arm        `json:"arms"`
		Popularity  CutMetrics   `json:"popularity"`
		Rule        string       `json:"rule"`
		Comparisons []Difference `json:"comparisons,omitempty"`
	}{AderProtocol, arms, r.Popularity, r.Rule(), r.Comparisons()})
}

// Over is the metrics of each arm and cycle as a table.
func (r *PeriodReport) Over() schema.Table {
	var arm []string
	var cycle, period, tests, tokens []int64
	var seconds []float64
	metrics := make([][]float64, len(cutNames))
	for _, a := range r.Arms {
		for _, c := range a.Cycles {
			arm, cycle, period, tests = append(arm, c.Arm), append(cycle, int64(c.Cycle)), append(period, int64(c.Period)), append(tests, int64(c.Tests))
			tokens, seconds = append(tokens, c.Tokens), append(seconds, c.Took.Seconds())
			for i, v := range c.Metrics.values() {
				metrics[i] = append(metrics[i], v)
			}
		}
	}
	t := schema.Table{Columns: []schema.Column{{Name: "arm", Data: arm}, {Name: "cycle", Data: cycle}, {Name: "period", Data: period}, {Name: "tests", Data: tests}}}
	for i, name := range cutNames {
		t.Columns = append(t.Columns, schema.Column{Name: name, Data: metrics[i]})
	}
	t.Columns = append(t.Columns, schema.Column{Name: "tokens", Data: tokens}, schema.Column{Name: "seconds", Data: seconds})
	return t
}

// Table writes the plan for a person.
func (p PeriodPlan) Table() string {
	rows := [][]string{{"arm", "tokens", "epochs", "first", "periods"}}
	var settings strings.Builder
	for _, a := range p.Arms {
		periods := strconv.Itoa(a.Arm.Cycles.Periods)
		if a.Arm.Cycles.Periods == 0 {
			periods = "all"
		}
		rows = append(rows, []string{a.Arm.Name, strconv.FormatInt(a.Trained, 10), strconv.Itoa(a.Arm.epochs(1)), strconv.Itoa(a.Arm.epochs(0)), periods})
		fmt.Fprintf(&settings, "%s:%s\n", a.Arm.Name, a.Arm.Settings())
	}
	return fmt.Sprintf("%d sessions, %d items, %d events, %d cycles; %d sessions of one event are left out\n\n%s\n%s", p.Sessions, p.Items, p.Events, p.Cycles, p.LeftOut, aligned(rows), settings.String())
}

// MarshalJSON writes the plan for a program.
func (p PeriodPlan) MarshalJSON() ([]byte, error) {
	type planned struct {
		Name     string `json:"name"`
		Tokens   int64  `json:"tokens"`
		Settings string `json:"settings"`
	}
	arms := []planned{}
	for _, a := range p.Arms {
		arms = append(arms, planned{a.Arm.Name, a.Trained, a.Arm.Settings()})
	}
	return json.Marshal(struct {
		Protocol string    `json:"protocol"`
		DryRun   bool      `json:"dry_run"`
		Sessions int       `json:"sessions"`
		LeftOut  int       `json:"left_out"`
		Items    int       `json:"items"`
		Events   int       `json:"events"`
		Cycles   int       `json:"cycles"`
		Arms     []planned `json:"arms"`
	}{AderProtocol, true, p.Sessions, p.LeftOut, p.Items, p.Events, p.Cycles, arms})
}
