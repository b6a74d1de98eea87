package window_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// rules are what another stream processor documents of its session windows. Times are in ms: t of a click, last of the last
// click of its session with the click in it, w the watermark, g the gap, l the allowed lateness or grace.
type rules struct {
	joins     func(distance, g int64) bool      // two clicks so far apart are of one session
	watermark func(newest, bound int64) int64   // after a click, given the newest so far
	late      func(t, last, w, g, l int64) bool // the click is dropped, given the watermark before it
	closes    func(last, w, g, l int64) bool    // the session is put out
	forgets   func(last, w, g, l int64) bool    // and nothing can be added to it any more
	clock     bool                              // the watermark rises with the clock of the machine too
}

// Every rule is in the words of its source, which the files of testdata/named cite.
var peers = map[string]rules{
	"flink": {
		joins:     func(d, g int64) bool { return d <= g },
		watermark: func(newest, bound int64) int64 { return newest - bound - 1 },
		late:      func(_, last, w, g, l int64) bool { return last+g-1+l <= w },
		closes:    func(last, w, g, _ int64) bool { return last+g-1 <= w },
		forgets:   func(last, w, g, l int64) bool { return last+g-1+l <= w },
	},
	"kafka-streams": {
		joins:     func(d, g int64) bool { return d <= g },
		watermark: func(newest, _ int64) int64 { return newest },
		late:      func(_, last, w, g, l int64) bool { return last < w-l-g },
		closes:    func(last, w, g, l int64) bool { return last < w-l-g },
		forgets:   func(last, w, g, l int64) bool { return last < w-l-g },
	},
	"kafka-streams-2": {
		joins:     func(d, g int64) bool { return d <= g },
		watermark: func(newest, _ int64) int64 { return newest },
		late:      func(_, last, w, _, l int64) bool { return last < w-l },
		closes:    func(last, w, g, l int64) bool { return last < w-l-g },
		forgets:   func(last, w, g, l int64) bool { return last < w-l-g },
	},
	"beam": {
		joins:     func(d, g int64) bool { return d < g },
		watermark: func(newest, bound int64) int64 { return newest - bound },
		late:      func(t, _, w, g, l int64) bool { return t+g-1+l < w },
		closes:    func(last, w, g, _ int64) bool { return last+g-1 < w },
		forgets:   func(last, w, g, l int64) bool { return last+g-1+l < w },
	},
	"bytewax": {
		joins:     func(d, g int64) bool { return d <= g },
		watermark: func(newest, bound int64) int64 { return newest - bound },
		late:      func(t, _, w, _, _ int64) bool { return t < w },
		closes:    func(last, w, g, _ int64) bool { return last < w-g },
		forgets:   func(last, w, g, _ int64) bool { return last < w-g },
		clock:     true,
	},
	"mongodb": {
		joins:     func(d, g int64) bool { return d < g },
		watermark: func(newest, bound int64) int64 { return newest - bound },
		late:      func(t, _, w, g, l int64) bool { return t+g+l <= w },
		closes:    func(last, w, g, l int64) bool { return last+g+l <= w },
		forgets:   func(last, w, g, l int64) bool { return last+g+l <= w },
	},
	"risingwave": {
		joins:     func(d, g int64) bool { return d < g },
		watermark: func(newest, bound int64) int64 { return newest - bound },
		late:      func(t, _, w, _, _ int64) bool { return t < w },
		closes:    func(last, w, g, _ int64) bool { return last+g <= w },
		forgets:   func(last, w, g, _ int64) bool { return last+g <= w },
	},
}

// event is a line of a named case.
type event struct {
	click *schema.Click
	tick  schema.EventTime // the watermark is at least this: what a source that knows better says
	pause time.Duration    // nothing comes for so long
}

// outcome is what a stream processor makes of a case: what it puts out, in that order, and what it drops.
type outcome struct{ sessions, late []string }

func describeClicks(clicks []schema.Click) string {
	var b strings.Builder
	b.WriteString(clicks[0].UserID)
	for _, c := range clicks {
		fmt.Fprintf(&b, " %s %s", clock(c.EventTime), c.ItemID)
	}
	return b.String()
}

// apply runs the rules over events, and ends.
func (r rules) apply(gap, bound, lateness time.Duration, events []event) (out outcome) {
	type session struct {
		clicks []schema.Click // in event-time order
		out    bool           // it has been put out as it is
	}
	var open []*session
	g, l := gap.Milliseconds(), lateness.Milliseconds()
	w, newest := int64(0), int64(0) // long before any case
	last := func(s *session) int64 { return int64(s.clicks[len(s.clicks)-1].EventTime) }
	advance := func(to int64) {
		w = max(w, to)
		for _, s := range open {
			if !s.out && r.closes(last(s), w, g, l) {
				s.out = true
				out.sessions = append(out.sessions, describeClicks(s.clicks))
			}
		}
		open = slices.DeleteFunc(open, func(s *session) bool { return r.forgets(last(s), w, g, l) })
	}
	for _, e := range events {
		if e.click == nil {
			switch {
			case e.pause == 0:
				advance(int64(e.tick))
			case r.clock:
				advance(w + e.pause.Milliseconds())
			}
			continue
		}
		t := int64(e.click.EventTime)
		merged := &session{clicks: []schema.Click{*e.click}}
		var near []*session
		for _, s := range open {
			first := int64(s.clicks[0].EventTime)
			if s.clicks[0].UserID == e.click.UserID && (t >= first || r.joins(first-t, g)) && (t <= last(s) || r.joins(t-last(s), g)) {
				near = append(near, s)
				merged.clicks = append(merged.clicks, s.clicks...)
			}
		}
		slices.SortStableFunc(merged.clicks, func(a, b schema.Click) int { return int(a.EventTime - b.EventTime) })
		if r.late(t, last(merged), w, g, l) {
			out.late = append(out.late, describeClicks([]schema.Click{*e.click}))
		} else {
			open = append(slices.DeleteFunc(open, func(s *session) bool { return slices.Contains(near, s) }), merged)
		}
		newest = max(newest, t)
		advance(r.watermark(newest, bound.Milliseconds()))
	}
	for _, s := range open {
		if !s.out {
			out.sessions = append(out.sessions, describeClicks(s.clicks))
		}
	}
	return out
}

// freshetOf gives events to a Windower, and ends.
func freshetOf(t *testing.T, c window.Config, events []event) (out outcome) {
	s := newSubject(t, c)
	var parts []schema.Part
	for _, e := range events {
		switch {
		case e.click != nil:
			due, reason := s.add(*e.click)
			parts = append(parts, due...)
			if reason != "" {
				out.late = append(out.late, describeClicks([]schema.Click{*e.click}))
			}
		case e.pause == 0:
			parts = append(parts, s.tick(e.tick)...)
		}
	}
	for _, p := range append(parts, s.end()...) {
		out.sessions = append(out.sessions, describeClicks(p.Clicks))
	}
	return out
}

func (o outcome) String() string {
	var b strings.Builder
	for _, s := range o.sessions {
		fmt.Fprintf(&b, "  %s\n", s)
	}
	for _, s := range o.late {
		fmt.Fprintf(&b, "  late: %s\n", s)
	}
	return b.String()
}

// same reports whether two outcomes are of the same sessions and the same dropped clicks, in whatever order.
func (o outcome) same(p outcome) bool {
	ordered := func(s []string) []string { return slices.Sorted(slices.Values(s)) }
	return slices.Equal(ordered(o.sessions), ordered(p.sessions)) && slices.Equal(ordered(o.late), ordered(p.late))
}

// TestNamedCases runs testdata/named: what other stream processors document, beside what freshet does. Commands:
//
//	case gap=10s late=0s                     begins a case; its input has a line for each event:
//	    ann item=a at=10:00:00               a click
//	    watermark at=10:00:06                the watermark is there, whatever the clicks say
//	    pause 10s                            nothing comes for so long
//	    ----                                 and prints what freshet makes of it
//	flink [lateness=5s]                      or another of the peers: what its rules make of the same
//
// The comment above each command of a peer says "agrees" or "differs: …" with the reason, and the test holds it to that.
func TestNamedCases(t *testing.T) {
	for name := range peers {
		if _, err := os.Stat(filepath.Join("testdata", "named", name)); err != nil && name != "kafka-streams-2" {
			t.Errorf("%s has no file", name)
		}
	}
	agrees, differs := map[string]int{}, map[string]int{}
	datadriven.Walk(t, filepath.Join("testdata", "named"), func(t *testing.T, path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		var c window.Config
		var events []event
		var ours outcome
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "case" {
				c, events = parseConfig(t, d), nil
				for line := range strings.Lines(d.Input) {
					events = append(events, parseEvent(t, line))
				}
				ours = freshetOf(t, c, events)
				return ours.String()
			}
			r, ok := peers[d.Cmd]
			if !ok {
				d.Fatalf(t, "no peer is called %q", d.Cmd)
			}
			lateness := "0s"
			d.MaybeScanArgs(t, "lateness", &lateness)
			l, err := time.ParseDuration(lateness)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			theirs := r.apply(c.Gap, c.LatenessBound, l, events)
			switch verdict := verdictAbove(t, lines, d.Pos); {
			case verdict == ours.same(theirs):
			case verdict:
				d.Fatalf(t, "its comment says that it agrees, but freshet makes of it\n%s", ours)
			default:
				d.Fatalf(t, "its comment says that it differs, and it does not")
			}
			if ours.same(theirs) {
				agrees[d.Cmd]++
			} else {
				differs[d.Cmd]++
			}
			return theirs.String()
		})
	})
	for _, name := range slices.Sorted(maps.Keys(peers)) {
		t.Logf("%-16s %d cases agree, %d differ", name, agrees[name], differs[name])
	}
}

// verdictAbove returns whether the comment above the command at pos, "path:line", says that it agrees.
func verdictAbove(t *testing.T, lines []string, pos string) bool {
	var n int
	if _, err := fmt.Sscan(pos[strings.LastIndexByte(pos, ':')+1:], &n); err != nil {
		t.Fatal(err)
	}
	comment := ""
	for i := n - 2; i >= 0 && strings.HasPrefix(lines[i], "#"); i-- {
		comment = strings.TrimSpace(lines[i][1:]) + " " + comment
	}
	agrees, differs := strings.HasPrefix(comment, "agrees"), strings.HasPrefix(comment, "differs: ")
	if agrees == differs {
		t.Fatalf("%s: the comment above it must begin with \"agrees\" or \"differs: \": %q", pos, comment)
	}
	return agrees
}

func parseEvent(t *testing.T, line string) event {
	fields := strings.Fields(line)
	switch fields[0] {
	case "watermark":
		return event{tick: parseClock(t, strings.TrimPrefix(fields[1], "at="))}
	case "pause":
		d, err := time.ParseDuration(fields[1])
		if err != nil || d <= 0 {
			t.Fatalf("%q: %v", line, err)
		}
		return event{pause: d}
	}
	c := parseClick(t, line)
	return event{click: &c}
}
