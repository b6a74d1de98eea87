package page

import (
	"math"
	"sort"
)

// Points is named points, each an arm.
type Points struct {
	Title  string
	Note   string
	X, Y   Axis
	Points []Point
	Half   bool // half of the page's width
}

// Point is one of them.
type Point struct {
	Name string
	Arm  int
	X, Y float64
}

func (p Points) write(w *writer) {
	w.open(withAxis(p.Title, p.Y.Label), nil)
	width, height := float64(plotWidth), 340.
	if p.Half {
		width = halfWidth
	}
	var xs, ys []float64
	for _, q := range p.Points {
		xs, ys = append(xs, q.X), append(ys, q.Y)
	}
	f := &frame{h: height, right: width - 20}
	f.x = newScale(p.X, xs, leftMargin+16, f.right-40)
	f.y = newScale(p.Y, ys, height-botMargin-8, topMargin+12)
	w.svg(width, height, p.Title)
	w.axes(f)
	points := p.Points
	order := make([]int, 0, len(points))
	for i, q := range points {
		if finite(q.X) && finite(q.Y) {
			order = append(order, i)
		}
	}
	sort.SliceStable(order, func(a, b int) bool { return points[order[a]].Y > points[order[b]].Y })
	var taken []box
	for _, i := range order {
		x, y := f.x.at(points[i].X), f.y.at(points[i].Y)
		taken = append(taken, box{x - 6, y - 6, x + 6, y + 6})
	}
	for _, i := range order {
		q := points[i]
		x, y := f.x.at(q.X), f.y.at(q.Y)
		w.f("<circle class=\"dot %s\" cx=\"%s\" cy=\"%s\" r=\"6\"/>", tone(q.Arm), px(x), px(y))
		name := shorten(q.Name, nameRunes)
		at, anchor := place(x, y, textWidth(name), taken, box{leftMargin, 2, width - 2, height - botMargin})
		taken = append(taken, at)
		tx := at.x0
		if anchor == "end" {
			tx = at.x1
		}
		if math.Abs((at.y0+at.y1)/2-y) > 16 {
			w.f("<path class=\"lead\" d=\"M%s %sL%s %s\"/>", px(x), px(y), px(tx), px((at.y0+at.y1)/2))
		}
		w.f("<text class=\"tint %s\" x=\"%s\" y=\"%s\" text-anchor=\"%s\">%s</text>", tone(q.Arm), px(tx), px(at.y1-3), anchor, esc(name))
	}
	w.f("</svg>")
	w.close(p.Note)
}

// box is a rectangle that is taken.
type box struct{ x0, y0, x1, y1 float64 }

func (b box) meets(o box) bool { return b.x0 < o.x1 && o.x0 < b.x1 && b.y0 < o.y1 && o.y0 < b.y1 }

// place finds a free place for a name near a point: beside it, or as little above or below as it takes.
func place(x, y, width float64, taken []box, within box) (at box, anchor string) {
	const high = 15.
	for _, dy := range []float64{0, -15, 15, -24, 24, -36, 36, -48, 48, -60, 60, -75, 75, -90, 90} {
		for _, right := range []bool{true, false} {
			b, a := box{x + 10, y + dy - high/2, x + 10 + width, y + dy + high/2}, "start"
			if !right {
				b.x0, b.x1, a = x-10-width, x-10, "end"
			}
			free := b.x0 >= within.x0 && b.x1 <= within.x1 && b.y0 >= within.y0 && b.y1 <= within.y1
			for _, t := range taken {
				free = free && !b.meets(t)
			}
			if free {
				return b, a
			}
		}
	}
	return box{x + 10, y - high/2, x + 10 + width, y + high/2}, "start"
}
