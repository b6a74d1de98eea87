package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nats.go/jetstream"
)

// Lease is what freshet_writers says of the one writer of a line. It is gone LeaseTTL after its last refresh by the clock of the server: what it says of times is
// for people, so that clocks that differ do no harm.
type Lease struct {
	Epoch   schema.WriterEpoch `json:"epoch"`
	ID      string             `json:"id"`      // of the process
	Holder  string             `json:"holder"`  // what may take the line over from itself without waiting
	Since   time.Time          `json:"since"`   // when the process took it
	Expires time.Time          `json:"expires"` // if it is not refreshed
}

// lease is a publisher's hold on a line. Its own lock keeps a long publication from holding up a refresh.
type lease struct {
	js      jetstream.JetStream
	key     string // the model
	copies  int
	backoff Backoff
	now     func() time.Time

	mu       sync.Mutex // guards what follows
	kv       jetstream.KeyValue
	mine     Lease
	revision uint64 // of mine; 0 while it is not there
	lost     error  // set once, by ErrLine
}

// take makes the line this writer's, or says in an ErrLine who holds it. above is the epoch of the head. over also takes it from a living writer.
func (l *lease) take(ctx context.Context, id, holder string, above schema.WriterEpoch, over bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	// NATS that knows of no writer may have lost the line, and replicas may know its last epoch still: a clock's is above that of any number of starts.
	first := schema.WriterEpoch(max(l.now().Unix(), 1))
	if above > 0 {
		first = above + 1
	}
	return attempts(ctx, l.backoff, 4, LeaseEvery, func(ctx context.Context) (bool, error) {
		held, revision, err := l.read(ctx)
		l.mine = Lease{Epoch: max(first, l.mine.Epoch), ID: id, Holder: holder, Since: l.now().UTC()}
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			revision = 0
		case err != nil:
			return true, err
		case held.Holder != holder && !over:
			return false, fmt.Errorf("%w: %s holds it since %s: stop it and start this one again (a writer that was killed is forgotten within %v), give this one another model name, "+
				"or take the line from it with publish.take_over", ErrLine, held.ID, held.Since.Format(time.RFC3339), LeaseTTL)
		default:
			l.mine.Epoch = max(l.mine.Epoch, held.Epoch+1)
		}
		err = l.write(ctx, revision)
		return true, err // another may have come between: look again
	})
}

// renew refreshes the lease. One that has expired is taken again, unless another writer took it meanwhile: then the line is lost, for good.
func (l *lease) renew(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost != nil {
		return l.lost
	}
	err := attempts(ctx, l.backoff, 2, LeaseEvery, func(ctx context.Context) (bool, error) {
		err := l.write(ctx, l.revision)
		if !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return err != nil, err
		}
		held, revision, err := l.read(ctx)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			return true, l.write(ctx, 0)
		case err != nil:
			return true, err
		case held.Epoch == l.mine.Epoch && held.ID == l.mine.ID && held.Since.Equal(l.mine.Since): // an earlier refresh whose answer was lost
			l.revision = revision
			return true, l.write(ctx, revision)
		}
		return false, fmt.Errorf("%w: %s took it at %s: stop one of the two, or give it another model name, then start this one again", ErrLine, held.ID, held.Since.Format(time.RFC3339))
	})
	if errors.Is(err, ErrLine) {
		l.lost = err
	}
	return err
}

// release gives the line back, so that another writer need not wait for the lease to expire.
func (l *lease) release(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.revision > 0 && l.lost == nil {
		_ = l.kv.Purge(ctx, l.key, jetstream.LastRevision(l.revision)) // it expires by itself
	}
	l.revision = 0
}

// epoch is that of the writer.
func (l *lease) epoch() schema.WriterEpoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mine.Epoch
}

func (l *lease) read(ctx context.Context) (held Lease, revision uint64, err error) {
	if err := l.open(ctx); err != nil {
		return held, 0, err
	}
	entry, err := l.kv.Get(ctx, l.key)
	if err != nil {
		return held, 0, fmt.Errorf("lease of model %s: %w", l.key, err)
	}
	return parseLease(entry.Value()), entry.Revision(), nil
}

// parseLease reads a lease. One that cannot be read is nobody's that this program could be.
func parseLease(b []byte) (held Lease) {
	if json.Unmarshal(b, &held) != nil {
		return Lease{ID: "a writer that this program cannot read"}
	}
	return held
}

// write stores mine over the lease of a revision, 0 for none.
func (l *lease) write(ctx context.Context, revision uint64) error {
	if err := l.open(ctx); err != nil {
		return err
	}
	l.mine.Expires = l.now().Add(LeaseTTL).UTC()
	b, err := json.Marshal(l.mine)
	if err != nil {
		return fmt.Errorf("lease of model %s: %w", l.key, err)
	}
	if revision == 0 {
		revision, err = l.kv.Create(ctx, l.key, b)
	} else {
		revision, err = l.kv.Update(ctx, l.key, b, revision)
	}
	if err != nil {
		if gone(err) {
			l.kv = nil // NATS came back without it
		}
		return fmt.Errorf("lease of model %s: %w", l.key, err)
	}
	l.revision = revision
	return nil
}

// open makes the bucket where it is missing.
func (l *lease) open(ctx context.Context) (err error) {
	if l.kv != nil {
		return nil
	}
	if l.kv, err = l.js.KeyValue(ctx, WritersBucket); err == nil {
		return nil
	}
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return fmt.Errorf("bucket %s: %w", WritersBucket, err)
	}
	l.kv, err = l.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: WritersBucket, Description: "freshet: who writes each model's line of versions", TTL: LeaseTTL, History: 1, Replicas: l.copies, MaxValueSize: 4096})
	if err != nil {
		l.kv = nil
		return fmt.Errorf("create bucket %s: %w", WritersBucket, err)
	}
	return nil
}

// gone says that NATS does not have the bucket any more.
func gone(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse)
}
