package snapshots

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What a caller branches on.
var (
	// ErrFenced says that another has claimed the partition. It stays so.
	ErrFenced = errors.New("another node has claimed the partition")
	// ErrDoubt says that a mark may be recorded or not, and that ctx ended before it was known. Whoever claims the partition
	// next knows.
	ErrDoubt = errors.New("whether the mark is recorded is not known")
	// ErrTopic says that the entry is of another topic with the same name.
	ErrTopic = errors.New("the topic is another")
	// ErrFull says that there are MaxMarks marks already. The next snapshots make room.
	ErrFull = errors.New("no more marks can be recorded before snapshots succeed again")
)

// claimAttempts bounds how often a claim is tried when others write the entry at the same time.
const claimAttempts = 8

// awayFor is how long NATS is not asked for marks after it did not answer one, so that reading goes on meanwhile.
const awayFor = 10 * time.Second

// Claim is the right to write the entry of one partition, until another claims it. Its methods may be called from several
// goroutines.
type Claim struct {
	store     *Store
	partition schema.Partition
	left      *At // by the owner before

	saving chan struct{} // holds one value; who has put it there saves
	saved  int           // snapshots begun, for their names; touched by who saves

	turn     chan struct{} // holds one value; who has put it there may touch what follows
	entry    entry         // what is to be in NATS: only this claim may change it
	revision uint64        // of the entry in NATS when it was last seen; 0 is that there is none
	fenced   error
}

// Claim takes partition p over. It tries to get ahead of others a few times; an outage is the caller's to wait out.
func (s *Store) Claim(ctx context.Context, p schema.Partition) (*Claim, error) {
	c := &Claim{store: s, partition: p, turn: make(chan struct{}, 1), saving: make(chan struct{}, 1)}
	token := rand.Text()
	for range claimAttempts {
		before, revision, err := s.read(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("claim partition %d: %w", p, err)
		}
		if before.TopicID != "" && s.cfg.TopicID != "" && before.TopicID != s.cfg.TopicID {
			entries, bucket := Buckets(s.cfg.Topic, s.cfg.Group)
			return nil, fmt.Errorf("claim partition %d: %w: %s had its id %s, and it is %s now: if the topic was made anew, remove the buckets %s and %s "+
				"(nats kv del, nats object del) and start with an empty --data-dir; if nodes of another Kafka use this NATS, give these another --group",
				p, ErrTopic, before.Owner, before.TopicID, s.cfg.TopicID, entries, bucket)
		}
		if before.Token == token { // an earlier attempt, whose answer was lost
			c.entry, c.revision = before, revision
			return c, nil
		}
		next := before
		next.Format, next.Partition, next.Claim, next.Token, next.Owner = entryFormat, p, before.Claim+1, token, s.cfg.Owner
		if s.cfg.TopicID != "" {
			next.TopicID = s.cfg.TopicID
		}
		next.ClaimedAt, next.Left = s.cfg.Now().UTC(), nil
		if c.left = before.Left; before.Token == "" {
			c.left = &At{}
		}
		written, err := s.write(ctx, next, revision)
		if err == nil {
			c.entry, c.revision = next, written
			return c, nil
		}
		if !isConflict(err) && (ctx.Err() != nil || refused(err)) {
			return nil, fmt.Errorf("claim partition %d: %w", p, err)
		}
	}
	return nil, fmt.Errorf("claim partition %d: others write its entry all the time", p)
}

// Left returns where the owner before has let go of the partition, which is at the beginning if there was none. Where it has
// not, it may still believe to own the partition, and have come further than anybody knows.
func (c *Claim) Left() (At, bool) {
	if c.left == nil {
		return At{}, false
	}
	return *c.left, true
}

// State returns what the entry holds. Its slices are the caller's.
func (c *Claim) State() State {
	c.turn <- struct{}{}
	defer c.done()
	s := c.entry.State
	s.Snapshots, s.Marks = slices.Clone(s.Snapshots), slices.Clone(s.Marks)
	return s
}

// take waits for the turn.
func (c *Claim) take(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if c.fenced != nil {
		c.done()
		return c.fenced
	}
	return nil
}

func (c *Claim) done() { <-c.turn }

// Check asks NATS whether the claim still stands: nil, ErrFenced, or another error where NATS does not answer.
func (c *Claim) Check(ctx context.Context) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.done()
	return c.look(ctx)
}

// look reads the entry and finds out whether the claim still stands. Where the entry is older than what this claim has
// written, or gone, NATS has lost it: the next write brings it back.
func (c *Claim) look(ctx context.Context) error {
	found, revision, err := c.store.read(ctx, c.partition)
	if err != nil {
		return fmt.Errorf("partition %d: %w", c.partition, err)
	}
	if found.Token != c.entry.Token && found.Claim >= c.entry.Claim {
		c.fenced = fmt.Errorf("partition %d: %w: %s did, at %s", c.partition, ErrFenced, found.Owner, found.ClaimedAt.Format(time.RFC3339))
		return c.fenced
	}
	c.revision = revision
	return nil
}

// Record makes m durable, before it is made. It returns without a write when NATS does not answer, ErrFull, or ErrFenced. Once
// the write is on its way it waits until it is known to have succeeded, or until ctx ends: ErrDoubt. It must be called from one
// goroutine, and m must come after the marks before it.
func (c *Claim) Record(ctx context.Context, m Mark) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.done()
	if err := c.reachable(ctx); err != nil {
		return fmt.Errorf("record a mark: %w", err)
	}
	if len(c.entry.Marks) >= MaxMarks {
		return fmt.Errorf("record a mark of partition %d: %w", c.partition, ErrFull)
	}
	if n := len(c.entry.Marks); n > 0 && (m.Emit <= c.entry.Marks[n-1].Emit || m.Offset < c.entry.Marks[n-1].Offset) {
		panic(fmt.Sprintf("snapshots: record: mark of partition %d at %+v is not after %+v", c.partition, m.At, c.entry.Marks[n-1].At))
	}
	next := c.entry
	next.State = next.with(m)
	if _, err := encodeEntry(next); err != nil {
		return fmt.Errorf("record a mark: %w", err)
	}
	sent, err := c.change(ctx, next)
	for failed := 1; err != nil && sent && !errors.Is(err, ErrFenced); failed++ {
		if c.store.cfg.Backoff.Wait(ctx, failed) != nil {
			return fmt.Errorf("record a mark of partition %d: %w: %w", c.partition, ErrDoubt, err)
		}
		_, err = c.change(ctx, next)
	}
	if err != nil {
		return fmt.Errorf("record a mark: %w", err)
	}
	return nil
}

// reachable returns an error unless NATS has answered just now and the claim stands. It keeps marks out of doubt: only an
// outage that begins between this answer and the write leaves one there.
func (c *Claim) reachable(ctx context.Context) error {
	s := c.store
	if nc := s.js.Conn(); !nc.IsConnected() {
		return fmt.Errorf("NATS is away: %w", nats.ErrDisconnected)
	}
	if s.cfg.Now().UnixNano() < s.away.Load() {
		return fmt.Errorf("NATS did not answer a moment ago: %w", nats.ErrTimeout)
	}
	err := c.look(ctx)
	if err != nil && !errors.Is(err, ErrFenced) {
		s.away.Store(s.cfg.Now().Add(awayFor).UnixNano())
	}
	return err
}

// change makes next the entry, if the claim still stands. sent says, with an error, that the change may come to be later
// nevertheless.
func (c *Claim) change(ctx context.Context, next entry) (sent bool, err error) {
	for range claimAttempts {
		revision, err := c.store.write(ctx, next, c.revision)
		if err == nil {
			c.entry, c.revision = next, revision
			return false, nil
		}
		if !isConflict(err) {
			return sent || !refused(err), fmt.Errorf("partition %d: %w", c.partition, err)
		}
		// The revision is not the one last seen. Under this claim's token that is an earlier write of its own, whose answer
		// was lost, or what NATS still has after a loss. Either way the entry is this claim's to write.
		if err := c.look(ctx); err != nil {
			return sent, err
		}
	}
	return sent, fmt.Errorf("partition %d: its entry changes all the time", c.partition)
}

// read returns the entry of p and its revision: an entry without a token, and 0, when there is none.
func (s *Store) read(ctx context.Context, p schema.Partition) (entry, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	entries, _, err := s.open(ctx)
	if err != nil {
		return entry{}, 0, err
	}
	found, err := entries.Get(ctx, key(p))
	if s.forget(err) {
		if entries, _, err = s.open(ctx); err != nil {
			return entry{}, 0, err
		}
		found, err = entries.Get(ctx, key(p))
	}
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return entry{}, 0, fmt.Errorf("read its entry: %w", err)
	}
	s.away.Store(0)
	if err != nil {
		return entry{}, 0, nil
	}
	e, err := decodeEntry(found.Value(), p)
	if err != nil {
		return entry{}, 0, fmt.Errorf("key %s of bucket %s: %w", key(p), entries.Bucket(), err)
	}
	return e, found.Revision(), nil
}

// write writes e over revision and returns its revision.
func (s *Store) write(ctx context.Context, e entry, revision uint64) (uint64, error) {
	b, err := encodeEntry(e)
	if err != nil {
		return 0, err
	}
	entries, _, err := s.open(ctx)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	if revision == 0 {
		revision, err = entries.Create(ctx, key(e.Partition), b)
	} else {
		revision, err = entries.Update(ctx, key(e.Partition), b, revision)
	}
	if err == nil {
		return revision, nil
	}
	s.forget(err)
	if isConflict(err) { // perhaps with an earlier attempt of the same
		found, getErr := entries.Get(ctx, key(e.Partition))
		if getErr == nil && bytes.Equal(found.Value(), b) {
			return found.Revision(), nil
		}
	}
	return 0, fmt.Errorf("write its entry: %w", err)
}

func key(p schema.Partition) string { return strconv.Itoa(int(p)) }

// isConflict reports whether a write was refused because the entry is another by now.
func isConflict(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
}

// refused reports whether err says that a write did not happen, and will not.
func refused(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code < 500 || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrReconnectBufExceeded) ||
		errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, jetstream.ErrBucketNotFound)
}
