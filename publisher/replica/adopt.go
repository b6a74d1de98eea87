package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
)

// settle makes what is served what the order in force says, as far as it can be had, and returns what is wrong, by lane. stored is the head; nil = none was seen.
func (r *Replica) settle(ctx context.Context, store *publisher.Store, stored []byte) map[Lane]error {
	order, was := r.inForce(), r.lanes()
	head, headErr := r.checkHead(stored)
	faults, fetched := map[Lane]error{}, map[string][]byte{}
	take := func(lane Lane, wanted schema.Version) *version {
		began := time.Now()
		v, err := r.version(ctx, store, wanted, head, headErr, was, fetched)
		if err != nil {
			faults[lane] = err
		} else if v != nil {
			if wanted == 0 {
				r.floor = v.manifest
			}
			if !slices.Contains(was.held(), v) {
				r.metrics.swap.Observe(time.Since(began).Seconds())
			}
		}
		return v
	}
	next := lanes{stable: was.stable}
	if c := order.Candidate; c != nil && was.candidate != nil && was.trial == c.Version { // else it is of an earlier order
		next.candidate, next.trial, next.share = was.candidate, c.Version, c.Share
	}
	if v := take(LaneStable, order.Version); v != nil {
		next.stable = v
	}
	changed := r.swap(next) // the candidate's fetch is not waited for
	if c := order.Candidate; c != nil && next.stable != nil {
		if v := take(LaneCandidate, c.Version); v != nil {
			next.candidate, next.trial, next.share = v, c.Version, c.Share
		}
		changed = r.swap(next) || changed
	}
	if changed {
		r.keep(ctx, store, fetched)
	}
	return faults
}

// checkHead returns the manifest of the stored head where a replica may go there, nil where there is none, or why it may not.
func (r *Replica) checkHead(stored []byte) (*schema.Manifest, error) {
	if stored == nil {
		return nil, nil
	}
	m, err := publisher.ParseManifest(stored)
	if errors.Is(err, publisher.ErrTruncated) {
		return nil, err
	}
	if err != nil {
		return nil, &refusal{ReasonManifest, err}
	}
	if err := r.checkManifest(m); err != nil {
		return nil, err
	}
	r.metrics.head.Set(float64(m.Version))
	switch {
	case m.Version < r.floor.Version && !m.CreatedAt.After(r.floor.CreatedAt): // (I5)
		return nil, refuse(ReasonReplay, "head version %d, made at %s, was put back in the place of version %d, which was served: find out who may write to bucket %s; the trainer's next version goes on from there",
			m.Version, m.CreatedAt.Format(time.RFC3339), r.floor.Version, publisher.HeadsBucket)
	case m.Version < r.floor.Version: // (I5)
		return nil, refuse(ReasonDowngrade, "head version %d was made after version %d, which was served, and has a lower number: if NATS has lost its data, the next versions pass it by, or empty the replica's directory and start it again",
			m.Version, r.floor.Version)
	case m.Version == r.floor.Version && !same(m, r.floor):
		return nil, refuse(ReasonForked, "head version %d has other content than the version %d that was served: two publishers write to this model, or NATS has lost its data", m.Version, m.Version)
	case m.Epoch < r.floor.Epoch: // (I5)
		return nil, refuse(ReasonEpoch, "head version %d is of writer epoch %d, version %d, which was served, of %d: stop the trainer that was overtaken", m.Version, m.Epoch,
			r.floor.Version, r.floor.Epoch)
	}
	return &m, nil
}

// version returns the version that is wanted, the head where that is 0: one that a lane has, or one that it makes. It returns nil where there is no head yet.
func (r *Replica) version(ctx context.Context, store *publisher.Store, wanted schema.Version, head *schema.Manifest, headErr error, have lanes, fetched map[string][]byte) (*version, error) {
	var m schema.Manifest
	switch {
	case wanted != 0:
		for _, v := range have.held() {
			if v.manifest.Version == wanted { // a manifest never changes
				return v, nil
			}
		}
		var err error
		if m, err = store.Manifest(ctx, r.cfg.Model, wanted); err != nil {
			return nil, fmt.Errorf("the order asks for version %d: %w", wanted, err)
		}
		if err := r.checkManifest(m); err != nil {
			return nil, err
		}
		if m.Version != wanted {
			return nil, refuse(ReasonManifest, "the order asks for version %d, and finds version %d there", wanted, m.Version)
		}
	case headErr != nil:
		return nil, headErr
	case head == nil:
		return nil, nil
	default:
		m = *head
		for _, v := range have.held() {
			if same(m, v.manifest) {
				return v, nil
			}
		}
	}
	return r.fetch(ctx, store, m, have.held(), fetched)
}

// fetch makes the version that m describes, from one of held where its chain leads there. What it fetched is added to fetched, by digest.
func (r *Replica) fetch(ctx context.Context, store *publisher.Store, m schema.Manifest, held []*version, fetched map[string][]byte) (*version, error) {
	steps, from, err := r.way(ctx, store, m, held)
	if err != nil {
		return nil, err
	}
	v, err := r.make(ctx, store, steps, from, fetched)
	if err == nil || from == nil || !slices.ContainsFunc(steps, func(s step) bool { return s.manifest.Kind == schema.KindBase }) {
		return v, err
	}
	r.metrics.rejected.WithLabelValues(string(reasonOf(err))).Inc()
	r.cfg.Log.Warn("replica loads a base: what has changed since the version held cannot be used", "id", r.cfg.ID, "version", m.Version, "reason", reasonOf(err), "err", err)
	if steps, _, err = r.way(ctx, store, m, nil); err != nil {
		return nil, err
	}
	return r.make(ctx, store, steps, nil, fetched)
}

// make takes steps, from a version or from nothing, and has what comes of it answer.
func (r *Replica) make(ctx context.Context, store *publisher.Store, steps []step, from *version, fetched map[string][]byte) (*version, error) {
	v := &version{manifest: steps[len(steps)-1].manifest, chain: chainAfter(from, steps)}
	var before built
	var err error
	if from != nil {
		before = from.built
	} else if err = r.jitter(ctx); err != nil {
		return nil, err
	}
	v.built, err = r.build(before, steps, func(o schema.Object) ([]byte, error) {
		if b, err := r.disk.object(o); err == nil { // a restart behind a few deltas has the base already
			return b, nil
		}
		b, err := store.Fetch(ctx, o)
		if err == nil {
			fetched[o.SHA256] = b
		}
		return b, err
	})
	if err != nil {
		return nil, err
	}
	if err := r.warmUp(v); err != nil {
		return nil, err
	}
	r.metrics.adoptions.WithLabelValues(string(steps[0].kind)).Inc()
	v.appliedAt = r.cfg.Now()
	return v, nil
}

// keep puts what is served on the disk.
func (r *Replica) keep(ctx context.Context, store *publisher.Store, fetched map[string][]byte) {
	l := r.lanes()
	last := lastGood{Chain: l.stable.chain}
	if r.floor.Version != 0 {
		last.Head = &r.floor
	}
	if l.candidate != nil {
		last.Candidate = l.candidate.chain
	}
	if err := r.disk.save(last, fetched, func(o schema.Object) ([]byte, error) { return store.Fetch(ctx, o) }); err != nil {
		r.metrics.failures.WithLabelValues("disk").Inc()
		r.cfg.Log.Error("replica cannot keep the version on disk: a start without NATS will serve an older one; check space and rights of the directory",
			"dir", r.cfg.Dir, "version", l.stable.number(), "err", err)
	}
	if l.stable.manifest.Kind == schema.KindBase { // now and then
		r.saveRequests()
	}
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
		return err
	}
	if r.cfg.ConfigDigest != "" && m.ConfigDigest != r.cfg.ConfigDigest {
		return refuse(ReasonConfig, "version %d has config digest %.12s, this replica is pinned to %.12s", m.Version, m.ConfigDigest, r.cfg.ConfigDigest)
	}
	return nil
}

// jitter waits before a base is loaded, while the version held goes on serving.
func (r *Replica) jitter(ctx context.Context) error {
	if r.cfg.MaxJitter <= 0 || r.lanes().stable == nil {
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

// same says whether two manifests are the same version with the same content.
func same(a, b schema.Manifest) bool {
	left, err := a.SigningBytes()
	if err != nil {
		return false
	}
	right, err := b.SigningBytes()
	return err == nil && bytes.Equal(left, right)
}
