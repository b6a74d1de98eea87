package replay

import (
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/trainer/replay/page"
)

// About is what a report says of the run that made it.
type About struct {
	Command string    // as it was typed
	Input   string    // what was read
	Machine string    // processor, cores, matrix products
	Version string    // of the program
	At      time.Time // of the end
	Took    time.Duration
}

// sketch is what the pages of all protocols show of an arm.
type sketch struct {
	name, settings string
	recall, mrr    float64 // at 20
	tokens         int64   // read in training
	seconds        float64
	digest         string
}

// colourOf gives arms their colours, in their order.
func colourOf(i int) int { return i }

// percent writes a share with two decimals.
func percent(x float64) string { return fmt.Sprintf("%.2f %%", 100*x) }

// seconds writes a time as it is read.
func seconds(s float64) string {
	switch {
	case s < 100:
		return fmt.Sprintf("%.1f s", s)
	case s < 6000:
		return fmt.Sprintf("%.1f min", s/60)
	}
	return fmt.Sprintf("%.1f h", s/3600)
}

// costSection shows what each arm took beside how good it is.
func costSection(arms []sketch) page.Section {
	var recall, mrr []page.Point
	rows := [][]string{}
	var colours []int
	first := arms[0]
	for i, a := range arms {
		recall = append(recall, page.Point{Name: a.name, Arm: colourOf(i), X: a.seconds, Y: a.recall})
		mrr = append(mrr, page.Point{Name: a.name, Arm: colourOf(i), X: a.seconds, Y: a.mrr})
		speed := "–"
		if a.seconds > 0 {
			speed = page.Count(float64(a.tokens)/a.seconds, 0)
		}
		rows = append(rows, []string{a.name, page.Count(float64(a.tokens), 0), seconds(a.seconds), speed, ratio(float64(a.tokens), float64(first.tokens)), ratio(a.seconds, first.seconds), percent(a.recall), percent(a.mrr)})
		colours = append(colours, colourOf(i))
	}
	axis := page.Axis{Label: "seconds (logarithmic)", Kind: page.Log}
	return page.Section{Title: "Cost against quality", Text: []string{"Up and to the left is better. Tokens are events read in training, those of histories too; seconds are of training alone, without tests."},
		Blocks: []page.Block{
			page.Grid{page.Points{Title: "recall@20", X: axis, Y: page.Axis{Percent: true}, Points: recall, Half: true},
				page.Points{Title: "MRR@20", X: axis, Y: page.Axis{Percent: true}, Points: mrr, Half: true}},
			page.Table{Head: []string{"arm", "tokens", "seconds", "tokens/s", "tokens of " + first.name, "time of " + first.name, "recall@20", "MRR@20"}, Rows: rows, Arms: colours},
		}}
}

// ratio writes a as a multiple of b.
func ratio(a, b float64) string {
	if b <= 0 {
		return "–"
	}
	return fmt.Sprintf("× %.3g", a/b)
}

// reliabilitySection shows differences with their intervals.
func reliabilitySection(all []Difference, colours map[string]int, how string) page.Section {
	s := page.Section{Title: "How sure are the differences?", Text: []string{how}}
	byMetric := map[string]*page.Intervals{}
	var order []string
	for _, d := range all {
		of, ok := byMetric[d.Metric]
		if !ok {
			name := metricTitle(d.Metric)
			of = &page.Intervals{Title: name + ": difference to " + d.Than, X: page.Axis{Label: "difference in " + name + ", percentage points; bar: 95 % confidence interval"}}
			byMetric[d.Metric] = of
			order = append(order, d.Metric)
		}
		verdict := "p " + pText(d.P)
		if d.P >= 0.0001 {
			verdict = "p = " + pText(d.P)
		}
		if d.P < 0.05 {
			verdict += " *"
		}
		of.Rows = append(of.Rows, page.Interval{Name: d.Arm, Arm: colours[d.Arm], At: 100 * d.Mean, Low: 100 * d.Low, High: 100 * d.High,
			Value: signed(100 * d.Mean), Verdict: verdict})
	}
	for _, m := range order {
		s.Blocks = append(s.Blocks, *byMetric[m])
	}
	return s
}

// signed writes a number with its sign.
func signed(x float64) string {
	if x < 0 {
		return fmt.Sprintf("−%.2f", -x)
	}
	return fmt.Sprintf("+%.2f", x)
}

// metricTitle is a metric as it is read: recall@20, MRR@20.
func metricTitle(name string) string { return metricNamer.Replace(name) }

// howSection says what made the numbers.
func howSection(rule string, arms []sketch, about About) page.Section {
	var settings, digests [][]string
	for _, a := range arms {
		settings = append(settings, []string{a.name, a.settings})
		digests = append(digests, []string{a.name, a.digest})
	}
	facts := [][]string{{"Input", about.Input}, {"Machine", about.Machine}, {"Program", about.Version}, {"Finished", about.At.UTC().Format("2 Jan 2006 15:04 MST") + ", after " + seconds(about.Took.Seconds())}}
	fold := page.Fold{Title: "Every setting of every arm"}
	for _, s := range settings {
		fold.Blocks = append(fold.Blocks, page.Code{Caption: s[0], Text: s[1]})
	}
	return page.Section{Title: "How these numbers came about", Text: []string{rule}, Blocks: []page.Block{
		page.Code{Caption: "The command", Text: about.Command},
		page.Table{Head: []string{"", ""}, Rows: facts, Left: []int{1}},
		page.Table{Caption: "The same input, arm and machine give the same weights, bit for bit: sha256 of what each arm ended with.", Head: []string{"arm", "digest"}, Rows: digests, Left: []int{1}},
		fold,
	}}
}
