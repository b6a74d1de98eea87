package replica

import (
	"fmt"

	"github.com/freshet-ml/freshet/schema"
)

// restore adopts the last good versions on disk, where there are any.
func (r *Replica) restore() {
	last, err := r.disk.load()
	if err != nil {
		r.refuseDisk(err)
		return
	}
	if len(last.Chain) == 0 {
		return
	}
	var next lanes
	if next.stable, err = r.restoreChain(last.Chain); err != nil {
		r.refuseDisk(err)
		return
	}
	r.floor = next.stable.manifest
	if last.Head != nil && last.Head.Version != 0 {
		r.floor = *last.Head
	}
	if c := r.inForce().Candidate; c != nil && len(last.Candidate) > 0 {
		v, err := r.restoreChain(last.Candidate)
		if err != nil {
			r.refuseDisk(err)
		} else if c.Version == 0 || c.Version == v.manifest.Version {
			next.candidate, next.trial, next.share = v, c.Version, c.Share
		}
	}
	for range next.held() {
		r.metrics.adoptions.WithLabelValues("disk").Inc()
	}
	r.swap(next)
	r.say("the newest version has not been seen since the start: NATS does not answer")
}

func (r *Replica) refuseDisk(err error) {
	r.metrics.rejected.WithLabelValues(string(reasonOf(err))).Inc()
	r.cfg.Log.Warn("replica cannot use the last good version on disk and waits for NATS", "dir", r.cfg.Dir, "reason", reasonOf(err), "err", err)
}

// restoreChain makes the version at the end of a chain on disk, once it has passed what a fetched one has to.
func (r *Replica) restoreChain(chain []schema.Manifest) (*version, error) {
	if err := r.checkChain(chain); err != nil {
		return nil, err
	}
	next, err := r.build(built{}, stepsOf(chain), func(o schema.Object) ([]byte, error) {
		b, err := r.disk.object(o)
		if err != nil {
			return nil, fmt.Errorf("last good version: %w", err)
		}
		return b, nil
	})
	if err != nil {
		return nil, err
	}
	v := &version{manifest: chain[len(chain)-1], chain: chain, built: next, appliedAt: r.cfg.Now()}
	return v, r.warmUp(v)
}

// checkChain refuses a chain on disk whose versions are not to be used, or do not follow each other.
func (r *Replica) checkChain(chain []schema.Manifest) error {
	for i, m := range chain {
		if err := r.checkManifest(m); err != nil {
			return err
		}
		if i == 0 && m.Kind != schema.KindBase || i > 0 && (m.Parent != chain[i-1].Version || m.ConfigDigest != chain[0].ConfigDigest) {
			return refuse(ReasonParent, "last good version: version %d does not follow", m.Version)
		}
	}
	return nil
}
