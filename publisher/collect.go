package publisher

import (
	"context"
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nats.go/jetstream"
)

// maxCollect bounds the versions removed after one base, so that publishing never waits long for cleaning up.
const maxCollect = 4 * MaxChain

// collect removes the versions below floor, the base of the oldest chain that is kept. A fault is logged and left for the
// next time: old versions cost room, not correctness.
func (p *Publisher) collect(ctx context.Context, floor schema.Version) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	removed, err := p.store.removeBelow(ctx, p.cfg.Model, floor, maxCollect)
	p.metrics.collected.Add(float64(removed))
	if err != nil {
		p.cfg.Log.Warn("publisher: old versions could not be removed; it is tried again after the next base", "below", floor, "err", err)
	}
}

// removeBelow removes up to most versions below floor and returns how many it removed. It removes objects before the
// manifest that names them, so that a crash leaves nothing that a later call cannot find.
func (s *Store) removeBelow(ctx context.Context, model string, floor schema.Version, most int) (removed int, err error) {
	versions, err := s.Versions(ctx, model)
	if err != nil {
		return 0, err
	}
	manifests, err := s.js.Stream(ctx, "KV_"+ManifestsBucket)
	if err != nil {
		return 0, fmt.Errorf("remove old versions: %w", err)
	}
	for _, v := range versions {
		if v >= floor || removed == most {
			break
		}
		m, err := s.Manifest(ctx, model, v)
		if err != nil {
			return removed, fmt.Errorf("remove version %d: %w", v, err)
		}
		for _, o := range m.Objects {
			if _, ok := TableName(model, v, o.Name); !ok {
				return removed, fmt.Errorf("remove version %d: its manifest names %q, which is not its own", v, o.Name)
			}
			if err := s.bucket.Remove(ctx, o.Name); err != nil {
				return removed, err
			}
		}
		subject := "$KV." + ManifestsBucket + "." + manifestKey(model, v)
		if err := manifests.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return removed, fmt.Errorf("remove manifest of version %d: %w", v, err)
		}
		removed++
	}
	return removed, nil
}
