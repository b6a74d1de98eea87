package snapshots

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden file of a new format version")

func example() entry {
	return entry{
		Format: 1, TopicID: "00112233445566778899aabbccddeeff", Partition: 3, Claim: 12, Token: "ABCDEF", Owner: "host-1, process 77", ClaimedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Left: &At{Offset: 1220, Emit: 360},
		State: State{
			Snapshots: []Snapshot{
				{Object: "3.ABCDEF.2", At: At{Offset: 1200, Emit: 340}, Bytes: 4096, SHA256: strings.Repeat("ab", 32), TakenAt: time.Date(2026, 1, 2, 3, 5, 5, 0, time.UTC)},
				{Object: "3.ABCDEF.1", At: At{Offset: 1100, Emit: 300}, Bytes: 4095, SHA256: strings.Repeat("cd", 32), TakenAt: time.Date(2026, 1, 2, 3, 4, 35, 0, time.UTC)},
			},
			Marks: []Mark{
				{Kind: "tick", At: At{Offset: 1150, Emit: 320}, Watermark: 1_700_000_000_000},
				{Kind: "grow", At: At{Offset: 1210, Emit: 345}, Watermark: 1_700_000_001_000, Partitions: 8},
				{Kind: "end", At: At{Offset: 1210, Emit: 350}, Watermark: 1_700_000_002_000, Epoch: 1},
			},
			MarksFrom: 300,
		},
	}
}

// The bytes of format 1 stay what they are: nodes of two versions share an entry.
func TestEntryIsGolden(t *testing.T) {
	path := filepath.Join("testdata", "entry_1.json")
	got, err := encodeEntry(example())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
		t.Fatal(diff)
	}
	back, err := decodeEntry(want, 3)
	if diff := cmp.Diff(example(), back, cmp.AllowUnexported(entry{})); diff != "" || err != nil {
		t.Fatal(err, diff)
	}
}

func TestEntriesThatAreRefused(t *testing.T) {
	for want, change := range map[string]func(*entry){
		"run a newer freshet":        func(e *entry) { e.Format = 2 },
		"format 0 is unknown":        func(e *entry) { e.Format = 0 },
		"it is of partition 4":       func(e *entry) { e.Partition = 4 },
		"it has no token":            func(e *entry) { e.Token = "" },
		"3 snapshots":                func(e *entry) { e.Snapshots = append(e.Snapshots, e.Snapshots[0]) },
		"snapshots are out of order": func(e *entry) { e.Snapshots[0].Offset = 5 },
		"marks are out of order":     func(e *entry) { e.Marks[2].Emit = 345 },
	} {
		e := example()
		change(&e)
		b, err := encodeEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeEntry(b, 3); !errors.Is(err, ErrEntry) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// What others write into the bucket gives an error, or an entry that is written back the same.
func FuzzDecodeEntry(t *testing.F) {
	f := fuzz.Of(t)
	b, err := encodeEntry(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"partition":3,"token":"x","marks":[{"emit":-1}]}`))
	f.Add([]byte(`{"format":1,"partition":3,"token":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEntry(b, 3)
		if err != nil {
			if !errors.Is(err, ErrEntry) {
				t.Fatal(err)
			}
			return
		}
		again, err := encodeEntry(e)
		if err != nil {
			return // it grew beyond the bound: text that JSON writes longer
		}
		back, err := decodeEntry(again, 3)
		if diff := cmp.Diff(e, back, cmp.AllowUnexported(entry{})); diff != "" || err != nil {
			t.Fatal(err, diff)
		}
	})
}

// A place is later by its records; between two records, by its log.
func TestPlacesAreOrdered(t *testing.T) {
	for _, tc := range []struct {
		a, b At
		want int
	}{{At{1, 9}, At{2, 1}, -1}, {At{2, 1}, At{2, 2}, -1}, {At{2, 2}, At{2, 2}, 0}, {At{3, 0}, At{2, 2}, 1}} {
		if got := tc.a.Compare(tc.b); got != tc.want || tc.b.Compare(tc.a) != -tc.want {
			t.Errorf("%+v and %+v: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

// Of the marks that two snapshots cover the last 256 stay, and where the others were is known.
func TestCoveredMarks(t *testing.T) {
	var s State
	for i := range schema.Emit(keepMarks + 10) {
		s = s.with(Mark{Kind: "tick", At: At{Emit: 2 * i}})
	}
	last := s.Marks[len(s.Marks)-1].Emit
	s = s.covered(Snapshot{Object: "a", At: At{Offset: 1, Emit: last - 4}}) // two marks are behind it
	if len(s.Marks) != keepMarks+10 || s.MarksFrom != 0 {
		t.Fatalf("one snapshot: %d marks from %d", len(s.Marks), s.MarksFrom)
	}
	before := s
	s = s.covered(Snapshot{Object: "b", At: At{Offset: 2, Emit: last + 1}})
	if want := schema.Emit(2*6 + 1); len(s.Marks) != keepMarks+3 || s.MarksFrom != want || s.Marks[0].Emit != want+1 {
		t.Fatalf("two snapshots: %d marks from %d, the first at %d", len(s.Marks), s.MarksFrom, s.Marks[0].Emit)
	}
	if len(before.Marks) != keepMarks+10 || before.Marks[0].Emit != 0 {
		t.Fatal("the state before has changed")
	}
}
