package replica

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
)

// adopt makes the version that the stored head describes the one that is served, or says why not. A head that is served
// already is no error.
func (r *Replica) adopt(ctx context.Context, store *publisher.Store, stored []byte) error {
	began := time.Now()
	m, err := publisher.ParseManifest(stored)
	if err != nil {
		return &refusal{ReasonManifest, err}
	}
	if err := r.checkManifest(m); err != nil {
		return err
	}
	r.metrics.head.Set(float64(m.Version))
	have := r.current.Load()
	if have != nil {
		switch {
		case m.Version < have.manifest.Version: // (I5)
			return refuse(ReasonDowngrade, "head version %d is older than version %d, which is served: if NATS has lost its data, the next versions pass it by, or empty the replica's directory and start it again",
				m.Version, have.manifest.Version)
		case m.Version == have.manifest.Version && same(m, have.manifest):
			r.say("")
			return nil
		case m.Version == have.manifest.Version:
			return refuse(ReasonDowngrade, "head version %d has other content than the version %d that is served", m.Version, m.Version)
		case m.Epoch < have.manifest.Epoch: // (I5)
			return refuse(ReasonEpoch, "head version %d is of writer epoch %d, version %d, which is served, of %d: stop the trainer that was overtaken", m.Version, m.Epoch,
				have.manifest.Version, have.manifest.Epoch)
		}
		if err := r.jitter(ctx, m.Kind); err != nil {
			return err
		}
	}
	chain, from, err := r.chain(ctx, store, m, have)
	if err != nil {
		return err
	}
	fetched := map[string][]byte{}
	next, err := r.build(from, chain, func(o schema.Object) ([]byte, error) {
		if b, err := r.disk.object(o); err == nil { // a restart behind a few deltas has the base already
			return b, nil
		}
		b, err := store.Fetch(ctx, o)
		fetched[o.SHA256] = b
		return b, err
	})
	if err != nil {
		return err
	}
	if err := r.warmUp(next); err != nil {
		return err
	}
	whole := chain
	if from.served != nil {
		whole = slices.Concat(have.chain, chain)
	}
	r.swap(&version{manifest: m, chain: whole, built: next, appliedAt: r.cfg.Now()}, string(m.Kind))
	r.metrics.swap.Observe(time.Since(began).Seconds())
	r.say("")
	if err := r.disk.save(whole, fetched); err != nil {
		r.metrics.failures.WithLabelValues("disk").Inc()
		r.cfg.Log.Error("replica cannot keep the version on disk: a start without NATS will serve an older one; check space and rights of the directory",
			"dir", r.cfg.Dir, "version", m.Version, "err", err)
	}
	return nil
}

// checkManifest refuses a manifest that no replica of this configuration may use, whatever it holds.
func (r *Replica) checkManifest(m schema.Manifest) error {
	if err := m.Validate(); err != nil {
		return &refusal{ReasonManifest, err}
	}
	if m.Model != r.cfg.Model {
		return refuse(ReasonManifest, "version %d is of model %q, not of %q", m.Version, m.Model, r.cfg.Model)
	}
	if err := publisher.Verify(m, r.cfg.TrustedKeys); err != nil {
		return &refusal{ReasonSignature, err}
	}
	if r.cfg.ConfigDigest != "" && m.ConfigDigest != r.cfg.ConfigDigest {
		return refuse(ReasonConfig, "version %d has config digest %.12s, this replica is pinned to %.12s", m.Version, m.ConfigDigest, r.cfg.ConfigDigest)
	}
	return nil
}

// jitter waits before a base, while the version held goes on serving.
func (r *Replica) jitter(ctx context.Context, kind schema.Kind) error {
	if kind != schema.KindBase || r.cfg.MaxJitter <= 0 {
		return nil
	}
	t := time.NewTimer(time.Duration(r.cfg.Rand() * float64(r.cfg.MaxJitter)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// chain returns the manifests to apply for m, oldest first, and what to apply them to: nothing where the first is a base.
func (r *Replica) chain(ctx context.Context, store *publisher.Store, m schema.Manifest, have *version) ([]schema.Manifest, built, error) {
	chain := []schema.Manifest{m}
	for first := m; first.Kind == schema.KindDelta; {
		if len(chain) > publisher.MaxChain {
			return nil, built{}, refuse(ReasonParent, "version %d: no base within %d deltas", m.Version, publisher.MaxChain)
		}
		parent, err := store.Manifest(ctx, r.cfg.Model, first.Parent)
		if err != nil {
			return nil, built{}, fmt.Errorf("parent of version %d: %w", first.Version, err)
		}
		if err := r.checkManifest(parent); err != nil {
			return nil, built{}, fmt.Errorf("parent of version %d: %w", first.Version, err)
		}
		if parent.Version != first.Parent || parent.Base != m.Base {
			return nil, built{}, refuse(ReasonParent, "version %d names parent %d and base %d, but finds version %d with base %d there",
				first.Version, first.Parent, first.Base, parent.Version, parent.Base)
		}
		if parent.Epoch > first.Epoch {
			return nil, built{}, refuse(ReasonEpoch, "version %d is of writer epoch %d, its parent %d of %d", first.Version, first.Epoch, parent.Version, parent.Epoch)
		}
		if parent.ConfigDigest != m.ConfigDigest {
			return nil, built{}, refuse(ReasonConfig, "version %d has config digest %.12s, its parent %d has %.12s", first.Version, m.ConfigDigest, parent.Version, parent.ConfigDigest)
		}
		if have != nil && same(parent, have.manifest) {
			return chain, have.built, nil
		}
		chain = slices.Insert(chain, 0, parent)
		first = parent
	}
	return chain, built{}, nil
}

// same says whether two manifests are the same version with the same content.
func same(a, b schema.Manifest) bool {
	left, err := a.SigningBytes()
	if err != nil {
		return false
	}
	right, err := b.SigningBytes()
	return err == nil && bytes.Equal(left, right)
}
