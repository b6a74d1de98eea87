package buffer

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble"
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
	// CacheBytes bounds the cache of uncompressed blocks, beside the in-memory tables. Default 64 MiB: the log's end and the user index of the active
	// users are what is read, the rest is written once.
	CacheBytes int64
	// MemTableBytes is the size of one in-memory table; there are at most four, and mostly two. Default 64 MiB: what is
	// deleted within one table, as the journal is by a snapshot, never reaches a file, and larger files are merged less often.
	MemTableBytes int64
	// AsideRecords and AsideBytes bound the records kept aside, the oldest go first. Default 100000 and 256 MiB: enough to
	// understand a fault and to redrive a day of it.
	AsideRecords int64
	AsideBytes   int64
	// LogAge is how long an entry of the log is kept, in event time behind the partition's watermark and behind the slowest
	// held reader (Hold). Whole milliseconds. Histories reach as far back, and no further. 0, the default, keeps the log whole.
	LogAge time.Duration
	// LogBytes bounds the logs together, in bytes before compression: the oldest entries of the longest log go first, but none
	// that a held reader has not read. Histories can be shorter for it than LogAge says. 0, the default, is no bound.
	LogBytes int64
	// MinFreeBytes is what must stay free on the disk: nothing is written below it (Room). Default 256 MiB: four in-memory
	// tables on their way to the disk, or a compaction of some files.
	MinFreeBytes int64
	// Now is the clock for how often the disk is asked for its room. Default time.Now.
	Now func() time.Time
	// Log takes warnings, and what Pebble has to say about its own errors. Default: nothing is logged.
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
	set(&o.MemTableBytes, 64<<20)
	set(&o.AsideRecords, 100_000)
	set(&o.AsideBytes, 256<<20)
	set(&o.MinFreeBytes, 256<<20)
	if o.Now == nil {
		o.Now = time.Now
	}
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
	atLeast("log_bytes", o.LogBytes, 0)
	atLeast("min_free_bytes", o.MinFreeBytes, 1)
	if o.MemTableBytes > 1<<30 {
		faults = append(faults, fmt.Errorf("memtable_bytes %d: must be at most %d", o.MemTableBytes, 1<<30))
	}
	if o.LogAge < 0 || o.LogAge%time.Millisecond != 0 {
		faults = append(faults, fmt.Errorf("log_age %v: must be 0 or whole milliseconds", o.LogAge))
	}
	return errors.Join(faults...)
}

// pebble returns the options of the database, and what to call once it is open. What was measured: BenchmarkCommit, two
// million clicks, and BenchmarkHistory.
func (o Options) pebble(lock *pebble.Lock) (*pebble.Options, func()) {
	// Pebble takes the memory of its in-memory tables, mostly two, out of the cache: without this a cache of 64 MiB is none,
	// and a history took four times the processor time. The DB takes a reference of its own.
	cache := pebble.NewCache(o.CacheBytes + 2*o.MemTableBytes)
	po := &pebble.Options{
		FS: o.FS, Lock: lock, Cache: cache,
		// Larger tables write less: 741, 691, 639 and 481 bytes a click with 16, 32, 64 and 128 MiB.
		MemTableSize: uint64(o.MemTableBytes),
		// A flush of one table goes on beside writes to the next ones, and a burst has room for two more.
		MemTableStopWritesThreshold: 4,
		// Commits sync the write-ahead log anyway; the pages of a snapshot do not, and must not all wait for its last batch.
		WALBytesPerSync: 1 << 20,
		// One compaction at a time keeps up with several times what one core can commit (0.2 s per million clicks), and leaves
		// the other cores to the trainer; a second one helps when level 0 has grown behind a burst.
		MaxConcurrentCompactions: func() int { return 2 },
		// Any format of Pebble 1 reads on in later ones; the newest writes the smallest tables.
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             quiet{o.Log},
	}
	// What is left at its default, because nothing was won by another value: Snappy on all levels (Zstandard is slow in a
	// build without cgo, where Pebble makes an encoder for each block); blocks of 4 KiB (16 KiB write 5 % less, and a history
	// then decompresses four times as much per part); no bloom filters, which are for a level and not for a kind of key: the
	// log's keys only grow, so that a point read meets one or two files without them, and they would be made of the user
	// index, which is read by ranges.
	return po, cache.Unref
}
