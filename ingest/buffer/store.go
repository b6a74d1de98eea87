package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble"
	"github.com/cockroachdb/pebble/bloom"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// ErrClosed is returned by a Store after Close.
var ErrClosed = errors.New("buffer: the store is closed")

// Store is an open directory. Its methods may be called from any goroutine; commits of one partition come one after
// another, from its owner.
type Store struct {
	dir  string
	opts Options
	lock *pebble.Lock

	// life is held for reading by everything that uses db, and for writing by Close.
	life sync.RWMutex
	db   *pebble.DB // nil once closed

	// mu guards what follows: what readers may know, published after the sync.
	mu      sync.RWMutex
	metas   map[schema.Partition]Meta
	trimmed trimmed
	changed chan struct{}

	trimming sync.Mutex // one trim at a time
}

// Open opens the store in dir, which is made if there is none, and takes its lock.
func Open(dir string, o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("buffer: options: %w", err)
	}
	o = o.withDefaults()
	if err := o.FS.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("buffer: make %s: %w: check that the data directory is writable", dir, err)
	}
	lock, err := pebble.LockDirectory(dir, o.FS)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("buffer: lock %s: %w: check that the data directory is writable", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("buffer: %s is in use (%w): stop the other freshet, or give this one another data directory", dir, err)
	}
	s := &Store{dir: dir, opts: o, lock: lock, metas: map[schema.Partition]Meta{}, changed: make(chan struct{})}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("buffer: open %s: %w", dir, err), s.Close())
	}
	return s, nil
}

func (s *Store) open() error {
	cache := pebble.NewCache(s.opts.CacheBytes)
	defer cache.Unref() // the DB holds a reference of its own
	po := &pebble.Options{
		FS: s.opts.FS, Lock: s.lock, Cache: cache,
		MemTableSize:                uint64(s.opts.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		// Any format of Pebble 1 reads on in later ones; the newest writes the smallest tables.
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             quiet{s.opts.Log},
	}
	po.Levels = make([]pebble.LevelOptions, 7)
	for i := range po.Levels {
		l := &po.Levels[i]
		l.FilterPolicy = bloom.FilterPolicy(10) // histories are point reads of the log: one file, not one per level
		l.FilterType = pebble.TableFilter
		l.EnsureDefaults()
	}
	db, err := pebble.Open(s.dir, po)
	if err != nil {
		return err
	}
	s.db = db
	if err := s.checkFormat(); err != nil {
		return err
	}
	if err := s.loadTrimmed(); err != nil {
		return err
	}
	return s.scan([]byte{spaceMeta}, func(key, value []byte) error {
		p, _, ok := splitPartition(key)
		if !ok {
			return fmt.Errorf("%s: %w", nameOf(key), ErrCorrupt)
		}
		m, err := decodeMeta(value, p)
		if err != nil {
			return fmt.Errorf("%s: %w", nameOf(key), err)
		}
		s.metas[p] = m
		return nil
	})
}

// checkFormat refuses a directory of a newer program, and marks a new one as this program's.
func (s *Store) checkFormat() error {
	key := []byte{spaceFormat}
	value, ok, err := s.get(key)
	if err != nil {
		return err
	}
	if !ok {
		return s.db.Set(key, binary.AppendUvarint(nil, formatVersion), pebble.Sync)
	}
	r := newReader(value)
	version := r.uvarint()
	switch err := r.done(); {
	case err != nil:
		return fmt.Errorf("format version: %w", err)
	case version > formatVersion:
		return fmt.Errorf("newer format (%d > %d): run a newer freshet", version, formatVersion)
	case version < formatVersion:
		return fmt.Errorf("unknown format %d: this freshet reads format %d", version, formatVersion)
	}
	return nil
}

// Close releases the directory. It waits for calls that are under way, and may be called again.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
		s.db = nil
		s.publish(nil)
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
		s.lock = nil
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("buffer: close %s: %w", s.dir, err)
	}
	return nil
}

// use holds the store open until the returned function is called.
func (s *Store) use() (release func(), err error) {
	s.life.RLock()
	if s.db == nil {
		s.life.RUnlock()
		return nil, ErrClosed
	}
	return s.life.RUnlock, nil
}

// Changed returns a channel that is closed at the next commit, and when the store closes. To wait without missing one: take
// the channel, then read, then wait.
func (s *Store) Changed() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.changed
}

// Partition returns the meta of p. A partition that has had no commit has a meta that says so.
func (s *Store) Partition(p schema.Partition) Meta {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if m, ok := s.metas[p]; ok {
		return m
	}
	return newMeta(p)
}

// Partitions returns the metas of all partitions that have had a commit, as of one moment between
// commits, or ErrClosed.
func (s *Store) Partitions() (map[schema.Partition]Meta, error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	s.mu.RLock()
	defer s.mu.RUnlock()
	metas := make(map[schema.Partition]Meta, len(s.metas))
	for p, m := range s.metas {
		metas[p] = m
	}
	return metas, nil
}

// Sessions returns the open sessions of p.
func (s *Store) Sessions(p schema.Partition) ([]window.Session, error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	var sessions []window.Session
	err = s.scan(spaceOf(nil, spaceSession, p), func(key, value []byte) error {
		k, ok := splitSession(key)
		if !ok {
			return fmt.Errorf("buffer: %s: %w", nameOf(key), ErrCorrupt)
		}
		session, err := decodeSession(value, k)
		if err != nil {
			return fmt.Errorf("buffer: %s: %w", nameOf(key), err)
		}
		sessions = append(sessions, session)
		return nil
	})
	return sessions, err
}

// publish lets readers see metas and wakes those who wait.
func (s *Store) publish(metas []Meta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range metas {
		s.metas[m.Partition] = m
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// get returns a copy of the value of key.
func (s *Store) get(key []byte) (value []byte, ok bool, err error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("buffer: read %s: %w", nameOf(key), err)
	}
	value = append([]byte(nil), v...)
	return value, true, closer.Close()
}

// scan calls f with every key that begins with prefix, in order. The slices are valid during the call.
func (s *Store) scan(prefix []byte, f func(key, value []byte) error) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("buffer: scan: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("buffer: read %s: %w", nameOf(it.Key()), err)
		}
		if err := f(it.Key(), value); err != nil {
			return err
		}
	}
	return nil
}

// quiet passes Pebble's errors on and drops its diary.
type quiet struct{ log *slog.Logger }

func (q quiet) Infof(string, ...any) {}

func (q quiet) Errorf(format string, args ...any) {
	q.log.Error("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf is called when the directory can no longer be written, and must not return: what follows would not be durable.
func (q quiet) Fatalf(format string, args ...any) {
	panic("buffer: pebble: " + fmt.Sprintf(format, args...))
}
