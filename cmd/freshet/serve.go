package main

import (
	"context"
	"errors"
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
)

// Run follows the published versions and serves them until ctx ends.
func (c *ServeCmd) Run(ctx context.Context, a *app) (err error) {
	var closers closers
	defer closers.close(&err)
	if a.cfg.NATS.Embedded() {
		return errors.New("no NATS to follow: give --nats nats://HOST:PORT, or run everything in one process with \"freshet up\"")
	}
	l, err := listen("--listen", a.cfg.Serve.Listen)
	if err != nil {
		return err
	}
	closers.add(closeListener(l))
	dir, err := openDataDir(a, &closers)
	if err != nil {
		return err
	}
	id := c.ID
	if id == "" {
		if id, err = os.Hostname(); err != nil {
			return err
		}
	}
	// Without a feed requests bring their own clicks.
	var (
		feed    *histories
		known   replica.Histories
		live    *replica.LiveClicks
		metrics = prometheus.NewRegistry() // beside the replica's own
	)
	if len(a.cfg.Flight.Feed) > 0 {
		if feed, err = openHistories(a.cfg.Config, dir, a.log); err != nil {
			return err
		}
		closers.add(feed.close)
		metrics.MustRegister(feedCollector{feed.mirror}, historiesCollector{feed.store})
		live = liveClicks(a.cfg.Serve, metrics)
		known = feed.store
	}
	tracer, endTraces, err := openTracer(a.cfg.Serve.Traces, id, a.log)
	if err != nil {
		return err
	}
	closers.add(endTraces)
	r, err := replica.New(withAPI(replica.Config{
		ID: id, Model: a.cfg.Publish.Model, Address: apiURL(a.cfg.Serve, l), Dir: dir.Replica(id),
		TrustedKeys: a.cfg.Serve.TrustedKeys, Serving: a.cfg.Serve.Serving(), Gap: a.cfg.Window.Gap, Log: a.log, Metrics: metrics,
		CacheBytes: cacheBytes(a.cfg.Serve.CacheBytes, 1), WarmupRequests: orNone(a.cfg.Serve.WarmupRequests), Live: live, Tracer: tracer, MaxHistory: a.cfg.Flight.KeepParts,
	}, a.cfg.Serve), known)
	if err != nil {
		return err
	}
	nats, err := openNATS(a.cfg.NATS, id, a.log)
	if err != nil {
		return err
	}
	closers.add(closeConn(nats.Conn))
	s := newStages()
	s.start("replica", func(ctx context.Context) error { return r.Run(ctx, nats.js) })
	s.start("http", func(ctx context.Context) error { return r.Serve(ctx, l) }).grace = a.cfg.Serve.Drain()
	if feed != nil {
		s.start("feed", feed.mirror.Run)
		if live != nil {
			s.start("live clicks", func(ctx context.Context) error { return feed.mirror.Listen(ctx, live.Add) })
		}
	}
	if err := nats.await(ctx); err != nil {
		if _, serving := r.Current(); !serving {
			return s.stop(err)
		}
		a.log.Warn("serving the last good version until NATS answers", "error", err)
	}
	a.log.Info("replica is up", "id", id, "api", apiURL(a.cfg.Serve, l), "nats", publisher.Redacted(a.cfg.NATS.URL), "feed", a.cfg.Flight.Feed,
		"model", a.cfg.Publish.Model)
	if err := s.stop(s.wait(ctx, nil)); err != nil {
		return err
	}
	a.log.Info("stopped in order")
	return nil
}
