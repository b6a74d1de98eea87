package page

import (
	"fmt"
	"math"
	"sort"
	"strings"
)

// Lines is series over a common x.
type Lines struct {
	Title   string
	Note    string // below
	X, Y    Axis
	Series  []Series
	Markers bool // a dot at each point
	Height  int  // 0 is 300
}

// Series is one of several lines.
type Series struct {
	Name string
	Arm  int // its colour
	X, Y []float64
	// Low and High, where they are given, are a band around Y.
	Low, High []float64
}

const (
	plotWidth  = 1000
	halfWidth  = 500 // of two beside each other
	leftMargin = 58
	topMargin  = 14
	botMargin  = 46
)

// frame is the axes of a plot.
type frame struct {
	h     float64
	x, y  scale
	right float64
}

// open begins a figure.
func (w *writer) open(title string, legend []Series) {
	w.plots++
	w.f("<figure class=\"plot\">")
	if title != "" {
		w.f("<h3>%s</h3>", esc(title))
	}
	if len(legend) > 0 {
		w.f("<div class=\"legend\">")
		for _, s := range legend {
			w.f("<span>%s%s</span>", swatch(s.Arm), esc(s.Name))
		}
		w.f("</div>")
	}
}

func (w *writer) close(note string) {
	if note != "" {
		w.f("<figcaption>%s</figcaption>", esc(note))
	}
	w.f("</figure>\n")
}

func (w *writer) svg(width, height float64, label string) {
	w.f("<svg class=\"chart\" viewBox=\"0 0 %s %s\" role=\"img\" aria-label=\"%s\">", px(width), px(height), esc(label))
}

// px writes a coordinate.
func px(x float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.1f", x), "0"), ".")
}

// axes draws the grid and both axes. yTicks are horizontal lines.
func (w *writer) axes(f *frame) {
	bottom := f.h - botMargin
	for _, t := range f.y.ticks(int(max(2, (bottom-topMargin)/44))) {
		y := f.y.at(t.at)
		w.f("<line class=\"gridline\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>", px(leftMargin), px(y), px(f.right), px(y))
		w.f("<text x=\"%s\" y=\"%s\" text-anchor=\"end\">%s</text>", px(leftMargin-8), px(y+4), esc(t.label))
	}
	last := math.Inf(-1)
	for _, t := range f.x.ticks(int((f.right - leftMargin) / 76)) {
		x := f.x.at(t.at)
		w.f("<line class=\"axis\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>", px(x), px(bottom), px(x), px(bottom+5))
		half := textWidth(t.label) / 2
		if x-half < last+6 {
			continue // its label would touch the one before
		}
		last = x + half
		w.f("<text x=\"%s\" y=\"%s\" text-anchor=\"middle\">%s</text>", px(x), px(bottom+19), esc(t.label))
	}
	w.f("<line class=\"axis\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>", px(leftMargin), px(bottom), px(f.right), px(bottom))
	w.f("<text x=\"%s\" y=\"%s\" text-anchor=\"middle\">%s</text>", px((leftMargin+f.right)/2), px(f.h-6), esc(f.x.axis.Label))
}

// textWidth estimates how wide 12 px text is.
func textWidth(s string) float64 { return 6.4 * float64(len([]rune(s))) }

// shorten cuts a name that would not fit.
func shorten(s string, runes int) string {
	if r := []rune(s); len(r) > runes {
		return string(r[:runes-1]) + "…"
	}
	return s
}

const nameRunes = 28

func (l Lines) write(w *writer) {
	w.open(withAxis(l.Title, l.Y.Label), nil)
	height := float64(l.Height)
	if height == 0 {
		height = 320
	}
	var xs, ys []float64
	longest := 0.
	for _, s := range l.Series {
		xs, ys = append(xs, s.X...), append(append(append(ys, s.Y...), s.Low...), s.High...)
		longest = max(longest, textWidth(shorten(s.Name, nameRunes)))
	}
	f := &frame{h: height, right: plotWidth - longest - 24}
	f.x = newScale(l.X, xs, leftMargin, f.right)
	f.y = newScale(l.Y, ys, height-botMargin, topMargin)
	w.svg(plotWidth, height, l.Title)
	w.axes(f)
	type end struct{ x, y, want float64 }
	var ends []end
	var named []int
	for i, s := range l.Series {
		w.band(f, s)
		path, open, lastX, lastY := strings.Builder{}, false, 0., 0.
		for j := range s.Y {
			if !finite(s.Y[j]) || !finite(s.X[j]) {
				open = false
				continue
			}
			lastX, lastY = f.x.at(s.X[j]), f.y.at(s.Y[j])
			verb := "L"
			if !open {
				verb, open = "M", true
			}
			path.WriteString(verb + px(lastX) + " " + px(lastY))
		}
		if path.Len() == 0 {
			continue
		}
		w.f("<path class=\"line %s\" d=\"%s\"/>", tone(s.Arm), path.String())
		if l.Markers {
			for j := range s.Y {
				if finite(s.Y[j]) && finite(s.X[j]) {
					w.f("<circle class=\"dot %s\" cx=\"%s\" cy=\"%s\" r=\"4.5\"/>", tone(s.Arm), px(f.x.at(s.X[j])), px(f.y.at(s.Y[j])))
				}
			}
		}
		ends, named = append(ends, end{lastX, lastY, lastY}), append(named, i)
	}
	// Names stand at the ends of their lines, moved apart where they would overlap.
	want := make([]float64, len(ends))
	for i := range ends {
		want[i] = ends[i].want
	}
	for i, y := range spread(want, 15, topMargin+4, height-botMargin) {
		s := l.Series[named[i]]
		w.f("<path class=\"lead\" d=\"M%s %sL%s %s\"/>", px(ends[i].x+4), px(ends[i].y), px(f.right+10), px(y))
		w.f("<text class=\"tint %s\" x=\"%s\" y=\"%s\">%s</text>", tone(s.Arm), px(f.right+13), px(y+4), esc(shorten(s.Name, nameRunes)))
	}
	w.f("</svg>")
	w.close(l.Note)
}

// withAxis puts what y is into the title, where it is read first: a label on its side is read by nobody.
func withAxis(title, y string) string {
	switch {
	case title == "":
		return y
	case y == "":
		return title
	}
	return title + " — " + y
}

func (w *writer) band(f *frame, s Series) {
	if len(s.Low) != len(s.X) || len(s.High) != len(s.X) || len(s.X) == 0 {
		return
	}
	w.f("<path class=\"%s\" fill=\"currentColor\" opacity=\".13\" d=\"", tone(s.Arm))
	for j := range s.X {
		verb := "L"
		if j == 0 {
			verb = "M"
		}
		w.f("%s%s %s", verb, px(f.x.at(s.X[j])), px(f.y.at(s.High[j])))
	}
	for j := len(s.X) - 1; j >= 0; j-- {
		w.f("L%s %s", px(f.x.at(s.X[j])), px(f.y.at(s.Low[j])))
	}
	w.f("Z\"/>")
}

// spread moves places apart to at least gap from each other, each as little as it can, within low and high where they fit.
func spread(want []float64, gap, low, high float64) []float64 {
	order := make([]int, len(want))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return want[order[a]] < want[order[b]] })
	type cluster struct {
		from, to int // in order
		middle   float64
	}
	var all []cluster
	for i := range order {
		all = append(all, cluster{i, i + 1, want[order[i]]})
		for len(all) > 1 {
			a, b := all[len(all)-2], all[len(all)-1]
			if b.middle-a.middle >= gap*float64(b.to-a.from)/2 {
				break
			}
			sum := 0.
			for _, o := range order[a.from:b.to] {
				sum += want[o]
			}
			all = append(all[:len(all)-2], cluster{a.from, b.to, sum / float64(b.to-a.from)})
		}
	}
	out := make([]float64, len(want))
	for _, c := range all {
		for k := c.from; k < c.to; k++ {
			out[order[k]] = c.middle + gap*(float64(k-c.from)-float64(c.to-c.from-1)/2)
		}
	}
	// Back into the frame, from below and then from above.
	edge := high
	for k := len(order) - 1; k >= 0; k-- {
		out[order[k]] = math.Min(out[order[k]], edge)
		edge = out[order[k]] - gap
	}
	edge = low
	for _, o := range order {
		out[o] = math.Max(out[o], edge)
		edge = out[o] + gap
	}
	return out
}
