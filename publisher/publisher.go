package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nats.go/jetstream"
)

// What a caller of Publish branches on. After ErrLine the publisher is of no more use; after any other error the next
// update must be a base.
var (
	ErrLine   = errors.New("another publisher extends the line of versions") // (I5)
	ErrUpdate = errors.New("update refused")                                 // a mistake of the caller
)

// Object is a table of an update. Name is the table's name, e.g. "items".
type Object struct {
	Name  string
	Table schema.Table
}

// Update is one version to be published.
type Update struct {
	Kind           schema.Kind
	Objects        []Object
	FromParent     []Object // of a base where Follows: what makes the very same version of the one that was published last, as a delta does
	TrainedThrough schema.TrainedThrough
	Step           schema.Step
	Items          int                // items in the whole model after this update: a replica that counts others refuses it
	Metrics        map[string]float64 // those that are not finite are left out: JSON has no word for them
	ConfigDigest   string             // sha256 of the model's shape; the same throughout a chain
}

// Publisher extends the line of versions of one model. Its methods may be called from several goroutines.
type Publisher struct {
	cfg     Config
	js      jetstream.JetStream
	metrics metrics
	lease   lease

	mu       sync.Mutex // guards what follows
	store    *Store
	revision uint64          // of the head that this publisher last saw; 0 = none
	next     schema.Version  // the lowest version that may be free
	last     schema.Manifest // the newest version of the line
	stored   map[string]bool // the objects of the chain that ends with last, as far as this publisher knows
	deltas   int             // since the base
	needBase bool
	early    bool  // a replica needs a base before one is due
	lost     error // set once, by ErrLine
}

// New takes the line of cfg.Model, creating the buckets where they are missing. Where another publisher holds the line it is refused with an ErrLine that says
// who. The line is held as long as Hold runs, or versions are published.
func New(ctx context.Context, js jetstream.JetStream, cfg Config) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	p := &Publisher{cfg: cfg, js: js, needBase: true, next: cfg.After + 1}
	p.lease = lease{js: js, key: cfg.Model, copies: cfg.Copies, backoff: cfg.Backoff, now: cfg.Now}
	if err := p.openLine(ctx); err != nil {
		return nil, fmt.Errorf("publish model %s: %w", cfg.Model, err)
	}
	p.metrics = newMetrics(cfg.Registerer)
	return p, nil
}

// Hold refreshes the lease on the line until ctx ends, and then gives the line back. It returns an ErrLine when another publisher has taken the line: this one must
// stop. That NATS is away is no reason to: the lease is taken again when it is back, if nobody else has it.
func (p *Publisher) Hold(ctx context.Context) error { return p.hold(ctx, LeaseEvery) }

func (p *Publisher) hold(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for away := false; ; {
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			p.lease.release(ctx)
			return nil
		case <-tick.C:
		}
		err := p.lease.renew(ctx)
		switch {
		case errors.Is(err, ErrLine):
			return fmt.Errorf("hold the line of model %s: %w", p.cfg.Model, err)
		case err != nil && !away && ctx.Err() == nil:
			p.cfg.Log.Warn("publisher: the lease on the line cannot be refreshed; it is tried again", "model", p.cfg.Model, "err", err)
		case err == nil && away:
			p.cfg.Log.Info("publisher: the lease on the line is held again", "model", p.cfg.Model)
		}
		away = err != nil
	}
}

// NextKind says what the next update must be: a base for the first of this process (a restarted trainer cannot know what the
// replicas hold), after BaseEvery deltas, or earlier for a replica that needs one, and after a failed Publish; else a delta. A base is always accepted.
func (p *Publisher) NextKind() schema.Kind {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nextKind()
}

// needsWithin is how many deltas follow on a base at least before a replica's need brings the next one forward: so much a replica that always asks costs at most.
const needsWithin = 8

// heed brings the next base forward where a replica cannot reach the head otherwise.
func (p *Publisher) heed(r Report) {
	if !r.NeedsBase {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Version < p.last.Version && needsWithin <= p.deltas && !p.early {
		p.cfg.Log.Warn("publisher: the next version is a base, for a replica that cannot reach the head", "model", p.cfg.Model, "replica", r.ID, "version", r.Version, "refused", r.Refused)
		p.early = true
	}
}

func (p *Publisher) nextKind() schema.Kind {
	if p.due() || p.early {
		return schema.KindBase
	}
	return schema.KindDelta
}

// due says that the next version can be nothing but a base. That a replica needs one early is not of that kind: a delta may be on its way already.
func (p *Publisher) due() bool { return p.needBase || p.deltas >= p.cfg.BaseEvery }

// Follows says whether a base that is published next should say, too, what has changed since the version before: who has that need not load the base. What comes of it
// otherwise is left out.
func (p *Publisher) Follows() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.needBase
}

// Publish publishes u as the next version and returns its manifest. A nil error says that the version is the head. Errors:
// ErrGuard (nothing was written), ErrUpdate, ErrLine, or the store's.
func (p *Publisher) Publish(ctx context.Context, u Update) (schema.Manifest, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != nil {
		return schema.Manifest{}, p.lost
	}
	started := time.Now()
	m, err := p.publish(ctx, u)
	if err != nil {
		p.needBase = true
		reason := ReasonOf(err)
		if reason == ReasonLine {
			p.lost = err
		}
		p.metrics.fail(reason)
		return schema.Manifest{}, err
	}
	kind := string(m.Kind)
	p.metrics.published.WithLabelValues(kind).Inc()
	p.metrics.seconds.WithLabelValues(kind).Observe(time.Since(started).Seconds())
	p.metrics.version.Set(float64(m.Version))
	p.metrics.held.Set(0)
	for _, o := range m.Objects {
		p.metrics.bytes.WithLabelValues(kind).Add(float64(o.Bytes))
	}
	for _, o := range m.FromParent {
		p.metrics.bytes.WithLabelValues(string(schema.KindDelta)).Add(float64(o.Bytes))
	}
	return m, nil
}

func (p *Publisher) publish(ctx context.Context, u Update) (schema.Manifest, error) {
	act := func(err error) (schema.Manifest, error) {
		return schema.Manifest{}, fmt.Errorf("publish %s of model %s: %w", u.Kind, p.cfg.Model, err)
	}
	if err := p.check(u); err != nil {
		return act(err)
	}
	if p.needBase || u.ConfigDigest != p.last.ConfigDigest {
		u.FromParent = nil
	}
	e, err := p.encode(u)
	if err != nil {
		return act(err)
	}
	if err := p.lease.renew(ctx); err != nil {
		return act(err)
	}
	m, stored, err := p.claim(ctx, u, e)
	if err != nil {
		return act(err)
	}
	for _, o := range m.AllObjects() {
		b, left := e.bytes[o.Name]
		if !left {
			continue // two tables with the same content
		}
		if err := p.put(ctx, o, b); err != nil {
			return act(err)
		}
		delete(e.bytes, o.Name)
	}
	if err := p.moveHead(ctx, m, stored); err != nil {
		return act(err)
	}
	p.last, p.needBase = m, false
	p.deltas++
	if m.Kind == schema.KindBase {
		p.deltas, p.early, p.stored = 0, false, map[string]bool{}
	}
	for _, o := range m.AllObjects() {
		p.stored[o.Name] = true
	}
	if m.Kind == schema.KindBase {
		p.collect(ctx)
	}
	return m, nil
}

// encoded is an update as it is stored.
type encoded struct {
	objects, fromParent []schema.Object
	bytes               map[string][]byte // by the name of the object
}

func (p *Publisher) encode(u Update) (encoded, error) {
	e := encoded{bytes: map[string][]byte{}}
	for _, of := range []struct {
		to   *[]schema.Object
		from []Object
	}{{&e.objects, u.Objects}, {&e.fromParent, u.FromParent}} {
		for _, o := range of.from {
			b, err := o.Table.Bytes()
			if err != nil {
				return e, fmt.Errorf("table %s: %w", o.Name, err)
			}
			sum := digest(b)
			name := schema.ObjectName(p.cfg.Model, sum)
			*of.to = append(*of.to, schema.Object{Table: o.Name, Name: name, Bytes: int64(len(b)), SHA256: sum})
			e.bytes[name] = b
		}
	}
	return e, nil
}

func (p *Publisher) check(u Update) error {
	switch {
	case u.Kind != schema.KindBase && u.Kind != schema.KindDelta:
		return fmt.Errorf("%w: kind %q is neither base nor delta", ErrUpdate, u.Kind)
	case u.Kind == schema.KindDelta && p.due():
		return fmt.Errorf("%w: the next version must be a base: ask NextKind before each update", ErrUpdate)
	case u.Kind == schema.KindDelta && u.ConfigDigest != p.last.ConfigDigest:
		return fmt.Errorf("%w: the config digest differs from the parent's: publish a base", ErrUpdate)
	case u.Kind == schema.KindDelta && len(u.FromParent) > 0:
		return fmt.Errorf("%w: a delta has what changed as its objects", ErrUpdate)
	case len(u.Objects) == 0:
		return fmt.Errorf("%w: it has no objects", ErrUpdate)
	}
	for _, objects := range [][]Object{u.Objects, u.FromParent} {
		seen := map[string]bool{}
		for _, o := range objects {
			if err := schema.CheckTable(o.Name); err != nil {
				return fmt.Errorf("%w: %w", ErrUpdate, err)
			}
			if seen[o.Name] {
				return fmt.Errorf("%w: table %q is there twice", ErrUpdate, o.Name)
			}
			seen[o.Name] = true
			if err := CheckFinite(o.Name, o.Table); err != nil {
				return err
			}
		}
	}
	return checkMetric(p.cfg.Metric, p.cfg.MaxDrop, p.last.Metrics, u.Metrics)
}

// Last returns the newest version that this publisher knows of; its Version is 0 where there is none.
func (p *Publisher) Last() schema.Manifest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Reports calls each with every replica's report, now and after every change, until ctx is done: from AppliedAt the trainer's
// side computes freshness. It opens the watch again when it breaks. Calls come one after another. A replica that needs a base gets one early.
func (p *Publisher) Reports(ctx context.Context, each func(Report)) error {
	for failed := 0; ; {
		p.mu.Lock()
		store := p.store
		p.mu.Unlock()
		began := time.Now()
		err := store.FollowReports(ctx, p.cfg.Model, func(r Report) {
			p.heed(r)
			each(r)
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if failed++; time.Since(began) > time.Minute {
			failed = 1
		}
		p.cfg.Log.Warn("publisher: the watch on replicas broke and is opened again", "err", err)
		if err := p.cfg.Backoff.Wait(ctx, failed); err != nil {
			return err
		}
	}
}

func sortedUnique(v []schema.Version) []schema.Version {
	slices.Sort(v)
	return slices.Compact(v)
}
