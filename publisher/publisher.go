package publisher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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

// maxTaken bounds how many version numbers of crashed publishers are passed over in one Publish.
const maxTaken = 64

// Object is a table of an update. Name is the table's name, e.g. "items".
type Object struct {
	Name  string
	Table schema.Table
}

// Update is one version to be published.
type Update struct {
	Kind           schema.Kind
	Objects        []Object
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

	mu       sync.Mutex // guards what follows
	store    *Store
	revision uint64           // of the head that this publisher last saw; 0 = none
	next     schema.Version   // the lowest version that may be free
	last     schema.Manifest  // the newest version of the line
	bases    []schema.Version // of the chains known to be in the store, rising
	deltas   int              // since the base
	needBase bool
	lost     error // set once, by ErrLine
}

// New opens the line of cfg.Model, creating the buckets where they are missing. From its first Publish on, an older publisher
// of the same model is refused.
func New(ctx context.Context, js jetstream.JetStream, cfg Config) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	p := &Publisher{cfg: cfg, js: js, needBase: true, next: cfg.After + 1}
	if err := p.openLine(ctx); err != nil {
		return nil, fmt.Errorf("publish model %s: %w", cfg.Model, err)
	}
	p.metrics = newMetrics(cfg.Registerer)
	return p, nil
}

// openLine reads where the line stands. It is the only place where this publisher accepts a head that it did not write.
func (p *Publisher) openLine(ctx context.Context) error {
	store, err := CreateStore(ctx, p.js, p.cfg.Copies)
	if err != nil {
		return err
	}
	store.ObjectTimeout = p.cfg.PutTimeout
	m, _, revision, err := store.head(ctx, p.cfg.Model)
	switch {
	case errors.Is(err, ErrNoHead):
	case err != nil:
		return fmt.Errorf("%w: it was not written by this program or is damaged; publish under another model name, or remove the key", err)
	default:
		p.last, p.bases = m, []schema.Version{m.Base}
		p.next = max(p.next, m.Version+1)
	}
	versions, err := store.Versions(ctx, p.cfg.Model)
	if err != nil {
		return err
	}
	if len(versions) > 0 {
		p.next = max(p.next, versions[len(versions)-1]+1)
	}
	p.store, p.revision = store, revision
	return nil
}

// NextKind says what the next update must be: a base for the first of this process (a restarted trainer cannot know what the
// replicas hold), after BaseEvery deltas, and after a failed Publish; else a delta. A base is always accepted.
func (p *Publisher) NextKind() schema.Kind {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.nextKind()
}

func (p *Publisher) nextKind() schema.Kind {
	if p.needBase || p.deltas >= p.cfg.BaseEvery {
		return schema.KindBase
	}
	return schema.KindDelta
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
		reason := "store"
		switch {
		case errors.Is(err, ErrGuard):
			reason = "guard"
		case errors.Is(err, ErrUpdate):
			reason = "update"
		case errors.Is(err, ErrLine):
			reason, p.lost = "line", err
		}
		p.metrics.failed.WithLabelValues(reason).Inc()
		return schema.Manifest{}, err
	}
	kind := string(m.Kind)
	p.metrics.published.WithLabelValues(kind).Inc()
	p.metrics.seconds.WithLabelValues(kind).Observe(time.Since(started).Seconds())
	p.metrics.version.Set(float64(m.Version))
	for _, o := range m.Objects {
		p.metrics.bytes.WithLabelValues(kind).Add(float64(o.Bytes))
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
	tables := make([][]byte, len(u.Objects))
	for i, o := range u.Objects {
		var err error
		if tables[i], err = o.Table.Bytes(); err != nil {
			return act(fmt.Errorf("table %s: %w", o.Name, err))
		}
	}
	m, stored, err := p.claim(ctx, u, tables)
	if err != nil {
		return act(err)
	}
	for i, o := range m.Objects {
		if err := p.put(ctx, o, tables[i]); err != nil {
			return act(err)
		}
	}
	if err := p.moveHead(ctx, m, stored); err != nil {
		return act(err)
	}
	p.last, p.needBase = m, false
	p.deltas++
	if m.Kind == schema.KindBase {
		p.deltas = 0
		p.bases = append(p.bases, m.Version)
		if n := len(p.bases) - p.cfg.Keep; n >= 0 {
			p.bases = p.bases[n:]
			p.collect(ctx, p.bases[0])
		}
	}
	return m, nil
}

func (p *Publisher) check(u Update) error {
	switch {
	case u.Kind != schema.KindBase && u.Kind != schema.KindDelta:
		return fmt.Errorf("%w: kind %q is neither base nor delta", ErrUpdate, u.Kind)
	case u.Kind == schema.KindDelta && p.nextKind() == schema.KindBase:
		return fmt.Errorf("%w: the next version must be a base: ask NextKind before each update", ErrUpdate)
	case u.Kind == schema.KindDelta && u.ConfigDigest != p.last.ConfigDigest:
		return fmt.Errorf("%w: the config digest differs from the parent's: publish a base", ErrUpdate)
	case len(u.Objects) == 0:
		return fmt.Errorf("%w: it has no objects", ErrUpdate)
	}
	seen := map[string]bool{}
	for _, o := range u.Objects {
		if !tableRule.MatchString(o.Name) || seen[o.Name] {
			return fmt.Errorf("%w: table name %q: must be 1 to 64 of a-z 0-9 _, each once", ErrUpdate, o.Name)
		}
		seen[o.Name] = true
		if err := CheckFinite(o.Name, o.Table); err != nil {
			return err
		}
	}
	return checkMetric(p.cfg.Metric, p.cfg.MaxDrop, p.last.Metrics, u.Metrics)
}

// claim makes the manifest of the next free version and creates it in the store. What it returns, no other publisher can
// have: the objects of two publishers never share a name.
func (p *Publisher) claim(ctx context.Context, u Update, tables [][]byte) (schema.Manifest, []byte, error) {
	for range maxTaken {
		m, stored, err := p.manifest(u, tables)
		if err != nil {
			return m, nil, err
		}
		taken := false
		err = attempts(ctx, p.cfg.Backoff, p.cfg.Attempts, p.store.Timeout, func(ctx context.Context) (bool, error) {
			key := manifestKey(m.Model, m.Version)
			_, err := p.store.manifests.Create(ctx, key, stored)
			if errors.Is(err, jetstream.ErrKeyExists) { // perhaps by an earlier attempt whose answer was lost
				entry, getErr := p.store.manifests.Get(ctx, key)
				if getErr != nil {
					return true, getErr
				}
				taken = !bytes.Equal(entry.Value(), stored)
				return false, nil
			}
			return p.worthRetry(ctx, err), err
		})
		if err != nil {
			return m, nil, fmt.Errorf("version %d: %w", m.Version, err)
		}
		p.next++ // also when the rest fails: a number is used once
		if !taken {
			return m, stored, nil
		}
		if err := p.checkLine(ctx); err != nil {
			return m, nil, err
		}
	}
	return schema.Manifest{}, nil, fmt.Errorf("%d version numbers in a row from %d are taken: is another publisher of this model running?", maxTaken, p.next-maxTaken)
}

// manifest returns the manifest of version p.next and its bytes as they are stored.
func (p *Publisher) manifest(u Update, tables [][]byte) (schema.Manifest, []byte, error) {
	m := schema.Manifest{
		Format: schema.ManifestFormat, Model: p.cfg.Model, Version: p.next, Kind: u.Kind, Base: p.next,
		TrainedThrough: u.TrainedThrough, Step: u.Step, Items: u.Items, ConfigDigest: u.ConfigDigest,
		CreatedAt: p.cfg.Now().UTC(), Publisher: p.cfg.ID,
	}
	if u.Kind == schema.KindDelta {
		m.Parent, m.Base = p.last.Version, p.last.Base
	}
	for i, o := range u.Objects {
		m.Objects = append(m.Objects, schema.Object{
			Name: ObjectName(m.Model, m.Version, o.Name), Bytes: int64(len(tables[i])), SHA256: digest(tables[i])})
	}
	for name, value := range u.Metrics {
		if !math.IsNaN(value) && !math.IsInf(value, 0) {
			if m.Metrics == nil {
				m.Metrics = map[string]float64{}
			}
			m.Metrics[name] = value
		}
	}
	if len(p.cfg.Seed) > 0 {
		if err := Sign(&m, p.cfg.Seed); err != nil {
			return m, nil, err
		}
	}
	if err := m.Validate(); err != nil {
		return m, nil, fmt.Errorf("%w: %w", ErrUpdate, err)
	}
	stored, err := json.Marshal(m)
	if err == nil && len(stored) > MaxManifestBytes {
		err = fmt.Errorf("%w: its manifest has %d bytes, at most %d are allowed", ErrUpdate, len(stored), MaxManifestBytes)
	}
	return m, stored, err
}

func (p *Publisher) put(ctx context.Context, o schema.Object, b []byte) error {
	err := attempts(ctx, p.cfg.Backoff, p.cfg.Attempts, p.cfg.PutTimeout, func(ctx context.Context) (bool, error) {
		err := p.store.putObject(ctx, o.Name, b)
		return p.worthRetry(ctx, err), err
	})
	if err != nil {
		return fmt.Errorf("put %s (%d bytes): %w", o.Name, o.Bytes, err)
	}
	return nil
}

// moveHead makes m the head if the head is still the one that this publisher last saw (I5).
func (p *Publisher) moveHead(ctx context.Context, m schema.Manifest, stored []byte) error {
	err := attempts(ctx, p.cfg.Backoff, p.cfg.Attempts, p.store.Timeout, func(ctx context.Context) (bool, error) {
		revision, err := uint64(0), error(nil)
		if p.revision == 0 {
			revision, err = p.store.heads.Create(ctx, m.Model, stored)
		} else {
			revision, err = p.store.heads.Update(ctx, m.Model, stored, p.revision)
		}
		if err == nil {
			p.revision = revision
			return false, nil
		}
		if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			err := p.checkLineAgainst(ctx, stored)
			return !errors.Is(err, ErrLine) && !errors.Is(err, ErrNoHead), err
		}
		return p.worthRetry(ctx, err), err
	})
	if err != nil {
		return fmt.Errorf("move head to version %d: %w", m.Version, err)
	}
	return nil
}

// checkLine returns an ErrLine that says who holds the line, unless the head is the one that this publisher last saw.
func (p *Publisher) checkLine(ctx context.Context) error { return p.checkLineAgainst(ctx, nil) }

// checkLineAgainst also accepts a head equal to mine: an earlier attempt to write it, whose answer was lost.
func (p *Publisher) checkLineAgainst(ctx context.Context, mine []byte) error {
	m, stored, revision, err := p.store.head(ctx, p.cfg.Model)
	switch {
	case errors.Is(err, ErrNoHead):
		if p.revision == 0 {
			return nil
		}
		p.revision = 0 // NATS has lost the line; nobody holds it, and the next base begins it again above p.next
		return fmt.Errorf("version %d is gone from NATS: %w", p.last.Version, err)
	case stored == nil:
		return err
	case revision == p.revision && mine == nil:
		return nil
	case mine != nil && bytes.Equal(stored, mine):
		p.revision = revision
		return nil
	case err != nil:
		return fmt.Errorf("%w: %w", ErrLine, err)
	}
	return fmt.Errorf("%w: version %d was published by %s at %s: stop one of the two, or give it another model name, then start this one again",
		ErrLine, m.Version, m.Publisher, m.CreatedAt.Format(time.RFC3339))
}

// worthRetry says whether the world may be different in a moment. Where a bucket is gone it is made again first.
func (p *Publisher) worthRetry(ctx context.Context, err error) bool {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, jetstream.ErrInvalidKey), errors.Is(err, ErrLine):
		return false
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrNoStreamResponse):
		p.remake(ctx)
	}
	return true
}

// remake creates the buckets again after NATS came back without them.
func (p *Publisher) remake(ctx context.Context) {
	store, err := CreateStore(ctx, p.js, p.cfg.Copies)
	if err != nil {
		p.cfg.Log.Warn("publisher: the model buckets are gone and cannot be made again", "err", err)
		return
	}
	store.ObjectTimeout = p.cfg.PutTimeout
	p.store = store
}

// Last returns the newest version that this publisher knows of; its Version is 0 where there is none.
func (p *Publisher) Last() schema.Manifest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Reports calls each with every replica's report, now and after every change, until ctx is done: from AppliedAt the trainer's
// side computes freshness. It opens the watch again when it breaks. Calls come one after another.
func (p *Publisher) Reports(ctx context.Context, each func(Report)) error {
	for failed := 0; ; {
		p.mu.Lock()
		store := p.store
		p.mu.Unlock()
		began := time.Now()
		err := store.FollowReports(ctx, p.cfg.Model, each)
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
