package replay

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/learn"
)

// StreamProtocol is the name of what StreamExperiment measures.
const StreamProtocol = "prequential"

// StreamReport is what a StreamExperiment found.
type StreamReport struct {
	Survey  Survey
	Arms    []StreamArmReport
	Threads int

	last  float64  // share of the tests that the tables are of
	names []string // of what is judged together: the model of each arm, and behind that of the first its blend and the baselines
	all   *evaluate.Evaluation
	found evaluate.Report
}

// blendName is what the blend of an arm is called beside its model.
func blendName(arm string) string { return arm + " + blend" }

// baselineName is what a baseline is called beside the arms.
func baselineName(name string) string { return "(" + name + ")" }

// curvePoints is about how many points the curves have.
const curvePoints = 100

// judge puts the tests of all arms side by side.
func (r *StreamReport) judge(all []*outcomes) {
	for i := range r.Arms {
		name := r.Arms[i].Arm.Name
		r.names = append(r.names, name)
		if i == 0 {
			r.names = append(r.names, blendName(name))
			for _, b := range baselineNames() {
				r.names = append(r.names, baselineName(b))
			}
		}
	}
	span := time.Duration(r.Survey.Last-r.Survey.First) * time.Millisecond
	period := time.Minute
	for _, p := range []time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
		if period*curvePoints < span {
			period = p
		}
	}
	r.all = together(all, r.names, period)
	r.found = r.all.Report()
	if r.last < 1 {
		for i := range r.found.Kinds {
			r.found.Kinds[i].Whole = r.all.Last(r.found.Kinds[i].Kind, r.last)
		}
	}
}

// kind is what the table is about: the next click, where there are tests of it.
func (r *StreamReport) kind() evaluate.Kind {
	for _, k := range r.found.Kinds {
		if k.Kind == evaluate.NextClick && k.Whole.Tests > 0 {
			return evaluate.NextClick
		}
	}
	return evaluate.NextPart
}

// kindNamed returns what was found of a kind.
func (r *StreamReport) kindNamed(k evaluate.Kind) evaluate.KindReport {
	for _, of := range r.found.Kinds {
		if of.Kind == k {
			return of
		}
	}
	return evaluate.KindReport{Kind: k}
}

// Rule says how the numbers came about.
func (r *StreamReport) Rule() string {
	return evaluate.Rule + "; each arm goes through the stream on its own; a test that an arm could not be asked, because it knew nothing of the user or of the items yet, is a miss of it; " +
		"baselines and the facts of items are those of the first arm" + r.lastRule()
}

func (r *StreamReport) lastRule() string {
	if r.last >= 1 {
		return ""
	}
	return fmt.Sprintf("; figures are of the last %.0f %% of the tests", 100*r.last)
}

// kinds that are compared between arms.
var togetherKinds = []evaluate.Kind{evaluate.NextClick, evaluate.NextPart}

// Comparisons are the differences of the arms' models to the first one's, and of that to the best baseline of each metric.
func (r *StreamReport) Comparisons() (all []Difference) {
	if r.all == nil {
		return nil
	}
	k, first := r.kind(), r.Arms[0].Arm.Name
	whole := r.kindNamed(k).Whole
	for _, metric := range []string{"recall_at_20", "mrr_at_20"} {
		than := func(a, b string) {
			if c, ok := r.all.Compare(k, r.last, a, b, metric); ok {
				all = append(all, Difference{a, b, metric, c.Blocks, c.Difference, c.Low, c.High, c.P})
			}
		}
		for _, a := range r.Arms[1:] {
			than(a.Arm.Name, first)
		}
		than(blendName(first), first)
		if best := bestBaseline(whole, metric); best != "" {
			than(best, first)
		}
	}
	return all
}

// bestBaseline is the name of the one that is highest in a metric, or "".
func bestBaseline(of evaluate.Group, metric string) (best string) {
	highest := -1.
	for _, b := range baselineNames() {
		if s, ok := of.Arm(baselineName(b)); ok && value(s, metric) > highest {
			best, highest = baselineName(b), value(s, metric)
		}
	}
	return best
}

// value is a metric of scores by its name.
func value(s evaluate.Scores, metric string) float64 {
	for i, name := range cutNames {
		if name == metric {
			return scoresOf(s)[i]
		}
	}
	panic("replay: there is no metric " + metric)
}

// scoresOf returns scores in the order of cutNames.
func scoresOf(s evaluate.Scores) []float64 {
	return []float64{s.Recall1, s.Recall5, s.Recall20, s.Recall100, s.MRR1, s.MRR5, s.MRR20, s.MRR100, s.NDCG1, s.NDCG5, s.NDCG20, s.NDCG100}
}

// named returns scores under their names.
func named(s evaluate.Scores) map[string]float64 {
	m := map[string]float64{}
	for i, v := range scoresOf(s) {
		m[cutNames[i]] = v
	}
	return m
}

// Table writes the report for a person.
func (r *StreamReport) Table() string {
	var b strings.Builder
	for _, k := range togetherKinds {
		of := r.kindNamed(k)
		if of.Whole.Tests == 0 {
			continue
		}
		rows := [][]string{{strings.ReplaceAll(k.String(), "_", " "), "recall@1", "recall@5", "recall@20", "recall@100", "MRR@20", "NDCG@20", "last third", "MRR@20"}}
		for _, name := range r.names {
			s, ok := of.Whole.Arm(name)
			t, _ := of.Third.Arm(name)
			if !ok {
				continue
			}
			cells := []string{name}
			for _, v := range []float64{s.Recall1, s.Recall5, s.Recall20, s.Recall100, s.MRR20, s.NDCG20, t.Recall20, t.MRR20} {
				cells = append(cells, fmt.Sprintf("%.4f", v))
			}
			rows = append(rows, cells)
		}
		fmt.Fprintf(&b, "%s%s\n", aligned(rows), wrapped(fmt.Sprintf("%d tests, %d of an item that nobody had clicked yet.", of.Whole.Tests, of.Whole.Unseen)))
	}
	b.WriteString(r.sessionTable())
	rows := [][]string{{"arm", "clicks", "items", "steps", "tokens", "GFLOP", "CPU s", "seconds", "clicks/s"}}
	var notes []string
	for i := range r.Arms {
		a := &r.Arms[i]
		rows = append(rows, []string{a.Arm.Name, strconv.FormatInt(a.Clicks, 10), strconv.Itoa(a.Items), strconv.FormatInt(a.Steps, 10), strconv.FormatInt(a.Tokens, 10),
			fmt.Sprintf("%.1f", a.Flops/1e9), fmt.Sprintf("%.1f", a.CPU.Seconds()), fmt.Sprintf("%.1f", a.Took.Seconds()), fmt.Sprintf("%.0f", float64(a.Clicks)/max(a.Took.Seconds(), 1e-9))})
		if a.Skipped > 0 {
			notes = append(notes, fmt.Sprintf("Arm %s: %d steps had numbers that were not finite, and moved nothing.", a.Arm.Name, a.Skipped))
		}
	}
	b.WriteString(aligned(rows) + "\n" + wrapped("Rule: "+r.Rule()+"."))
	for _, d := range r.Comparisons() {
		b.WriteString(wrapped(d.String()))
	}
	for _, n := range notes {
		b.WriteString(wrapped(n))
	}
	return b.String()
}

// sessionTable is of the tests of whole sessions. Each arm has its own: lists are made at a session's first click, of users that it knows.
func (r *StreamReport) sessionTable() string {
	rows := [][]string{{"next session", "recall@1", "recall@5", "recall@20", "recall@100", "MRR@20", "NDCG@20", "sessions"}}
	add := func(name string, of evaluate.Group, arm int) {
		s, ok := of.Arm(learn.ArmNames[arm])
		if !ok || of.Tests == 0 {
			return
		}
		cells := []string{name}
		for _, v := range []float64{s.Recall1, s.Recall5, s.Recall20, s.Recall100, s.MRR20, s.NDCG20} {
			cells = append(cells, fmt.Sprintf("%.4f", v))
		}
		rows = append(rows, append(cells, strconv.FormatInt(of.Tests, 10)))
	}
	for i := range r.Arms {
		a := &r.Arms[i]
		add(a.Arm.Name, a.Sessions, learn.ArmModel)
		if i > 0 {
			continue
		}
		add(blendName(a.Arm.Name), a.Sessions, learn.ArmBlend)
		for _, arm := range keptFirst[2:] {
			add(baselineName(learn.ArmNames[arm]), a.Sessions, arm)
		}
	}
	if len(rows) == 1 {
		return ""
	}
	return aligned(rows) + "\n"
}

// MarshalJSON writes the report for a program.
func (r *StreamReport) MarshalJSON() ([]byte, error) {
	type scores struct {
		Tests     int64              `json:"tests"`
		Metrics   map[string]float64 `json:"metrics"`
		LastThird map[string]float64 `json:"last_third,omitempty"`
	}
	type arm struct {
		Name            string             `json:"name"`
		Metrics         map[string]float64 `json:"metrics"`
		Kinds           map[string]scores  `json:"kinds,omitempty"`
		Seconds         float64            `json:"seconds"`
		CPUSeconds      float64            `json:"cpu_seconds"`
		TokensPerSecond float64            `json:"tokens_per_second"`
		Tokens          int64              `json:"tokens"`
		Flops           float64            `json:"flops"`
		Digest          string             `json:"digest"`
	}
	of := func(name string) (a arm) {
		a = arm{Name: name, Kinds: map[string]scores{}}
		for _, k := range togetherKinds {
			found := r.kindNamed(k)
			if s, ok := found.Whole.Arm(name); ok && found.Whole.Tests > 0 {
				t, _ := found.Third.Arm(name)
				a.Kinds[k.String()] = scores{found.Whole.Tests, named(s), named(t)}
				if k == r.kind() {
					a.Metrics = named(s)
				}
			}
		}
		return a
	}
	arms, others := []arm{}, []arm{}
	for i := range r.Arms {
		x := &r.Arms[i]
		a := of(x.Arm.Name)
		if s, ok := x.Sessions.Arm(learn.ArmNames[learn.ArmModel]); ok && x.Sessions.Tests > 0 {
			a.Kinds[evaluate.NextSession.String()] = scores{Tests: x.Sessions.Tests, Metrics: named(s)}
		}
		a.Seconds, a.CPUSeconds, a.Tokens, a.Flops, a.Digest = x.Took.Seconds(), x.CPU.Seconds(), x.Tokens, x.Flops, x.Digest
		a.TokensPerSecond = float64(x.Tokens) / max(a.Seconds, 1e-9)
		arms = append(arms, a)
	}
	own := map[string]bool{}
	for i := range r.Arms {
		own[r.Arms[i].Arm.Name] = true
	}
	for _, name := range r.names {
		if !own[name] {
			others = append(others, of(name))
		}
	}
	type beside struct {
		Name    string             `json:"name"`
		Metrics map[string]float64 `json:"metrics"`
		Kinds   map[string]scores  `json:"kinds,omitempty"`
	}
	list := []beside{}
	for _, o := range others {
		list = append(list, beside{o.Name, o.Metrics, o.Kinds})
	}
	return json.Marshal(struct {
		Protocol    string       `json:"protocol"`
		Kind        string       `json:"kind"`
		Clicks      int64        `json:"clicks"`
		Arms        []arm        `json:"arms"`
		Beside      []beside     `json:"beside"`
		Rule        string       `json:"rule"`
		Comparisons []Difference `json:"comparisons,omitempty"`
	}{StreamProtocol, r.kind().String(), r.Survey.Clicks, arms, list, r.Rule(), r.Comparisons()})
}

// Over is the metrics of each arm over event time as a table.
func (r *StreamReport) Over() schema.Table {
	var arm, kind []string
	var from, to, tests, unseen []int64
	metrics := make([][]float64, len(cutNames))
	for _, name := range r.names {
		for _, k := range togetherKinds {
			for _, p := range r.kindNamed(k).Over {
				s, ok := p.Arm(name)
				if !ok {
					continue
				}
				arm, kind = append(arm, name), append(kind, k.String())
				from, to = append(from, p.From.UnixMilli()), append(to, p.To.UnixMilli())
				tests, unseen = append(tests, p.Tests), append(unseen, p.Unseen)
				for i, v := range scoresOf(s) {
					metrics[i] = append(metrics[i], v)
				}
			}
		}
	}
	t := schema.Table{Columns: []schema.Column{{Name: "arm", Data: arm}, {Name: "kind", Data: kind}, {Name: "from", Data: from}, {Name: "to", Data: to},
		{Name: "tests", Data: tests}, {Name: "unseen", Data: unseen}}}
	for i, name := range cutNames {
		t.Columns = append(t.Columns, schema.Column{Name: name, Data: metrics[i]})
	}
	return t
}
