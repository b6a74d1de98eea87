package window_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// The properties below hold the Windower against the oracles of oracle_test.go. A failing property prints the seed that
// repeats it (-rapid.seed); -rapid.checks=10000 looks longer.

// seen counts what the properties came across: a property that never sees a session joined proves nothing about joins.
type seen map[string]int

// require fails the test where one of what never happened.
func (s seen) require(t *testing.T, what ...string) {
	t.Helper()
	for _, w := range what {
		if s[w] == 0 {
			t.Errorf("in all its checks the property came across no %s", w)
		}
	}
	t.Log(s)
}

// check runs a property often enough to come across what is rare.
func check(t *testing.T, property func(*rapid.T)) {
	t.Helper()
	for range 2 {
		rapid.Check(t, property)
	}
}

// smallConfig draws limits so small that everything happens often. Neighbouring limits meet, so that things are due at once.
func smallConfig(t *rapid.T) window.Config {
	ms := func(name string, from ...int) time.Duration {
		return time.Duration(rapid.SampledFrom(from).Draw(t, name)) * time.Millisecond
	}
	c := window.DefaultConfig()
	c.MaxOpenSessions = 0
	c.Gap, c.LatenessBound, c.PartAge = ms("gap", 1, 2, 5, 8, 12), ms("lateness", 0, 1, 8, 20, 40), ms("part age", 0, 1, 5, 8, 12)
	c.MaxSessionAge, c.MaxSessionClicks = ms("max age", 1, 5, 12, 30, 60), rapid.SampledFrom([]int{1, 1, 2, 3, 8}).Draw(t, "max clicks")
	c.PartClicks = min(rapid.SampledFrom([]int{0, 1, 2, 3}).Draw(t, "part clicks"), c.MaxSessionClicks)
	if rapid.Bool().Draw(t, "no max") {
		c.MaxSessionAge, c.MaxSessionClicks = 1000*time.Hour, 1_000_000
	}
	return c
}

// withoutParts turns early parts off.
func withoutParts(c window.Config) window.Config {
	c.PartAge, c.PartClicks = 0, 0
	return c
}

// drawOps draws clicks of few users, ahead of and behind each other by the distances that matter, and ticks between them. With
// ids, clicks have event ids that come again anywhere; without, a click that comes again is equal to the first.
func drawOps(t *rapid.T, c window.Config, from schema.EventTime, ids bool) []op {
	gap, bound, now := int(c.Gap.Milliseconds()), int(c.LatenessBound.Milliseconds()), int(from)
	var clicks []schema.Click
	one := rapid.Custom(func(t *rapid.T) op {
		switch rapid.IntRange(0, 24).Draw(t, "what") {
		case 0:
			return op{Tick: schema.EventTime(now + rapid.IntRange(-50, 20).Draw(t, "tick"))}
		case 1, 2:
			if len(clicks) > 0 {
				again := clicks[max(0, len(clicks)-1-rapid.IntRange(0, 5).Draw(t, "back"))]
				return op{Click: &again}
			}
		case 3:
			now += rapid.IntRange(0, 80).Draw(t, "leap")
		}
		now += rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 3, gap}).Draw(t, "step")
		at := now + rapid.SampledFrom([]int{0, 0, 0, 0, -1, 1 - gap, -gap, -gap - 1, 1 - bound, -bound, -bound - 1, -bound / 2}).Draw(t, "delay")
		k := schema.Click{UserID: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "user"), EventTime: schema.EventTime(at), Action: schema.ActionClick}
		if ids {
			k.ItemID = rapid.SampledFrom([]string{"x", "y"}).Draw(t, "item")
			if rapid.Bool().Draw(t, "has id") {
				k.EventID = strconv.Itoa(rapid.IntRange(0, 12).Draw(t, "id"))
			}
		} else {
			k.ItemID = "i" + strconv.Itoa(len(clicks)) // no two are equal but those that come again
			if rapid.Bool().Draw(t, "has id") {
				k.EventID = "e" + k.ItemID
			}
			clicks = append(clicks, k)
		}
		return op{Click: &k}
	})
	ops := make([]op, rapid.SampledFrom([]int{0, 3, 10, 40, 100}).Draw(t, "ops"))
	for i := range ops {
		ops[i] = one.Draw(t, "op")
	}
	return ops
}

// feedAll gives ops to s, without an end.
func feedAll(s *subject, ops []op) (parts []schema.Part, rejected map[schema.Reason]int) {
	rejected = map[schema.Reason]int{}
	for _, o := range ops {
		if o.Click == nil {
			parts = append(parts, s.tick(o.Tick)...)
			continue
		}
		due, reason := s.add(*o.Click)
		parts = append(parts, due...)
		if reason != "" {
			rejected[reason]++
		}
	}
	return parts, rejected
}

// join puts sessions together from their parts, and demands the rules of any log: numbers without holes, nothing after the
// final part, no empty part but a final one, clicks in order from the session's start, dues that never fall in an epoch.
func join(t *rapid.T, parts []schema.Part) []cutSession {
	type running struct {
		session cutSession
		next    int32
	}
	open, dues := map[string]*running{}, map[schema.Epoch]schema.EventTime{}
	var done []cutSession
	for _, p := range parts {
		if due, ok := dues[p.Epoch]; ok && p.Due < due {
			t.Fatalf("%s part %d is due at %d, after one that was due at %d", p.SessionID(), p.Number, p.Due, due)
		}
		dues[p.Epoch] = p.Due
		s := open[p.SessionID()]
		if s == nil {
			s = &running{session: cutSession{User: p.UserID}}
			open[p.SessionID()] = s
		}
		if p.Number != s.next || len(p.Clicks) == 0 && (!p.Final || p.Number == 0) {
			t.Fatalf("%s: part %d with %d clicks comes where part %d is next", p.SessionID(), p.Number, len(p.Clicks), s.next)
		}
		s.next++
		s.session.Clicks = append(s.session.Clicks, p.Clicks...)
		inOrder := slices.IsSortedFunc(s.session.Clicks, func(a, b schema.Click) int { return cmp.Compare(a.EventTime, b.EventTime) })
		if !inOrder || s.session.Clicks[0].EventTime != p.SessionStart {
			t.Fatalf("%s: clicks %v", p.SessionID(), s.session.Clicks)
		}
		if p.Final {
			done = append(done, s.session)
			delete(open, p.SessionID())
		}
	}
	if len(open) > 0 {
		t.Fatalf("%d sessions never closed", len(open))
	}
	return sorted(done)
}

// copied returns parts that share no memory with the Windower, to find out later whether it has touched them.
func copied(parts []schema.Part) []schema.Part {
	out := slices.Clone(parts)
	for i := range out {
		out[i].Clicks = slices.Clone(out[i].Clicks)
	}
	return out
}

// Sessions are those of the definition, with early parts and without: whatever the order of arrival, ticks, maxima, and clicks
// that come late or again. What is not in a session is rejected, and counted exactly.
func TestSessionsAgainstTheDefinition(t *testing.T) {
	s := seen{}
	check(t, func(t *rapid.T) {
		c := smallConfig(t)
		partitions := make([][]op, rapid.IntRange(1, 3).Draw(t, "partitions"))
		for p := range partitions {
			partitions[p] = drawOps(t, c, 1000, false)
			want, wantRejected := cut(c, partitions[p])
			for _, c := range []window.Config{c, withoutParts(c)} {
				subject := newSubject(t, c)
				parts, rejected := feedAll(subject, partitions[p])
				before := copied(parts)
				parts = append(parts, subject.end()...)
				if diff := gocmp.Diff(before, parts[:len(before)], cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("an emitted part has changed:\n%s", diff)
				}
				got := join(t, parts)
				if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("sessions differ (-definition +windower):\n%s", diff)
				}
				if diff := gocmp.Diff(wantRejected, rejected); diff != "" {
					t.Fatalf("rejected clicks differ (-definition +windower):\n%s", diff)
				}
				for _, r := range schema.Reasons {
					if got := subject.meta().Counts.ByReason(r); got != uint64(rejected[r]) {
						t.Fatalf("%d clicks are %s, counted %d", rejected[r], r, got)
					}
				}
				for _, p := range parts {
					s["part by "+string(p.Cause)]++
				}
			}
			for r, n := range wantRejected {
				s[string(r)+" click"] += n
			}
			for _, one := range want {
				for i := 1; i < len(one.Clicks); i++ {
					switch one.Clicks[i].EventTime - one.Clicks[i-1].EventTime {
					case 0:
						s["equal times"]++
					case schema.EventTime(c.Gap.Milliseconds()):
						s["distance of the gap"]++
					}
				}
			}
			for i := 1; i < len(want); i++ {
				if a, b := want[i-1], want[i]; a.User == b.User && b.Clicks[0].EventTime-a.Clicks[len(a.Clicks)-1].EventTime == schema.EventTime(c.Gap.Milliseconds())+1 {
					s["distance of the gap and 1 ms"]++
				}
			}
		}
	})
	s.require(t, "late click", "duplicate click", "overflow click", "equal times", "distance of the gap", "distance of the gap and 1 ms",
		"part by age", "part by clicks", "part by gap", "part by max", "part by end")
}

// Any two orders of arrival within the lateness bound give the same sessions, and nothing is late. Without maxima, whose
// effect is by definition a matter of when the watermark jumps.
func TestArrivalOrderDoesNotMatter(t *testing.T) {
	s := seen{}
	check(t, func(t *rapid.T) {
		c := smallConfig(t)
		c.MaxSessionAge, c.MaxSessionClicks = 1000*time.Hour, 1_000_000
		bound := int(c.LatenessBound.Milliseconds())
		at, clicks := schema.EventTime(1000), []schema.Click{}
		gap := int(c.Gap.Milliseconds())
		for i := range rapid.IntRange(0, 60).Draw(t, "clicks") {
			at += schema.EventTime(rapid.SampledFrom([]int{0, 0, 1, gap - 1, gap, gap + 1, 2 * gap}).Draw(t, "step"))
			clicks = append(clicks, schema.Click{UserID: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "user"), ItemID: strconv.Itoa(i), EventTime: at, Action: schema.ActionClick})
		}
		var first []cutSession
		for range 3 {
			// A click that is delayed by no more than the bound is not behind any click that came before it by more.
			arrival := make([]int, len(clicks))
			order := make([]int, len(clicks))
			for i := range clicks {
				order[i], arrival[i] = i, int(clicks[i].EventTime)+rapid.IntRange(0, bound).Draw(t, "delay")
			}
			slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(arrival[a], arrival[b]) })
			if !slices.IsSorted(order) {
				s["order that is not that of the times"]++
			}
			ops := make([]op, len(order))
			for i, k := range order {
				ops[i].Click = &clicks[k]
			}
			joins := newSubject(t, c)
			parts, rejected := feedAll(joins, ops)
			if len(rejected) > 0 {
				t.Fatalf("rejected: %v", rejected)
			}
			got := join(t, append(parts, joins.end()...))
			for _, one := range got { // equal times keep the order of arrival, which is not the same here
				slices.SortFunc(one.Clicks, func(a, b schema.Click) int {
					return cmp.Or(cmp.Compare(a.EventTime, b.EventTime), cmp.Compare(a.ItemID, b.ItemID))
				})
			}
			got = sorted(got)
			if first == nil {
				first = got
			}
			if diff := gocmp.Diff(first, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("another order, other sessions:\n%s", diff)
			}
		}
	})
	s.require(t, "order that is not that of the times")
}

// A click within the gap of two sessions makes one of them; a millisecond further from either and it does not.
func TestBridges(t *testing.T) {
	s := seen{}
	check(t, func(t *rapid.T) {
		c := smallConfig(t)
		c.LatenessBound, c.MaxSessionAge, c.MaxSessionClicks = 10*c.Gap, 1000*time.Hour, 1_000_000
		gap := schema.EventTime(c.Gap.Milliseconds())
		before := schema.EventTime(rapid.IntRange(max(1, int(gap)-1), int(gap)+1).Draw(t, "before"))
		after := schema.EventTime(rapid.IntRange(max(1, int(gap)-1), int(gap)+1).Draw(t, "after"))
		click := func(user string, at schema.EventTime, item string) op {
			return op{Click: &schema.Click{UserID: user, ItemID: item, EventTime: at, Action: schema.ActionClick}}
		}
		ops := []op{click("a", 1000, "first"), click("a", 1000+before+after, "last"), click("b", 1000, "first"), click("a", 1000+before, "between")}
		if rapid.Bool().Draw(t, "the later one first") {
			ops[0], ops[1] = ops[1], ops[0]
		}
		want := 1
		if before > gap {
			want++
		}
		if after > gap {
			want++
		}
		subject := newSubject(t, c)
		parts, _ := feedAll(subject, ops)
		n := 0
		for _, one := range join(t, append(parts, subject.end()...)) {
			if one.User == "a" {
				n++
			}
		}
		if n != want {
			t.Fatalf("gap %d, %d before and %d after: %d sessions, want %d", gap, before, after, n, want)
		}
		s[fmt.Sprintf("bridge to %d sessions", want)]++
	})
	s.require(t, "bridge to 1 sessions", "bridge to 2 sessions", "bridge to 3 sessions")
}

// Every part, with its due, cause and number, is that of the second oracle: with event ids, over several epochs. And the log
// is the same where the process was killed at any place, and went on from what it had committed.
func TestLogAgainstTheStepwiseOracle(t *testing.T) {
	s := seen{}
	check(t, func(t *rapid.T) {
		c := smallConfig(t)
		c.MaxOpenSessions = rapid.SampledFrom([]int{0, 0, 1, 2, 3}).Draw(t, "max open")
		var ops []op
		from := schema.EventTime(1000)
		for range rapid.IntRange(1, 3).Draw(t, "epochs") {
			ops = append(append(ops, drawOps(t, c, from, true)...), op{Tick: schema.EndOfTime})
			from += schema.EventTime(rapid.IntRange(-50, 300).Draw(t, "pause"))
		}
		oracle := newStepwise(c)
		var want []schema.Part
		for _, o := range ops {
			switch {
			case o.Click != nil:
				parts, _ := oracle.add(*o.Click)
				want = append(want, parts...)
			case o.Tick == schema.EndOfTime:
				want = append(want, oracle.end()...)
			default:
				want = append(want, oracle.tick(o.Tick)...)
			}
		}
		join(t, want)

		subject := newSubject(t, c)
		var log, pending []schema.Part // durable, and since the last commit
		committed, rejected, committedRejected := 0, map[schema.Reason]int{}, map[schema.Reason]int{}
		for i, crashes := 0, 0; ; {
			if i == len(ops) || rapid.IntRange(0, 3).Draw(t, "commit") == 0 {
				pages := rapid.IntRange(0, 2).Draw(t, "pages") == 0
				subject.commit(pages)
				if pages {
					s["snapshot"]++
				}
				log, pending, committed = append(log, pending...), nil, i
				committedRejected = maps.Clone(rejected)
				s["commit"]++
				if i == len(ops) {
					break
				}
			}
			if crashes < 5 && rapid.IntRange(0, 9).Draw(t, "crash") == 0 {
				subject.crash()
				if i > committed {
					s["crash that loses something"]++
				}
				i, pending, rejected = committed, nil, maps.Clone(committedRejected)
				crashes++
				continue
			}
			o := ops[i]
			i++
			switch {
			case o.Click != nil:
				parts, reason := subject.add(*o.Click)
				pending = append(pending, parts...)
				if reason != "" {
					rejected[reason]++
				}
			case o.Tick == schema.EndOfTime:
				pending = append(pending, subject.end()...)
			default:
				pending = append(pending, subject.tick(o.Tick)...)
			}
		}
		if diff := gocmp.Diff(want, log, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the log differs (-oracle +windower):\n%s", diff)
		}
		if diff := gocmp.Diff(oracle.rejected, rejected); diff != "" {
			t.Fatalf("rejected clicks differ (-oracle +windower):\n%s", diff)
		}
		clicks := uint64(0)
		for _, p := range want {
			clicks += uint64(len(p.Clicks))
			s["part by "+string(p.Cause)]++
			s["epoch "+strconv.Itoa(int(p.Epoch))]++
			if p.Number > 0 {
				s["second part"]++
			}
		}
		for r, n := range rejected {
			s[string(r)+" click"] += n
		}
		if counts := subject.meta().Counts; counts.Taken != clicks || counts.Emitted != clicks || subject.meta().Watermark != oracle.w {
			t.Fatalf("%d clicks are in the log, watermark %d, but the state is %+v", clicks, oracle.w, subject.meta())
		}
	})
	s.require(t, "commit", "snapshot", "crash that loses something", "late click", "duplicate click", "overflow click", "second part", "epoch 2", "part by full",
		"part by age", "part by clicks", "part by gap", "part by max", "part by end")
}
