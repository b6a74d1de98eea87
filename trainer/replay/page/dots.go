package page

import "math"

// Dots compares arms row by row: a row for each group, a dot in it for each arm.
type Dots struct {
	Title  string
	Note   string
	X      Axis
	Groups []Group
	Arms   []Series // names and colours, for the legend
}

// Group is a row of Dots.
type Group struct {
	Name, Side string    // Side stands at the right: how many tests it has
	Values     []float64 // of each arm; NaN is none
}

const rowHeight = 30

func (d Dots) write(w *writer) {
	w.open(d.Title, d.Arms)
	names, sides := 60., 0.
	var xs []float64
	for _, g := range d.Groups {
		names, sides = max(names, textWidth(g.Name)+14), max(sides, textWidth(g.Side)+14)
		xs = append(xs, g.Values...)
	}
	width := float64(halfWidth)
	height := float64(len(d.Groups))*rowHeight + topMargin + botMargin
	right := width - sides - 8
	s := newScale(d.X, xs, names+10, right-10)
	w.svg(width, height, d.Title)
	bottom := height - botMargin
	for _, t := range s.ticks(int(max(2, (right-names)/70))) {
		x := s.at(t.at)
		w.f("<line class=\"gridline\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>", px(x), px(topMargin), px(x), px(bottom))
		w.f("<text x=\"%s\" y=\"%s\" text-anchor=\"middle\">%s</text>", px(x), px(bottom+18), esc(t.label))
	}
	w.f("<line class=\"axis\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>", px(names), px(bottom), px(right), px(bottom))
	w.f("<text x=\"%s\" y=\"%s\" text-anchor=\"middle\">%s</text>", px((names+right)/2), px(height-8), esc(d.X.Label))
	for i, g := range d.Groups {
		y := topMargin + (float64(i)+.5)*rowHeight
		w.f("<text class=\"label\" x=\"%s\" y=\"%s\" text-anchor=\"end\">%s</text>", px(names-8), px(y+4), esc(g.Name))
		if g.Side != "" {
			w.f("<text x=\"%s\" y=\"%s\" text-anchor=\"end\">%s</text>", px(width), px(y+4), esc(g.Side))
		}
		low, high := math.Inf(1), math.Inf(-1)
		for _, v := range g.Values {
			if finite(v) {
				low, high = min(low, s.at(v)), max(high, s.at(v))
			}
		}
		if low > high {
			continue
		}
		w.f("<line class=\"lead\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>", px(low), px(y), px(high), px(y))
		// Dots that would hide each other stand a little above and below the line.
		for a, v := range g.Values {
			if !finite(v) {
				continue
			}
			x, up := s.at(v), 0.
			for b, o := range g.Values[:a] {
				if finite(o) && math.Abs(s.at(o)-x) < 7 {
					up = []float64{-5, 5, -9, 9}[b%4]
				}
			}
			w.f("<circle class=\"dot %s\" cx=\"%s\" cy=\"%s\" r=\"5\"/>", tone(d.Arms[a].Arm), px(x), px(y+up))
		}
	}
	w.f("</svg>")
	w.close(d.Note)
}

// Intervals is differences with their confidence intervals, one a row, beside the line of no difference.
type Intervals struct {
	Title string
	Note  string
	X     Axis
	Rows  []Interval
}

// Interval is one difference.
type Interval struct {
	Name           string
	Arm            int
	At, Low, High  float64
	Value, Verdict string // written at the right
}

func (v Intervals) write(w *writer) {
	w.open(v.Title, nil)
	names, values, verdicts := 80., 0., 0.
	var xs []float64
	for _, r := range v.Rows {
		names, values, verdicts = max(names, textWidth(r.Name)+16), max(values, textWidth(r.Value)+18), max(verdicts, textWidth(r.Verdict)+18)
		xs = append(xs, r.At, r.Low, r.High)
	}
	width := float64(plotWidth)
	height := float64(len(v.Rows))*rowHeight + topMargin + botMargin
	right := width - values - verdicts
	axis := v.X
	s := newScale(axis, append(xs, 0), names+10, right-10)
	w.svg(width, height, v.Title)
	bottom := height - botMargin
	for i := range v.Rows {
		if i%2 == 1 {
			w.f("<rect class=\"stripe\" x=\"0\" y=\"%s\" width=\"%s\" height=\"%s\"/>", px(topMargin+float64(i)*rowHeight), px(width), px(rowHeight))
		}
	}
	for _, t := range s.ticks(int(max(2, (right-names)/90))) {
		x, class := s.at(t.at), "gridline"
		w.f("<line class=\"%s\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>", class, px(x), px(topMargin), px(x), px(bottom))
		w.f("<text x=\"%s\" y=\"%s\" text-anchor=\"middle\">%s</text>", px(x), px(bottom+18), esc(t.label))
	}
	w.f("<line class=\"zero\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>", px(s.at(0)), px(topMargin-6), px(s.at(0)), px(bottom))
	w.f("<line class=\"axis\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>", px(names), px(bottom), px(right), px(bottom))
	w.f("<text x=\"%s\" y=\"%s\" text-anchor=\"middle\">%s</text>", px((names+right)/2), px(height-8), esc(v.X.Label))
	for i, r := range v.Rows {
		y := topMargin + (float64(i)+.5)*rowHeight
		w.f("<text class=\"label\" x=\"%s\" y=\"%s\" text-anchor=\"end\">%s</text>", px(names-8), px(y+4), esc(r.Name))
		w.f("<text class=\"label\" x=\"%s\" y=\"%s\" text-anchor=\"end\">%s</text>", px(width-verdicts), px(y+4), esc(r.Value))
		w.f("<text x=\"%s\" y=\"%s\" text-anchor=\"end\">%s</text>", px(width), px(y+4), esc(r.Verdict))
		if !finite(r.At) || !finite(r.Low) || !finite(r.High) {
			continue
		}
		w.f("<line class=\"bar %s\" x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\"/>", tone(r.Arm), px(s.at(r.Low)), px(y), px(s.at(r.High)), px(y))
		w.f("<circle class=\"dot %s\" cx=\"%s\" cy=\"%s\" r=\"5\"/>", tone(r.Arm), px(s.at(r.At)), px(y))
	}
	w.f("</svg>")
	w.close(v.Note)
}
