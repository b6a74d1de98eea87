package window_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// midnight is the day on which the stories play.
var midnight = schema.EventTime(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())

// TestStories runs testdata/stories. Commands:
//
//	config gap=30m late=5s age=off clicks=off max-age=6h max-clicks=1000 max-open=0    begins a new partition
//	click    one line a click: user item=x at=10:00:00 [id=e1] [action=cart]
//	tick at=10:00:00
//	end
//	save     commits, every second time with a snapshot, and goes on from what is stored
//	state    the watermark, the open sessions and the counts
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		var w *window.Windower
		var config window.Config
		saved := newDisk()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			switch d.Cmd {
			case "config":
				config, saved = parseConfig(t, d), newDisk()
				var err error
				if w, err = window.New(config); err != nil {
					return err.Error() + "\n"
				}
			case "click":
				for line := range strings.Lines(d.Input) {
					c := parseClick(t, line)
					parts, reason := w.Add(&c)
					tell(t, &out, parts)
					if reason != "" {
						fmt.Fprintf(&out, "%s %s: %s\n", c.UserID, clock(c.EventTime), reason)
					}
				}
			case "tick":
				var at string
				d.ScanArgs(t, "at", &at)
				tell(t, &out, w.Tick(parseClock(t, at)))
			case "end":
				tell(t, &out, w.End(w.Meta().Epoch+1))
			case "save":
				if len(saved.journal) == 1 {
					saved.snapshot(t, w, 64)
				} else {
					saved.commit(w)
				}
				w = saved.restore(t, config)
			case "state":
				m := w.Meta()
				fmt.Fprintf(&out, "watermark=%s epoch=%d ended=%v sessions=%d in=%d emitted=%d pending=%d\n",
					clock(m.Watermark), m.Epoch, m.Ended, w.OpenSessions(), m.Counts.In(), m.Counts.Emitted, m.Counts.Pending())
				for i, r := range schema.Reasons {
					if n := m.Counts.Rejected[i]; n > 0 {
						fmt.Fprintf(&out, "%s=%d\n", r, n)
					}
				}
			default:
				d.Fatalf(t, "unknown command %q", d.Cmd)
			}
			return out.String()
		})
	})
}

func tell(t *testing.T, out *strings.Builder, parts []window.Part) {
	for _, p := range parts {
		final := ""
		if p.Final {
			final = " final"
		}
		fmt.Fprintf(out, "%s@%s part %d%s, %s, due %s, epoch %d:", p.UserID, clock(p.SessionStart), p.Number, final, p.Cause, clock(p.Due), p.Epoch)
		for _, c := range clicksOf(t, p) {
			fmt.Fprintf(out, " %s %s", clock(c.EventTime), c.ItemID)
		}
		out.WriteByte('\n')
	}
}

func clock(t schema.EventTime) string {
	if t == schema.BeginningOfTime {
		return "beginning"
	}
	return t.Time().Format("15:04:05.999")
}

func parseClock(t *testing.T, s string) schema.EventTime {
	layout := "15:04:05.999"
	at, err := time.Parse(layout, s)
	if err != nil {
		t.Fatal(err)
	}
	return midnight.Add(at.Sub(at.Truncate(24 * time.Hour)))
}

func parseClick(t *testing.T, line string) schema.Click {
	fields := strings.Fields(line)
	c := schema.Click{UserID: fields[0], Action: schema.ActionClick}
	for _, f := range fields[1:] {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "item":
			c.ItemID = v
		case "at":
			c.EventTime = parseClock(t, v)
		case "id":
			c.EventID = v
		case "action":
			c.Action = schema.Action(v)
		default:
			t.Fatalf("unknown field %q", k)
		}
	}
	return c
}

func parseConfig(t *testing.T, d *datadriven.TestData) window.Config {
	c := window.DefaultConfig()
	c.PartAge, c.PartClicks, c.MaxOpenSessions = 0, 0, 0
	for _, a := range d.CmdArgs {
		v := a.Vals[0]
		duration := func(to *time.Duration) {
			var err error
			if *to, err = time.ParseDuration(v); err != nil {
				t.Fatal(err)
			}
		}
		number := func(to *int) {
			var err error
			if *to, err = strconv.Atoi(v); err != nil {
				t.Fatal(err)
			}
		}
		switch a.Key {
		case "gap":
			duration(&c.Gap)
		case "late":
			duration(&c.LatenessBound)
		case "age":
			duration(&c.PartAge)
		case "max-age":
			duration(&c.MaxSessionAge)
		case "clicks":
			number(&c.PartClicks)
		case "max-clicks":
			number(&c.MaxSessionClicks)
		case "max-open":
			number(&c.MaxOpenSessions)
		default:
			t.Fatalf("unknown argument %q", a.Key)
		}
	}
	return c
}

// clicksOf returns the clicks of p.
func clicksOf(t interface{ Fatal(...any) }, p window.Part) []schema.Click {
	clicks, err := p.Packed.Decode(p.UserID)
	if err != nil {
		t.Fatal(err)
	}
	return clicks
}

// disk keeps what a store would: pages of open sessions, the meta that belongs to them, and the journal since.
type disk struct {
	meta    window.Meta
	pages   [][]byte
	journal [][]byte
}

func newDisk() *disk { return &disk{meta: window.NewMeta()} }

// commit keeps what w did since the last commit.
func (d *disk) commit(w *window.Windower) {
	d.journal = append(d.journal, slices.Clone(w.Journal()))
	w.Committed()
}

// snapshot keeps all of w, and forgets the journal.
func (d *disk) snapshot(t interface{ Fatal(...any) }, w *window.Windower, size int) {
	d.commit(w)
	*d = disk{meta: w.Meta()}
	err := w.Pages(size, func(page []byte) error {
		d.pages = append(d.pages, slices.Clone(page))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (d *disk) restore(t interface{ Fatal(...any) }, c window.Config) *window.Windower {
	w, err := window.Restore(c, d.meta, func(yield func([]byte, error) bool) {
		for _, page := range d.pages {
			p := slices.Clone(page)
			if !yield(p, nil) {
				return
			}
			clear(p) // a page is lent
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, journal := range d.journal {
		if err := w.Replay(journal); err != nil {
			t.Fatal(err)
		}
	}
	return w
}
