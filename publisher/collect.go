package publisher

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/publisher/objects"
	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nats.go/jetstream"
)

// Collected is what a collection removed, or would remove.
type Collected struct {
	Versions []schema.Version // whose manifests go, rising
	Objects  []string         // names, rising; of what a cut off put left, the id
	Bytes    int64            // of the objects whose size a manifest says
}

// Collect removes from the store what of a model nobody needs any more, or with dryRun says what that is. Needed are
//
//   - the newest keep chains, and manifests above the head, which may be about to be published;
//   - the chains of the versions that live replicas report, and of those that freshet_orders names: a replica may go on from there.
//
// Objects go before the manifest that names them, and those of which there is no manifest last, so that what a crash leaves is found by the next call. It never takes
// an object that is being written, whoever writes it: objects are listed before the head and the manifests are read, a manifest is created before its objects are put,
// and of an object only what was listed is removed.
func (s *Store) Collect(ctx context.Context, model string, keep int, dryRun bool) (Collected, error) {
	out, err := s.collect(ctx, model, keep, dryRun)
	if err != nil {
		return out, fmt.Errorf("collect versions of model %s: %w", model, err)
	}
	return out, nil
}

func (s *Store) collect(ctx context.Context, model string, keep int, dryRun bool) (out Collected, err error) {
	held, err := s.bucket.Inventory(ctx)
	if err != nil {
		return out, err
	}
	head, err := s.Head(ctx, model)
	if errors.Is(err, ErrNoHead) {
		return out, nil // nothing was published, and what is claimed may be about to be
	}
	if err != nil {
		return out, err
	}
	wanted, err := s.wanted(ctx, model)
	if err != nil {
		return out, err
	}
	all, err := s.manifestsOf(ctx, model+".*")
	if err != nil {
		return out, err
	}
	needed := needed(all, head, keep, wanted)
	kept, known := map[string]bool{}, map[string]bool{}
	for _, m := range all {
		for _, o := range m.AllObjects() {
			known[objects.ID(o.Name)] = true
			kept[o.Name] = kept[o.Name] || needed[m.Version]
		}
	}
	remove := func(name string) error {
		if !strings.HasPrefix(name, model+"/") {
			return fmt.Errorf("object %q is not of this model", name)
		}
		kept[name] = true // it goes once
		out.Objects = append(out.Objects, name)
		if dryRun {
			return nil
		}
		return s.bucket.Sweep(ctx, held, name)
	}
	for _, m := range all {
		if needed[m.Version] {
			continue
		}
		for _, o := range m.AllObjects() {
			if !kept[o.Name] {
				out.Bytes += o.Bytes
				if err := remove(o.Name); err != nil {
					return out, fmt.Errorf("version %d: %w", m.Version, err)
				}
			}
		}
		if !dryRun {
			if err := s.purgeManifest(ctx, model, m.Version); err != nil {
				return out, err
			}
		}
		out.Versions = append(out.Versions, m.Version)
	}
	for _, name := range slices.Sorted(maps.Keys(held.Names)) {
		if strings.HasPrefix(name, model+"/") && !kept[name] {
			if err := remove(name); err != nil {
				return out, err
			}
		}
	}
	err = s.collectChunks(ctx, held, known, dryRun, &out)
	slices.Sort(out.Objects)
	return out, err
}

// collectChunks removes the chunks of puts that were cut off, and that no manifest of any model names: an id does not say whose it is.
func (s *Store) collectChunks(ctx context.Context, held objects.Inventory, known map[string]bool, dryRun bool, out *Collected) error {
	for name := range held.Names {
		known[objects.ID(name)] = true
	}
	unknown := func() (ids []string) {
		for id := range held.IDs {
			if !known[id] {
				ids = append(ids, id)
			}
		}
		return ids
	}
	if len(unknown()) == 0 {
		return nil
	}
	others, err := s.manifestsOf(ctx, ">")
	if err != nil {
		return err
	}
	for _, m := range others {
		for _, o := range m.AllObjects() {
			known[objects.ID(o.Name)] = true
		}
	}
	for _, id := range unknown() {
		out.Objects = append(out.Objects, id)
		if !dryRun {
			if err := s.bucket.SweepID(ctx, held, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// needed says which of the manifests of a model stay. A version that no path of parents from the head leads to was never published.
func needed(all []schema.Manifest, head schema.Manifest, keep int, wanted map[schema.Version]bool) map[schema.Version]bool {
	byVersion := map[schema.Version]schema.Manifest{head.Version: head}
	for _, m := range all {
		byVersion[m.Version] = m
	}
	chains := map[schema.Version]bool{} // by their base
	for m, ok := byVersion[head.Version]; ok && len(chains) < max(keep, 1); m, ok = byVersion[m.Parent] {
		chains[m.Base] = true
		if m, ok = byVersion[m.Base]; !ok {
			break
		}
	}
	for v := range wanted {
		if m, ok := byVersion[v]; ok {
			chains[m.Base] = true
		}
	}
	needed := map[schema.Version]bool{}
	for _, m := range all {
		needed[m.Version] = m.Version > head.Version || chains[m.Base]
	}
	return needed
}

// wanted returns the versions that replicas serve, and that orders name.
func (s *Store) wanted(ctx context.Context, model string) (map[schema.Version]bool, error) {
	versions := map[schema.Version]bool{}
	err := everyValue(ctx, s.replicas, model+".*", func(key string, value []byte) error {
		if r, ok := parseReport(value); ok {
			versions[r.Version] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reports of replicas: %w", err)
	}
	stored, _, err := s.OrderBytes(ctx, model)
	if errors.Is(err, ErrNoOrder) {
		return versions, nil
	}
	if err != nil {
		return nil, err
	}
	order, err := ParseOrder(stored)
	if err != nil {
		return nil, fmt.Errorf("what is ordered cannot be read, so nothing is removed: correct the key %s of bucket %s: %w", model, OrdersBucket, err)
	}
	versions[order.Version] = true
	if order.Candidate != nil {
		versions[order.Candidate.Version] = true
	}
	return versions, nil
}

// manifestsOf returns the manifests under the keys that match, by rising version.
func (s *Store) manifestsOf(ctx context.Context, keys string) (all []schema.Manifest, err error) {
	err = everyValue(ctx, s.manifests, keys, func(key string, value []byte) error {
		m, err := ParseManifest(value)
		if err != nil {
			return fmt.Errorf("%s of bucket %s cannot be read, so nothing is removed: remove the key if it is of no program of yours: %w", key, ManifestsBucket, err)
		}
		all = append(all, m)
		return nil
	})
	slices.SortStableFunc(all, func(a, b schema.Manifest) int { return int(int64(a.Version) - int64(b.Version)) })
	return all, err
}

func (s *Store) purgeManifest(ctx context.Context, model string, v schema.Version) error {
	manifests, err := s.js.Stream(ctx, "KV_"+ManifestsBucket)
	if err == nil {
		err = manifests.Purge(ctx, jetstream.WithPurgeSubject("$KV."+ManifestsBucket+"."+manifestKey(model, v)))
	}
	if err != nil {
		return fmt.Errorf("remove manifest of version %d: %w", v, err)
	}
	return nil
}

// everyValue calls each with the values there are now under the keys that match. The first error ends it.
func everyValue(ctx context.Context, kv jetstream.KeyValue, keys string, each func(key string, value []byte) error) error {
	watch, err := kv.Watch(ctx, keys, jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case entry, ok := <-watch.Updates():
			if !ok {
				return errors.New("the watch ended")
			}
			if entry == nil {
				return nil
			}
			if err := each(entry.Key(), entry.Value()); err != nil {
				return err
			}
		}
	}
}

// collectWithin bounds what publishing waits for cleaning up.
const collectWithin = 30 * time.Second

// collect runs after a base. A fault is logged and left for the next time: old versions cost room, not correctness.
func (p *Publisher) collect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, collectWithin)
	defer cancel()
	removed, err := p.store.Collect(ctx, p.cfg.Model, p.cfg.Keep, false)
	p.metrics.collected.Add(float64(len(removed.Versions)))
	if err != nil {
		p.cfg.Log.Warn("publisher: old versions could not be removed; it is tried again after the next base", "err", err)
	}
}
