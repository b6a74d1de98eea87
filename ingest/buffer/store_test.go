package buffer

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble"
	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// TestHistoriesAreReadFromTheLog compares History and Recent with a look through the whole log.
func TestHistoriesAreReadFromTheLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := Memory()
		s := openMemory(t, disk)
		defer func() { must(t, s.Close()) }()
		tail := rapid.IntRange(1, 40).Draw(t, "tail")
		s.tailParts = tail
		users := []string{"u", "u1", "v", "u\x00\x00"}
		var all []schema.Part
		var due [3]schema.EventTime // never falls within a partition
		for range rapid.IntRange(1, 6).Draw(t, "commits") {
			c := Commit{Partition: schema.Partition(rapid.IntRange(0, 2).Draw(t, "partition"))}
			for range rapid.IntRange(0, 8).Draw(t, "entries") {
				if rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
					c.Entries = append(c.Entries, Entry{Kind: KindTick})
					continue
				}
				due[c.Partition] += schema.EventTime(rapid.IntRange(0, 2).Draw(t, "step"))
				c.Entries = append(c.Entries, partOf(rapid.SampledFrom(users).Draw(t, "user"), due[c.Partition], rapid.IntRange(0, 2).Draw(t, "clicks")))
			}
			must(t, s.Commit(c))
			for _, e := range c.Entries {
				if e.Kind == KindPart {
					all = append(all, e.Part)
				}
			}
		}
		if rapid.Bool().Draw(t, "restart") {
			must(t, s.Close())
			s = openMemory(t, disk)
		}
		for p := range schema.Partition(3) {
			checkIndex(t, s, p)
		}
		for _, user := range users {
			n := rapid.IntRange(0, 4).Draw(t, "n")
			before := schema.Emit(rapid.IntRange(0, 20).Draw(t, "before"))
			var everywhere []schema.Part
			for p := schema.Partition(0); p < 3; p++ {
				var here []schema.Part
				for _, part := range all {
					if part.UserID == user && part.Partition == p && len(part.Clicks) > 0 {
						everywhere = append(everywhere, part)
						if part.Emit < before {
							here = append(here, part)
						}
					}
				}
				got, err := s.History(p, user, before, n)
				must(t, err)
				if want := here[max(0, len(here)-n):]; !gocmp.Equal(want, got) && len(want)+len(got) > 0 {
					t.Fatalf("history of %q before %d in %d:\n%s", user, before, p, gocmp.Diff(want, got))
				}
			}
			slices.SortFunc(everywhere, Order)
			got, err := s.Recent(user, n)
			must(t, err)
			if want := everywhere[max(0, len(everywhere)-n):]; !gocmp.Equal(want, got) && len(want)+len(got) > 0 {
				t.Fatalf("recent of %q:\n%s", user, gocmp.Diff(want, got))
			}
		}
	})
}

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	fails := func(fs FS, words ...string) {
		t.Helper()
		s, err := Open("store", Options{FS: fs})
		if err == nil {
			s.Close()
			t.Fatalf("opened; want an error with %q", words)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q does not say %q", err, w)
			}
		}
	}
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	must(t, err)
	if other, err := Open(dir, Options{}); err == nil {
		other.Close()
		t.Error("a directory was opened twice")
	} else if !strings.Contains(err.Error(), "stop the other freshet") {
		t.Errorf("error %q does not say what to do", err)
	}
	must(t, s.Close())
	must(t, s.Close()) // again
	s, err = Open(dir, Options{})
	must(t, err)
	must(t, s.Close())

	fs := Memory()
	s = openMemory(t, fs)
	must(t, s.db.Set([]byte{spaceFormat}, binary.AppendUvarint(nil, 3), pebble.Sync))
	must(t, s.Close())
	fails(fs, "newer format (3 > 2): run a newer freshet")

	fs = Memory()
	s = openMemory(t, fs)
	must(t, s.db.Set(metaKey(nil, 7), []byte{0xff}, pebble.Sync))
	must(t, s.Close())
	fails(fs, "meta of partition 7", "corrupt")

	if err := (Options{AsideBytes: 1, MemTableBytes: 2 << 30}).Validate(); err == nil || !strings.Contains(err.Error(), "aside_bytes") || !strings.Contains(err.Error(), "memtable_bytes") {
		t.Errorf("faults of the options: %v", err)
	}
}

func TestDamageNamesTheKey(t *testing.T) {
	s := openMemory(t, Memory())
	defer s.Close()
	for i := range schema.EventTime(3) {
		must(t, s.Commit(Commit{
			Partition: 2, NextOffset: 10, Entries: []Entry{partOf("u", i, 1)},
			Aside: []schema.Rejected{{Partition: 2, Offset: 7 + schema.Offset(i), Reason: schema.ReasonLate}},
		}))
	}
	must(t, s.db.Set(logKey(nil, 2, 1), []byte{1, 2, 3}, pebble.Sync))
	must(t, s.db.Set(asideKey(nil, 2, 9), []byte{200}, pebble.Sync))
	wants := func(err error, name string) {
		t.Helper()
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want ErrCorrupt of %q", err, name)
		}
	}
	_, err := s.Log(2, 0, 10)
	wants(err, "log entry 1 of partition 2")
	_, err = s.History(2, "u", 3, 5)
	wants(err, "log entry 1 of partition 2")
	for _, err = range s.Aside(0) {
	}
	wants(err, "aside record of partition 2 at offset 9")
	_, err = s.AsideFrom(2, 8, 5)
	wants(err, "aside record of partition 2 at offset 9")
	for _, missing := range []schema.Emit{1, 2} {
		must(t, s.db.Delete(logKey(nil, 2, missing), pebble.Sync))
		_, err = s.Log(2, 1, 10)
		wants(err, "log entry 1 of partition 2")
	}
}

func TestAsideKeepsTheNewest(t *testing.T) {
	fs := Memory()
	o := Options{FS: fs, AsideRecords: 32, MemTableBytes: 1 << 20}
	s, err := Open("store", o)
	must(t, err)
	put := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			r := schema.Rejected{Partition: 1, Offset: schema.Offset(i), ArrivedAt: schema.ArrivalTime(i * 10), Reason: schema.ReasonInvalid, Value: []byte("v")}
			must(t, s.Commit(Commit{Partition: 1, NextOffset: schema.Offset(i + 1), Aside: []schema.Rejected{r}}))
		}
	}
	has := func(from schema.ArrivalTime, first, n int) {
		t.Helper()
		var got []schema.Offset
		for r, err := range s.Aside(from) {
			must(t, err)
			got = append(got, r.Offset)
		}
		if len(got) != n || n > 0 && got[0] != schema.Offset(first) || !slices.IsSorted(got) {
			t.Fatalf("aside has %v, want %d records from %d", got, n, first)
		}
	}
	put(0, 34) // within a sixteenth of the bound
	has(0, 0, 34)
	put(34, 35)
	has(0, 3, 32)
	has(100, 10, 25)
	put(35, 50)
	for range 2 {
		totals := s.Totals()
		if totals.AsideKept+totals.AsideTrimmed != 50 || totals.AsideKept > 34 || totals.AsideTrimmed == 0 {
			t.Fatalf("kept %d and trimmed %d of 50", totals.AsideKept, totals.AsideTrimmed)
		}
		has(0, int(totals.AsideTrimmed), int(totals.AsideKept))
		must(t, s.Close())
		s, err = Open("store", o)
		must(t, err)
	}
	for range s.Aside(0) { // an iteration that stops early lets go of the store
		break
	}
	must(t, s.Close())
}

func TestAsideIsBoundedInBytes(t *testing.T) {
	s, err := Open("store", Options{FS: Memory(), AsideBytes: 1 << 20})
	must(t, err)
	defer s.Close()
	for i := range 30 {
		r := schema.Rejected{Partition: 1, Offset: schema.Offset(i), ArrivedAt: schema.ArrivalTime(i), Value: make([]byte, 100<<10)}
		must(t, s.Commit(Commit{Partition: 1, Aside: []schema.Rejected{r}}))
	}
	if k := s.kept(); k.bytes > 1<<20+1<<16 || k.records < 9 {
		t.Errorf("%d bytes in %d records are kept", k.bytes, k.records)
	}
}

func TestLogStopsAtItsBoundInBytes(t *testing.T) {
	s := openMemory(t, Memory())
	defer s.Close()
	c := Commit{Partition: 1}
	for range 3 {
		e := partOf("u", 1, 1)
		e.Part.Clicks[0].Context = make([]byte, logBytes)
		c.Entries = append(c.Entries, e)
	}
	must(t, s.Commit(c))
	if entries, err := s.Log(1, 0, 10); err != nil || len(entries) != 1 {
		t.Errorf("%d entries, %v; want one at a time", len(entries), err)
	}
}

func TestAClosedStoreSaysSo(t *testing.T) {
	s := openMemory(t, Memory())
	changed := s.Changed()
	must(t, s.Close())
	<-changed
	_, errLog := s.Log(0, 0, 1)
	_, errHistory := s.History(0, "u", 1, 1)
	_, errLoad := s.Load(0, window.DefaultConfig())
	_, errAsideFrom := s.AsideFrom(0, 0, 1)
	_, errForwarded := s.Forwarded(0)
	_, errExport := s.Export(0, io.Discard)
	_, errImport := s.Import(0, strings.NewReader(""))
	_, errPartitions := s.Partitions()
	var errAside error
	for _, errAside = range s.Aside(0) {
	}
	for _, err := range []error{
		errLog, errHistory, errLoad, errPartitions, errAside, errAsideFrom, errForwarded, errExport, errImport, s.Commit(Commit{}),
		s.Append(0, Meta{}, nil), s.Leave(0), s.Hold("r", nil), s.Release("r"), s.SetForwarded(0, 1), s.Snapshot(0, nil), s.Room(),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	}
}
