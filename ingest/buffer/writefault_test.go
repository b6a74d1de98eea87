package buffer

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/vfs"

	"github.com/freshet-ml/freshet/schema"
)

// TestAfterAFailedWriteNothingIsWritten fails a write to the write-ahead log, and its sync. The commit must say so, the
// store must refuse all that would be written, and what was committed before must be there when it is opened again.
func TestAfterAFailedWriteNothingIsWritten(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		disk := vfs.NewMem()
		var broken atomic.Bool
		fs := &steadyFS{FS: disk, fault: func(name string, sync bool) error {
			if broken.Load() && strings.HasSuffix(name, ".log") && sync == (op == "sync") {
				return errors.New("the disk has had enough")
			}
			return nil
		}}
		s := openMemory(t, fs)
		must(t, s.Commit(Commit{Partition: 1, NextOffset: 1, Entries: []Entry{partOf("u", 1, 1)}}))
		broken.Store(true)
		err := s.Commit(Commit{Partition: 1, NextOffset: 2, Entries: []Entry{partOf("u", 2, 1)}})
		if err == nil || !strings.Contains(err.Error(), "check the disk of store") {
			t.Fatalf("a failed %s: the commit said %v", op, err)
		}
		broken.Store(false)
		for name, err := range map[string]error{
			"commit": s.Commit(Commit{Partition: 2, NextOffset: 1}), "hold": s.Hold("r", schema.Position{}),
			"append": s.Append(3, Meta{}, nil), "forward": s.SetForwarded(1, 1),
		} {
			if err == nil || !strings.Contains(err.Error(), "an earlier write failed") {
				t.Errorf("a failed %s: %s said %v", op, name, err)
			}
		}
		if m := s.Partition(1); m.NextOffset != 1 || m.NextEmit != 1 {
			t.Errorf("a failed %s: readers see %+v", op, m)
		}
		_ = s.Close() // it may say again what went wrong
		s = openMemory(t, disk)
		if m := s.Partition(1); m.NextOffset < 1 || int(m.NextEmit) != len(wholeLog(t, s, 1)) || m.NextEmit != schema.Emit(m.NextOffset) {
			t.Errorf("a failed %s: after the next start there is %+v", op, m)
		}
		must(t, s.Close())
	}
}
