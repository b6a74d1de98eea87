package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/feed"
	"github.com/freshet-ml/freshet/ingest/flight"
	"github.com/freshet-ml/freshet/ingest/live"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer"
	"github.com/freshet-ml/freshet/trainer/model"
)

// intake is the ingest half: Kafka in, a durable log of parts out; or a copy of the logs of nodes that do that (feed.go).
type intake struct {
	kafka   *source.Kafka
	brokers []string // of kafka
	node    *ingest.Node
	mirror  *flight.Mirror // in the place of kafka and node
	store   *buffer.Store
	told    *live.Broadcast // of the clicks that node takes; nil for a copy
	// commits measures those of node.
	commits prometheus.Histogram
	leave   func() error // closes the connection by which partitions move; nil where they stay
}

// openIntake opens the log and finds the topic. ticks says that silence on a partition means that time passes; a replay of a
// file or of the simulated shop has event time only.
func openIntake(ctx context.Context, c config.Config, dir *datadir.Dir, brokers []string, ticks bool, log *slog.Logger) (*intake, error) {
	records, err := decodeConfig(c.Source)
	if err != nil {
		return nil, err
	}
	decoder, err := decode.New(records)
	if err != nil {
		return nil, err
	}
	if err := decoder.Check(ctx); err != nil {
		log.Warn("records that name their schema will wait", "error", err)
	}
	assigned, err := source.ParsePartitions(c.Kafka.Assign)
	if err != nil {
		return nil, err
	}
	kafka, err := source.NewKafka(source.KafkaConfig{Brokers: brokers, Security: security(c.Kafka), Topic: c.Kafka.Topic, Group: c.Kafka.Group,
		Partitions: assigned, OnExpired: source.OnExpired(c.Kafka.OnExpired), Log: log})
	if err != nil {
		return nil, err
	}
	if _, err := kafka.Partitions(ctx); err != nil { // it answers, and has the topic
		return nil, errors.Join(err, kafka.Close())
	}
	store, err := buffer.Open(dir.Buffer(), storeOptions(c.Ingest, log))
	if err != nil {
		return nil, errors.Join(err, kafka.Close())
	}
	options := ingest.Options{Window: windowConfig(c.Window), Topic: c.Kafka.Topic, MaxAhead: c.Window.MaxAhead, Live: &live.Broadcast{}, Log: log}
	commits := newCommitSeconds()
	options.OnCommit = func(d time.Duration) { commits.Observe(d.Seconds()) }
	if ticks {
		options.IdleAfter = c.Window.IdleAfter
	}
	in := &intake{kafka: kafka, brokers: brokers, store: store, told: options.Live, commits: commits}
	if in.leave, err = share(ctx, c, kafka, &options, log); err != nil {
		return nil, errors.Join(err, in.close())
	}
	if in.node, err = ingest.New(store, recordDecoder(decoder), options); err != nil {
		return nil, errors.Join(err, in.close())
	}
	return in, nil
}

// recordDecoder is d as a node wants it. A record whose schema the registry does not tell, because it is away, is good: it
// waits, and with it the partition.
func recordDecoder(d *decode.Decoder) ingest.Decode {
	return func(r source.Record, c *schema.Click) error {
		err := d.Decode(r.Value, c)
		if errors.As(err, new(decode.Unavailable)) {
			err = fmt.Errorf("%w: %w", ingest.ErrNotReady, err)
		}
		return err
	}
}

// run reads the topic, or the nodes, until ctx ends.
func (in *intake) run(ctx context.Context) error {
	if in.mirror != nil {
		return in.mirror.Run(ctx)
	}
	return in.kafka.Run(ctx, in.node)
}

// reached reports whether everything before ends is in the log or in open windows.
func (in *intake) reached(ends []schema.Offset) bool {
	offsets := in.node.Offsets()
	for p, end := range ends {
		if next, owned := offsets[schema.Partition(p)]; !owned || next < end {
			return false
		}
	}
	return true
}

func (in *intake) close() error {
	if in.mirror != nil {
		return errors.Join(in.mirror.Close(), in.store.Close())
	}
	err := errors.Join(in.store.Close(), in.kafka.Close())
	if in.leave != nil {
		err = errors.Join(err, in.leave())
	}
	return err
}

// guarded is the metric of a version that publish.max_drop guards.
const guarded = "recall_at_20_model"

// training is the other half: the log in, versions out.
type training struct {
	trainer   *trainer.Trainer
	publisher *publisher.Publisher
	fresh     *trainer.Freshness
	inlet     inlet

	mu      sync.Mutex
	reports map[string]heard // guarded by mu; the latest of each replica
}

// heard is a report and when it came. One that is not refreshed within publisher.ReportTTL is of a replica that is gone.
type heard struct {
	publisher.Report
	at time.Time
}

func openTraining(ctx context.Context, c config.Config, dir *datadir.Dir, in *intake, js jetstream.JetStream, metrics *prometheus.Registry, log *slog.Logger) (*training, error) {
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "freshet_freshness_seconds", Help: "Time from a click's arrival on Kafka to the first served model trained on it.",
		Buckets: prometheus.ExponentialBuckets(0.25, 2, 14),
	})
	metrics.MustRegister(seconds)
	fresh := trainer.NewFreshness(func(s float64, clicks int64) {
		for range clicks {
			seconds.Observe(s)
		}
	})
	settings := trainerConfig(c.Train)
	settings.Publishing = model.Publishing{Rows: model.Precision(c.Publish.Rows), MinChange: c.Publish.MinChange}
	t, err := trainer.Open(dir.Checkpoints(), settings, fresh, log, time.Now)
	if err != nil {
		return nil, err
	}
	if c.Train.OnGap == config.OnGapContinue {
		logs, err := in.store.Partitions()
		if err != nil {
			return nil, err
		}
		begins := schema.Position{}
		for p, m := range logs {
			begins[p] = m.FirstEmit
		}
		t.Skip(begins)
	}
	f, err := feed.New(in.store, t.Position())
	if err != nil {
		return nil, err
	}
	key, err := signingKey(c.Publish, dir)
	if err != nil {
		return nil, err
	}
	seed, err := key.Seed()
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	log.Info("versions are signed: replicas that list this key in serve.trusted_keys take no others", "key", public, "model", c.Publish.Model)
	holder, err := dir.ID()
	if err != nil {
		return nil, err
	}
	p, err := publisher.New(ctx, js, publisher.Config{
		Model: c.Publish.Model, ID: processName(), Holder: holder, BaseEvery: c.Publish.BaseEvery, Seed: seed, TakeOver: c.Publish.TakeOver,
		Metric: guarded, MaxDrop: c.Publish.MaxDrop, Log: log, Registerer: metrics,
	})
	if err != nil {
		return nil, err
	}
	return &training{trainer: t, publisher: p, fresh: fresh, inlet: inlet{f, in.store}, reports: map[string]heard{}}, nil
}

// run trains until ctx ends, or until the end after trainer.Finish. It holds the line of versions for as long.
func (t *training) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	hold, done := context.WithCancel(context.WithoutCancel(ctx)) // through the last checkpoint
	g.Go(func() error { return t.publisher.Hold(hold) })
	g.Go(func() error {
		defer done()
		return t.trainer.Run(ctx, t.inlet, outlet{t.publisher})
	})
	return g.Wait()
}

// follow listens to the replicas until ctx ends. What they adopt ends the measurement of freshness.
func (t *training) follow(ctx context.Context) error {
	return t.publisher.Reports(ctx, func(r publisher.Report) {
		t.mu.Lock()
		t.reports[r.ID] = heard{r, time.Now()}
		t.mu.Unlock()
		if r.Version > 0 {
			t.fresh.Adopted(r.Version, r.AppliedAt)
		}
	})
}

// behind says which of the named replicas do not serve version v, or a later one, and why. It returns nil when all do, but for those that
// an order has serve another.
func (t *training) behind(v schema.Version, replicas []string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, id := range replicas {
		if r := t.reports[id]; r.Version < v && !r.Pinned {
			errs = append(errs, fmt.Errorf("%s serves version %d, not %d: %s", id, r.Version, v, r.Refused))
		}
	}
	return errors.Join(errs...)
}

// replicas returns the latest reports in the order of their ids, and forgets replicas that are gone.
func (t *training) replicas() []publisher.Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.reports, func(_ string, h heard) bool { return time.Since(h.at) > publisher.ReportTTL })
	out := make([]publisher.Report, 0, len(t.reports))
	for _, id := range slices.Sorted(maps.Keys(t.reports)) {
		out = append(out, t.reports[id].Report)
	}
	return out
}

// inlet is the feed as the trainer wants it.
type inlet struct {
	*feed.Feed
	store *buffer.Store
}

var _ trainer.Feed = inlet{}

// Hold keeps what the trainer has not made durable from the log's retention.
func (i inlet) Hold(p schema.Position) error {
	err := i.store.Hold("trainer", p)
	if errors.Is(err, buffer.ErrGone) {
		err = fmt.Errorf("%w: %w", trainer.ErrGone, err)
	}
	return err
}

// Frontier is how far the slowest partition has come, as the merge has to wait for it.
func (i inlet) Frontier() (schema.EventTime, int64, error) {
	metas, err := i.store.Partitions()
	if err != nil {
		return schema.BeginningOfTime, 0, err
	}
	through, end, entries := schema.EndOfTime, schema.BeginningOfTime, int64(0)
	for _, m := range metas {
		entries += int64(m.NextEmit)
		if end = max(end, m.Window.Watermark); !m.Window.Ended {
			through = min(through, m.Window.Watermark)
		}
	}
	return min(through, end), entries, nil
}

// outlet is the publisher as the trainer wants it.
type outlet struct{ p *publisher.Publisher }

var _ trainer.Publisher = outlet{}

func (o outlet) NextKind() schema.Kind { return o.p.NextKind() }
func (o outlet) Follows() bool         { return o.p.Follows() }

func (o outlet) Publish(ctx context.Context, v trainer.Version) (schema.Version, error) {
	u := publisher.Update{Kind: v.Kind, TrainedThrough: v.Through, Step: v.Step, Items: v.Items, Metrics: v.Metrics, ConfigDigest: v.ConfigDigest}
	for _, t := range v.Tables {
		u.Objects = append(u.Objects, publisher.Object{Name: t.Name, Table: t.Table})
	}
	for _, t := range v.FromParent {
		u.FromParent = append(u.FromParent, publisher.Object{Name: t.Name, Table: t.Table})
	}
	m, err := o.p.Publish(ctx, u)
	switch {
	case errors.Is(err, publisher.ErrLine):
		err = fmt.Errorf("%w: %w", trainer.ErrFenced, err)
	case errors.Is(err, publisher.ErrGuard):
		err = fmt.Errorf("%w: %w", trainer.ErrRefused, err)
	}
	return m.Version, err
}
