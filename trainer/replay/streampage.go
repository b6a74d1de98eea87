package replay

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/trainer/evaluate"
	"github.com/freshet-ml/freshet/trainer/replay/page"
)

// Page is the report to be looked at.
func (r *StreamReport) Page(about About) *page.Page {
	kind := r.kindNamed(r.kind())
	arms := make([]sketch, len(r.Arms))
	colours := map[string]int{}
	best := 0
	for i := range r.Arms {
		a := &r.Arms[i]
		s, _ := kind.Whole.Arm(a.Arm.Name)
		arms[i] = sketch{a.Arm.Name, a.Arm.Settings(), s.Recall20, s.MRR20, a.Tokens, a.CPU.Seconds(), a.Digest}
		colours[a.Arm.Name] = colourOf(i)
		if arms[i].recall > arms[best].recall {
			best = i
		}
	}
	for i, name := range r.rest() {
		colours[name] = len(arms) + i
	}
	days := time.Duration(r.Survey.Last-r.Survey.First) * time.Millisecond
	p := &page.Page{
		Title:    "What recency is worth",
		Subtitle: fmt.Sprintf("Every %s is asked for before it is learned, in the order of the stream. %s.", strings.TrimPrefix(strings.ReplaceAll(r.kind().String(), "_", " "), "next "), about.Input),
		Figures: []page.Figure{
			{Value: percent(arms[best].recall), Label: "recall@20, " + strings.ReplaceAll(r.kind().String(), "_", " "), Note: "best arm: " + arms[best].name},
			{Value: percent(arms[best].mrr), Label: "MRR@20", Note: "of the same arm"},
			{Value: page.Count(float64(kind.Whole.Tests), 0), Label: "tests of each arm", Note: fmt.Sprintf("%s of an item that nobody had clicked yet", percent(share(kind.Whole.Unseen, kind.Whole.Targets)))},
			{Value: page.Count(float64(r.Survey.Clicks), 0), Label: "clicks", Note: "over " + hours(days)},
		},
		Foot: "Written by freshet " + about.Version + ".",
	}
	p.Sections = append(p.Sections, r.resultSection(), r.timeSection(arms))
	if s, ok := r.freshnessSection(); ok {
		p.Sections = append(p.Sections, s)
	}
	cost := costSection(arms)
	cost.Text = []string{"Up and to the left is better. Tokens are what the network read in training, histories and contexts included; seconds are processor time of the whole arm, with its tests, its tables and the reading of the log."}
	p.Sections = append(p.Sections, cost, r.sliceSection(arms))
	if all := r.Comparisons(); len(all) > 0 {
		p.Sections = append(p.Sections, reliabilitySection(all, colours,
			"The same tests, arm by arm. Neighbouring tests are alike, so the stream is cut into blocks of consecutive ones whose mean differences go into a paired t-test (batch means); * is p < 0.05, not corrected for the number of comparisons."))
	}
	p.Sections = append(p.Sections, howSection(r.Rule()+".", arms, about))
	return p
}

func share(a, b int64) float64 { return float64(a) / float64(max(b, 1)) }

// hours writes a long time.
func hours(d time.Duration) string {
	switch {
	case d > 72*time.Hour:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	case d > 2*time.Hour:
		return fmt.Sprintf("%.1f hours", d.Hours())
	}
	return fmt.Sprintf("%.1f minutes", d.Minutes())
}

// rest is what is judged beside the arms' models.
func (r *StreamReport) rest() (names []string) {
	for _, name := range r.names {
		if !slices.ContainsFunc(r.Arms, func(a StreamArmReport) bool { return a.Arm.Name == name }) {
			names = append(names, name)
		}
	}
	return names
}

func (r *StreamReport) resultSection() page.Section {
	s := page.Section{Title: "Results"}
	for _, k := range togetherKinds {
		of := r.kindNamed(k)
		if of.Whole.Tests == 0 {
			continue
		}
		t := page.Table{Caption: fmt.Sprintf("%s: %s tests. Bold: best of its column.", strings.ReplaceAll(k.String(), "_", " "), page.Count(float64(of.Whole.Tests), 0)),
			Head: []string{"", "recall@1", "recall@5", "recall@20", "recall@100", "MRR@20", "NDCG@20", "recall@20, last third", "MRR@20, last third"}}
		var rows [][]float64
		for _, name := range r.names {
			w, ok := of.Whole.Arm(name)
			third, _ := of.Third.Arm(name)
			if !ok {
				continue
			}
			v := []float64{w.Recall1, w.Recall5, w.Recall20, w.Recall100, w.MRR20, w.NDCG20, third.Recall20, third.MRR20}
			rows = append(rows, v)
			cells := []string{name}
			for _, x := range v {
				cells = append(cells, percent(x))
			}
			t.Rows = append(t.Rows, cells)
			t.Arms = append(t.Arms, slices.IndexFunc(r.Arms, func(a StreamArmReport) bool { return a.Arm.Name == name }))
		}
		for _, v := range rows {
			var strong []int
			for c, x := range v {
				if !slices.ContainsFunc(rows, func(o []float64) bool { return o[c] > x }) {
					strong = append(strong, c+1)
				}
			}
			t.Strong = append(t.Strong, strong)
		}
		if k != r.kind() {
			s.Blocks = append(s.Blocks, page.Fold{Title: "The same by " + strings.ReplaceAll(k.String(), "_", " "), Blocks: []page.Block{t}})
			continue
		}
		s.Blocks = append(s.Blocks, t)
	}
	return s
}

// withBest names the arms and the baseline that is highest in recall@20 of a group.
func withBest(arms []sketch, of evaluate.Group) (names []string) {
	for _, a := range arms {
		names = append(names, a.name)
	}
	if best := bestBaseline(of, "recall_at_20"); best != "" {
		names = append(names, best)
	}
	return names
}

// timeSection draws the arms' models and the best baseline over event time.
func (r *StreamReport) timeSection(arms []sketch) page.Section {
	kind := r.kindNamed(r.kind())
	names := withBest(arms, kind.Whole)
	line := func(metric func(evaluate.Scores) float64) (series []page.Series) {
		for i, name := range names {
			s := page.Series{Name: name, Arm: colourOf(i)}
			for _, p := range kind.Over {
				if v, ok := p.Arm(name); ok && p.Tests >= minPointTests {
					s.X, s.Y = append(s.X, float64(p.From.UnixMilli()+p.To.UnixMilli())/2), append(s.Y, metric(v))
				}
			}
			series = append(series, s)
		}
		return series
	}
	x := page.Axis{Label: "event time, UTC", Kind: page.Time}
	return page.Section{Title: "Quality over time", Text: []string{fmt.Sprintf("By periods of event time; those with fewer than %d tests are left out. In brackets: the best single baseline.", minPointTests)}, Blocks: []page.Block{
		page.Lines{Title: "recall@20", X: x, Y: page.Axis{Percent: true}, Series: line(func(s evaluate.Scores) float64 { return s.Recall20 })},
		page.Lines{Title: "MRR@20", X: x, Y: page.Axis{Percent: true}, Series: line(func(s evaluate.Scores) float64 { return s.MRR20 })},
	}}
}

// minPointTests is what a point of a curve needs to say something: a share of fifty tests is within some 14 points.
const minPointTests = 50

// freshnessSection draws what lateness costs, where arms have some. Arms are of one curve that are late in the same way and else the same.
func (r *StreamReport) freshnessSection() (page.Section, bool) {
	kind := r.kindNamed(r.kind())
	type curve struct {
		name   string
		x      []float64
		recall []float64
		mrr    []float64
	}
	all := []curve{{name: "everything late"}, {name: "weights late, tables live"}}
	fresh := -1
	for i := range r.Arms {
		if o := r.Arms[i].Arm.Online; o.late() == 0 && o.FreezeAfter == 0 && fresh < 0 {
			fresh = i
		}
	}
	if fresh < 0 {
		return page.Section{}, false
	}
	base, _ := kind.Third.Arm(r.Arms[fresh].Arm.Name)
	late := false
	rows := [][]string{}
	for c := range all {
		all[c].x, all[c].recall, all[c].mrr = []float64{0}, []float64{1}, []float64{1}
		for i := range r.Arms {
			o := r.Arms[i].Arm.Online
			d := []time.Duration{o.Delay, o.WeightsDelay}[c]
			if d == 0 {
				continue
			}
			late = true
			s, _ := kind.Third.Arm(r.Arms[i].Arm.Name)
			all[c].x = append(all[c].x, d.Seconds())
			all[c].recall, all[c].mrr = append(all[c].recall, s.Recall20/base.Recall20), append(all[c].mrr, s.MRR20/base.MRR20)
			rows = append(rows, []string{r.Arms[i].Arm.Name, page.Duration(d), all[c].name, percent(s.Recall20), percent(s.Recall20/base.Recall20 - 1), percent(s.MRR20), percent(s.MRR20/base.MRR20 - 1)})
		}
	}
	if !late || base.Recall20 == 0 {
		return page.Section{}, false
	}
	series := func(of func(c curve) []float64) (out []page.Series) {
		for i, c := range all {
			if len(c.x) < 2 {
				continue
			}
			order := make([]int, len(c.x))
			for k := range order {
				order[k] = k
			}
			slices.SortStableFunc(order, func(a, b int) int { return int(math.Copysign(1, c.x[a]-c.x[b])) })
			s := page.Series{Name: c.name, Arm: colourOf(i)}
			for _, k := range order {
				s.X, s.Y = append(s.X, c.x[k]), append(s.Y, of(c)[k])
			}
			out = append(out, s)
		}
		return out
	}
	x := page.Axis{Label: "how much later updates arrive (linear to 10 s, then logarithmic)", Kind: page.Delay}
	return page.Section{Title: "Freshness against quality",
		Text: []string{fmt.Sprintf("The last third of the tests, when the latest arm has begun, relative to %s, which learns at once: recall@20 %s, MRR@20 %s.", r.Arms[fresh].Arm.Name, percent(base.Recall20), percent(base.MRR20))},
		Blocks: []page.Block{
			page.Lines{Title: "recall@20 that is left", X: x, Y: page.Axis{Percent: true}, Series: series(func(c curve) []float64 { return c.recall }), Markers: true, Height: 360},
			page.Lines{Title: "MRR@20 that is left", X: x, Y: page.Axis{Percent: true}, Series: series(func(c curve) []float64 { return c.mrr }), Markers: true, Height: 300},
			page.Table{Head: []string{"arm", "later by", "what is late", "recall@20", "change", "MRR@20", "change"}, Rows: rows, Left: []int{2}},
		}}, true
}

// sliceTitles are the facts that are shown, in their order.
var sliceTitles = [][2]string{{"clicks", "By clicks of the item before"}, {"age", "By age of the item"}, {"place", "By place in the session"}, {"repeat", "By whether the user had clicked it"}, {"action", "By action"}, {"scene", "By scene"}}

func (r *StreamReport) sliceSection(arms []sketch) page.Section {
	kind := r.kindNamed(r.kind())
	names := withBest(arms, kind.Whole)
	var grid page.Grid
	for _, by := range sliceTitles {
		d := page.Dots{Title: by[1], X: page.Axis{Label: "recall@20", Percent: true}}
		for i, name := range names {
			d.Arms = append(d.Arms, page.Series{Name: name, Arm: colourOf(i)})
		}
		for _, s := range kind.Slices {
			if s.By != by[0] {
				continue
			}
			g := page.Group{Name: s.Class, Side: page.Count(float64(s.Tests), 0)}
			if s.Class == "" {
				g.Name = "none"
			}
			for _, name := range names {
				v := math.NaN()
				if x, ok := s.Arm(name); ok {
					v = x.Recall20
				}
				g.Values = append(g.Values, v)
			}
			d.Groups = append(d.Groups, g)
		}
		d.Groups = slices.DeleteFunc(d.Groups, func(g page.Group) bool {
			return !slices.ContainsFunc(g.Values, func(v float64) bool { return !math.IsNaN(v) })
		})
		if len(d.Groups) > 1 {
			grid = append(grid, d)
		}
	}
	return page.Section{Title: "Where the arms differ", Text: []string{"How many tests, or targets, a row has stands at its right."}, Blocks: []page.Block{grid}}
}
