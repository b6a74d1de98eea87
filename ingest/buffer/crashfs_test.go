package buffer

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/vfs"
	"github.com/cockroachdb/pebble/vfs/errorfs"
)

// crashes runs run, which fills a store on a file system that prepare has made, and calls check with what is left of the
// disk after each of two kinds of crash:
//   - the power fails at the n-th sync, for every n: what was written since is gone;
//   - the process is killed before the n-th write, for every n that every divides: all that was written before is there.
//
// It returns the number of crashes of each kind.
func crashes(t *testing.T, every int64, prepare func() *vfs.MemFS, run func(FS) error, check func(disk FS, where string, n int64)) (power, kills int) {
	t.Helper()
	for n := int64(1); ; n++ {
		disk := prepare()
		var syncs atomic.Int64 // Pebble syncs from more than one goroutine
		err := run(errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op, _ string) error {
			if op == errorfs.OpFileSync && syncs.Add(1) == n {
				disk.SetIgnoreSyncs(true)
			}
			return nil
		})))
		must(t, err) // the process does not notice: its writes just do not last
		if syncs.Load() < n {
			break
		}
		disk.ResetToSyncedState()
		disk.SetIgnoreSyncs(false)
		power++
		check(disk, "a power failure at sync", n)
	}
	disk := prepare()
	steady := &steadyFS{FS: disk}
	var copies []*vfs.MemFS
	var at []int64
	steady.before = func(n int64) {
		if n%every == 0 {
			to := vfs.NewMem()
			if _, err := vfs.Clone(disk, to, "store", "store"); err != nil {
				t.Error(err)
			}
			copies, at = append(copies, to), append(at, n)
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

// steadyFS lets one change happen at a time, and calls before with the number of each, so that the disk can be copied as it
// is between two changes.
type steadyFS struct {
	vfs.FS
	mu     sync.Mutex
	n      int64
	before func(n int64)
}

func (s *steadyFS) step() func() {
	s.mu.Lock()
	s.n++
	s.before(s.n)
	return s.mu.Unlock
}

func (s *steadyFS) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return steadyFile{f, s}, nil
}

func (s *steadyFS) Create(name string) (vfs.File, error) {
	defer s.step()()
	return s.file(s.FS.Create(name))
}

func (s *steadyFS) OpenReadWrite(name string, o ...vfs.OpenOption) (vfs.File, error) {
	return s.file(s.FS.OpenReadWrite(name, o...))
}

func (s *steadyFS) ReuseForWrite(from, to string) (vfs.File, error) {
	defer s.step()()
	return s.file(s.FS.ReuseForWrite(from, to))
}

func (s *steadyFS) Link(from, to string) error {
	defer s.step()()
	return s.FS.Link(from, to)
}

func (s *steadyFS) Rename(from, to string) error {
	defer s.step()()
	return s.FS.Rename(from, to)
}

func (s *steadyFS) Remove(name string) error {
	defer s.step()()
	return s.FS.Remove(name)
}

func (s *steadyFS) RemoveAll(name string) error {
	defer s.step()()
	return s.FS.RemoveAll(name)
}

type steadyFile struct {
	vfs.File
	s *steadyFS
}

func (f steadyFile) Write(b []byte) (int, error) {
	defer f.s.step()()
	return f.File.Write(b)
}

func (f steadyFile) WriteAt(b []byte, at int64) (int, error) {
	defer f.s.step()()
	return f.File.WriteAt(b, at)
}
