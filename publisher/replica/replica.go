package replica

import (
	"context"
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
	api       *api

	current  atomic.Pointer[lanes]           // nil until the first adoption; only the goroutine of Run stores
	order    atomic.Pointer[publisher.Order] // in force; nil until one was seen; only the goroutine of Run stores
	store    atomic.Pointer[publisher.Store]
	draining atomic.Bool
	news     chan struct{} // says that current or refused changed; holds at most one

	// Of the goroutine of Run.
	floor   schema.Manifest // the newest head that was served: no older one ever is (I5), whatever orders have asked for meanwhile
	heard   []byte          // the stored order that was looked at last
	unsaved []byte          // the order in force, where the disk did not take it

	requests recorded
	asks     sync.Pool // of *asked: the memory of requests
	memories *memories // of the users who asked last

	mu           sync.Mutex // guards what follows
	refused      string     // why the newest head, or what the order says, is not served; "" = it is
	refusedOrder string     // why the newest order is not obeyed; "" = it is
}

// New returns a replica that serves nothing until Run has loaded or fetched a version. histories may be nil: requests are
// then answered from their own clicks alone.
func New(cfg Config, histories Histories) (*Replica, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	r := &Replica{
		cfg: cfg, histories: histories, disk: disk{cfg.Dir}, news: make(chan struct{}, 1),
		refused: "no version has been seen yet", requests: recorded{most: cfg.WarmupRequests},
	}
	r.asks.New = func() any { return new(asked) }
	var err error
	if r.api, err = newAPI(cfg); err != nil {
		return nil, err
	}
	r.metrics = newMetrics(func(lane Lane) float64 {
		if v := r.lanes().version(lane); v != nil {
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

// Run loads the last good version and the last order from disk, then follows the model's head and its orders until ctx is done. js may be of a connection that
// is down (publisher.Connect makes one that keeps trying). Serve, or a server with Handler, runs beside it.
func (r *Replica) Run(ctx context.Context, js jetstream.JetStream) error {
	if len(r.cfg.TrustedKeys) == 0 {
		r.cfg.Log.Warn("replica accepts unsigned versions: no trusted keys are configured", "model", r.cfg.Model)
	}
	r.restoreRequests()
	defer r.saveRequests()
	r.restoreOrder()
	r.restore()
	news := make(chan told, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.follow(ctx, js, news) })
	g.Go(func() error { return r.obey(ctx, news) })
	g.Go(func() error { return r.reporting(ctx) })
	return g.Wait()
}

// Current returns the manifest of the version that all users are answered from, but those of a candidate; or false while there is none.
func (r *Replica) Current() (schema.Manifest, bool) {
	if v := r.lanes().stable; v != nil {
		return v.manifest, true
	}
	return schema.Manifest{}, false
}

// age is the time since v was made, by this machine's clock.
func (r *Replica) age(v *version) time.Duration {
	return max(0, r.cfg.Now().Sub(v.manifest.CreatedAt))
}

// swap makes next what is served, and says whether that is anything new.
func (r *Replica) swap(next lanes) bool {
	was := r.lanes()
	if next == was || next.stable == nil {
		return false
	}
	var served []*model.Served
	for _, v := range next.held() {
		served = append(served, v.served)
	}
	r.memories.serve(served...)
	r.current.Store(&next)
	for _, lane := range []Lane{LaneStable, LaneCandidate} {
		v := next.version(lane)
		r.metrics.version.WithLabelValues(string(lane)).Set(float64(v.number()))
		if v == nil || v == was.version(lane) {
			continue
		}
		how, before := v.served.Retrieval(), was.version(lane)
		r.metrics.recall.WithLabelValues(string(lane)).Set(how.Recall)
		if how.Unused() && (before == nil || !before.served.Retrieval().Unused()) {
			r.cfg.Log.Warn("replica looks at all items: its index finds too few of the best; more serve.probes find more, serve.index exact needs no index",
				"id", r.cfg.ID, "version", v.manifest.Version, "recall", how.Recall, "probes", how.Probes, "lists", how.Lists)
		}
		level := slog.LevelDebug // every few seconds, as long as it lives
		if before == nil || v.manifest.Version < before.manifest.Version {
			level = slog.LevelInfo
		}
		r.cfg.Log.Log(context.Background(), level, "replica serves a new version", "id", r.cfg.ID, "model", r.cfg.Model, "lane", lane, "version", v.manifest.Version,
			"kind", v.manifest.Kind, "step", v.manifest.Step, "items", v.served.Items())
	}
	r.metrics.items.Set(float64(next.stable.served.Items()))
	r.metrics.share.Set(next.share)
	r.wake()
	return true
}

// say remembers why the newest head, or what the order says, is not served ("" = it is), and wakes the reporter.
func (r *Replica) say(refused string) {
	r.mu.Lock()
	r.refused = shortened(refused)
	r.mu.Unlock()
	r.wake()
}

// sayOrder remembers why the newest order is not obeyed ("" = it is), and wakes the reporter.
func (r *Replica) sayOrder(refused string) {
	r.mu.Lock()
	r.refusedOrder = shortened(refused)
	r.mu.Unlock()
	r.wake()
}

func shortened(refused string) string {
	return strings.ToValidUTF8(refused[:min(len(refused), maxRefused)], "")
}

// wake has the reporter send what changed.
func (r *Replica) wake() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func (r *Replica) whyRefused() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused != "" && r.refusedOrder != "" {
		return r.refused + "; " + r.refusedOrder
	}
	return r.refused + r.refusedOrder
}

// report returns what this replica says about itself.
func (r *Replica) report() publisher.Report {
	out := publisher.Report{ID: r.cfg.ID, Model: r.cfg.Model, Address: r.cfg.Address, Refused: r.whyRefused()}
	order := r.inForce()
	out.Order, out.Pinned = order.Serial, order.Version != 0
	for _, reason := range []Reason{ReasonMissing, ReasonTruncated, ReasonDigest} {
		out.NeedsBase = out.NeedsBase || order.Version == 0 && strings.HasPrefix(out.Refused, string(reason)+": ")
	}
	if l := r.lanes(); l.stable != nil {
		out.Version, out.Step, out.AppliedAt = l.stable.manifest.Version, l.stable.manifest.Step, l.stable.appliedAt.UTC()
		out.Candidate = l.candidate.number()
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
