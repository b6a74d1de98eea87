package buffer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// Commit is all that a batch of records changed in one partition.
type Commit struct {
	Partition  schema.Partition
	NextOffset schema.Offset
	Window     window.Meta
	Journal    []byte  // what brings the windows from the last commit's state to Window (window.Windower.Journal)
	Entries    []Entry // to be appended to the log
	Aside      []schema.Rejected
}

// Commit makes commits durable, all of them or none (I2), and then visible. It numbers the entries: Entry.Emit, and Partition
// and Emit of their parts, are set in place. A partition whose commits have a journal must have been loaded (Load).
//
// After ErrNoRoom nothing has happened, and the same commits may be made again. After any other error nothing is known about
// what is durable: the store refuses to write from then on, and the owner must go on from what Load says in a newly opened
// Store.
func (s *Store) Commit(commits ...Commit) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	if err := s.writable(); err != nil {
		return err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	w := writer{batch: batch}
	states := make([]state, len(commits))
	aside := false
	for i := range commits {
		c := &commits[i]
		if states[i], err = s.owned(c); err != nil {
			return fmt.Errorf("buffer: commit: %w", err)
		}
		if err := w.commit(&states[i], c, s.highest()); err != nil {
			return fmt.Errorf("buffer: commit: partition %d: %w", c.Partition, err)
		}
		aside = aside || len(c.Aside) > 0
	}
	if err := s.write(batch, pebble.Sync); err != nil {
		return fmt.Errorf("buffer: commit: %w", err)
	}
	s.index(w.index)
	s.publish(states...)
	return s.afterwards(states, aside)
}

// afterwards keeps the store in order behind a commit of states.
func (s *Store) afterwards(states []state, aside bool) error {
	s.retain(states)
	var errs []error
	for i := range states {
		if p := states[i].Partition; s.settleDue(p) {
			errs = append(errs, s.settle(p))
		}
	}
	if aside {
		errs = append(errs, s.trimAside())
	}
	return errors.Join(errs...)
}

// owned returns the state that c goes on from.
func (s *Store) owned(c *Commit) (state, error) {
	st := s.state(c.Partition)
	if st.Mirror {
		return state{}, fmt.Errorf("partition %d is the mirror of another node's log: import its state before it is written here", c.Partition)
	}
	if len(c.Journal) > 0 && !s.loaded(c.Partition) {
		return state{}, fmt.Errorf("partition %d has windows that were not loaded from this store", c.Partition)
	}
	return st, nil
}

// highest returns one more than the highest partition that there is something of.
func (s *Store) highest() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for p := range s.states {
		n = max(n, int(p)+1)
	}
	return n
}

// intact returns the error of a write that failed, or nil.
func (s *Store) intact() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.broken
}

// writable returns why nothing may be written now, or nil.
func (s *Store) writable() error {
	if err := s.intact(); err != nil {
		return err
	}
	return s.room.check()
}

// write commits batch. A failure breaks the store.
func (s *Store) write(batch *pebble.Batch, o *pebble.WriteOptions) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			said, ok := fault.(fatal)
			if !ok {
				panic(fault)
			}
			err = said
		}
		if err != nil {
			err = fmt.Errorf("%w: check the disk of %s, then start again: nothing that was committed is lost", err, s.dir)
			s.mu.Lock()
			s.broken = fmt.Errorf("buffer: an earlier write failed: %w", err)
			s.mu.Unlock()
		}
	}()
	n := batch.Len()
	if err := batch.Commit(o); err != nil {
		return err
	}
	s.room.wrote(n)
	return nil
}

// put commits what f writes, if there is room.
func (s *Store) put(o *pebble.WriteOptions, f func(w *writer) error) error {
	if err := s.room.check(); err != nil {
		return err
	}
	return s.putAnyway(o, f)
}

// putAnyway commits what f writes, also where there is no room: it makes room, or helps to.
func (s *Store) putAnyway(o *pebble.WriteOptions, f func(w *writer) error) error {
	if err := s.intact(); err != nil {
		return err
	}
	batch := s.db.NewBatch()
	defer batch.Close()
	w := writer{batch: batch}
	if err := errors.Join(f(&w), w.err); err != nil {
		return err
	}
	return s.write(batch, o)
}

// writer writes to a batch. Its first error sticks; key and value are its scratch, which the batch copies.
type writer struct {
	batch      *pebble.Batch
	key, value []byte
	block      blockWriter
	index      []indexed
	err        error
}

func (w *writer) set(key, value []byte) {
	w.key = key
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

// deleteRange deletes the keys from lower up to, without, upper.
func (w *writer) deleteRange(lower, upper []byte) {
	if w.err == nil {
		w.err = w.batch.DeleteRange(lower, upper, nil)
	}
}

// commit writes c and changes st to what it leaves.
func (w *writer) commit(st *state, c *Commit, partitions int) error {
	p := c.Partition
	st.NextOffset, st.Window = c.NextOffset, c.Window
	if len(c.Journal) > 0 {
		w.set(journalKey(w.key[:0], p, st.journal), c.Journal)
		st.journal++
		st.journalBytes += uint64(len(c.Journal))
	}
	for i := range c.Entries {
		e := &c.Entries[i]
		e.Emit = st.NextEmit
		if e.Kind == KindPart {
			e.Part.Partition, e.Part.Emit = p, e.Emit
		}
		if e.Kind == KindGrow {
			if err := st.grow(e, partitions); err != nil {
				return err
			}
		}
		if err := w.append(st, e); err != nil {
			return err
		}
	}
	w.flush(st)
	for i := range c.Aside {
		r := &c.Aside[i]
		if r.Partition != p {
			return fmt.Errorf("a record aside is of partition %d", r.Partition)
		}
		w.value = appendAside(w.value[:0], r)
		w.set(asideKey(w.key[:0], p, r.Offset), w.value)
		st.Aside++
		st.AsideBytes += uint64(len(w.value))
	}
	w.meta(st)
	return w.err
}

func (w *writer) meta(st *state) {
	w.value = appendMeta(w.value[:0], st)
	w.set(metaKey(w.key[:0], st.Partition), w.value)
}

// append puts the next entry of the log into the present block. e.Emit must be st.NextEmit.
func (w *writer) append(st *state, e *Entry) error {
	switch {
	case e.Kind == KindPart && !slices.Contains(window.Causes, e.Part.Cause):
		return fmt.Errorf("a part of unknown cause %q", e.Part.Cause)
	case e.Kind == KindTick:
		st.Ticks++
	}
	place := w.block.add(e)
	if e.Kind == KindPart && e.clicks() > 0 {
		w.index = append(w.index, indexed{st.Partition, e.Part.UserID, located{e.Emit, uint8(place)}})
	}
	st.NextEmit++
	st.Reached = max(st.Reached, st.NextEmit)
	if w.block.full() {
		w.flush(st)
	}
	return w.err
}

// flush writes the present block.
func (w *writer) flush(st *state) {
	if w.block.empty() {
		return
	}
	first, value := w.block.finish()
	w.set(logKey(w.key[:0], st.Partition, first), value)
	st.appended += uint64(len(value))
}

// grow notes a Grow mark. Where the logs began without one, they had the given number of partitions before it.
func (s *state) grow(e *Entry, partitions int) error {
	m := e.Mark
	switch {
	case s.Partition != 0:
		return fmt.Errorf("a Grow mark belongs to partition 0")
	case m.Partitions < max(s.Partitions, 1) || m.Partitions > MaxPartitions:
		return fmt.Errorf("the topic cannot go from %d to %d partitions: give the new topic another data directory", s.Partitions, m.Partitions)
	case m.Partitions == s.Partitions:
		return nil
	case len(s.Grows) >= maxGrows:
		return fmt.Errorf("the topic has got more partitions %d times, and no more are kept: begin a new data directory", len(s.Grows))
	}
	grows := slices.Clone(s.Grows) // the old ones are published
	if len(grows) == 0 && partitions > 0 && (partitions > 1 || e.Emit > 0) {
		grows = append(grows, Grow{Partitions: min(partitions, m.Partitions), Watermark: schema.BeginningOfTime})
	}
	s.Grows = append(grows, Grow{Partitions: m.Partitions, Epoch: m.Epoch, Watermark: m.Watermark, Emit: e.Emit})
	s.Partitions = m.Partitions
	return nil
}
