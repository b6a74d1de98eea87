package export

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File is a file that is there whole or not at all. What is written goes into a file beside it, hidden by a dot, which
// Commit renames and Abort removes.
type File struct {
	path  string
	force bool
	f     *os.File
	zip   *gzip.Writer // nil where the name does not end in .gz
	bytes int64
}

// Create begins the file at path, compressed with gzip where path ends in .gz. A file that is there already is refused, or
// with force replaced by Commit.
func Create(path string, force bool) (*File, error) {
	o := &File{path: path, force: force}
	if err := o.vacant(); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	if err := o.begin(); err != nil {
		return nil, fmt.Errorf("export: %w: give --out a place that is writable", err)
	}
	if strings.HasSuffix(path, ".gz") {
		o.zip = gzip.NewWriter(counting{o})
	}
	return o, nil
}

// begin makes the file under its other name, with the permissions that new files have here. What an export that was killed
// has left is passed over.
func (o *File) begin() (err error) {
	dir, base := filepath.Split(o.path)
	for try := range 100 {
		name := filepath.Join(dir, fmt.Sprintf(".%s.%d.%d", base, os.Getpid(), try))
		o.f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return err
}

// vacant refuses a path that must not be written to.
func (o *File) vacant() error {
	info, err := os.Stat(o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file: give another --out, or --out - for standard output", o.path)
	case !o.force:
		return fmt.Errorf("%s is there already: give another --out, or --force to replace it", o.path)
	}
	return nil
}

// Path returns where the file is after Commit.
func (o *File) Path() string { return o.path }

// Bytes returns how much has been written, compressed.
func (o *File) Bytes() int64 { return o.bytes }

// Write writes to the file under its other name.
func (o *File) Write(p []byte) (int, error) {
	if o.zip != nil {
		return o.zip.Write(p)
	}
	return counting{o}.Write(p)
}

// counting writes to o's file and counts.
type counting struct{ o *File }

func (c counting) Write(p []byte) (int, error) {
	n, err := c.o.f.Write(p)
	c.o.bytes += int64(n)
	if err != nil {
		err = fmt.Errorf("export: write %s: %w", c.o.path, err)
	}
	return n, err
}

// Commit syncs the file and gives it its name.
func (o *File) Commit() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("export: %w", err), o.Abort())
		}
	}()
	if o.zip != nil {
		if err := o.zip.Close(); err != nil {
			return err
		}
	}
	if err := errors.Join(o.f.Sync(), o.vacant()); err != nil {
		return err
	}
	if err := o.f.Close(); err != nil {
		return err
	}
	if err := os.Rename(o.f.Name(), o.path); err != nil {
		return err
	}
	o.f = nil
	return nil
}

// Abort removes what was written. It does nothing after Commit, and may be called again.
func (o *File) Abort() error {
	if o.f == nil {
		return nil
	}
	name := o.f.Name()
	err := o.f.Close()
	o.f = nil
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(err, os.Remove(name))
}

var _ io.Writer = (*File)(nil)
