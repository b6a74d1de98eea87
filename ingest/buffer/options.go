package buffer

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/vfs"
)

// FS is a file system that a Store can live in.
type FS = vfs.FS

// Memory returns a file system in memory, for replays that need no directory. It is a whole file system: a Store closed and
// opened again on the same one finds what it had.
func Memory() FS { return vfs.NewMem() }

// Options are the settings of a Store. Zero fields take their defaults.
type Options struct {
	// FS is where the directory is. Default: the machine's disk.
	FS FS
	// CacheBytes bounds the cache of uncompressed blocks. Default 64 MiB: the log's end and the user index of the active
	// users are what is read, the rest is written once.
	CacheBytes int64
	// MemTableBytes is the size of one in-memory table; there are at most four. Default 32 MiB: sessions are written again
	// and again while they are open, and what is overwritten within one table never reaches a file. With 16 MiB
	// compactions took about a quarter more CPU in BenchmarkApply (three runs each, on a busy machine).
	MemTableBytes int64
	// AsideRecords and AsideBytes bound the records kept aside, the oldest go first. Default 100000 and 256 MiB: enough to
	// understand a fault and to redrive a day of it.
	AsideRecords int64
	AsideBytes   int64
	// Log takes what Pebble has to say about its own errors. Default: nothing is logged.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	set := func(v *int64, to int64) {
		if *v == 0 {
			*v = to
		}
	}
	set(&o.CacheBytes, 64<<20)
	set(&o.MemTableBytes, 32<<20)
	set(&o.AsideRecords, 100_000)
	set(&o.AsideBytes, 256<<20)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Validate reports every fault of o at once, or nil.
func (o Options) Validate() error {
	o = o.withDefaults()
	var faults []error
	atLeast := func(name string, v, least int64) {
		if v < least {
			faults = append(faults, fmt.Errorf("%s %d: must be at least %d", name, v, least))
		}
	}
	atLeast("cache_bytes", o.CacheBytes, 1<<20)
	atLeast("memtable_bytes", o.MemTableBytes, 1<<20)
	atLeast("aside_records", o.AsideRecords, 1)
	atLeast("aside_bytes", o.AsideBytes, 1<<20)
	if o.MemTableBytes > 1<<30 {
		faults = append(faults, fmt.Errorf("memtable_bytes %d: must be at most %d", o.MemTableBytes, 1<<30))
	}
	return errors.Join(faults...)
}
