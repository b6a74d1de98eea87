package trainer

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// files is what a checkpoint changes on a disk, so that a test can pull the plug between any two changes.
type files interface {
	create(dir string) (file, error) // of a name of its own, which writingFiles matches
	rename(from, to string) error
	remove(name string) error
	syncDir(dir string) error
}

type file interface {
	io.WriteCloser
	Name() string
	Sync() error
}

// disk is the operating system's.
type disk struct{}

var _ files = disk{}

const writingFiles = "writing-*"

func (disk) create(dir string) (file, error) { return os.CreateTemp(dir, writingFiles) }
func (disk) rename(from, to string) error    { return os.Rename(from, to) }
func (disk) remove(name string) error        { return os.Remove(name) }
func (disk) syncDir(dir string) error        { return syncDir(dir) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// removeUnfinished removes what a crash left of files that were being written.
func removeUnfinished(on files, dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, writingFiles))
	if err != nil {
		return err
	}
	for _, name := range names {
		err = errors.Join(err, on.remove(name))
	}
	return err
}
