package page

import (
	"fmt"
	"html"
	"io"
	"strings"
)

// Page is a report.
type Page struct {
	Title    string
	Subtitle string
	Figures  []Figure
	Sections []Section
	Foot     string
}

// Figure is a number that is read first.
type Figure struct{ Value, Label, Note string }

// Section is a part of a page.
type Section struct {
	Title  string
	Text   []string // paragraphs before the blocks
	Blocks []Block
}

// Block is something to look at.
type Block interface{ write(w *writer) }

// Table is rows below one another. Columns are set to the right unless Left names them.
type Table struct {
	Caption string
	Head    []string
	Rows    [][]string
	Left    []int   // columns of words; the first always is one
	Strong  [][]int // cells of each row that are best in their column; may be shorter than Rows
	Arms    []int   // colours of the rows, before the first cell; -1 is none; may be nil
}

// Code is text as it stands.
type Code struct{ Caption, Text string }

// Grid puts blocks beside each other where there is room.
type Grid []Block

// Fold is blocks that are shown when asked for, and on paper.
type Fold struct {
	Title  string
	Blocks []Block
}

// writer collects a page.
type writer struct {
	strings.Builder
	plots int
}

func (w *writer) f(format string, args ...any) { fmt.Fprintf(&w.Builder, format, args...) }

func esc(s string) string { return html.EscapeString(s) }

// Write writes p.
func (p *Page) Write(to io.Writer) error {
	w := &writer{}
	w.f("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n")
	w.f("<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>%s</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n", esc(p.Title), style)
	w.f("<header>\n<h1>%s</h1>\n<p class=\"sub\">%s</p>\n</header>\n", esc(p.Title), esc(p.Subtitle))
	if len(p.Figures) > 0 {
		w.f("<div class=\"figures\">\n")
		for _, g := range p.Figures {
			w.f("<div class=\"figure\"><b>%s</b><span>%s</span><small>%s</small></div>\n", esc(g.Value), esc(g.Label), esc(g.Note))
		}
		w.f("</div>\n")
	}
	for _, s := range p.Sections {
		w.f("<section>\n<h2>%s</h2>\n", esc(s.Title))
		for _, t := range s.Text {
			w.f("<p>%s</p>\n", esc(t))
		}
		for _, b := range s.Blocks {
			b.write(w)
		}
		w.f("</section>\n")
	}
	w.f("<footer>%s</footer>\n</main>\n</body>\n</html>\n", esc(p.Foot))
	_, err := io.WriteString(to, w.String())
	return err
}

func (t Table) write(w *writer) {
	left := map[int]bool{0: true}
	for _, c := range t.Left {
		left[c] = true
	}
	class := func(c int) string {
		if left[c] {
			return " class=\"w\""
		}
		return ""
	}
	w.f("<figure class=\"table\"><table>\n")
	if t.Caption != "" {
		w.f("<caption>%s</caption>\n", esc(t.Caption))
	}
	w.f("<thead><tr>")
	for c, h := range t.Head {
		w.f("<th%s scope=\"col\">%s</th>", class(c), esc(h))
	}
	w.f("</tr></thead>\n<tbody>\n")
	for r, row := range t.Rows {
		w.f("<tr>")
		for c, cell := range row {
			text := esc(cell)
			if r < len(t.Strong) {
				for _, s := range t.Strong[r] {
					if s == c {
						text = "<strong>" + text + "</strong>"
					}
				}
			}
			if c == 0 && r < len(t.Arms) && t.Arms[r] >= 0 {
				text = swatch(t.Arms[r]) + text
			}
			w.f("<td%s>%s</td>", class(c), text)
		}
		w.f("</tr>\n")
	}
	w.f("</tbody></table></figure>\n")
}

func swatch(arm int) string {
	return fmt.Sprintf("<svg class=\"swatch\" viewBox=\"0 0 22 10\" width=\"22\" height=\"10\" aria-hidden=\"true\"><line x1=\"1\" y1=\"5\" x2=\"21\" y2=\"5\" class=\"line %s\"/></svg>", tone(arm))
}

// colours is how many there are; with dashes there are three times as many.
const colours = 8

// tone is the classes of an arm's colour and dashes.
func tone(arm int) string {
	c := fmt.Sprintf("c%d", arm%colours)
	if d := arm / colours % 3; d > 0 {
		c += fmt.Sprintf(" d%d", d)
	}
	return c
}

func (c Code) write(w *writer) {
	if c.Caption != "" {
		w.f("<p class=\"cap\">%s</p>\n", esc(c.Caption))
	}
	w.f("<pre><code>%s</code></pre>\n", esc(c.Text))
}

func (g Grid) write(w *writer) {
	w.f("<div class=\"grid\">\n")
	for _, b := range g {
		w.f("<div>")
		b.write(w)
		w.f("</div>\n")
	}
	w.f("</div>\n")
}

func (f Fold) write(w *writer) {
	w.f("<details><summary>%s</summary>\n", esc(f.Title))
	for _, b := range f.Blocks {
		b.write(w)
	}
	w.f("</details>\n")
}
