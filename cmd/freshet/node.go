package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// node is "freshet ingest" and "freshet train": a process against a Kafka or other nodes, and for train a NATS, that run
// elsewhere.
type node struct {
	*app
	closers  closers
	stages   *stages
	listener net.Listener
	in       *intake
	shown    *shown
	train    *training
	metrics  *prometheus.Registry
	monitor  *monitor
}

// Run reads clicks into sessions until ctx ends.
func (c *IngestCmd) Run(ctx context.Context, a *app) error { return runNode(ctx, a, false) }

// Run trains and publishes until ctx ends: on the log of ingest nodes, or on one of its own, for which it reads clicks.
func (c *TrainCmd) Run(ctx context.Context, a *app) error { return runNode(ctx, a, true) }

func runNode(ctx context.Context, a *app, train bool) (err error) {
	if a.cfg.Source.Kind() == config.KindSim {
		a.cfg.Source.From = string(config.KindKafka) // the default; records of a topic are not the shop's
	}
	n := &node{app: a, stages: newStages(), metrics: newMetrics()}
	defer n.closers.close(&err)
	if err := n.open(ctx, train); err != nil {
		return err
	}
	n.stages.start("http", func(ctx context.Context) error {
		mux := nodeHandler(n.monitor.status, n.metrics)
		health(mux, n.in.health)
		h, err := withAside(mux, n.in, n.app)
		if err != nil {
			return err
		}
		return replica.Server{Handler: h, DrainTimeout: n.cfg.Serve.DrainTimeout, Log: n.log}.Serve(ctx, n.listener)
	})
	if train {
		n.stages.start("reports", n.train.follow)
		n.stages.start("trainer", n.train.run)
	}
	n.shown.start(n.stages, n.metrics)
	if err := n.in.startDeadLetters(n.cfg.Kafka, n.stages, n.metrics, n.log); err != nil {
		return err
	}
	n.in.startSnapshots(n.stages, n.metrics, n.log)
	n.stages.start("ingest", n.in.run)
	n.monitor.enter(view.StageRunning)
	n.log.Info("freshet is up", append(n.from(), "api", n.monitor.static.API, "flight", n.shown.address(n.cfg.Flight),
		"nats", n.monitor.static.NATS, "blas", n.monitor.static.Backend, "data_dir", n.cfg.DataDir)...)
	n.stages.start("log", func(ctx context.Context) error {
		view.Plain(ctx, n.log, 10*time.Second, n.monitor.status)
		return nil
	})
	ended := n.stages.wait(ctx, nil)
	n.monitor.enter(view.StageStopping)
	if err := n.stages.stop(ended); err != nil {
		return err
	}
	n.log.Info("stopped in order")
	return nil
}

// from names where the sessions come from, for the log.
func (n *node) from() []any {
	if n.in.mirror != nil {
		return []any{"feed", n.cfg.Flight.Feed}
	}
	return []any{"kafka", n.cfg.Kafka.Brokers, "topic", n.cfg.Kafka.Topic}
}

func (n *node) open(ctx context.Context, train bool) (err error) {
	c := n.cfg.Config
	feed := train && len(c.Flight.Feed) > 0
	var missing []error
	if c.Kafka.Embedded() && !feed {
		or := ""
		if train {
			or = ", or nodes that read it with --feed grpc://HOST:9091"
		}
		missing = append(missing, fmt.Errorf("no Kafka to read from: give --brokers HOST:PORT%s, or run everything in one process with \"freshet up\"", or))
	}
	if train && c.NATS.Embedded() {
		missing = append(missing, errors.New("no NATS to publish to: give --nats nats://HOST:PORT, or run everything in one process with \"freshet up\""))
	}
	if len(missing) > 0 {
		return errors.Join(missing...)
	}
	var flight net.Listener
	if n.listener, flight, err = listenAll(c, n.log, !train, &n.closers); err != nil {
		return err
	}
	dir, err := openDataDir(n.app, &n.closers)
	if err != nil {
		return err
	}
	static := view.Status{API: apiURL(c.Serve, n.listener), NATS: publisher.Redacted(c.NATS.URL)}
	if train {
		c.Ingest.Snapshots = config.SnapshotsOff // its checkpoint does not move, and the log has to be where that is
	}
	if feed {
		n.in, err = openFeed(c, dir, n.log)
	} else {
		static.Kafka = c.Kafka.Brokers[0]
		n.in, err = openIntake(ctx, c, dir, c.Kafka.Brokers, true, n.log)
	}
	if err != nil {
		return err
	}
	n.closers.add(n.in.close)
	n.in.watch(n.metrics)
	if n.shown, err = openShown(c.Flight, flight, n.in, n.log); err != nil {
		return err
	}
	if train {
		nats, err := dialNATS(ctx, c.NATS, roleTrainer, n.log)
		if err != nil {
			return err
		}
		n.closers.add(closeConn(nats.Conn))
		if n.train, err = openTraining(ctx, c, dir, n.in, nats.js, n.metrics, n.log); err != nil {
			return err
		}
		static.Backend = nn.Backend()
	}
	n.monitor = &monitor{in: n.in, train: n.train, started: time.Now(), stage: view.StageStarting, static: static}
	n.metrics.MustRegister(collector{n.monitor.status})
	return nil
}

// openDataDir takes the data directory for this process.
func openDataDir(a *app, c *closers) (*datadir.Dir, error) {
	dir, err := datadir.Open(a.cfg.DataDir, a.now())
	if err != nil {
		return nil, err
	}
	c.add(dir.Close)
	if unclean := dir.Unclean(); unclean != "" {
		a.log.Warn("the last run did not end in order; going on from what it made durable", "it", unclean)
	}
	return dir, nil
}

// needFile refuses a source that is not a file.
func needFile(c config.Source) error {
	if c.Kind() != config.KindFile {
		return fmt.Errorf("%s is not a file: give the path of one, or see \"freshet simulate\"", c.From)
	}
	return nil
}
