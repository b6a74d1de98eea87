package buffer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// Histories keep the latest parts of each user of logs that other nodes have, and nothing else of them: what requests look back on. A log that is mirrored whole has the
// clicks of a month, and a robot has most of them; here a user has HistoriesOptions.Parts at most, and who was seen least recently makes room.
//
// What Append is given and how far the log has come are one Pebble batch: after a crash a part is there with the position behind it, or neither is, and comes again. The
// batch is not synced, since what is lost of it is read again.
//
// Its methods may be called from several goroutines.
type Histories struct {
	store *Store // of partitions without a log
	opts  HistoriesOptions

	writing sync.Mutex // held by who writes
	// oldest is what no user was last seen before. Searches begin there: the keys of users who were seen again since have been deleted in great numbers, and passing them by takes long.
	oldest schema.EventTime

	mu    sync.RWMutex // guards what follows; it is written with writing held as well
	stats HistoriesStats
	ends  map[schema.Partition]bool // where the last entry is known
}

// HistoriesOptions are the settings of Histories.
type HistoriesOptions struct {
	// Store are those of the directory. Its bounds on logs are not used.
	Store Options
	// Parts is how many parts of a user are kept, the latest. Required.
	Parts int
	// Age is how far behind the newest watermark a history goes back: who was not seen for so long is forgotten. 0 is no bound.
	Age time.Duration
	// Bytes bounds all histories together, before compression. Who was seen least recently goes first. 0 is no bound.
	Bytes int64
}

// Validate reports every fault of o at once, or nil.
func (o HistoriesOptions) Validate() error {
	faults := []error{o.Store.Validate()}
	if o.Parts < 1 {
		faults = append(faults, fmt.Errorf("parts %d: must be at least 1", o.Parts))
	}
	if o.Age < 0 || o.Bytes < 0 {
		faults = append(faults, fmt.Errorf("age %v, bytes %d: must not be negative", o.Age, o.Bytes))
	}
	return errors.Join(faults...)
}

// HistoriesStats say what is kept, and what was let go since the start.
type HistoriesStats struct {
	Users int64
	Bytes int64 // before compression

	PartsOverParts uint64 // parts for which a user had too many, or too large ones
	UsersOverAge   uint64 // users who were not seen for too long
	UsersOverBytes uint64 // users who made room for others
}

// maxHistoryBytes bounds the parts of one user together; the latest is kept whatever its size.
const maxHistoryBytes = 1 << 20

// OpenHistories opens the directory, or makes it, and removes what the options allow no more.
func OpenHistories(dir string, o HistoriesOptions) (*Histories, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("buffer: histories: %w", err)
	}
	o.Store.LogAge, o.Store.LogBytes = 0, 0
	store, err := Open(dir, o.Store)
	if err != nil {
		return nil, err
	}
	h := &Histories{store: store, opts: o, oldest: schema.BeginningOfTime, ends: map[schema.Partition]bool{}}
	if err := errors.Join(h.load(), h.evict()); err != nil {
		return nil, errors.Join(fmt.Errorf("buffer: histories: open %s: %w", dir, err), store.Close())
	}
	return h, nil
}

func (h *Histories) load() error {
	value, ok, err := h.store.get([]byte{spaceTotals})
	if err == nil && ok {
		h.stats, err = decodeTotals(value)
	}
	if err != nil {
		return err
	}
	return h.store.eachPartition(spaceLast, func(p schema.Partition, _ []byte) error {
		h.ends[p] = true
		return nil
	})
}

// Close releases the directory. It may be called again.
func (h *Histories) Close() error { return h.store.Close() }

// Stats returns the figures of now.
func (h *Histories) Stats() HistoriesStats {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.stats
}

// Partition returns how far p has come. Its log has the last entry that was appended, where there is one.
func (h *Histories) Partition(p schema.Partition) Meta {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.withLog(h.store.Partition(p))
}

// Partitions returns how far each partition has come.
func (h *Histories) Partitions() (map[schema.Partition]Meta, error) {
	metas, err := h.store.Partitions()
	if err != nil {
		return nil, err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := maps.Clone(metas)
	for p, m := range all {
		all[p] = h.withLog(m)
	}
	return all, nil
}

func (h *Histories) withLog(m Meta) Meta {
	m.FirstEmit = m.NextEmit
	if h.ends[m.Partition] {
		m.FirstEmit--
	}
	return m
}

// LogPacked returns the last entry of p's log, by which a reader sees that it goes on with the same log, with its clicks packed; and ErrGone for those before.
func (h *Histories) LogPacked(p schema.Partition, from schema.Emit, limit int) ([]Entry, error) {
	release, err := h.store.use()
	if err != nil {
		return nil, err
	}
	defer release()
	m := h.Partition(p)
	switch {
	case from < m.FirstEmit:
		return nil, fmt.Errorf("buffer: %w", goneError(p, from, m.FirstEmit))
	case from >= m.NextEmit || limit <= 0:
		return nil, nil
	}
	value, ok, err := h.store.get(spaceOf(nil, spaceLast, p))
	if err == nil && !ok {
		err = ErrCorrupt
	}
	var e Entry
	if err == nil {
		e, err = openEntry(value, p, from)
	}
	if err != nil {
		return nil, fmt.Errorf("buffer: last entry of partition %d: %w", p, err)
	}
	return []Entry{e}, nil
}

// Append takes entries of another node's log, as Store.Append does: those that it had already are skipped, and a gap is an error. Of the parts it keeps what may be
// looked back on.
func (h *Histories) Append(p schema.Partition, m Meta, entries []Entry) error {
	release, err := h.store.use()
	if err != nil {
		return err
	}
	defer release()
	h.writing.Lock()
	defer h.writing.Unlock()
	st := h.store.state(p)
	if st.NextEmit == 0 {
		st.NextEmit = beginning(&m, entries)
	}
	next := st.NextEmit
	add := adding{histories: h, heads: map[string]*historyHead{}, stats: h.Stats()}
	err = h.store.put(pebble.NoSync, func(w *writer) error {
		add.w = w
		var last *Entry
		for i := range entries {
			e := &entries[i]
			switch {
			case e.Emit < st.NextEmit:
				continue
			case e.Emit > st.NextEmit:
				return fmt.Errorf("entries %d to %d are missing: read them from its node, or begin anew in an empty directory", st.NextEmit, e.Emit-1)
			}
			if e.Kind == KindPart && e.clicks() > 0 {
				if err := add.part(p, e); err != nil {
					return err
				}
			}
			st.NextEmit++
			last = e
		}
		if last != nil {
			w.set(spaceOf(nil, spaceLast, p), appendEntry(nil, last))
		}
		st.Mirror, st.Grows, st.Partitions = true, m.Grows, m.Partitions
		if st.NextEmit == m.NextEmit {
			st.NextOffset, st.Ticks, st.Window = m.NextOffset, m.Ticks, m.Window
		}
		st.Reached = st.NextEmit
		w.meta(&st)
		return add.finish()
	})
	if err != nil {
		return fmt.Errorf("buffer: histories of partition %d: %w", p, err)
	}
	h.mu.Lock()
	h.stats = add.stats
	h.ends[p] = h.ends[p] || st.NextEmit > next
	h.store.publish(st)
	h.mu.Unlock()
	if err := h.evict(); err != nil {
		return fmt.Errorf("buffer: histories: make room: %w", err)
	}
	return nil
}

// Recent returns the last n parts of a user, at most as many as are kept, oldest first.
func (h *Histories) Recent(user string, n int) (parts []schema.Part, err error) {
	release, err := h.store.use()
	if err != nil {
		return nil, err
	}
	defer release()
	space := historySpace(nil, user)
	it, err := h.store.db.NewIter(&pebble.IterOptions{LowerBound: space, UpperBound: after(space)})
	if err != nil {
		return nil, fmt.Errorf("buffer: read a history: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for valid := it.Last(); valid && len(parts) < n; valid = it.Prev() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("buffer: read a history: %w", err)
		}
		part, err := decodeHistoryPart(value)
		if err != nil {
			return nil, fmt.Errorf("buffer: history of %q: %w", user, err)
		}
		if h.opts.Age == 0 || part.Due >= h.store.Partition(part.Partition).Window.Watermark.Add(-h.opts.Age) {
			parts = append(parts, part)
		}
	}
	if err := it.Error(); err != nil {
		return nil, fmt.Errorf("buffer: read a history: %w", err)
	}
	slices.SortFunc(parts, Order)
	return parts, nil
}
