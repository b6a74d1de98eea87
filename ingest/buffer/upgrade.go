package buffer

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// checkFormat refuses a directory of a newer program, brings one of an earlier program up to this one's format, and marks a
// new one as this program's.
func (s *Store) checkFormat() error {
	key := []byte{spaceFormat}
	value, ok, err := s.get(key)
	if err != nil {
		return err
	}
	if !ok {
		return s.put(pebble.Sync, func(w *writer) error {
			w.set(key, binary.AppendUvarint(nil, formatVersion))
			return nil
		})
	}
	r := newReader(value)
	version := r.uvarint()
	switch err := r.done(); {
	case err != nil:
		return fmt.Errorf("format version: %w", err)
	case version > formatVersion:
		return fmt.Errorf("newer format (%d > %d): run a newer freshet", version, formatVersion)
	case version == 1:
		s.opts.Log.Info("the data directory is of an earlier format, and is brought up to this one", "directory", s.dir, "format", version, "new_format", formatVersion)
		if err := s.upgrade1(); err != nil {
			return fmt.Errorf("bring format 1 up to %d: %w", formatVersion, err)
		}
		return nil
	case version < formatVersion:
		return fmt.Errorf("unknown format %d: this freshet reads format %d", version, formatVersion)
	}
	return nil
}

// upgradeBytes is about how much an upgrade writes at a time.
const upgradeBytes = 1 << 20

// upgrade1 makes format 2 of format 1. Open sessions become the pages of a snapshot, and records aside get their new keys:
// both beside the old ones, without a sync. One synced batch then says that the directory is of format 2, and drops the old
// ones. A crash before it leaves format 1, and the next Open begins again.
func (s *Store) upgrade1() error {
	err := s.put(pebble.NoSync, func(w *writer) error { // what an attempt that did not finish has left
		for _, space := range []byte{spacePage, spaceAside} {
			w.deleteRange([]byte{space}, []byte{space + 1})
		}
		return nil
	})
	if err != nil {
		return err
	}
	states, headers := map[schema.Partition]state{}, map[schema.Partition]header{}
	err = s.eachPartition(spaceMeta, func(p schema.Partition, value []byte) (err error) {
		states[p], err = decodeMeta(value, p)
		return err
	})
	if err != nil {
		return err
	}
	partitions := 0
	for p, st := range states {
		partitions = max(partitions, int(p)+1)
		if headers[p], err = s.upgradeSessions1(p, st.Window); err != nil {
			return err
		}
		st.Reached = st.NextEmit
		err := s.scan(spaceOf(nil, spaceLog, p), func(_, value []byte) error {
			st.appended += uint64(len(value))
			return nil
		})
		if err != nil {
			return err
		}
		states[p] = st
	}
	if err := s.upgradeAside1(states); err != nil {
		return err
	}
	if partitions > 0 { // all that the log has so far is of so many partitions, wherever they grow from here
		zero, ok := states[0]
		if !ok {
			zero = newState(0)
		}
		zero.Grows = []Grow{{Partitions: partitions, Watermark: schema.BeginningOfTime}}
		states[0] = zero
	}
	return s.put(pebble.Sync, func(w *writer) error {
		for p, st := range states {
			if h, ok := headers[p]; ok {
				w.set(headerKey(nil, p), appendHeader(nil, &h))
			}
			w.meta(&st)
			w.set(indexedKey(nil, p), binary.AppendUvarint(nil, uint64(st.NextEmit)))
		}
		for _, space := range []byte{spaceSession1, spaceAside1} {
			w.deleteRange([]byte{space}, []byte{space + 1})
		}
		w.set([]byte{spaceFormat}, binary.AppendUvarint(nil, formatVersion))
		return nil
	})
}

// upgradeSessions1 writes the open sessions of p as pages, and returns the header that makes them a snapshot at m.
func (s *Store) upgradeSessions1(p schema.Partition, m window.Meta) (header, error) {
	h := header{generation: 1, window: m}
	var page []byte
	flush := func() error {
		if len(page) == 0 {
			return nil
		}
		n := h.pages
		h.pages++
		h.bytes += uint64(len(page))
		err := s.put(pebble.NoSync, func(w *writer) error {
			w.set(pageKey(nil, p, h.generation, n), page)
			return nil
		})
		page = page[:0]
		return err
	}
	err := s.scan(spaceOf(nil, spaceSession1, p), func(key, value []byte) error {
		session, err := decodeSession1(key, value)
		if err != nil {
			return fmt.Errorf("session of partition %d at key %x: %w", p, key, err)
		}
		if page = window.AppendSession(page, &session); len(page) >= pageBytes {
			return flush()
		}
		return nil
	})
	if err != nil {
		return header{}, err
	}
	return h, flush()
}

// upgradeAside1 writes the records aside under their new keys, and counts their bytes as they are now.
func (s *Store) upgradeAside1(states map[schema.Partition]state) error {
	batch := s.db.NewBatch()
	defer func() { batch.Close() }()
	w := writer{batch: batch}
	flush := func() error {
		if w.err != nil {
			return w.err
		}
		if err := s.writable(); err != nil {
			return err
		}
		err := s.write(batch, pebble.NoSync)
		batch.Close()
		batch = s.db.NewBatch()
		w.batch = batch
		return err
	}
	err := s.scan([]byte{spaceAside1}, func(key, value []byte) error {
		r, err := decodeAside1(key, value)
		if err != nil {
			return fmt.Errorf("aside record at key %x: %w", key, err)
		}
		w.value = appendAside(w.value[:0], &r)
		w.set(asideKey(w.key[:0], r.Partition, r.Offset), w.value)
		st := states[r.Partition]
		st.AsideBytes += uint64(len(w.value) - len(value))
		states[r.Partition] = st
		if batch.Len() >= upgradeBytes {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}
