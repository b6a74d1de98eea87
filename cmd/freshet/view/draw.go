package view

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

// History is what the sparklines are drawn from: the figures of the statuses so far, the newest last.
type History struct {
	Rate   []Number
	Recall []Number
}

const historyMax = 240 // wider than a sparkline gets

// Add takes the figures of s.
func (h *History) Add(s Status) {
	h.Rate = last(append(h.Rate, s.ClicksPerSecond), historyMax)
	h.Recall = last(append(h.Recall, s.Recall20.Model), historyMax)
}

func last(xs []Number, n int) []Number {
	if len(xs) > n {
		return append(xs[:0], xs[len(xs)-n:]...)
	}
	return xs
}

// palette dresses text; the zero value leaves it plain.
type palette struct{ title, dim, good, warn func(string) string }

func plain(s string) string { return s }

var (
	plainPalette  = palette{plain, plain, plain, plain}
	colourPalette = palette{
		title: dress(lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Color("12"))),
		dim:   dress(lipgloss.NewStyle().Faint(true)),
		good:  dress(lipgloss.NewStyle().Foreground(lipgloss.Color("10"))),
		warn:  dress(lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Color("11"))),
	}
)

func dress(s lipgloss.Style) func(string) string {
	return func(text string) string { return s.Render(text) }
}

// frame is one picture under construction.
type frame struct {
	palette
	width int
	lines []ranked
	rank  int // of the lines that follow
}

// ranked is a line and how soon a low terminal leaves it out: the highest rank goes first, 0 goes last.
type ranked struct {
	text string
	rank int
}

const (
	rankKey    = iota // what the picture is for
	rankDetail        // what one asks next
	rankAside         // what can be read elsewhere
	rankBlank
)

// minWidth is the narrowest picture; a narrower terminal cuts it off at the right.
const minWidth = 40

// draw makes the picture of s, at most width columns and height lines. hint stands at the top right.
func draw(s Status, h *History, width, height int, p palette, hint string) string {
	f := frame{palette: p, width: max(width, minWidth)}
	f.header(s, hint)
	f.line("")
	f.stream(s, h)
	f.line("")
	f.recall(s, h)
	f.line("")
	f.replicas(s)
	if s.Total > 0 {
		f.line("")
		f.progress(s)
	}
	lines := f.fit(height)
	for i, l := range lines {
		lines[i] = cut(l, width)
	}
	return strings.Join(lines, "\n")
}

// fit returns the lines for a terminal of that height, the lowest ranks first where there is no room for all.
func (f *frame) fit(height int) []string {
	spare := len(f.lines) - height
	if height <= 0 {
		spare = 0
	}
	keep := make([]bool, len(f.lines))
	for i := range keep {
		keep[i] = true
	}
	for rank := rankBlank; rank >= rankKey; rank-- {
		for i := len(f.lines) - 1; i >= 0 && spare > 0; i-- {
			if f.lines[i].rank == rank {
				keep[i] = false
				spare--
			}
		}
	}
	var out []string
	for i, l := range f.lines {
		if keep[i] {
			out = append(out, l.text)
		}
	}
	return out
}

// cut shortens a line to width columns, counting what is seen and keeping escape sequences whole.
func cut(l string, width int) string {
	if width <= 0 || lipgloss.Width(l) <= width {
		return l
	}
	return lipgloss.NewStyle().MaxWidth(width).Inline(true).Render(l)
}

func (f *frame) line(format string, args ...any) {
	text, rank := strings.TrimRight(fmt.Sprintf(format, args...), " "), f.rank
	if text == "" {
		rank = rankBlank
	}
	f.lines = append(f.lines, ranked{text, rank})
}

// sides puts left and right at the two ends of a line; right goes where there is no room for both.
func (f *frame) sides(left, right string) {
	gap := f.width - lipgloss.Width(left) - lipgloss.Width(right) - 1
	if gap < 1 {
		f.line("%s", left)
		return
	}
	f.line("%s%s%s", left, strings.Repeat(" ", gap), right)
}

func (f *frame) header(s Status, hint string) {
	stage := string(s.Stage)
	if s.Stage == StageStopping {
		stage = f.warn(stage)
	}
	f.rank = rankKey
	f.sides(fmt.Sprintf(" %s  %s  %s", f.title("freshet"), stage, f.dim(span(time.Duration(s.UptimeSeconds*float64(time.Second))))), f.dim(hint))
	f.rank = rankAside
	var places []string
	for _, p := range []string{s.API, named("kafka", s.Kafka), named("nats", strings.TrimPrefix(s.NATS, "nats://")), s.Backend} {
		if p != "" {
			places = append(places, p)
		}
	}
	row := ""
	for _, p := range places {
		if row != "" && lipgloss.Width(row)+3+len(p) >= f.width {
			f.line(" %s", f.dim(row))
			row = ""
		}
		if row != "" {
			row += "   "
		}
		row += p
	}
	if row != "" {
		f.line(" %s", f.dim(row))
	}
}

func named(name, place string) string {
	if place == "" {
		return ""
	}
	return name + " " + place
}

// Labels take 14 columns and figures 10, so that all rows of a picture stand below one another.
const rowFormat = " %-14s %10s"

func (f *frame) spark(left string, xs []Number) {
	room := f.width - lipgloss.Width(left) - 4
	if room > 60 {
		room = 60
	}
	if room < 8 {
		f.line("%s", left)
		return
	}
	f.line("%s  %s", left, f.good(sparkline(xs, room)))
}

func (f *frame) stream(s Status, h *History) {
	f.rank = rankKey
	f.spark(fmt.Sprintf(rowFormat+"  %8s/s", "clicks", count(s.Clicks), rate(s.ClicksPerSecond)), h.Rate)
	f.rank = rankDetail
	f.line(rowFormat+"  %s", "open sessions", count(s.OpenSessions),
		f.dim(fmt.Sprintf("watermark %s behind, Kafka lag %s", seconds(s.WatermarkLagSeconds), count(s.KafkaLag))))
	f.line(rowFormat+"  %s", "trained", count(s.Trained),
		f.dim(fmt.Sprintf("in %s steps, %s parts emitted, %s pending", count(int64(s.Steps)), count(s.Parts), count(s.Pending))))
	for _, n := range s.Training.notes() {
		dress := f.dim
		if f.rank = rankAside; n.warn {
			f.rank, dress = rankDetail, f.warn
		}
		f.line(rowFormat+"  %s", n.name, n.figure, dress(n.text))
	}
	f.rank = rankDetail
	f.line(rowFormat+"  %s", "aside", count(s.Aside.Total()), f.dim(reasons(s.Aside)))
	f.rank = rankKey
	f.line(rowFormat+"  %s", "freshness p50", seconds(s.Freshness.P50), "p99 "+seconds(s.Freshness.P99)+
		f.dim("   from arrival to a served model"))
}

func (f *frame) recall(s Status, h *History) {
	f.rank = rankDetail
	f.line(" %s", f.dim(fmt.Sprintf("%-14s %10s  %8s", "", "recall@20", "mrr@20")))
	f.rank = rankKey
	row := func(name string, recall, mrr Number) string {
		return fmt.Sprintf(rowFormat+"  %8s", name, score(recall), score(mrr))
	}
	f.spark(row("model", s.Recall20.Model, s.MRR20.Model)+"  ", h.Recall)
	f.rank = rankDetail
	f.line("%s", row("item-to-item", s.Recall20.ItemToItem, s.MRR20.ItemToItem))
	f.line("%s", row("popularity", s.Recall20.Popularity, s.MRR20.Popularity))
	if s.Recall20.Best != nil {
		best := None
		if s.MRR20.Best != nil {
			best = *s.MRR20.Best
		}
		f.line("%s  %s", row("best reachable", *s.Recall20.Best, best), f.dim("  known because the clicks are simulated"))
	}
	f.rank = rankAside
	f.line(" %s", f.dim(fmt.Sprintf("%-14s %10s  parts scored, each before it is trained on", "", count(s.Scored))))
}

func (f *frame) replicas(s Status) {
	f.rank = rankDetail
	f.line(rowFormat+"  %s", "versions", count(s.Versions), f.dim("published"))
	replicas := slices.SortedFunc(slices.Values(s.Replicas), func(a, b Replica) int { return strings.Compare(a.ID, b.ID) })
	for i, r := range replicas {
		if i == 8 && len(replicas) > 9 {
			f.line(" %s", f.dim(fmt.Sprintf("and %d more", len(replicas)-8)))
			return
		}
		state := fmt.Sprintf("version %d, %s old", r.Version, seconds(r.AgeSeconds))
		if r.Version == 0 {
			state = "waits for its first model"
		}
		if r.Problem != "" {
			state += "  " + f.warn(r.Problem)
		}
		f.line(" %-26s %s", cut(r.ID, 26), state)
	}
}

func (f *frame) progress(s Status) {
	f.rank = rankKey
	text := fmt.Sprintf(" %3.0f %%   %s of %s", 100*float64(min(s.Done, s.Total))/float64(s.Total), count(s.Done), count(s.Total))
	if left := eta(s.Done, s.Total, time.Duration(s.UptimeSeconds*float64(time.Second))); left != "" {
		text += "   " + left + " left"
	}
	width := min(60, f.width-lipgloss.Width(text)-2)
	if width < 5 {
		f.line("%s", text)
		return
	}
	f.line(" %s%s", f.good(bar(s.Done, s.Total, width)), text)
}
