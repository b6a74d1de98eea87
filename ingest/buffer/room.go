package buffer

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/vfs"
)

// ErrNoRoom says that the disk is nearly full and that nothing was written. The call may be made again when there is room.
var ErrNoRoom = errors.New("buffer: no room")

// How long an answer of the file system is good: as many bytes, or as long.
const (
	roomBytes = 16 << 20
	roomTime  = time.Second
)

// room knows whether there is room on the disk. Pebble cannot: a compaction that finds none is tried again for ever, and
// writes then wait for it; so room is kept before it runs out.
type room struct {
	fs    vfs.FS
	dir   string
	least uint64 // bytes that must stay free
	now   func() time.Time

	mu      sync.Mutex // guards what follows
	checked time.Time
	written uint64 // since checked
	err     error  // what the check said
}

// Room returns nil, or an ErrNoRoom that says how little is left and what to do. What writes asks it first, but for what
// makes room: retention, trims and the positions of readers. It asks the file system at most once per second or 16 MiB
// written.
func (s *Store) Room() error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	return s.room.check()
}

func (r *room) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if !r.checked.IsZero() && r.written < roomBytes && now.Sub(r.checked) < roomTime && now.Sub(r.checked) >= 0 {
		return r.err
	}
	r.checked, r.written, r.err = now, 0, nil
	usage, err := r.fs.GetDiskUsage(r.dir)
	switch {
	case errors.Is(err, vfs.ErrUnsupported): // a file system in memory
	case err != nil:
		r.err = fmt.Errorf("buffer: ask how full the disk of %s is: %w", r.dir, err)
	case usage.AvailBytes < r.least:
		r.err = fmt.Errorf("%w on the disk of %s: %d MiB of %d MiB are free, and %d MiB must stay free: make room, or give the data directory a larger disk; reading goes on by itself then",
			ErrNoRoom, r.dir, usage.AvailBytes>>20, usage.TotalBytes>>20, r.least>>20)
	}
	return r.err
}

// wrote counts bytes that were written.
func (r *room) wrote(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written += uint64(n)
}
