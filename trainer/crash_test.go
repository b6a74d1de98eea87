package trainer

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

// plug is a disk that is pulled after some changes: the change of that moment is made by half, and all later ones fail.
type plug struct {
	left *int
}

var errPulled = errors.New("the plug is pulled")

// goes says whether a change is still made.
func (p plug) goes() error {
	if *p.left--; *p.left < 0 {
		return errPulled
	}
	return nil
}

type pulledFile struct {
	*os.File
	plug
}

func (f pulledFile) Write(b []byte) (int, error) {
	if err := f.goes(); err != nil {
		if *f.left == -1 {
			f.File.Write(b[:len(b)/2])
		}
		return 0, err
	}
	return f.File.Write(b)
}

func (f pulledFile) Sync() error { return f.goes() }

func (p plug) create(dir string) (file, error) {
	if err := p.goes(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, writingFiles)
	return pulledFile{f, p}, err
}

func (p plug) rename(from, to string) error {
	if err := p.goes(); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (p plug) remove(name string) error {
	if err := p.goes(); err != nil {
		return err
	}
	return os.Remove(name)
}

func (p plug) syncDir(string) error { return p.goes() }

// TestCrashAtEveryChange pulls the plug after every number of changes of a long line of checkpoints, whose bases come and go: what is there then is the last checkpoint
// that was reported, or the one in the making, and the line goes on from it with the digests of one that never stopped.
func TestCrashAtEveryChange(t *testing.T) {
	const steps = 16
	for pulled := 0; ; pulled++ {
		dir, left := t.TempDir(), pulled
		reported := int64(0)
		c, b, _, err := openBook(t, dir, 2, plug{&left})
		for err == nil && b.batches < steps {
			b.step()
			if _, err = c.write(b.saving()); err == nil {
				reported = b.batches
			}
		}
		if err != nil && !errors.Is(err, errPulled) {
			t.Fatal(err)
		}
		after, got, found, failed := openBook(t, dir, 2, disk{})
		if failed != nil || found != (got.batches > 0) || got.batches < reported || got.batches > reported+1 {
			t.Fatalf("after %d changes: found %v, batch %d, reported was %d: %v", pulled, found, got.batches, reported, failed)
		}
		got.check(t)
		got.write(t, after, 1)
		if names := checkpointFiles(t, dir); len(names) != len(after.line) {
			t.Fatalf("after %d changes: the files %v, the line %v", pulled, names, after.line)
		}
		if err == nil {
			if pulled < 5*steps || after.line[0].batches == 1 {
				t.Errorf("only %d changes, and the oldest base is of batch %d", pulled, after.line[0].batches)
			}
			return
		}
	}
}

// TestFailedWriteLosesNoRows: what changed before a checkpoint that failed is in the next one.
func TestFailedWriteLosesNoRows(t *testing.T) {
	dir, left := t.TempDir(), 1<<30
	c, b, _, err := openBook(t, dir, 1, plug{&left})
	if err != nil {
		t.Fatal(err)
	}
	for len(c.line) < 5 || !c.line[len(c.line)-1].base { // the next is a delta
		b.write(t, c, 1)
	}
	last := b.batches
	for range 3 {
		b.step()
		left = 2
		if _, err := c.write(b.saving()); !errors.Is(err, errPulled) {
			t.Fatal(err)
		}
	}
	left = 1 << 30
	b.write(t, c, 1)
	if c.line[len(c.line)-1].base {
		t.Fatal("it is a base: nothing was tried")
	}
	_, got, _, err := openBook(t, dir, 1, disk{})
	if err != nil || got.batches != last+4 {
		t.Fatal(fmt.Sprint(got.batches), err)
	}
	got.check(t)
}
