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

// openLine reads where the line stands. It is the only place where this publisher accepts a head that it did not write.
func (p *Publisher) openLine(ctx context.Context) error {
	store, err := CreateStore(ctx, p.js, p.cfg.Copies)
	if err != nil {
		return err
	}
	store.ObjectTimeout = p.cfg.PutTimeout
	m, _, revision, err := store.head(ctx, p.cfg.Model)
	switch {
	case errors.Is(err, ErrNoHead):
	case err != nil:
		return fmt.Errorf("%w: it was not written by this program or is damaged; publish under another model name, or remove the key", err)
	default:
		p.last, p.bases = m, []schema.Version{m.Base}
		p.next = max(p.next, m.Version+1)
	}
	versions, err := store.Versions(ctx, p.cfg.Model)
	if err != nil {
		return err
	}
	if len(versions) > 0 {
		p.next = max(p.next, versions[len(versions)-1]+1)
	}
	p.store, p.revision = store, revision
	return nil
}

// claim makes the manifest of the next free version and creates it in the store. What it returns, no other publisher can
// have: the objects of two publishers never share a name.
func (p *Publisher) claim(ctx context.Context, u Update, tables [][]byte) (schema.Manifest, []byte, error) {
	for range maxTaken {
		m, stored, err := p.manifest(u, tables)
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
func (p *Publisher) manifest(u Update, tables [][]byte) (schema.Manifest, []byte, error) {
	m := schema.Manifest{
		Format: schema.ManifestFormat, Model: p.cfg.Model, Version: p.next, Kind: u.Kind, Base: p.next,
		TrainedThrough: u.TrainedThrough, Step: u.Step, Items: u.Items, ConfigDigest: u.ConfigDigest,
		CreatedAt: p.cfg.Now().UTC(), Publisher: p.cfg.ID,
	}
	if u.Kind == schema.KindDelta {
		m.Parent, m.Base = p.last.Version, p.last.Base
	}
	for i, o := range u.Objects {
		m.Objects = append(m.Objects, schema.Object{
			Name: ObjectName(m.Model, m.Version, o.Name), Bytes: int64(len(tables[i])), SHA256: digest(tables[i])})
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

func (p *Publisher) put(ctx context.Context, o schema.Object, b []byte) error {
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
			return !errors.Is(err, ErrLine) && !errors.Is(err, ErrNoHead), err
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
		p.revision = 0 // NATS has lost the line; nobody holds it, and the next base begins it again above p.next
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
	}
	return fmt.Errorf("%w: version %d was published by %s at %s: stop one of the two, or give it another model name, then start this one again",
		ErrLine, m.Version, m.Publisher, m.CreatedAt.Format(time.RFC3339))
}

// worthRetry says whether the world may be different in a moment. Where a bucket is gone it is made again first.
func (p *Publisher) worthRetry(ctx context.Context, err error) bool {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, jetstream.ErrInvalidKey), errors.Is(err, ErrLine):
		return false
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrNoStreamResponse):
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
