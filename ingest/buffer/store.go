package buffer

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"sync"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// ErrClosed is returned by a Store after Close.
var ErrClosed = errors.New("buffer: the store is closed")

// Store is an open directory. Its methods may be called from any goroutine; what writes a partition (Load, Commit, Snapshot,
// Import, Append, Leave) comes one after another, from its owner.
type Store struct {
	dir  string
	opts Options
	lock *pebble.Lock
	room room

	// life is held for reading by everything that uses db, and for writing by Close.
	life sync.RWMutex
	db   *pebble.DB // nil once closed

	// mu guards what follows: what readers may know, published after the sync.
	mu      sync.RWMutex
	states  map[schema.Partition]state
	headers map[schema.Partition]header
	begins  map[schema.Partition]begin
	holds   map[string]hold
	tails   map[schema.Partition]*tail
	trimmed trimmed
	resent  trimmed
	broken  error // nothing more is written; see Commit
	changed chan struct{}

	trimming sync.Mutex // one trim of aside, or step of retention, at a time; guards what follows
	// notBefore has the time of the last entry of a step that was too young: until a cut is beyond it, nothing can be removed.
	notBefore  map[schema.Partition]schema.EventTime
	retainStep schema.Emit
	sweeps     map[schema.Partition][]byte // where the last sweep of the user index ended

	tailParts int
}

// Open opens the store in dir, which is made if there is none, and takes its lock. It brings a directory of an earlier
// format up to this one.
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
	s := &Store{
		dir: dir, opts: o, lock: lock, states: map[schema.Partition]state{}, headers: map[schema.Partition]header{},
		begins: map[schema.Partition]begin{}, holds: map[string]hold{}, changed: make(chan struct{}),
		tails: map[schema.Partition]*tail{}, tailParts: tailParts,
		notBefore: map[schema.Partition]schema.EventTime{}, retainStep: retainEntries, sweeps: map[schema.Partition][]byte{},
	}
	s.room = room{fs: o.FS, dir: dir, least: uint64(o.MinFreeBytes), now: o.Now}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("buffer: open %s: %w", dir, err), s.Close())
	}
	return s, nil
}

func (s *Store) open() error {
	po, release := s.opts.pebble(s.lock)
	defer release()
	db, err := pebble.Open(s.dir, po)
	if err != nil {
		return err
	}
	s.db = db
	if err := s.checkFormat(); err != nil {
		return err
	}
	if err := errors.Join(s.loadTrimmed(), s.loadResent(), s.loadHeaders(), s.loadBegins(), s.loadHolds()); err != nil {
		return err
	}
	err = s.eachPartition(spaceMeta, func(p schema.Partition, value []byte) (err error) {
		s.states[p], err = decodeMeta(value, p)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.loadTails(); err != nil {
		return err
	}
	return errors.Join(s.dropLeftovers(), s.trimAside())
}

// eachPartition calls f with every value of a space that has one for each partition.
func (s *Store) eachPartition(space byte, f func(p schema.Partition, value []byte) error) error {
	return s.scan([]byte{space}, func(key, value []byte) error {
		p, rest, ok := splitPartition(key)
		err := ErrCorrupt
		if ok && len(rest) == 0 {
			err = f(p, value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", nameOf(key), err)
		}
		return nil
	})
}

// Close releases the directory. It waits for calls that are under way, and may be called again.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	var errs []error
	if s.db != nil {
		if s.intact() == nil {
			errs = append(errs, s.settleAll())
		}
		errs = append(errs, s.db.Close())
		s.db = nil
		s.publish()
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

// state returns what is published of p.
func (s *Store) state(p schema.Partition) state {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.stateLocked(p)
}

// stateLocked is state for who holds mu.
func (s *Store) stateLocked(p schema.Partition) state {
	st, ok := s.states[p]
	if !ok {
		st = newState(p)
	}
	b := s.begins[p]
	st.FirstEmit, st.LogBytes = b.first, st.appended-min(st.appended, b.trimmed)
	return st
}

// Partition returns the meta of p. A partition that has had no commit has a meta that says so.
func (s *Store) Partition(p schema.Partition) Meta { return s.state(p).Meta }

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
	metas := make(map[schema.Partition]Meta, len(s.states))
	for p := range maps.Keys(s.states) {
		metas[p] = s.stateLocked(p).Meta
	}
	return metas, nil
}

// publish lets readers see states and wakes those who wait.
func (s *Store) publish(states ...state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range states {
		s.states[states[i].Partition] = states[i]
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
func (s *Store) scan(prefix []byte, f func(key, value []byte) error) error {
	return scan(s.db, prefix, after(prefix), f)
}

// scan calls f with every key of from in [lower, upper), in order.
func scan(from pebble.Reader, lower, upper []byte, f func(key, value []byte) error) (err error) {
	it, err := from.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
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

// fatal is what Pebble says when the directory can no longer be written.
type fatal string

func (f fatal) Error() string { return string(f) }

// Fatalf must not return: what follows would not be durable. In a commit the panic becomes its error; in Pebble's own
// goroutines it ends the process, and what was committed is on the disk.
func (q quiet) Fatalf(format string, args ...any) {
	panic(fatal("pebble: " + fmt.Sprintf(format, args...)))
}
