package publisher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nats.go/jetstream"
)

// maxTaken bounds how many version numbers of crashed publishers are passed over in one Publish.
const maxTaken = 64

// errBetween is no refusal: the line is this writer's, and goes on from there with a base.
var errBetween = errors.New("the writer before had the last word")

// openLine takes the line and reads where it stands.
func (p *Publisher) openLine(ctx context.Context) error {
	store, err := CreateStore(ctx, p.js, p.cfg.Copies)
	if err != nil {
		return err
	}
	store.ObjectTimeout = p.cfg.PutTimeout
	p.store = store
	head, _, err := p.readHead(ctx)
	if err != nil {
		return err
	}
	if err := p.lease.take(ctx, p.cfg.ID, p.cfg.Holder, head.Epoch, p.cfg.TakeOver); err != nil {
		return err
	}
	// Again: whoever held the line may have moved the head until now.
	m, revision, err := p.readHead(ctx)
	if err != nil {
		return err
	}
	p.goOnFrom(m, revision)
	versions, err := store.Versions(ctx, p.cfg.Model)
	if err != nil {
		return err
	}
	if len(versions) > 0 {
		p.next = max(p.next, versions[len(versions)-1]+1)
	}
	return nil
}

// readHead returns the head, or a zero manifest and revision where there is none.
func (p *Publisher) readHead(ctx context.Context) (schema.Manifest, uint64, error) {
	m, stored, revision, err := p.store.head(ctx, p.cfg.Model)
	switch {
	case errors.Is(err, ErrNoHead):
		return schema.Manifest{}, 0, nil
	case err != nil && stored != nil:
		err = fmt.Errorf("%w: it was not written by this program or is damaged; publish under another model name, or remove the key", err)
	}
	return m, revision, err
}

// goOnFrom accepts a head that this publisher did not write.
func (p *Publisher) goOnFrom(m schema.Manifest, revision uint64) {
	p.last, p.revision, p.needBase = m, revision, true
	p.next = max(p.next, m.Version+1)
	p.stored = map[string]bool{}
	for _, o := range m.AllObjects() {
		p.stored[o.Name] = m.Format >= 2
	}
}

// claim makes the manifest of the next free version and creates it in the store. What it returns, no other publisher can
// have: the objects of two publishers never share a name.
func (p *Publisher) claim(ctx context.Context, u Update, e encoded) (schema.Manifest, []byte, error) {
	for range maxTaken {
		m, stored, err := p.manifest(u, e)
		if err != nil {
			return m, nil, err
		}
		taken := false
		err = attempts(ctx, p.cfg.Backoff, p.cfg.Attempts, p.store.Timeout, func(ctx context.Context) (bool, error) {
			key := manifestKey(m.Model, m.Version)
			_, err := p.store.manifests.Create(ctx, key, stored)
			if errors.Is(err, jetstream.ErrKeyExists) { // perhaps by an earlier attempt whose answer was lost
				entry, getErr := p.store.manifests.Get(ctx, key)
				if getErr != nil {
					return true, getErr
				}
				taken = !bytes.Equal(entry.Value(), stored)
				return false, nil
			}
			return p.worthRetry(ctx, err), err
		})
		if err != nil {
			return m, nil, fmt.Errorf("version %d: %w", m.Version, err)
		}
		p.next++ // also when the rest fails: a number is used once
		if !taken {
			return m, stored, nil
		}
		if err := p.checkLine(ctx); err != nil {
			return m, nil, err
		}
	}
	return schema.Manifest{}, nil, fmt.Errorf("%d version numbers in a row from %d are taken: is another publisher of this model running?", maxTaken, p.next-maxTaken)
}

// manifest returns the manifest of version p.next and its bytes as they are stored.
func (p *Publisher) manifest(u Update, e encoded) (schema.Manifest, []byte, error) {
	m := schema.Manifest{
		Format: schema.ManifestFormat, Model: p.cfg.Model, Version: p.next, Kind: u.Kind, Parent: p.last.Version, Base: p.next,
		TrainedThrough: u.TrainedThrough, Step: u.Step, Items: u.Items, ConfigDigest: u.ConfigDigest,
		Objects: e.objects, FromParent: e.fromParent,
		Epoch: p.lease.epoch(), CreatedAt: p.cfg.Now().UTC(), Publisher: p.cfg.ID,
	}
	if u.Kind == schema.KindDelta {
		m.Base = p.last.Base
	}
	for name, value := range u.Metrics {
		if !math.IsNaN(value) && !math.IsInf(value, 0) {
			if m.Metrics == nil {
				m.Metrics = map[string]float64{}
			}
			m.Metrics[name] = value
		}
	}
	if len(p.cfg.Seed) > 0 {
		if err := Sign(&m, p.cfg.Seed); err != nil {
			return m, nil, err
		}
	}
	if err := m.Validate(); err != nil {
		return m, nil, fmt.Errorf("%w: %w", ErrUpdate, err)
	}
	stored, err := json.Marshal(m)
	if err == nil && len(stored) > MaxManifestBytes {
		err = fmt.Errorf("%w: its manifest has %d bytes, at most %d are allowed", ErrUpdate, len(stored), MaxManifestBytes)
	}
	return m, stored, err
}

// put stores an object, unless the chain of the head has it already: that is what no collection takes away.
func (p *Publisher) put(ctx context.Context, o schema.Object, b []byte) error {
	if p.stored[o.Name] && p.store.has(ctx, o) {
		return nil
	}
	err := attempts(ctx, p.cfg.Backoff, p.cfg.Attempts, p.cfg.PutTimeout, func(ctx context.Context) (bool, error) {
		err := p.store.bucket.Put(ctx, o.Name, b)
		return p.worthRetry(ctx, err), err
	})
	if err != nil {
		return fmt.Errorf("put %s (%d bytes): %w", o.Name, o.Bytes, err)
	}
	return nil
}

// moveHead makes m the head if the head is still the one that this publisher last saw (I5).
func (p *Publisher) moveHead(ctx context.Context, m schema.Manifest, stored []byte) error {
	err := attempts(ctx, p.cfg.Backoff, p.cfg.Attempts, p.store.Timeout, func(ctx context.Context) (bool, error) {
		revision, err := uint64(0), error(nil)
		if p.revision == 0 {
			revision, err = p.store.heads.Create(ctx, m.Model, stored)
		} else {
			revision, err = p.store.heads.Update(ctx, m.Model, stored, p.revision)
		}
		if err == nil {
			p.revision = revision
			return false, nil
		}
		if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			err := p.checkLineAgainst(ctx, stored)
			return !errors.Is(err, ErrLine) && !errors.Is(err, ErrNoHead) && !errors.Is(err, errBetween), err
		}
		return p.worthRetry(ctx, err), err
	})
	if err != nil {
		return fmt.Errorf("move head to version %d: %w", m.Version, err)
	}
	return nil
}

// checkLine returns an ErrLine that says who holds the line, unless the head is the one that this publisher last saw.
func (p *Publisher) checkLine(ctx context.Context) error { return p.checkLineAgainst(ctx, nil) }

// checkLineAgainst also accepts a head equal to mine: an earlier attempt to write it, whose answer was lost.
func (p *Publisher) checkLineAgainst(ctx context.Context, mine []byte) error {
	m, stored, revision, err := p.store.head(ctx, p.cfg.Model)
	switch {
	case errors.Is(err, ErrNoHead):
		if p.revision == 0 {
			return nil
		}
		p.revision, p.stored = 0, nil // NATS has lost the line; nobody holds it, and the next base begins it again above p.next
		return fmt.Errorf("version %d is gone from NATS: %w", p.last.Version, err)
	case stored == nil:
		return err
	case revision == p.revision && mine == nil:
		return nil
	case mine != nil && bytes.Equal(stored, mine):
		p.revision = revision
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", ErrLine, err)
	case m.Epoch < p.lease.epoch(): // the last word of a writer from which this one took the line
		if err := p.lease.renew(ctx); err != nil {
			return err
		}
		p.goOnFrom(m, revision)
		return fmt.Errorf("%w: version %d, by %s", errBetween, m.Version, m.Publisher)
	}
	return fmt.Errorf("%w: version %d was published by %s at %s: stop one of the two, or give it another model name, then start this one again",
		ErrLine, m.Version, m.Publisher, m.CreatedAt.Format(time.RFC3339))
}

// worthRetry says whether the world may be different in a moment. Where a bucket is gone it is made again first.
func (p *Publisher) worthRetry(ctx context.Context, err error) bool {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, jetstream.ErrInvalidKey), errors.Is(err, ErrLine):
		return false
	case gone(err):
		p.remake(ctx)
	}
	return true
}

// remake creates the buckets again after NATS came back without them.
func (p *Publisher) remake(ctx context.Context) {
	store, err := CreateStore(ctx, p.js, p.cfg.Copies)
	if err != nil {
		p.cfg.Log.Warn("publisher: the model buckets are gone and cannot be made again", "err", err)
		return
	}
	store.ObjectTimeout = p.cfg.PutTimeout
	p.store = store
}
