package buffer

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
)

// TestLogPackedIsLog: the same entries, once their clicks are decoded, from any place on, also after the store has changed.
func TestLogPackedIsLog(t *testing.T) {
	s := openMemory(t, Memory())
	defer s.Close()
	c := Commit{Partition: 1}
	for i := range 100 {
		c.Entries = append(c.Entries, partOf("u", schema.EventTime(i), i%4))
		if i%7 == 0 {
			c.Entries = append(c.Entries, Entry{Kind: KindTick, Mark: Mark{Watermark: schema.EventTime(i)}})
		}
	}
	must(t, s.Commit(c))
	for from := schema.Emit(0); int(from) < len(c.Entries); from += 9 {
		want, err := s.Log(1, from, 50)
		must(t, err)
		got, err := s.LogPacked(1, from, 50)
		must(t, err)
		must(t, s.Commit(Commit{Partition: 2, Entries: []Entry{partOf("v", 1, 1)}}))
		for i := range got {
			if len(got[i].Part.Clicks) > 0 {
				t.Fatalf("entry %d has decoded clicks", got[i].Emit)
			}
			clicks, err := got[i].Packed.Decode(got[i].Part.UserID)
			must(t, err)
			got[i].Part.Clicks, got[i].Packed = clicks, packed.Clicks{}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("from %d (-log +packed):\n%s", from, diff)
		}
	}
}
