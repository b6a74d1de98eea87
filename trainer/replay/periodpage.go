package replay

import (
	"fmt"
	"math"
	"strconv"

	"github.com/freshet-ml/freshet/trainer/replay/page"
)

// Page is the report to be looked at.
func (r *PeriodReport) Page(about About) *page.Page {
	arms := make([]sketch, len(r.Arms))
	colours := map[string]int{}
	best := 0
	for i := range r.Arms {
		a := &r.Arms[i]
		arms[i] = sketch{a.Arm.Name, a.Arm.Settings(), a.Mean.Recall20(), a.Mean.MRR20(), a.Tokens, a.Took.Seconds(), a.Digest}
		if a.Arm.Cycles.Live {
			arms[i].name += " (live)"
		}
		colours[a.Arm.Name] = colourOf(i)
		if arms[i].recall > arms[best].recall {
			best = i
		}
	}
	tests := 0
	for _, c := range r.Arms[0].Cycles {
		tests += c.Tests
	}
	p := &page.Page{
		Title:    "Brought up to date, period by period",
		Subtitle: fmt.Sprintf("Protocol of ADER: %d cycles of training up to a period and testing on the next. %s.", r.Cycles, about.Input),
		Figures: []page.Figure{
			{Value: percent(arms[best].recall), Label: "recall@20", Note: "best arm: " + arms[best].name},
			{Value: percent(arms[best].mrr), Label: "MRR@20", Note: "of the same arm"},
			{Value: page.Count(float64(tests), 0), Label: "tests of each arm", Note: fmt.Sprintf("in %d cycles", len(r.Arms[0].Cycles))},
			{Value: page.Count(float64(r.Sessions), 0), Label: "sessions", Note: fmt.Sprintf("%s events, %s items", page.Count(float64(r.Events), 0), page.Count(float64(r.Items), 0))},
		},
		Foot: "Written by freshet " + about.Version + ".",
	}
	p.Sections = append(p.Sections, r.resultSection(arms), r.cycleSection(arms), costSection(arms), r.sliceSection(arms))
	if all := r.Comparisons(); len(all) > 0 {
		p.Sections = append(p.Sections, reliabilitySection(all, colours,
			"Each arm against the first, cycle by cycle: what makes a day hard is hard for both. A paired t-test of the cycles' means; * is p < 0.05, not corrected for the number of comparisons."))
	}
	p.Sections = append(p.Sections, howSection(r.Rule(), arms, about))
	return p
}

func (r *PeriodReport) resultSection(arms []sketch) page.Section {
	t := page.Table{Caption: "Means over cycles. Bold: best of its column, popularity aside.", Head: []string{"arm", "recall@1", "recall@5", "recall@20", "recall@100", "MRR@20", "NDCG@20"}}
	row := func(name string, m CutMetrics) {
		cells := []string{name}
		for _, v := range shown(m) {
			cells = append(cells, percent(v))
		}
		t.Rows = append(t.Rows, cells)
	}
	best := make([]float64, 6)
	for i := range r.Arms {
		row(arms[i].name, r.Arms[i].Mean)
		t.Arms = append(t.Arms, colourOf(i))
		for k, v := range shown(r.Arms[i].Mean) {
			best[k] = max(best[k], v)
		}
	}
	for i := range r.Arms {
		var strong []int
		for k, v := range shown(r.Arms[i].Mean) {
			if v == best[k] {
				strong = append(strong, k+1)
			}
		}
		t.Strong = append(t.Strong, strong)
	}
	row("popularity of the period before", r.Popularity)
	t.Arms = append(t.Arms, -1)
	return page.Section{Title: "Results", Blocks: []page.Block{t}}
}

func shown(m CutMetrics) []float64 {
	return append(append([]float64{}, m.Recall[:]...), m.MRR[2], m.NDCG[2])
}

func (r *PeriodReport) cycleSection(arms []sketch) page.Section {
	var recall, mrr []page.Series
	for i := range r.Arms {
		s, m := page.Series{Name: arms[i].name, Arm: colourOf(i)}, page.Series{Name: arms[i].name, Arm: colourOf(i)}
		for _, c := range r.Arms[i].Cycles {
			s.X, s.Y = append(s.X, float64(c.Period)), append(s.Y, c.Metrics.Recall20())
			m.X, m.Y = append(m.X, float64(c.Period)), append(m.Y, c.Metrics.MRR20())
		}
		recall, mrr = append(recall, s), append(mrr, m)
	}
	x := page.Axis{Label: "period that was tested"}
	return page.Section{Title: "Quality over the periods", Blocks: []page.Block{
		page.Lines{Title: "recall@20", X: x, Y: page.Axis{Percent: true}, Series: recall, Markers: true},
		page.Lines{Title: "MRR@20", X: x, Y: page.Axis{Percent: true}, Series: mrr, Markers: true},
	}}
}

func (r *PeriodReport) sliceSection(arms []sketch) page.Section {
	dots := func(title string, names []string, of func(s *periodSlices) *[5]cutTally) page.Dots {
		d := page.Dots{Title: title, X: page.Axis{Label: "recall@20", Percent: true}}
		for i := range r.Arms {
			d.Arms = append(d.Arms, page.Series{Name: arms[i].name, Arm: colourOf(i)})
		}
		for k, name := range names {
			g := page.Group{Name: name}
			for i := range r.Arms {
				t := &of(&r.Arms[i].slices)[k]
				v := math.NaN()
				if t.n > 0 {
					v = t.metrics().Recall20()
				}
				g.Values = append(g.Values, v)
				if i == 0 {
					g.Side = page.Count(float64(t.n), 0)
				}
			}
			if g.Side != "0" {
				d.Groups = append(d.Groups, g)
			}
		}
		return d
	}
	return page.Section{Title: "Where the arms differ", Text: []string{"Over the tests of all cycles; how many of them a row has stands at its right."}, Blocks: []page.Block{page.Grid{
		dots("By place in the session", classes(placeEdges, 2, "click"), func(s *periodSlices) *[5]cutTally { return &s.place }),
		dots("By clicks of the item in the periods before", classes(countEdges, 1, ""), func(s *periodSlices) *[5]cutTally { return &s.count }),
	}}}
}

// classes names what edges cut.
func classes(edges []int, from int, unit string) (names []string) {
	if unit != "" {
		unit += " "
	}
	for _, e := range edges {
		if from == e {
			names = append(names, unit+strconv.Itoa(e))
		} else {
			names = append(names, fmt.Sprintf("%s%d–%d", unit, from, e))
		}
		from = e + 1
	}
	return append(names, fmt.Sprintf("%s%d and more", unit, from))
}
