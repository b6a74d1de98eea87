package buffer

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble"
	"github.com/cockroachdb/pebble/vfs"

	"github.com/freshet-ml/freshet/schema"
)

func putAside(t *testing.T, s *Store, p schema.Partition, from, to int) {
	t.Helper()
	c := Commit{Partition: p, NextOffset: schema.Offset(to)}
	for i := from; i < to; i++ {
		c.Aside = append(c.Aside, schema.Rejected{Partition: p, Offset: schema.Offset(i), ArrivedAt: schema.ArrivalTime(i), Value: []byte("v")})
	}
	must(t, s.Commit(c))
}

func offsetsAside(t *testing.T, s *Store, p schema.Partition) (offsets []schema.Offset) {
	t.Helper()
	records, err := s.AsideFrom(p, 0, 1000)
	must(t, err)
	for _, r := range records {
		offsets = append(offsets, r.Offset)
	}
	return offsets
}

// TestRemoveAside: what was sent again is gone after a crash too, and every record put aside is counted once: kept, trimmed,
// or sent again.
func TestRemoveAside(t *testing.T) {
	disk := vfs.NewStrictMem()
	o := Options{FS: disk, AsideRecords: 32, CacheBytes: 1 << 20, MemTableBytes: 1 << 20}
	s, err := Open("store", o)
	must(t, err)
	root, err := disk.OpenDir("/")
	must(t, err)
	must(t, errors.Join(root.Sync(), root.Close())) // the directory itself is not what this is about
	putAside(t, s, 1, 0, 10)
	putAside(t, s, 2, 0, 5)
	for _, tc := range []struct {
		p       schema.Partition
		offsets []schema.Offset
		removed int
	}{
		{1, []schema.Offset{7, 3, 3, 99}, 2},
		{1, []schema.Offset{3}, 0},
		{2, []schema.Offset{0}, 1},
		{3, []schema.Offset{0}, 0},
		{1, nil, 0},
	} {
		if n, err := s.RemoveAside(tc.p, tc.offsets...); n != tc.removed || err != nil {
			t.Errorf("partition %d, offsets %v: removed %d, %v", tc.p, tc.offsets, n, err)
		}
	}
	check := func(put uint64) Totals {
		t.Helper()
		totals := s.Totals()
		if totals.AsideKept+totals.AsideTrimmed+totals.AsideResent != put || totals.AsideResent != 3 {
			t.Errorf("of %d records: %+v", put, totals)
		}
		return totals
	}
	check(15)
	disk.SetIgnoreSyncs(true) // the machine loses its power here
	must(t, s.Close())
	disk.ResetToSyncedState()
	disk.SetIgnoreSyncs(false)
	s, err = Open("store", o)
	must(t, err)
	defer s.Close()
	if one, two := offsetsAside(t, s, 1), offsetsAside(t, s, 2); !slices.Equal(one, []schema.Offset{0, 1, 2, 4, 5, 6, 8, 9}) || !slices.Equal(two, []schema.Offset{1, 2, 3, 4}) {
		t.Errorf("aside are %v and %v", one, two)
	}
	check(15)
	putAside(t, s, 1, 10, 60) // more than the bound: a trim does not count what is gone already
	if totals := check(65); totals.AsideKept != 32 || len(offsetsAside(t, s, 1))+len(offsetsAside(t, s, 2)) != 32 {
		t.Errorf("%d are said to be kept, %d are there", totals.AsideKept, len(offsetsAside(t, s, 1))+len(offsetsAside(t, s, 2)))
	}
}

func TestRemoveAsideFaults(t *testing.T) {
	fs := Memory()
	s := openMemory(t, fs)
	must(t, s.db.Set([]byte{spaceResent}, []byte{1}, pebble.Sync))
	must(t, s.Close())
	if _, err := Open("store", Options{FS: fs}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged counts: %v", err)
	}
	s = openMemory(t, Memory())
	must(t, s.Close())
	if _, err := s.RemoveAside(0, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	// A disk that is nearly full takes it all the same: what was sent must not stay.
	s, err := Open(t.TempDir(), Options{MinFreeBytes: 1})
	must(t, err)
	defer s.Close()
	putAside(t, s, 0, 0, 1)
	s.room.least = 1 << 62
	s.room.checked = s.room.checked.AddDate(-1, 0, 0)
	if err := s.Commit(Commit{Partition: 0}); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if n, err := s.RemoveAside(0, 0); n != 1 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	if _, err := s.RemoveAside(0, 0); err != nil && strings.Contains(err.Error(), "room") {
		t.Errorf("%v", err)
	}
}
