package buffer

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// TestHistoriesDoNotSeeRetention lets two stores have the same logs and a reader that holds its position: one removes what
// it may in steps of drawn size, the other never. From the reader's place on, both must have the same log, and give the
// same histories at each of its places.
func TestHistoriesDoNotSeeRetention(t *testing.T) {
	removed := 0
	rapid.Check(t, func(t *rapid.T) {
		age := time.Duration(rapid.IntRange(1, 60).Draw(t, "age")) * time.Millisecond
		open := func(step schema.Emit) *Store {
			s, err := Open("store", Options{FS: Memory(), MemTableBytes: 1 << 20, LogAge: age})
			must(t, err)
			s.retainStep, s.tailParts = step, rapid.IntRange(1, 40).Draw(t, "tail")
			return s
		}
		lazy, eager := open(1<<40), open(schema.Emit(rapid.IntRange(1, 40).Draw(t, "step")))
		defer lazy.Close()
		defer eager.Close()
		must(t, errors.Join(lazy.Hold("reader", nil), eager.Hold("reader", nil)))
		users := []string{"u", "u1", "v"}
		var now [2]schema.EventTime
		position := schema.Position{}
		for range rapid.IntRange(1, 30).Draw(t, "commits") {
			p := schema.Partition(rapid.IntRange(0, 1).Draw(t, "partition"))
			var entries []Entry
			for range rapid.IntRange(0, 20).Draw(t, "entries") {
				now[p] += schema.EventTime(rapid.IntRange(0, 4).Draw(t, "step"))
				if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
					entries = append(entries, Entry{Kind: KindTick, Mark: Mark{Watermark: now[p]}})
					continue
				}
				entries = append(entries, partOf(rapid.SampledFrom(users).Draw(t, "user"), now[p], rapid.IntRange(0, 2).Draw(t, "clicks")))
			}
			m := window.NewMeta()
			m.Watermark = now[p]
			for _, s := range []*Store{lazy, eager} {
				must(t, s.Commit(Commit{Partition: p, Window: m, Entries: slices.Clone(entries)}))
			}
			if rapid.IntRange(0, 2).Draw(t, "reads") > 0 {
				continue
			}
			for p := range schema.Partition(2) { // read on to a place, look at the histories on the way, and hold it
				to := schema.Emit(rapid.IntRange(int(position[p]), int(lazy.Partition(p).NextEmit)).Draw(t, "to"))
				for ; position[p] < to; position[p]++ {
					a, err := lazy.Log(p, position[p], 1)
					must(t, err)
					b, err := eager.Log(p, position[p], 1)
					must(t, err)
					if diff := gocmp.Diff(a, b); diff != "" {
						t.Fatal("the logs differ:\n" + diff)
					}
					user, n := rapid.SampledFrom(users).Draw(t, "user"), rapid.IntRange(1, 30).Draw(t, "n")
					ha, err := lazy.History(p, user, position[p], n)
					must(t, err)
					hb, err := eager.History(p, user, position[p], n)
					must(t, err)
					if diff := gocmp.Diff(ha, hb); diff != "" {
						t.Fatalf("the histories of %q before %d of %d differ (-whole +retained):\n%s", user, position[p], p, diff)
					}
					for _, part := range ha {
						if part.Due < a[0].time().Add(-age) {
							t.Fatalf("the history at %d goes back to %d", a[0].time(), part.Due)
						}
					}
				}
			}
			for _, s := range []*Store{lazy, eager} {
				must(t, s.Hold("reader", position))
			}
		}
		for p := range schema.Partition(2) {
			checkIndex(t, eager, p)
			removed += int(eager.Partition(p).FirstEmit)
			if first := lazy.Partition(p).FirstEmit; first != 0 {
				t.Fatalf("the lazy log begins at %d", first)
			}
		}
	})
	if removed == 0 {
		t.Fatal("nothing was ever removed")
	}
}

// fill appends n parts to p, due one after another, at a watermark that is far beyond them.
func fill(t fataler, s *Store, p schema.Partition, n int) {
	t.Helper()
	m := window.NewMeta()
	m.Watermark = 1 << 40
	c := Commit{Partition: p, Window: m}
	from := s.Partition(p).NextEmit
	for i := range n {
		c.Entries = append(c.Entries, partOf(fmt.Sprint("u", i%10), schema.EventTime(from)+schema.EventTime(i), 1))
	}
	must(t, s.Commit(c))
}

func TestLogBytesBoundTheLogs(t *testing.T) {
	s, err := Open("store", Options{FS: Memory(), MemTableBytes: 1 << 20, LogBytes: 20_000})
	must(t, err)
	defer s.Close()
	s.retainStep = 64
	must(t, s.Hold("reader", schema.Position{2: 0}))
	for range 40 {
		fill(t, s, 1, 50)
	}
	if m := s.Partition(1); m.FirstEmit != 0 || s.Totals().LogBytes < 40_000 {
		t.Fatalf("a held log begins at %d, with %d bytes", m.FirstEmit, s.Totals().LogBytes)
	}
	must(t, s.Hold("reader", schema.Position{1: 1000}))
	for range 30 {
		fill(t, s, 2, 2) // the longest log is cut, whoever commits
	}
	if m := s.Partition(1); m.FirstEmit > 1000 || m.FirstEmit < 1000-64 {
		t.Fatalf("the log begins at %d, and 1000 is held", m.FirstEmit)
	}
	must(t, s.Release("reader"))
	for range 30 {
		fill(t, s, 2, 2)
	}
	if total := s.Totals().LogBytes; total > 20_000 || total < 10_000 {
		t.Fatalf("the logs have %d bytes", total)
	}
	for p := range schema.Partition(3) {
		checkIndex(t, s, p)
	}
	if parts, err := s.History(1, "u1", 1<<40, 1000); err != nil || len(parts) == 0 || parts[0].Emit < s.Partition(1).FirstEmit {
		t.Fatalf("%v, %v", parts, err)
	}
	if _, err := s.Log(1, 3, 1); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "entry 3 of partition 1 is wanted, and the log begins at") {
		t.Fatalf("what was removed reads as %v", err)
	}
}

func TestHold(t *testing.T) {
	disk := Memory()
	o := Options{FS: disk, MemTableBytes: 1 << 20, LogAge: time.Second}
	s, err := Open("store", o)
	must(t, err)
	for _, name := range []string{"", strings.Repeat("x", 257)} {
		if err := s.Hold(name, nil); err == nil {
			t.Errorf("name %q was accepted", name)
		}
	}
	must(t, s.Hold("b", schema.Position{1: 7}))
	must(t, s.Hold("a", schema.Position{1: 5000}))
	must(t, s.Hold("gone", nil))
	must(t, s.Release("gone"))
	must(t, s.Release("never was"))
	fill(t, s, 1, 10_000)
	if first := s.Partition(1).FirstEmit; first != 0 {
		t.Fatalf("the log begins at %d, and 7 is held", first)
	}
	must(t, s.Close())
	s, err = Open("store", o)
	must(t, err)
	defer s.Close()
	want := map[string]schema.Position{"a": {1: 5000}, "b": {1: 7}}
	if diff := gocmp.Diff(want, s.Holds()); diff != "" {
		t.Fatalf("after a restart (-want +got):\n%s", diff)
	}
	must(t, s.Hold("b", schema.Position{1: 10_000}))
	must(t, s.Hold("a", schema.Position{1: 9000}))
	for range 10 {
		fill(t, s, 1, 1)
	}
	first := s.Partition(1).FirstEmit
	if first > 9000-1000 || first < 9000-1000-retainEntries {
		t.Fatalf("the log begins at %d; a reader at 9000 needs what is a second older", first)
	}
	err = s.Hold("late", schema.Position{1: first - 1})
	if !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "let the reader begin anew") {
		t.Fatalf("a position that is gone: %v", err)
	}
	for i := range maxHolds {
		err = s.Hold(fmt.Sprint("reader", i), nil)
	}
	if err == nil || !strings.Contains(err.Error(), "release those that are gone") {
		t.Fatalf("one too many: %v", err)
	}
}

// TestADamagedEntryDoesNotStopTheCommits: what retention cannot read stays, and is said, and is asked for no more.
func TestADamagedEntryDoesNotStopTheCommits(t *testing.T) {
	var said strings.Builder
	s, err := Open("store", Options{FS: Memory(), MemTableBytes: 1 << 20, LogAge: time.Second, Log: slog.New(slog.NewTextHandler(&said, nil))})
	must(t, err)
	defer s.Close()
	must(t, s.Hold("reader", nil))
	fill(t, s, 1, 6000)
	must(t, s.db.Set(logKey(nil, 1, 0), []byte{blockTag, 1}, nil))
	must(t, s.Release("reader"))
	for range 3 {
		fill(t, s, 1, 1)
	}
	if n := strings.Count(said.String(), "cannot be shortened"); n != 1 || !strings.Contains(said.String(), "log entry 0 of partition 1") {
		t.Fatalf("said %d times:\n%s", n, said.String())
	}
	if m := s.Partition(1); m.FirstEmit != 0 || m.NextEmit != 6003 {
		t.Fatalf("%+v", m)
	}
}

// TestTheIndexOfWhatIsGoneGoes: the sweeps come by all keys, so the index does not grow for ever.
func TestTheIndexOfWhatIsGoneGoes(t *testing.T) {
	s, err := Open("store", Options{FS: Memory(), MemTableBytes: 1 << 20, LogAge: time.Second})
	must(t, err)
	defer s.Close()
	s.retainStep, s.tailParts = 500, 100
	keys := func() (n int) {
		must(t, s.scan([]byte{spaceUser}, func(_, _ []byte) error { n++; return nil }))
		return n
	}
	most := 0
	for i := range schema.Emit(60) {
		must(t, s.Hold("reader", schema.Position{1: 500 * (i - min(i, 4))}))
		fill(t, s, 1, 500) // of ten users
		most = max(most, keys())
	}
	if first := s.Partition(1).FirstEmit; first < 20_000 {
		t.Fatalf("the log begins at %d", first)
	}
	if n := keys(); n < 60 || most > 120 {
		t.Fatalf("%d keys at the end, up to %d", n, most)
	}
	checkIndex(t, s, 1)
}
