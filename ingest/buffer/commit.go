package buffer

import (
	"fmt"

	"github.com/cockroachdb/pebble"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// Commit is all that a batch of records changed in one partition.
type Commit struct {
	Partition  schema.Partition
	NextOffset schema.Offset
	Window     window.Meta
	Sessions   window.Changes
	Entries    []Entry // to be appended to the log
	Aside      []schema.Rejected
}

// Commit makes commits durable, all of them or none (I2), and then visible. It numbers the entries: Entry.Emit, and Partition
// and Emit of their parts, are set in place.
//
// After an error nothing is known about what is durable: the owner must go on from what Partition and Sessions say in a
// newly opened Store.
func (s *Store) Commit(commits ...Commit) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	batch := s.db.NewBatch()
	defer batch.Close()
	w := writer{batch: batch}
	metas := make([]Meta, len(commits))
	aside := false
	for i := range commits {
		metas[i] = w.commit(s.Partition(commits[i].Partition), &commits[i])
		aside = aside || len(commits[i].Aside) > 0
	}
	if w.err != nil {
		return fmt.Errorf("buffer: commit: %w", w.err)
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("buffer: commit: %w: check the disk of %s", err, s.dir)
	}
	s.publish(metas)
	if aside {
		return s.trim()
	}
	return nil
}

// writer writes to a batch. Its first error sticks; key and value are its scratch, which the batch copies.
type writer struct {
	batch      *pebble.Batch
	key, value []byte
	err        error
}

func (w *writer) set(key, value []byte) {
	w.key, w.value = key, value
	if w.err == nil {
		w.err = w.batch.Set(key, value, nil)
	}
}

func (w *writer) delete(key []byte) {
	w.key = key
	if w.err == nil {
		w.err = w.batch.Delete(key, nil)
	}
}

func (w *writer) commit(m Meta, c *Commit) Meta {
	p := c.Partition
	m.NextOffset, m.Window = c.NextOffset, c.Window
	for _, k := range c.Sessions.Gone { // before the open ones: a key may be in both
		w.delete(sessionKey(w.key[:0], p, k))
	}
	for i := range c.Sessions.Open {
		o := &c.Sessions.Open[i]
		w.set(sessionKey(w.key[:0], p, window.Key{UserID: o.UserID, Start: o.Start}), appendSession(w.value[:0], o))
	}
	for i := range c.Entries {
		e := &c.Entries[i]
		e.Emit = m.NextEmit
		m.NextEmit++
		switch e.Kind {
		case KindTick:
			m.Ticks++
		case KindPart:
			e.Part.Partition, e.Part.Emit = p, e.Emit
			if len(e.Part.Clicks) > 0 {
				w.set(userKey(w.key[:0], p, e.Part.UserID, e.Emit), w.value[:0])
			}
		}
		w.set(logKey(w.key[:0], p, e.Emit), appendEntry(w.value[:0], e))
	}
	for i := range c.Aside {
		r := &c.Aside[i]
		w.set(asideKey(w.key[:0], r.ArrivedAt, p, r.Offset), appendAside(w.value[:0], r))
		m.Aside++
		m.AsideBytes += uint64(len(w.value))
	}
	w.set(metaKey(w.key[:0], p), appendMeta(w.value[:0], &m))
	return m
}
