package window_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// drawConfig draws a small config, in which everything happens often.
func drawConfig(t *rapid.T) window.Config {
	ms := func(name string, from, to int) time.Duration {
		return time.Duration(rapid.IntRange(from, to).Draw(t, name)) * time.Millisecond
	}
	c := window.Config{
		Gap: ms("gap", 1, 12), LatenessBound: ms("late", 0, 12), PartAge: ms("age", 0, 12), MaxSessionAge: ms("max age", 1, 60),
		MaxSessionClicks: rapid.IntRange(1, 8).Draw(t, "max clicks"),
	}
	c.MaxOpenSessions = rapid.SampledFrom([]int{0, 0, 1, 2, 3}).Draw(t, "max open")
	c.PartClicks = rapid.IntRange(0, min(3, c.MaxSessionClicks)).Draw(t, "part clicks")
	return c
}

// unlimited turns early parts and the maxima off.
func unlimited(c window.Config) window.Config {
	c.PartAge, c.PartClicks, c.MaxSessionAge, c.MaxSessionClicks, c.MaxOpenSessions = 0, 0, 1000*time.Hour, 1_000_000, 0
	return c
}

// drawClicks draws clicks of few users that jump back and forth, with duplicates of both sorts.
func drawClicks(t *rapid.T, from schema.EventTime) []schema.Click {
	now := from
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) schema.Click {
		step := rapid.IntRange(-10, 14)
		if rapid.IntRange(0, 15).Draw(t, "leap") == 0 {
			step = rapid.IntRange(-40, 80)
		}
		now += schema.EventTime(step.Draw(t, "step"))
		c := schema.Click{
			UserID: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "user"), ItemID: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "item"),
			EventTime: now, Action: schema.ActionClick,
		}
		if rapid.Bool().Draw(t, "has id") {
			c.EventID = fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "id"))
		}
		return c
	}), 0, 80).Draw(t, "clicks")
}

func mustNew(t *rapid.T, c window.Config) *window.Windower {
	w, err := window.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// whole is a session put together from its parts.
type whole struct {
	User  string
	Start schema.EventTime
	Items string
	Last  schema.EventTime
}

// assemble puts sessions together and checks the rules that hold for any run of parts.
func assemble(t *rapid.T, parts []window.Part) []whole {
	type open struct {
		next   int32
		clicks []schema.Click
		closed bool
	}
	sessions := map[string]*open{}
	var out []whole
	for _, p := range parts {
		id := p.SessionID()
		s := sessions[id]
		if s == nil {
			s = &open{}
			sessions[id] = s
		}
		if s.closed || p.Number != s.next {
			t.Fatalf("%s: part %d comes where %d is next (closed: %v)", id, p.Number, s.next, s.closed)
		}
		s.next++
		s.closed = p.Final
		clicks := clicksOf(t, p)
		if !p.Final && len(clicks) == 0 {
			t.Fatalf("%s: part %d is empty and not final", id, p.Number)
		}
		for _, c := range clicks {
			if n := len(s.clicks); n > 0 && s.clicks[n-1].EventTime > c.EventTime {
				t.Fatalf("%s: clicks out of order", id)
			}
			s.clicks = append(s.clicks, c)
		}
		if s.clicks[0].EventTime != p.SessionStart {
			t.Fatalf("%s: first click at %d", id, s.clicks[0].EventTime)
		}
		if p.Final {
			out = append(out, describe(p.UserID, s.clicks))
		}
	}
	for id, s := range sessions {
		if !s.closed {
			t.Fatalf("%s never closed", id)
		}
	}
	slices.SortFunc(out, func(a, b whole) int { return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Start, b.Start)) })
	return out
}

func describe(user string, clicks []schema.Click) whole {
	w := whole{User: user, Start: clicks[0].EventTime, Last: clicks[len(clicks)-1].EventTime}
	for _, c := range clicks {
		w.Items += fmt.Sprintf(" %s/%s@%d", c.ItemID, c.EventID, c.EventTime)
	}
	return w
}

// oracle is the definition of a session without streams: drop the late, sort, cut by the gap. It knows duplicates without
// an event id only, so its clicks must have none with one.
func oracle(c window.Config, clicks []schema.Click) []whole {
	byUser := map[string][]schema.Click{}
	seen := map[string]bool{}
	newest := schema.BeginningOfTime
	for _, k := range clicks {
		newest = max(newest, k.EventTime)
		key := fmt.Sprint(k.UserID, k.ItemID, k.Action, k.EventTime)
		if k.EventTime < newest.Add(-c.LatenessBound) || seen[key] {
			continue
		}
		seen[key] = true
		byUser[k.UserID] = append(byUser[k.UserID], k)
	}
	var out []whole
	for user, ks := range byUser {
		slices.SortStableFunc(ks, func(a, b schema.Click) int { return cmp.Compare(a.EventTime, b.EventTime) })
		from := 0
		for i := 1; i <= len(ks); i++ {
			if i == len(ks) || ks[i].EventTime-ks[i-1].EventTime > schema.EventTime(c.Gap.Milliseconds()) {
				out = append(out, describe(user, ks[from:i]))
				from = i
			}
		}
	}
	slices.SortFunc(out, func(a, b whole) int { return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Start, b.Start)) })
	return out
}

func run(w *window.Windower, clicks []schema.Click) []window.Part {
	var parts []window.Part
	for _, c := range clicks {
		due, _ := w.Add(&c)
		parts = append(parts, due...)
	}
	return append(parts, w.End(1)...)
}

func TestSessionsAreThoseOfTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := unlimited(drawConfig(t))
		clicks := drawClicks(t, 1000)
		for i := range clicks {
			clicks[i].EventID = ""
		}
		got := assemble(t, run(mustNew(t, c), clicks))
		if diff := gocmp.Diff(oracle(c, clicks), got); diff != "" {
			t.Fatalf("sessions differ (-want +got):\n%s", diff)
		}
	})
}

func TestEarlyPartsConcatenateToTheSession(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		off := unlimited(c)
		early := off
		early.PartAge, early.PartClicks = c.PartAge, c.PartClicks
		clicks := drawClicks(t, 1000)
		want := assemble(t, run(mustNew(t, off), clicks))
		got := assemble(t, run(mustNew(t, early), clicks))
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("sessions differ (-off +on):\n%s", diff)
		}
	})
}

// TestTheRulesOfParts drives everything at once, and demands what doc.go promises: dues in order and within the advance,
// sealed clicks only, the counts, and the same parts from a state that is saved and restored now and then.
func TestTheRulesOfParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		w, restored := mustNew(t, c), mustNew(t, c)
		saved := newDisk()
		var all []window.Part
		clicks := map[schema.Epoch]uint64{}
		check := func(before window.Meta, parts, again []window.Part, ended bool) {
			if diff := gocmp.Diff(parts, again, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("restored state goes on differently:\n%s", diff)
			}
			after := w.Meta()
			for i, p := range parts {
				beyond := p.Due >= after.Watermark
				if p.Cause == schema.CauseFull { // after the advance, at the watermark itself
					beyond = p.Due != after.Watermark
				}
				if p.Epoch != before.Epoch || p.Due < before.Watermark || !ended && beyond {
					t.Fatalf("due %d epoch %d of an advance from %d to %d in epoch %d", p.Due, p.Epoch, before.Watermark, after.Watermark, before.Epoch)
				}
				if i > 0 && (p.Due < parts[i-1].Due || !ended && p.Due == parts[i-1].Due && p.UserID < parts[i-1].UserID) {
					t.Fatalf("parts of one advance out of order: %v then %v", parts[i-1], p)
				}
				pclicks := clicksOf(t, p)
				for _, k := range pclicks {
					if !ended && k.EventTime >= after.Watermark {
						t.Fatalf("click at %d emitted at watermark %d", k.EventTime, after.Watermark)
					}
				}
				clicks[p.Epoch] += uint64(len(pclicks))
			}
			all = append(all, parts...)
			emitted := uint64(0)
			for _, n := range clicks {
				emitted += n
			}
			if after.Watermark < before.Watermark || after.Counts.Emitted != emitted {
				t.Fatalf("watermark %d after %d, %d emitted counted as %d", after.Watermark, before.Watermark, emitted, after.Counts.Emitted)
			}
			if diff := gocmp.Diff(after, restored.Meta()); diff != "" {
				t.Fatalf("restored meta differs:\n%s", diff)
			}
		}
		in := uint64(0)
		for range rapid.IntRange(1, 3).Draw(t, "epochs") {
			from := max(1000, w.Meta().Watermark)
			for _, k := range drawClicks(t, from) {
				before := w.Meta()
				parts, reason := w.Add(&k)
				again, reasonAgain := restored.Add(&k)
				if reason != reasonAgain {
					t.Fatalf("reasons %q and %q", reason, reasonAgain)
				}
				in++
				check(before, parts, again, false)
				if n := w.Meta().Counts.In(); n != in {
					t.Fatalf("in = %d, counted %d", in, n)
				}
				switch rapid.IntRange(0, 9).Draw(t, "then") {
				case 0:
					saved.commit(restored)
					restored = saved.restore(t, c)
					if diff := gocmp.Diff(sessionsOf(w), sessionsOf(restored)); diff != "" {
						t.Fatalf("restored sessions differ:\n%s", diff)
					}
					if fault := window.Examine(restored); fault != "" {
						t.Fatal(fault)
					}
				case 1:
					saved.commit(restored)
				case 3:
					saved.snapshot(t, restored, rapid.IntRange(1, 200).Draw(t, "page"))
				case 2:
					before, to := w.Meta(), w.Meta().Watermark+schema.EventTime(rapid.IntRange(-5, 20).Draw(t, "tick"))
					check(before, w.Tick(to), restored.Tick(to), false)
				}
			}
			before := w.Meta()
			check(before, w.End(before.Epoch+1), restored.End(before.Epoch+1), true)
			if w.OpenSessions() != 0 || w.Meta().Counts.Pending() != 0 {
				t.Fatalf("%d sessions, %d clicks are left after the end", w.OpenSessions(), w.Meta().Counts.Pending())
			}
		}
		assemble(t, all)
	})
}

// TestTheFastWindowerEqualsThePlainOne demands the same parts in the same order, the same reasons and the same meta from
// naive_test.go after every step.
func TestTheFastWindowerEqualsThePlainOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		fast, plain := mustNew(t, c), newNaive(c)
		check := func(got []window.Part, want []naivePart) {
			t.Helper()
			var plainGot []naivePart
			for _, p := range got {
				plainGot = append(plainGot, naivePart{Part: p.Part, Clicks: clicksOf(t, p)})
			}
			if diff := gocmp.Diff(want, plainGot, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("parts differ (-plain +fast):\n%s", diff)
			}
			if diff := gocmp.Diff(plain.meta, fast.Meta()); diff != "" {
				t.Fatalf("meta differs (-plain +fast):\n%s", diff)
			}
			if len(plain.sessions) != fast.OpenSessions() {
				t.Fatalf("%d sessions, want %d", fast.OpenSessions(), len(plain.sessions))
			}
			if fault := window.Examine(fast); fault != "" {
				t.Fatal(fault)
			}
		}
		for range rapid.IntRange(1, 3).Draw(t, "epochs") {
			for _, k := range drawClicks(t, max(1000, fast.Meta().Watermark)) {
				if rapid.Bool().Draw(t, "expected") { // whoever comes then
					other := rapid.SampledFrom([]string{"", "nobody", k.UserID}).Draw(t, "too")
					window.ExpectAnyway(fast, []byte(k.UserID), []byte(other))
				}
				want, wantReason := plain.Add(k)
				got, reason := fast.Add(&k)
				if reason != wantReason {
					t.Fatalf("click at %d: %q, want %q", k.EventTime, reason, wantReason)
				}
				check(got, want)
				if rapid.IntRange(0, 9).Draw(t, "tick") == 0 {
					to := fast.Meta().Watermark + schema.EventTime(rapid.IntRange(-5, 20).Draw(t, "by"))
					check(fast.Tick(to), plain.Tick(to))
				}
			}
			epoch := fast.Meta().Epoch + 1
			check(fast.End(epoch), plain.End(epoch))
		}
	})
}

// TestAnotherConfigKeepsThePromises goes on from a state under other limits: what is overdue then, or too many, or too
// near each other, comes out in order, once, and not before what has come out.
func TestAnotherConfigKeepsThePromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := mustNew(t, drawConfig(t))
		var parts []window.Part
		for range rapid.IntRange(1, 4).Draw(t, "configs") {
			for _, k := range drawClicks(t, max(1000, w.Meta().Watermark)) {
				before := w.Meta().Watermark
				due, _ := w.Add(&k)
				for i, p := range due {
					if p.Due < before || p.Due > w.Meta().Watermark || i > 0 && p.Due < due[i-1].Due {
						t.Fatalf("due %d of an advance from %d to %d", p.Due, before, w.Meta().Watermark)
					}
				}
				parts = append(parts, due...)
			}
			saved := newDisk()
			saved.snapshot(t, w, 50)
			w = saved.restore(t, drawConfig(t))
			if fault := window.Examine(w); fault != "" {
				t.Fatal(fault)
			}
		}
		parts = append(parts, w.End(1)...)
		assemble(t, parts)
		clicks := uint64(0)
		for _, p := range parts {
			clicks += uint64(p.Packed.N)
		}
		if m := w.Meta(); clicks != m.Counts.Taken || m.Counts.Pending() != 0 {
			t.Fatalf("%d clicks came out of %d", clicks, m.Counts.Taken)
		}
	})
}

func TestConfigNamesEveryFault(t *testing.T) {
	if err := window.DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	bad := window.Config{LatenessBound: -1, PartAge: time.Microsecond, PartClicks: 5, MaxOpenSessions: -1}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, name := range []string{"gap", "lateness_bound", "part_age", "part_clicks", "max_session_age", "max_session_clicks", "max_open_sessions"} {
		if !slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(l string) bool { return len(l) > len(name) && l[:len(name)] == name }) {
			t.Errorf("%s is not named in:\n%v", name, err)
		}
	}
}
