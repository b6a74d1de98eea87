package snapshots

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/freshet-ml/freshet/publisher/objects"
)

var (
	// ErrOlder says that there is a snapshot of a place as late already.
	ErrOlder = errors.New("the newest snapshot is of a place as late")
	// ErrDamaged says that a snapshot is not there, or not what was written.
	ErrDamaged = errors.New("the snapshot is damaged")
)

// Save stores what export writes as the newest snapshot; export returns the place that it is of. It removes the snapshots
// that are superfluous by then. ErrOlder, ErrFenced. Saves of one claim wait for one another.
func (c *Claim) Save(ctx context.Context, export func(io.Writer) (At, error)) (Snapshot, error) {
	select {
	case c.saving <- struct{}{}:
		defer func() { <-c.saving }()
	case <-ctx.Done():
		return Snapshot{}, context.Cause(ctx)
	}
	if err := c.Check(ctx); err != nil { // before the work, and before anything of the partition is removed
		return Snapshot{}, err
	}
	_, bucket, err := c.store.open(ctx)
	if err != nil {
		return Snapshot{}, fmt.Errorf("partition %d: %w", c.partition, err)
	}
	c.saved++
	name := fmt.Sprintf("%d.%s.%d", c.partition, c.token(), c.saved)
	s, kept, err := c.put(ctx, bucket, name, export)
	if err != nil {
		c.store.forget(err)
		if !kept {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.store.cfg.Timeout)
			defer cancel()
			_ = bucket.Remove(ctx, name) // else the next save finds it
		}
		return Snapshot{}, fmt.Errorf("save a snapshot of partition %d: %w", c.partition, err)
	}
	c.collect(ctx, bucket)
	return s, nil
}

// put stores the object and enters it. kept says, with an error, that the entry may name the object nevertheless.
func (c *Claim) put(ctx context.Context, bucket *objects.Bucket, name string, export func(io.Writer) (At, error)) (s Snapshot, kept bool, err error) {
	w, err := bucket.Writer(ctx, name)
	if err != nil {
		return Snapshot{}, false, err
	}
	at, err := export(w)
	if err != nil {
		return Snapshot{}, false, err
	}
	stored, err := w.Commit()
	if err != nil {
		return Snapshot{}, false, err
	}
	s = Snapshot{Object: name, At: at, Bytes: stored.Bytes, SHA256: stored.SHA256, TakenAt: c.store.cfg.Now().UTC()}
	if err := c.take(ctx); err != nil {
		return Snapshot{}, false, err
	}
	defer c.done()
	if have := c.entry.Snapshots; len(have) > 0 && at.Compare(have[0].At) <= 0 {
		return Snapshot{}, false, fmt.Errorf("%w: offset %d, emit %d, and this one is of %d, %d", ErrOlder, have[0].Offset, have[0].Emit, at.Offset, at.Emit)
	}
	next := c.entry
	next.State = next.covered(s)
	kept, err = c.change(ctx, next)
	return s, kept, err
}

// collect removes every object of the partition that the entry does not name, also those that a crash or another node has
// left. What it does not get at costs room, and is found the next time; so is what a fenced node is still writing.
func (c *Claim) collect(ctx context.Context, bucket *objects.Bucket) {
	names, err := bucket.List(ctx, key(c.partition))
	if err != nil {
		return
	}
	live := c.State().Snapshots
	for _, name := range names {
		if slices.ContainsFunc(live, func(s Snapshot) bool { return s.Object == name }) {
			continue
		}
		if bucket.Remove(ctx, name) != nil {
			return
		}
	}
}

func (c *Claim) token() string {
	c.turn <- struct{}{}
	defer c.done()
	return c.entry.Token
}

// Open returns the bytes of s. What is read to its end is what was written, else ErrDamaged comes in place of io.EOF; it also
// comes when s is gone.
func (c *Claim) Open(ctx context.Context, s Snapshot) (io.Reader, error) {
	_, bucket, err := c.store.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("partition %d: %w", c.partition, err)
	}
	r, err := bucket.Open(ctx, s.Object)
	if want := (objects.Stored{Bytes: s.Bytes, SHA256: s.SHA256}); err == nil && r.Stored() != want {
		err = fmt.Errorf("%w: it is %+v, the partition's entry says %+v", ErrDamaged, r.Stored(), want)
	}
	if err != nil {
		return nil, fmt.Errorf("open a snapshot of partition %d: %w", c.partition, damaged(err))
	}
	return &checked{r}, nil
}

// checked says ErrDamaged where the bytes of an object are not those of its entry.
type checked struct{ r io.Reader }

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	return n, damaged(err)
}

func damaged(err error) error {
	if errors.Is(err, objects.ErrDamaged) || errors.Is(err, objects.ErrMissing) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// Discard forgets a snapshot that is damaged, so that it does not count as one of the two that are kept.
func (c *Claim) Discard(s Snapshot) {
	c.turn <- struct{}{}
	defer c.done()
	c.entry.State = c.entry.without(s.Object)
}

// Release says that the owner has let go of the partition at the place at, and will not write to its log any more. The claim is
// of no use afterwards.
func (c *Claim) Release(ctx context.Context, at At) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.done()
	next := c.entry
	next.Left = &at
	if _, err := c.change(ctx, next); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	c.fenced = fmt.Errorf("partition %d: the claim was released", c.partition)
	return nil
}
