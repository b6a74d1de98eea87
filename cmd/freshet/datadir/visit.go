package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Held says that another process has the directory.
type Held struct {
	Path string
	By   string // "process 4711", or "another process"
}

func (h *Held) Error() string {
	return fmt.Sprintf("data directory %s is held by %s: stop it, or give another --data-dir", h.Path, h.By)
}

// Visit opens a data directory that is there already, for a tool that looks at what is in it. It takes the lock, so that
// nobody else writes meanwhile, and leaves no trace: it makes no directory, and the marker of a run that did not end in
// order stays for the next one. Where another process has the directory, the error is a *Held.
func Visit(path string) (*Dir, error) {
	if path == "" {
		return nil, errors.New("data directory: no path: give --data-dir")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(path, "FORMAT")); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no data directory of freshet at %s: give the --data-dir of the freshet whose data is meant", path)
	}
	d := &Dir{path: path, visit: true}
	if _, err := d.checkFormat(); err != nil {
		return nil, err
	}
	if err := d.acquire(); err != nil {
		return nil, err
	}
	return d, nil
}
