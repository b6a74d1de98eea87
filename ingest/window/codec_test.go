package window_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

// goldenConfig makes of goldenSteps sessions with and without parts, ids and pending clicks.
func goldenConfig() window.Config {
	return window.Config{Gap: 30 * time.Minute, LatenessBound: 5 * time.Second, PartAge: 10 * time.Second, MaxSessionAge: time.Hour, MaxSessionClicks: 1000}
}

// goldenSteps does each thing that a journal can say.
func goldenSteps(w *window.Windower) {
	at := midnight
	add := func(user, item, id string, after time.Duration) {
		t := at.Add(after)
		w.Add(&schema.Click{UserID: user, ItemID: item, EventID: id, Action: schema.ActionClick, EventTime: t, ArrivedAt: schema.ArrivalTime(t) + 250})
	}
	add("zoe", "hat", "", 0)
	w.End(1)
	add("ann", "shoes", "e1", time.Second)
	add("ann", "shoes", "e1", time.Second) // duplicate
	add("ann", "shoes", "e2", 0)           // late
	w.Reject(schema.ReasonUndecodable)
	add("bob", "hat", "", 20*time.Second)
	w.Tick(at.Add(21 * time.Second))
	add("ann", "socks", "e3", 30*time.Second)
	add("ann", "socks", "", 31*time.Second)
}

func hexLine(b []byte) string { return hex.EncodeToString(b) + "\n" }

func readHex(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sessionsOf returns the sessions of w, one a page, sorted.
func sessionsOf(w *window.Windower) (pages [][]byte) {
	w.Committed()
	_ = w.Pages(1, func(page []byte) error { // yield returns no error
		pages = append(pages, slices.Clone(page))
		return nil
	})
	slices.SortFunc(pages, bytes.Compare)
	return pages
}

func each(pages [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, p := range pages {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// TestGoldenBytes holds the formats of journals and pages: they are on disks.
func TestGoldenBytes(t *testing.T) {
	w, err := window.New(goldenConfig())
	if err != nil {
		t.Fatal(err)
	}
	goldenSteps(w)
	if got, want := w.Journal(), readHex(t, "journal.hex"); !bytes.Equal(got, want) {
		t.Errorf("the journal is\n%sand was\n%s", hexLine(got), hexLine(want))
	}
	w.Committed()
	var page []byte
	err = w.Pages(1<<20, func(p []byte) error {
		page = slices.Clone(p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := readHex(t, "page.hex"); !bytes.Equal(page, want) {
		t.Errorf("the page is\n%sand was\n%s", hexLine(page), hexLine(want))
	}

	replayed, err := window.New(goldenConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := replayed.Replay(readHex(t, "journal.hex")); err != nil {
		t.Fatal(err)
	}
	restored, err := window.Restore(goldenConfig(), w.Meta(), each([][]byte{readHex(t, "page.hex")}))
	if err != nil {
		t.Fatal(err)
	}
	for _, back := range []*window.Windower{replayed, restored} {
		if diff := gocmp.Diff(w.Meta(), back.Meta()); diff != "" {
			t.Error(diff)
		}
		if diff := gocmp.Diff(sessionsOf(w), sessionsOf(back)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAppendSessionWritesWhatPagesWrite(t *testing.T) {
	s := window.Session{
		UserID: "ann", Start: midnight, Last: midnight + 5, Number: 2, Emitted: 1, EventIDs: []uint64{7, 1 << 63},
		Pending: []schema.Click{
			{UserID: "ann", ItemID: "x", EventTime: midnight + 4, Action: "wish", EventID: "e", Context: []byte("{}")},
			{UserID: "ann", ItemID: "y", EventTime: midnight + 5, Action: schema.ActionCart},
		},
	}
	m := window.Meta{Watermark: midnight + 2, MaxSeen: midnight + 5, Counts: window.Counts{Taken: 3, Emitted: 1}}
	page := window.AppendSession(nil, &s)
	w, err := window.Restore(goldenConfig(), m, each([][]byte{page}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff([][]byte{page}, sessionsOf(w)); diff != "" {
		t.Error(diff)
	}
	parts := w.End(1)
	if len(parts) != 1 || parts[0].Number != 2 {
		t.Fatalf("parts %+v", parts)
	}
	if diff := gocmp.Diff(s.Pending, clicksOf(t, parts[0])); diff != "" {
		t.Error(diff)
	}
}

func TestRestoreRefusesWhatCannotBe(t *testing.T) {
	m := window.Meta{Watermark: midnight, MaxSeen: midnight + 10, Counts: window.Counts{Taken: 3, Emitted: 1}}
	click := func(at schema.EventTime) schema.Click {
		return schema.Click{ItemID: "x", EventTime: midnight + at, Action: schema.ActionClick}
	}
	good := window.Session{UserID: "ann", Start: midnight, Last: midnight + 5, Number: 1, Emitted: 1, Pending: []schema.Click{click(4), click(5)}}
	f := func(name string, m window.Meta, change func(*window.Session), more ...window.Session) {
		t.Helper()
		s := good
		change(&s)
		page := window.AppendSession(nil, &s)
		for i := range more {
			page = window.AppendSession(page, &more[i])
		}
		_, err := window.Restore(goldenConfig(), m, each([][]byte{page}))
		if name == "" && err != nil || name != "" && !errors.Is(err, window.ErrCorrupt) {
			t.Errorf("%q: %v", name, err)
		}
	}
	nothing := func(*window.Session) {}
	f("", m, nothing)
	f("more pending than counted", window.Meta{Watermark: midnight, MaxSeen: midnight + 10}, nothing)
	f("a click after all time seen", window.Meta{Watermark: midnight, MaxSeen: midnight + 4, Counts: m.Counts}, nothing)
	f("a session before all time", window.Meta{Watermark: schema.BeginningOfTime, MaxSeen: midnight + 10, Counts: m.Counts}, nothing)
	f("clicks out of order", m, func(s *window.Session) { s.Pending = []schema.Click{click(5), click(4)} })
	f("a click before the start", m, func(s *window.Session) { s.Start = midnight + 5 })
	f("a last click that is not there", m, func(s *window.Session) { s.Last = midnight + 6 })
	f("emitted clicks without a part", m, func(s *window.Session) { s.Number = 0 })
	f("a start that nothing was at", m, func(s *window.Session) { s.Number, s.Emitted = 0, 0 })
	f("more event ids than clicks", m, func(s *window.Session) { s.EventIDs = make([]uint64, 4) })
	f("no clicks", window.Meta{Watermark: midnight, MaxSeen: midnight + 10}, func(s *window.Session) { s.Number, s.Emitted, s.Pending = 0, 0, nil })
	f("two sessions of a user at one time", m, nothing, window.Session{UserID: "ann", Start: midnight + 5, Last: midnight + 5, Number: 1, Emitted: 1})
	f("", m, nothing, window.Session{UserID: "bob", Start: midnight + 5, Last: midnight + 5, Number: 1, Emitted: 1})

	sick := errors.New("sick disk")
	_, err := window.Restore(goldenConfig(), m, func(yield func([]byte, error) bool) { yield(nil, sick) })
	if !errors.Is(err, sick) {
		t.Errorf("a page that cannot be read: %v", err)
	}
	if _, err := window.Restore(window.Config{}, m, nil); err == nil {
		t.Error("an invalid config went through")
	}
}

func TestReplayRefusesWhatDoesNotFollow(t *testing.T) {
	journal := readHex(t, "journal.hex")
	w, err := window.New(goldenConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Replay(journal); err != nil {
		t.Fatal(err)
	}
	if err := w.Replay(journal); !errors.Is(err, window.ErrCorrupt) { // its clicks are late now
		t.Errorf("the same journal twice: %v", err)
	}
	newer := slices.Clone(journal)
	newer[0] = 99
	if w, err = window.New(goldenConfig()); err != nil {
		t.Fatal(err)
	}
	if err := w.Replay(newer); !errors.Is(err, window.ErrCorrupt) || !strings.Contains(err.Error(), "run a newer freshet") {
		t.Errorf("a newer journal: %v", err)
	}
}

// TestNothingOfAClickIsKept overwrites what the click's strings point to after each Add.
func TestNothingOfAClickIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		careful, careless := mustNew(t, c), mustNew(t, c)
		v := newVisits(3)
		v.step = float64(rapid.IntRange(1, 5).Draw(t, "step"))
		var got, want []window.Part
		n := rapid.IntRange(1, 100).Draw(t, "clicks")
		for i := range n {
			k := *v.next(i)
			k.UserID, k.EventID = strings.Clone(k.UserID), strings.Clone(k.EventID)
			parts, _ := careful.Add(&k)
			want = append(want, parts...)
			parts, _ = careless.Add(v.next(i))
			got = append(got, parts...)
			for j := range v.user {
				v.user[j] = '?'
			}
			for j := range v.event {
				v.event[j] = '?'
			}
			clear(careless.Journal())
			careless.Committed()
		}
		got, want = append(got, careless.End(1)...), append(want, careful.End(1)...)
		if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("parts differ (-kept +overwritten):\n%s", diff)
		}
	})
}

// TestPartsNeverChange keeps parts while the Windower goes on, and finds them as they were.
func TestPartsNeverChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := mustNew(t, drawConfig(t))
		var kept []window.Part
		var said []string
		for _, k := range drawClicks(t, 1000) {
			parts, _ := w.Add(&k)
			for _, p := range parts {
				kept = append(kept, p)
				said = append(said, fmt.Sprintf("%+v", p))
			}
		}
		w.End(1)
		for i, p := range kept {
			if now := fmt.Sprintf("%+v", p); now != said[i] {
				t.Fatalf("a part was %s and is %s", said[i], now)
			}
		}
	})
}

// FuzzReplay demands of any journal that it is refused or makes a whole state that can be stored.
func FuzzReplay(t *testing.F) {
	f := fuzz.Of(t)
	f.Add(readHex(f, "journal.hex"))
	f.Add([]byte{1, 4, 2, 5, 1})
	f.Fuzz(func(t *testing.T, journal []byte) {
		w, err := window.New(goldenConfig())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Replay(journal); err != nil {
			if !errors.Is(err, window.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		comesBack(t, w)
	})
}

// FuzzRestore demands of any page that it is refused or makes a whole state that can be stored and goes on.
func FuzzRestore(t *testing.F) {
	f := fuzz.Of(t)
	page := readHex(f, "page.hex")
	f.Add(page, int64(midnight+21_000), int64(midnight+31_000), uint64(5), uint64(3))
	f.Fuzz(func(t *testing.T, page []byte, watermark, seen int64, taken, emitted uint64) {
		m := window.Meta{Watermark: schema.EventTime(watermark), MaxSeen: schema.EventTime(seen), Counts: window.Counts{Taken: taken, Emitted: emitted}}
		w, err := window.Restore(goldenConfig(), m, each([][]byte{page}))
		if err != nil {
			if !errors.Is(err, window.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		comesBack(t, w)
		w.Tick(w.Meta().Watermark.Add(time.Hour))
		if fault := window.Examine(w); fault != "" {
			t.Fatal(fault)
		}
		w.End(w.Meta().Epoch + 1)
	})
}

// comesBack demands that w is whole, and the same from its own pages.
func comesBack(t testing.TB, w *window.Windower) {
	t.Helper()
	if fault := window.Examine(w); fault != "" {
		t.Fatal(fault)
	}
	pages := sessionsOf(w)
	back, err := window.Restore(goldenConfig(), w.Meta(), each(pages))
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(pages, sessionsOf(back)); diff != "" {
		t.Fatalf("restored sessions differ:\n%s", diff)
	}
}
