package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
)

// step makes a version: of nothing, or of the version before it.
type step struct {
	manifest schema.Manifest
	kind     schema.Kind
	objects  []schema.Object
}

// asPublished is the step by which a version makes itself: of nothing where it is a base, else of its parent.
func asPublished(m schema.Manifest) step { return step{m, m.Kind, m.Objects} }

// stepsOf returns the steps of a chain.
func stepsOf(chain []schema.Manifest) (steps []step) {
	for _, m := range chain {
		steps = append(steps, asPublished(m))
	}
	return steps
}

// needed returns the bytes of the objects that steps are made of.
func needed(steps []step) (n int64) {
	for _, s := range steps {
		for _, o := range s.objects {
			if _, used := usedTable(s.manifest, o); used {
				n += o.Bytes
			}
		}
	}
	return n
}

// chainAfter returns the manifests from the base to the version that steps end at. from is what they start from; nil where the first is of nothing. A base from which they
// have only taken what changed makes the same version as they do, so the chain begins there.
func chainAfter(from *version, steps []step) (chain []schema.Manifest) {
	if from != nil {
		chain = slices.Clone(from.chain)
	}
	for _, s := range steps {
		if s.manifest.Kind == schema.KindBase {
			chain = nil
		}
		chain = append(chain, s.manifest)
	}
	return chain
}

// way returns the steps to m, oldest first, and which of held they start from: nil where the first is a base. A version that is held but that the chain does not lead to
// is of no use, whatever its number.
func (r *Replica) way(ctx context.Context, store *publisher.Store, m schema.Manifest, held []*version) ([]step, *version, error) {
	steps := []step{asPublished(m)}
	for steps[0].kind == schema.KindDelta {
		first := steps[0].manifest
		if len(steps) > publisher.MaxChain {
			return nil, nil, refuse(ReasonParent, "version %d: no base within %d deltas", m.Version, publisher.MaxChain)
		}
		parent, err := r.parent(ctx, store, first)
		if errors.Is(err, publisher.ErrMissing) { // an operator removed it, or it was collected while this replica walked: a newer head has another base
			return nil, nil, fmt.Errorf("version %d cannot be reached from its base %d before the next base is published: %w", m.Version, m.Base, err)
		}
		if err != nil {
			return nil, nil, err
		}
		if parent.Base != m.Base {
			return nil, nil, refuse(ReasonParent, "version %d names base %d, and its parent %d base %d", first.Version, first.Base, parent.Version, parent.Base)
		}
		if i := slices.IndexFunc(held, func(v *version) bool { return same(parent, v.manifest) }); i >= 0 {
			return steps, held[i], nil
		}
		steps = slices.Insert(steps, 0, asPublished(parent))
	}
	if before, from := r.acrossBase(ctx, store, steps[0], held); from != nil {
		return slices.Concat(before, steps[1:]), from, nil
	}
	return steps, nil, nil
}

// acrossBase returns the steps to a base from one of held, or nil where they cannot be found, or have more bytes than the base: who was there before need not load it.
func (r *Replica) acrossBase(ctx context.Context, store *publisher.Store, base step, held []*version) ([]step, *version) {
	var steps []step
	for m, most := base.manifest, needed([]step{base}); ; {
		s := step{m, schema.KindDelta, m.Objects}
		if m.Kind == schema.KindBase {
			s.objects = m.FromParent
		}
		steps = slices.Insert(steps, 0, s)
		if len(s.objects) == 0 || len(steps) > publisher.MaxChain || needed(steps) > most || !slices.ContainsFunc(held, func(v *version) bool { return v.manifest.Version <= m.Parent }) {
			return nil, nil
		}
		parent, err := r.parent(ctx, store, m)
		if err != nil {
			return nil, nil // what is wrong there does not concern who loads the base
		}
		if i := slices.IndexFunc(held, func(v *version) bool { return same(parent, v.manifest) }); i >= 0 {
			return steps, held[i]
		}
		m = parent
	}
}

// parent returns the manifest of the version before m, where a replica may go from there to m.
func (r *Replica) parent(ctx context.Context, store *publisher.Store, m schema.Manifest) (schema.Manifest, error) {
	parent, err := store.Manifest(ctx, r.cfg.Model, m.Parent)
	if err == nil {
		err = r.checkManifest(parent)
	}
	if err != nil {
		return parent, fmt.Errorf("parent of version %d: %w", m.Version, err)
	}
	switch {
	case parent.Version != m.Parent:
		return parent, refuse(ReasonParent, "version %d names parent %d, and finds version %d there", m.Version, m.Parent, parent.Version)
	case parent.Epoch > m.Epoch:
		return parent, refuse(ReasonEpoch, "version %d is of writer epoch %d, its parent %d of %d", m.Version, m.Epoch, parent.Version, parent.Epoch)
	case parent.ConfigDigest != m.ConfigDigest:
		return parent, refuse(ReasonConfig, "version %d has config digest %.12s, its parent %d has %.12s", m.Version, m.ConfigDigest, parent.Version, parent.ConfigDigest)
	}
	return parent, nil
}
