package buffer

import (
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/vfs"
)

// crashes runs run, which fills a store on a file system that prepare has made, and calls check with what is left of the
// disk after each of two kinds of crash:
//   - the power fails at the n-th sync: what was written since is gone;
//   - the process is killed before the n-th write: all that was written before is there.
//
// Each n that every divides has its turn. It returns the number of crashes of each kind.
func crashes(t *testing.T, every int64, prepare func() *vfs.MemFS, run func(FS) error, check func(disk FS, where string, n int64)) (power, kills int) {
	t.Helper()
	for n := every; ; n += every {
		disk := prepare()
		syncs := int64(0)
		must(t, run(&steadyFS{FS: disk, beforeSync: func() { // the process does not notice: its writes just do not last
			if syncs++; syncs == n {
				disk.SetIgnoreSyncs(true)
			}
		}}))
		if syncs < n {
			break
		}
		disk.ResetToSyncedState()
		disk.SetIgnoreSyncs(false)
		power++
		check(disk, "a power failure at sync", n)
	}
	disk := prepare()
	steady := &steadyFS{FS: disk}
	writes := int64(0)
	var copies []*vfs.MemFS
	var at []int64
	steady.before = func() {
		if writes++; writes%every == 0 {
			to := vfs.NewMem()
			if _, err := vfs.Clone(disk, to, "store", "store"); err != nil {
				t.Error(err)
			}
			copies, at = append(copies, to), append(at, writes)
		}
	}
	must(t, run(steady))
	for i := range copies {
		kills++
		check(copies[i], "a kill before write", at[i])
		copies[i] = nil
	}
	return power, kills
}

// syncedCopy returns a strict copy of a disk with a store, all of it synced.
func syncedCopy(t fataler, from vfs.FS) *vfs.MemFS {
	t.Helper()
	disk := vfs.NewStrictMem()
	_, err := vfs.Clone(from, disk, "store", "store", vfs.CloneSync)
	must(t, err)
	root, err := disk.OpenDir("/")
	must(t, err)
	must(t, root.Sync())
	must(t, root.Close())
	return disk
}

// steadyFS lets one change happen at a time, and calls before or beforeSync before each, so that the disk can be copied as
// it is between two changes.
type steadyFS struct {
	vfs.FS
	mu                 sync.Mutex
	before, beforeSync func()
	// fault, where there is one, may fail a write to a file, or its sync.
	fault func(name string, sync bool) error
}

func (s *steadyFS) step(before func()) func() {
	s.mu.Lock()
	if before != nil {
		before()
	}
	return s.mu.Unlock
}

func (s *steadyFS) file(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return steadyFile{f, s, name}, nil
}

func (s *steadyFS) Create(name string) (vfs.File, error) {
	defer s.step(s.before)()
	f, err := s.FS.Create(name)
	return s.file(name, f, err)
}

func (s *steadyFS) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	return s.file(name, f, err)
}

func (s *steadyFS) OpenReadWrite(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.OpenReadWrite(name, o...)
	return s.file(name, f, err)
}

func (s *steadyFS) ReuseForWrite(from, to string) (vfs.File, error) {
	defer s.step(s.before)()
	f, err := s.FS.ReuseForWrite(from, to)
	return s.file(to, f, err)
}

func (s *steadyFS) Link(from, to string) error {
	defer s.step(s.before)()
	return s.FS.Link(from, to)
}

func (s *steadyFS) Rename(from, to string) error {
	defer s.step(s.before)()
	return s.FS.Rename(from, to)
}

func (s *steadyFS) Remove(name string) error {
	defer s.step(s.before)()
	return s.FS.Remove(name)
}

func (s *steadyFS) RemoveAll(name string) error {
	defer s.step(s.before)()
	return s.FS.RemoveAll(name)
}

type steadyFile struct {
	vfs.File
	s    *steadyFS
	name string
}

func (f steadyFile) fault(sync bool) error {
	if f.s.fault == nil {
		return nil
	}
	return f.s.fault(f.name, sync)
}

func (f steadyFile) Write(b []byte) (int, error) {
	defer f.s.step(f.s.before)()
	if err := f.fault(false); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}

func (f steadyFile) WriteAt(b []byte, at int64) (int, error) {
	defer f.s.step(f.s.before)()
	if err := f.fault(false); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, at)
}

func (f steadyFile) Sync() error {
	defer f.s.step(f.s.beforeSync)()
	if err := f.fault(true); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f steadyFile) SyncData() error {
	defer f.s.step(f.s.beforeSync)()
	if err := f.fault(true); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f steadyFile) SyncTo(n int64) (bool, error) {
	defer f.s.step(f.s.beforeSync)()
	if err := f.fault(true); err != nil {
		return false, err
	}
	return f.File.SyncTo(n)
}
