package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Format is the version of the directory that this program writes, and the newest that it opens.
const Format = 1

const formatPrefix = "freshet data directory, format "

// Dir is an open data directory.
type Dir struct {
	path    string
	lock    *os.File
	unclean string
	visit   bool // the marker of a run is not this one's
}

// Open makes path where it is missing, locks it, checks its format and marks it as running. now is written into the
// marker for the next reader.
func Open(path string, now time.Time) (*Dir, error) {
	if path == "" {
		return nil, errors.New("data directory: no path: give --data-dir")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, fmt.Errorf("data directory: %w: make its parent writable, or give another --data-dir", err)
	}
	d := &Dir{path: path}
	if _, err := d.checkFormat(); err != nil { // first without the lock, so that not even a lock file is left in a refused directory
		return nil, err
	}
	if err := d.acquire(); err != nil {
		return nil, err
	}
	if err := d.begin(now); err != nil {
		d.lock.Close()
		return nil, err
	}
	return d, nil
}

// begin is what follows once the lock is held.
func (d *Dir) begin(now time.Time) error {
	empty, err := d.checkFormat()
	if err != nil {
		return err
	}
	if empty {
		if err := replaceFile(filepath.Join(d.path, "FORMAT"), []byte(formatPrefix+strconv.Itoa(Format)+"\n"), 0o640); err != nil {
			return err
		}
	}
	return d.mark(now)
}

// acquire takes the lock. The file is never removed: a lock on a file that somebody else has unlinked guards nothing.
func (d *Dir) acquire() error {
	f, err := os.OpenFile(filepath.Join(d.path, "LOCK"), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("data directory: %w: make it writable for this user, or give another --data-dir", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("data directory %s: lock: %w: use a file system that has flock", d.path, err)
		}
		who := "another process"
		if pid, err := strconv.Atoi(strings.TrimSpace(string(holder))); err == nil {
			who = fmt.Sprintf("process %d", pid)
		}
		return &Held{Path: d.path, By: who}
	}
	d.lock = f
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		f.Close()
		return fmt.Errorf("data directory %s: %w", d.path, err)
	}
	return nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// checkFormat reads FORMAT and changes nothing. It reports whether the directory is empty and has yet to get one. A
// directory with foreign files and no FORMAT is somebody's home, not ours.
func (d *Dir) checkFormat() (empty bool, err error) {
	text, err := os.ReadFile(filepath.Join(d.path, "FORMAT"))
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(d.path)
		if err != nil {
			return false, fmt.Errorf("data directory: %w", err)
		}
		for _, e := range entries {
			if e.Name() != "LOCK" && e.Name() != ".gitignore" && e.Name() != "lost+found" && !strings.HasPrefix(e.Name(), "FORMAT.") {
				return false, fmt.Errorf("directory %s holds %q and is not a data directory of freshet: give a new or empty --data-dir", d.path, e.Name())
			}
		}
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("data directory: %w: make it readable for this user, or give another --data-dir", err)
	}
	number, ok := strings.CutPrefix(strings.TrimSpace(string(text)), formatPrefix)
	format, err := strconv.Atoi(number)
	if !ok || err != nil || format < 1 {
		return false, fmt.Errorf("data directory %s: FORMAT is damaged (%.40q): restore it from a backup, or give another --data-dir", d.path, text)
	}
	if format > Format {
		return false, fmt.Errorf("data directory %s was written by a newer freshet (format %d, this program knows %d): run that one, or give another --data-dir",
			d.path, format, Format)
	}
	return false, nil
}

// mark leaves a file that only an orderly Close removes.
func (d *Dir) mark(now time.Time) error {
	name := filepath.Join(d.path, "running")
	if before, err := os.ReadFile(name); err == nil {
		d.unclean = strings.TrimSpace(string(before))
		if d.unclean == "" {
			d.unclean = "an earlier run"
		}
	}
	return replaceFile(name, fmt.Appendf(nil, "process %d, started %s\n", os.Getpid(), now.UTC().Format(time.RFC3339)), 0o640)
}

// Unclean describes the run that did not stop in order before this one, or returns "". Nothing needs to be done about it:
// every part of freshet opens after a kill; a person may want to know.
func (d *Dir) Unclean() string { return d.unclean }

// Close marks an orderly stop and releases the directory. It may be called more than once.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	var err error
	if !d.visit {
		err = os.Remove(filepath.Join(d.path, "running"))
	}
	err = errors.Join(err, d.lock.Close())
	d.lock = nil
	return err
}

// Path returns the directory itself.
func (d *Dir) Path() string { return d.path }

// Kafka is where the embedded broker keeps its topics.
func (d *Dir) Kafka() string { return filepath.Join(d.path, "kafka") }

// NATS is where the embedded NATS server keeps its streams.
func (d *Dir) NATS() string { return filepath.Join(d.path, "nats") }

// Buffer is where ingest keeps windows, the session log and positions.
func (d *Dir) Buffer() string { return filepath.Join(d.path, "buffer") }

// Histories is where a replica keeps the latest of what users did.
func (d *Dir) Histories() string { return filepath.Join(d.path, "histories") }

// Checkpoints is where the trainer keeps its checkpoints.
func (d *Dir) Checkpoints() string { return filepath.Join(d.path, "checkpoints") }

// Replica is where the replica called id keeps its last good model.
func (d *Dir) Replica(id string) string { return filepath.Join(d.path, "replicas", filepath.Base(id)) }

// Keys is where the signing key is.
func (d *Dir) Keys() string { return filepath.Join(d.path, "keys") }

// replaceFile writes a file so that a reader, also after a crash, finds the old or the new bytes and nothing between.
func replaceFile(name string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("data directory: %w", err)
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
