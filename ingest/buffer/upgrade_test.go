package buffer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/vfs"

	"github.com/freshet-ml/freshet/schema"
)

// TestACrashDuringTheUpgrade upgrades what a program of format 1 has written, the contents of its store in the middle of a
// life, and lets the life go on: the store must come to hold what it holds when all of it was format 2.
func TestACrashDuringTheUpgrade(t *testing.T) {
	l := &life{inputs: newInputs(16, 25)}
	calm := vfs.NewMem()
	must(t, l.run(calm))
	want := l.read(t, calm)
	prefixes := l.prefixes(t)
	old := format1Store(t)
	open := func(fs FS) error {
		s, err := l.open(fs)
		if err != nil {
			return err
		}
		return s.Close()
	}
	check := func(disk FS, where string, n int64) {
		s, err := l.open(disk)
		must(t, err)
		checkTidy(t, s)
		must(t, s.scan(nil, func(key, _ []byte) error {
			if strings.ContainsRune("sa", rune(key[0])) {
				return fmt.Errorf("%s is of format 1", nameOf(key))
			}
			return nil
		}))
		if m := s.Partition(0); m.Partitions != 2 || m.Reached != m.NextEmit {
			t.Fatalf("after %s %d: %+v", where, n, m)
		}
		for p := range prefixes {
			m := s.Partition(schema.Partition(p))
			checkIndex(t, s, m.Partition)
			if m.NextOffset < 100 {
				t.Fatalf("%+v is not the middle of a life", m)
			}
			w, err := s.Load(m.Partition, smallConfig())
			must(t, err)
			if got, want := len(sessionsOf(t, w)), len(prefixes[p][m.NextOffset]); got != want || got == 0 {
				t.Fatalf("after %s %d partition %d has %d open sessions, want %d", where, n, p, got, want)
			}
		}
		must(t, s.Close())
		must(t, l.run(disk))
		got := l.read(t, disk)
		// The life of format 2 began with a Grow mark, the one of format 1 without.
		got.Metas[0].Grows, got.Metas[0].NextEmit, got.Metas[0].Reached = want.Metas[0].Grows, got.Metas[0].NextEmit+1, got.Metas[0].Reached+1
		mark := want.Logs[0][0]
		for i := range got.Logs[0] {
			got.Logs[0][i].Emit++
			if got.Logs[0][i].Kind == KindPart {
				got.Logs[0][i].Part.Emit++
			}
		}
		got.Logs[0] = append([]Entry{mark}, got.Logs[0]...)
		same(t, want, got, where, n)
	}
	power, kills := crashes(t, 1, func() *vfs.MemFS { return syncedCopy(t, old) }, open, check)
	if power < 3 || kills < 5 {
		t.Fatalf("only %d power failures and %d kills", power, kills)
	}
	t.Logf("%d power failures, %d kills", power, kills)
}
