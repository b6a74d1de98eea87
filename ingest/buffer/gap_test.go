package buffer

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// TestAnEmptyMirrorBeginsWhereItsNodeDoes, with an entry or without one, and marks what it could not get.
func TestAnEmptyMirrorBeginsWhereItsNodeDoes(t *testing.T) {
	fs := Memory()
	s := openMemory(t, fs)
	entry := partOf("u", 9, 1)
	entry.Emit = 7
	state := Meta{FirstEmit: 7, NextEmit: 7, NextOffset: 40, Window: window.Meta{Watermark: 5}}
	must(t, s.Append(1, state, nil))
	if m := s.Partition(1); m.FirstEmit != 7 || m.NextEmit != 7 || m.Window != state.Window || m.NextOffset != 40 {
		t.Fatalf("a state without entries: %+v", m)
	}
	state.NextEmit, state.Window.Watermark = 8, 9
	must(t, s.Append(1, state, []Entry{entry}))
	gap := Entry{Kind: KindGap, Emit: 8, Mark: Mark{Watermark: 9, Offset: 40}}
	state.NextEmit = 9
	must(t, s.Append(1, state, []Entry{gap}))
	if err := s.Append(1, state, []Entry{{Kind: KindGap, Emit: 12}}); err == nil {
		t.Error("a gap that nothing marks was accepted")
	}
	must(t, s.Close())
	s = openMemory(t, fs)
	defer s.Close()
	entries, err := s.Log(1, 7, 10)
	must(t, err)
	entry.Part.Partition, entry.Part.Emit = 1, 7
	if diff := gocmp.Diff([]Entry{entry, gap}, entries); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if m := s.Partition(1); m.FirstEmit != 7 || m.NextEmit != 9 || m.Window.Watermark != schema.EventTime(9) {
		t.Errorf("%+v", m)
	}
}
