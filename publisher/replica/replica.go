package replica

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// maxRefused bounds, in bytes, what is reported of an error that joins many faults.
const maxRefused = 1000

// version is a version that serves: immutable, so that whoever loaded the pointer to it has all of one version (I8).
type version struct {
	manifest schema.Manifest
	chain    []schema.Manifest // from the base to this version
	built
	appliedAt time.Time
}

// Replica follows one model and serves it. Its methods may be called from several goroutines.
type Replica struct {
	cfg       Config
	histories Histories
	metrics   metrics
	disk      disk
	token     [sha256.Size]byte
	limit     *rate.Limiter // nil = none
	turns     chan struct{} // holds one element for each request being computed

	current  atomic.Pointer[version] // nil until the first adoption; only the goroutine of Run stores
	store    atomic.Pointer[publisher.Store]
	draining atomic.Bool
	news     chan struct{} // says that current or refused changed; holds at most one

	queries  recorded
	marks    sync.Pool // of *[]model.Mark: the memory of requests
	memories *memories // of the users who asked last

	mu      sync.Mutex
	refused string // why the newest head is not served; "" = it is
}

// New returns a replica that serves nothing until Run has loaded or fetched a version. histories may be nil: requests are
// then answered from their own clicks alone.
func New(cfg Config, histories Histories) (*Replica, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	r := &Replica{
		cfg: cfg, histories: histories, disk: disk{cfg.Dir}, token: sha256.Sum256([]byte(cfg.Token)),
		turns: make(chan struct{}, cfg.MaxInFlight), news: make(chan struct{}, 1),
		refused: "no version has been seen yet",
	}
	r.marks.New = func() any { return new([]model.Mark) }
	if cfg.RequestsPerSec > 0 {
		r.limit = rate.NewLimiter(rate.Limit(cfg.RequestsPerSec), max(1, int(cfg.RequestsPerSec)))
	}
	r.metrics = newMetrics(func() float64 {
		if v := r.current.Load(); v != nil {
			return r.age(v).Seconds()
		}
		return 0
	})
	r.memories = newMemories(cfg.CacheBytes, r.metrics.registry)
	if cfg.Metrics != nil {
		if err := r.metrics.registry.Register(cfg.Metrics); err != nil {
			return nil, fmt.Errorf("replica: metrics: %w", err)
		}
	}
	return r, nil
}

// Run loads the last good version from disk, then follows the model's head until ctx is done. js may be of a connection that
// is down (publisher.Connect makes one that keeps trying). Serve, or a server with Handler, runs beside it.
func (r *Replica) Run(ctx context.Context, js jetstream.JetStream) error {
	if len(r.cfg.TrustedKeys) == 0 {
		r.cfg.Log.Warn("replica accepts unsigned versions: no trusted keys are configured", "model", r.cfg.Model)
	}
	r.restore()
	heads := make(chan []byte, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.follow(ctx, js, heads) })
	g.Go(func() error { return r.adoptHeads(ctx, heads) })
	g.Go(func() error { return r.reporting(ctx) })
	return g.Wait()
}

// Current returns the manifest of the version served, or false while there is none.
func (r *Replica) Current() (schema.Manifest, bool) {
	if v := r.current.Load(); v != nil {
		return v.manifest, true
	}
	return schema.Manifest{}, false
}

// age is the time since v was made, by this machine's clock.
func (r *Replica) age(v *version) time.Duration {
	return max(0, r.cfg.Now().Sub(v.manifest.CreatedAt))
}

// swap makes v the version served.
func (r *Replica) swap(v *version, kind string) {
	r.memories.serve(v.served)
	level := slog.LevelDebug // every few seconds, as long as it lives
	if r.current.Swap(v) == nil {
		level = slog.LevelInfo
	}
	r.metrics.version.Set(float64(v.manifest.Version))
	r.metrics.items.Set(float64(v.served.Items()))
	r.metrics.adoptions.WithLabelValues(kind).Inc()
	r.cfg.Log.Log(context.Background(), level, "replica serves a new version", "id", r.cfg.ID, "model", r.cfg.Model, "version", v.manifest.Version, "kind", kind,
		"step", v.manifest.Step, "items", v.served.Items())
}

// say remembers why the newest head is not served ("" = it is), and wakes the reporter.
func (r *Replica) say(refused string) {
	r.mu.Lock()
	r.refused = strings.ToValidUTF8(refused[:min(len(refused), maxRefused)], "")
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func (r *Replica) whyRefused() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}

// report returns what this replica says about itself.
func (r *Replica) report() publisher.Report {
	out := publisher.Report{ID: r.cfg.ID, Model: r.cfg.Model, Address: r.cfg.Address, Refused: r.whyRefused()}
	if v := r.current.Load(); v != nil {
		out.Version, out.Step, out.AppliedAt = v.manifest.Version, v.manifest.Step, v.appliedAt.UTC()
	}
	return out
}

// reporting sends a report after each adoption and refusal, and every publisher.ReportEvery.
func (r *Replica) reporting(ctx context.Context) error {
	tick := time.NewTicker(publisher.ReportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.news:
		case <-tick.C:
		}
		store := r.store.Load()
		if store == nil {
			continue
		}
		if err := store.Report(ctx, r.report()); err != nil && ctx.Err() == nil {
			r.metrics.failures.WithLabelValues("report").Inc()
			r.cfg.Log.Debug("replica cannot report; it is tried again", "err", err)
		}
	}
}

// restore adopts the last good version on disk, where there is one.
func (r *Replica) restore() {
	chain, err := r.disk.load()
	if err == nil && len(chain) > 0 {
		err = r.restoreChain(chain)
	}
	if err != nil {
		r.metrics.rejected.WithLabelValues(string(reasonOf(err))).Inc()
		r.cfg.Log.Warn("replica cannot use the last good version on disk and waits for NATS", "dir", r.cfg.Dir, "reason", reasonOf(err), "err", err)
	}
}

func (r *Replica) restoreChain(chain []schema.Manifest) error {
	for i, m := range chain {
		if err := r.checkManifest(m); err != nil {
			return err
		}
		if i == 0 && m.Kind != schema.KindBase || i > 0 && (m.Parent != chain[i-1].Version || m.ConfigDigest != chain[0].ConfigDigest) {
			return refuse(ReasonParent, "last good version: version %d does not follow", m.Version)
		}
	}
	next, err := r.build(built{}, chain, func(o schema.Object) ([]byte, error) {
		b, err := r.disk.object(o)
		if err != nil {
			return nil, fmt.Errorf("last good version: %w", err)
		}
		return b, nil
	})
	if err != nil {
		return err
	}
	if err := r.warmUp(next); err != nil {
		return err
	}
	last := chain[len(chain)-1]
	r.swap(&version{manifest: last, chain: chain, built: next, appliedAt: r.cfg.Now()}, "disk")
	r.say("the newest version has not been seen since the start: NATS does not answer")
	return nil
}
