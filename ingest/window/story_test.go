package window_test

import (
	"fmt"
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

// TestStories runs testdata. Commands:
//
//	config gap=30m late=5s age=off clicks=off max-age=6h max-clicks=1000    begins a new partition
//	click    one line a click: user item=x at=10:00:00 [id=e1] [action=cart]
//	tick at=10:00:00
//	end
//	save     stores what has changed and goes on from the stored state
//	state    the watermark, the open sessions and the counts
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var w *window.Windower
		var config window.Config
		disk := store{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			switch d.Cmd {
			case "config":
				config, disk = parseConfig(t, d), store{}
				var err error
				if w, err = window.New(config); err != nil {
					return err.Error() + "\n"
				}
			case "click":
				for line := range strings.Lines(d.Input) {
					c := parseClick(t, line)
					parts, reason := w.Add(c)
					tell(&out, parts)
					if reason != "" {
						fmt.Fprintf(&out, "%s %s: %s\n", c.UserID, clock(c.EventTime), reason)
					}
				}
			case "tick":
				var at string
				d.ScanArgs(t, "at", &at)
				tell(&out, w.Tick(parseClock(t, at)))
			case "end":
				tell(&out, w.End(w.Meta().Epoch+1))
			case "save":
				disk.save(w)
				w = disk.restore(t, config, w.Meta())
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

func tell(out *strings.Builder, parts []schema.Part) {
	for _, p := range parts {
		final := ""
		if p.Final {
			final = " final"
		}
		fmt.Fprintf(out, "%s@%s part %d%s, %s, due %s, epoch %d:", p.UserID, clock(p.SessionStart), p.Number, final, p.Cause, clock(p.Due), p.Epoch)
		for _, c := range p.Clicks {
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
	c.PartAge, c.PartClicks = 0, 0
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
		default:
			t.Fatalf("unknown argument %q", a.Key)
		}
	}
	return c
}

// store keeps sessions as a disk would.
type store map[window.Key]window.Session

func (s store) save(w *window.Windower) {
	changes := w.Changes()
	for _, k := range changes.Gone {
		delete(s, k)
	}
	for _, o := range changes.Open {
		o.EventIDs = append([]uint64(nil), o.EventIDs...)
		o.Pending = append([]schema.Click(nil), o.Pending...)
		s[window.Key{UserID: o.UserID, Start: o.Start}] = o
	}
	w.Committed()
}

func (s store) restore(t interface{ Fatal(...any) }, c window.Config, m window.Meta) *window.Windower {
	var sessions []window.Session
	for _, o := range s {
		o.EventIDs = append([]uint64(nil), o.EventIDs...)
		o.Pending = append([]schema.Click(nil), o.Pending...)
		sessions = append(sessions, o)
	}
	w, err := window.Restore(c, m, sessions)
	if err != nil {
		t.Fatal(err)
	}
	return w
}
