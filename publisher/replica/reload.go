package replica

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// reloadEvery is how often files are looked at, at most: a change counts within so long.
const reloadEvery = time.Second

// reloaded is a value read from files, and read again when they change: certificates and tokens are replaced while the replica serves. Where the new files cannot be
// read or do not fit together, as halfway through their replacement, the value stays and they are tried again.
type reloaded[T any] struct {
	files  []string
	read   func() (T, error)
	failed func(error) // of a value that has to stay
	now    func() time.Time

	mu     sync.Mutex
	value  T
	stamps []stamp
	looked time.Time
}

// stamp tells a file from what replaces it.
type stamp struct {
	modified time.Time
	size     int64
}

// load reads the value for the first time.
func (r *reloaded[T]) load() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	stamps, err := stampsOf(r.files)
	if err != nil {
		return err
	}
	value, err := r.read()
	if err != nil {
		return err
	}
	r.value, r.stamps, r.looked = value, stamps, r.now()
	return nil
}

// get returns the value of the newest files that could be read.
func (r *reloaded[T]) get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if now.Sub(r.looked) < reloadEvery {
		return r.value
	}
	r.looked = now
	stamps, err := stampsOf(r.files) // before reading: what changes meanwhile is read again
	if err == nil && slices.Equal(stamps, r.stamps) {
		return r.value
	}
	var value T
	if err == nil {
		value, err = r.read()
	}
	if err != nil {
		r.failed(err)
		return r.value
	}
	r.value, r.stamps = value, stamps
	return value
}

func stampsOf(files []string) ([]stamp, error) {
	stamps := make([]stamp, len(files))
	for i, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", name, err)
		}
		stamps[i] = stamp{info.ModTime(), info.Size()}
	}
	return stamps, nil
}
