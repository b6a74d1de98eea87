package buffer

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/vfs"

	"github.com/freshet-ml/freshet/schema"
)

// smallDisk is a file system that says how much is free.
type smallDisk struct {
	vfs.FS
	free  atomic.Uint64
	asked atomic.Int64
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.asked.Add(1)
	free := d.free.Load()
	return vfs.DiskUsage{AvailBytes: free, TotalBytes: 1 << 30, UsedBytes: 1<<30 - free}, nil
}

func TestNothingIsWrittenWithoutRoom(t *testing.T) {
	disk := &smallDisk{FS: Memory()}
	disk.free.Store(20 << 20)
	now := time.Unix(0, 0)
	s, err := Open("store", Options{FS: disk, MemTableBytes: 1 << 20, MinFreeBytes: 10 << 20, Now: func() time.Time { return now }})
	must(t, err)
	defer s.Close()
	commit := func() error {
		return s.Commit(Commit{Partition: 1, NextOffset: s.Partition(1).NextOffset + 1, Entries: []Entry{partOf("u", 1, 1)}})
	}
	must(t, commit())
	disk.free.Store(5 << 20)
	must(t, commit()) // it was asked a moment ago
	now = now.Add(time.Second)
	err = commit()
	if !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "5 MiB of 1024 MiB are free, and 10 MiB must stay free: make room") {
		t.Fatalf("without room: %v", err)
	}
	_, errImport := s.Import(1, strings.NewReader(transferMagic+"\x02"))
	if errors.Is(errImport, ErrNoRoom) {
		t.Errorf("what is no export was not looked at: %v", errImport)
	}
	for name, err := range map[string]error{"append": s.Append(2, Meta{}, nil), "forwarded": s.SetForwarded(1, 1), "room": s.Room()} {
		if !errors.Is(err, ErrNoRoom) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, s.Hold("reader", schema.Position{1: 1})) // it makes room
	if m := s.Partition(1); m.NextOffset != 2 || len(wholeLog(t, s, 1)) != 2 {
		t.Fatalf("something was written: %+v", m)
	}
	disk.free.Store(20 << 20)
	if err := commit(); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("it was asked again at once: %v", err)
	}
	now = now.Add(time.Second)
	must(t, commit())

	counted := &smallDisk{} // Pebble asks the other one too
	counted.free.Store(20 << 20)
	s.room.fs = counted
	big := partOf("u", 1, 1)
	big.Part.Clicks[0].Context = make([]byte, 1<<20)
	must(t, s.Commit(Commit{Partition: 1, Entries: []Entry{big}}))
	if n := counted.asked.Load(); n != 0 || s.room.written < 1<<20 {
		t.Errorf("asked %d times, and %d bytes are counted", n, s.room.written)
	}
	s.room.wrote(roomBytes - 1<<20)
	must(t, errors.Join(commit(), commit()))
	if n := counted.asked.Load(); n != 1 {
		t.Errorf("asked %d times after 16 MiB, want once", n)
	}
}
