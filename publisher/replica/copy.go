package replica

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
)

// Copy is a version that was checked as a replica checks it before it serves: signature, chain, sizes and digests, and that a model can be built from it and answers.
type Copy struct {
	Chain   []schema.Manifest // from the base to the version
	Bytes   int64             // of the objects that a replica needs
	Fetched int64             // bytes of them that came from NATS
}

// Verify checks version v of a model in the store. cfg says as for which replica; its Dir is not touched.
func Verify(ctx context.Context, cfg Config, store *publisher.Store, v schema.Version) (Copy, error) {
	cfg.Dir = ""
	return pull(ctx, cfg, store, v, nil)
}

// Pull brings version v of a model into cfg.Dir, as a replica keeps its last good version: a replica with that directory starts from it. Objects that are there
// already are not fetched again, so that a pull that was cut off goes on. each, where it is given, is told the bytes that are there of all.
func Pull(ctx context.Context, cfg Config, store *publisher.Store, v schema.Version, each func(done, total int64)) (Copy, error) {
	if cfg.Dir == "" {
		return Copy{}, errors.New("pull: no directory is given")
	}
	return pull(ctx, cfg, store, v, each)
}

func pull(ctx context.Context, cfg Config, store *publisher.Store, v schema.Version, each func(done, total int64)) (Copy, error) {
	r, err := New(cfg, nil)
	if err != nil {
		return Copy{}, err
	}
	chain, err := r.chainOf(ctx, store, v)
	if err != nil {
		return Copy{}, err
	}
	out := Copy{Chain: chain, Bytes: needed(stepsOf(chain))}
	if cfg.Dir != "" {
		if err := os.MkdirAll(r.disk.objects(), 0o755); err != nil {
			return out, err
		}
	}
	done := int64(0)
	err = r.try(chain, func(o schema.Object) ([]byte, error) {
		b, err := r.disk.object(o)
		if err != nil {
			if b, err = store.Fetch(ctx, o); err != nil {
				return nil, err
			}
			out.Fetched += o.Bytes
			if cfg.Dir != "" {
				if err := r.disk.writeFile(r.disk.path(o), b); err != nil {
					return nil, err
				}
			}
		}
		done += o.Bytes
		if each != nil {
			each(done, out.Bytes)
		}
		return b, nil
	})
	if err != nil || cfg.Dir == "" {
		return out, err
	}
	return out, r.disk.save(lastGood{Chain: chain}, nil, func(o schema.Object) ([]byte, error) { return store.Fetch(ctx, o) })
}

// Chain returns the manifests that version v is made of, from its base, as a replica accepts them. It looks at no object.
func Chain(ctx context.Context, cfg Config, store *publisher.Store, v schema.Version) ([]schema.Manifest, error) {
	r, err := New(cfg, nil)
	if err != nil {
		return nil, err
	}
	return r.chainOf(ctx, store, v)
}

func (r *Replica) chainOf(ctx context.Context, store *publisher.Store, v schema.Version) ([]schema.Manifest, error) {
	m, err := store.Manifest(ctx, r.cfg.Model, v)
	if err != nil {
		return nil, err
	}
	if err := r.checkManifest(m); err != nil {
		return nil, err
	}
	steps, _, err := r.way(ctx, store, m, nil)
	return chainAfter(nil, steps), err
}

// Held returns the manifest of the version in cfg.Dir, unchecked, or an error that is fs.ErrNotExist where there is none.
func Held(cfg Config) (schema.Manifest, error) {
	last, err := held(cfg)
	if err != nil {
		return schema.Manifest{}, err
	}
	return last.Chain[len(last.Chain)-1], nil
}

func held(cfg Config) (lastGood, error) {
	last, err := disk{cfg.Dir}.load()
	if err == nil && len(last.Chain) == 0 {
		err = fmt.Errorf("%s holds no version: %w", cfg.Dir, fs.ErrNotExist)
	}
	return last, err
}

// VerifyDir checks the version in cfg.Dir.
func VerifyDir(cfg Config) (Copy, error) {
	r, err := New(cfg, nil)
	if err != nil {
		return Copy{}, err
	}
	last, err := held(cfg)
	if err != nil {
		return Copy{}, err
	}
	if err := r.checkChain(last.Chain); err != nil {
		return Copy{}, err
	}
	return Copy{Chain: last.Chain, Bytes: needed(stepsOf(last.Chain))}, r.try(last.Chain, r.disk.object)
}

// try builds the version at the end of a chain and has it answer.
func (r *Replica) try(chain []schema.Manifest, object func(schema.Object) ([]byte, error)) error {
	next, err := r.build(built{}, stepsOf(chain), object)
	if err != nil {
		return err
	}
	return r.warmUp(&version{manifest: chain[len(chain)-1], chain: chain, built: next})
}
