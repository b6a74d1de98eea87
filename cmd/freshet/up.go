package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/nn"
)

// up is the whole house in one process. What it opens it closes in reverse order; what runs, runs as a stage.
type up struct {
	*app
	once bool

	closers  closers
	stages   *stages
	listener net.Listener
	in       *intake
	shown    *shown
	train    *training
	producer *source.Producer
	input    source.Stream
	replicas []*replica.Replica
	live     *replica.LiveClicks // of all replicas
	ids      []string
	metrics  *prometheus.Registry
	monitor  *monitor
	nats     config.NATS // of the server that is used
}

// onceClicks ends "freshet up --once" on the simulated shop, which has no end of its own, after about a minute.
const onceClicks = 200_000

// Run returns at the end of the input with --once, else when ctx ends.
func (c *UpCmd) Run(ctx context.Context, a *app) (err error) {
	if c.Once && a.cfg.Source.Kind() == config.KindSim && a.cfg.Source.Clicks == 0 {
		a.cfg.Source.Clicks = onceClicks
	}
	u := &up{app: a, once: c.Once, stages: newStages(), metrics: newMetrics()}
	defer u.closers.close(&err)
	if err := u.open(ctx); err != nil {
		return err
	}
	hide := u.show()
	ended := u.run(ctx)
	u.monitor.enter(view.StageStopping)
	err = u.stages.stop(ended)
	hide()
	switch {
	case err != nil:
		return err
	case ended == nil:
		return u.summarise(c.JSON)
	case u.once:
		return ended // interrupted before the end
	}
	u.log.Info("stopped in order; the next \"freshet up\" on this data directory goes on from here", "data_dir", u.cfg.DataDir)
	return nil
}

// open takes every resource, in an order in which the cheap refusals come first.
func (u *up) open(ctx context.Context) (err error) {
	c := u.cfg.Config
	if c.Source.Kind() == config.KindKafka && c.Kafka.Embedded() {
		return errors.New("--source kafka needs --brokers: the embedded broker has only what up itself produces")
	}
	var flight net.Listener
	if u.listener, flight, err = listenAll(c, u.log, false, &u.closers); err != nil {
		return err
	}
	var id uint64
	if c.Source.Kind() != config.KindKafka {
		if u.input, id, err = openStream(c, c.DataDir); err != nil {
			return err
		}
		u.closers.add(u.input.Close)
	}
	dir, err := datadir.Open(c.DataDir, time.Now())
	if err != nil {
		return err
	}
	u.closers.add(dir.Close)
	if unclean := dir.Unclean(); unclean != "" {
		u.log.Warn("the last run did not end in order; going on from what it made durable", "it", unclean)
	}
	brokers, err := u.openKafka(ctx, dir)
	if err != nil {
		return err
	}
	if c.NATS, err = u.openNATS(dir); err != nil {
		return err
	}
	u.nats = c.NATS
	nats, err := dialNATS(ctx, c.NATS, roleTrainer, u.log)
	if err != nil {
		return err
	}
	u.closers.add(closeConn(nats.Conn))
	c.Ingest.Snapshots = config.SnapshotsOff // nobody else goes on with what is in one process
	if u.in, err = openIntake(ctx, c, dir, brokers, c.Source.Kind() == config.KindKafka && !u.once, u.log); err != nil {
		return err
	}
	u.closers.add(u.in.close)
	if u.shown, err = openShown(c.Flight, flight, u.in, u.log); err != nil {
		return err
	}
	// A whole stream at once is no stream that training is behind, and a run to the end of its input says the same at any speed.
	if speed, err := c.Source.SpeedFactor(!u.once); u.once || err == nil && speed == 0 {
		c.Train.Recency.LagSoft, c.Train.Recency.LagHard = 0, 0
	}
	if u.train, err = openTraining(ctx, c, dir, u.in, nats.js, u.metrics, u.log); err != nil {
		return err
	}
	if u.input != nil {
		p, err := producerConfig(c, brokers, id, !u.once, u.log)
		if err != nil {
			return err
		}
		if u.producer, err = source.NewProducer(p, u.input); err != nil {
			return err
		}
	}
	u.monitor = &monitor{in: u.in, train: u.train, producer: u.producer, input: u.input, started: time.Now(), stage: view.StageStarting,
		static: view.Status{Backend: nn.Backend(), API: apiURL(c.Serve, u.listener), Kafka: brokers[0], NATS: publisher.Redacted(c.NATS.URL)}}
	u.metrics.MustRegister(collector{u.monitor.status})
	u.in.watch(u.metrics)
	return u.openReplicas(dir)
}

func (u *up) openKafka(ctx context.Context, dir *datadir.Dir) (brokers []string, err error) {
	c := u.cfg.Kafka
	if !c.Embedded() {
		if u.input != nil {
			_, err = source.EnsureTopic(ctx, source.TopicConfig{Brokers: c.Brokers, Security: security(c), Topic: c.Topic, Partitions: c.Partitions})
		}
		return c.Brokers, err
	}
	broker, err := embed.StartKafka(embed.KafkaConfig{Port: c.Port, DataDir: dir.Kafka(), Topic: c.Topic, Partitions: c.Partitions,
		Retention: c.Retention, RetentionBytes: c.RetentionBytes, Sync: c.Sync, Log: u.log})
	if err != nil {
		return nil, err
	}
	u.closers.add(broker.Close)
	return []string{broker.Address()}, nil
}

// openNATS returns how NATS is reached: the server that is configured, or one that it starts.
func (u *up) openNATS(dir *datadir.Dir) (config.NATS, error) {
	if !u.cfg.NATS.Embedded() {
		return u.cfg.NATS, nil
	}
	server, err := embed.StartNATS(embed.NATSConfig{Port: u.cfg.NATS.Port, StoreDir: dir.NATS(), Log: u.log})
	if err != nil {
		return config.NATS{}, err
	}
	u.closers.add(server.Close)
	return config.NATS{URL: server.URL()}, nil
}

// openReplicas makes the replicas, each with a connection and a directory of its own, trusting the key that signs here alone.
func (u *up) openReplicas(dir *datadir.Dir) error {
	key, err := signingKey(u.cfg.Publish, dir)
	if err != nil {
		return err
	}
	public, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	u.live = liveClicks(u.cfg.Serve, u.metrics)
	tracer, endTraces, err := openTracer(u.cfg.Serve.Traces, "up", u.log)
	if err != nil {
		return err
	}
	u.closers.add(endTraces)
	for i := range u.cfg.Serve.Replicas {
		id := fmt.Sprintf("replica-%d", i+1)
		r, err := replica.New(withAPI(replica.Config{
			ID: id, Model: u.cfg.Publish.Model, Address: u.monitor.static.API, Dir: dir.Replica(id), TrustedKeys: []string{public},
			Serving: u.cfg.Serve.Serving(), Gap: u.cfg.Window.Gap, Log: u.log,
			CacheBytes: cacheBytes(u.cfg.Serve.CacheBytes, u.cfg.Serve.Replicas), WarmupRequests: orNone(u.cfg.Serve.WarmupRequests), Live: u.live, Tracer: tracer,
		}, u.cfg.Serve), u.in.store)
		if err != nil {
			return err
		}
		prometheus.WrapRegistererWith(prometheus.Labels{"replica": id}, u.metrics).MustRegister(r.Metrics())
		u.replicas, u.ids = append(u.replicas, r), append(u.ids, id)
	}
	return nil
}

// run starts the stages from the end of the pipeline to its beginning, and waits for the end.
func (u *up) run(ctx context.Context) error {
	handlers := make([]http.Handler, len(u.replicas))
	for i, r := range u.replicas {
		handlers[i] = r.Handler()
		nats, err := dialNATS(ctx, u.nats, u.ids[i], u.log)
		if err != nil {
			return err
		}
		u.closers.add(closeConn(nats.Conn))
		u.stages.start(u.ids[i], func(ctx context.Context) error { return r.Run(ctx, nats.js) })
	}
	if u.live != nil {
		u.stages.start("live clicks", func(ctx context.Context) error { return hear(ctx, u.in.told, u.live) })
	}
	u.stages.start("http", func(ctx context.Context) error {
		h, err := withAside(front(handlers, u.monitor.status, u.metrics), u.in, u.app)
		if err != nil {
			return err
		}
		drain := func() {
			for _, r := range u.replicas {
				r.Drain()
			}
		}
		return replica.Server{Handler: h, Draining: drain, DrainDelay: u.cfg.Serve.DrainDelay, DrainTimeout: u.cfg.Serve.DrainTimeout, Log: u.log}.Serve(ctx, u.listener)
	}).grace = u.cfg.Serve.Drain()
	u.stages.start("reports", u.train.follow)
	trained := u.stages.start("trainer", u.train.run)
	u.shown.start(u.stages, u.metrics)
	if err := u.in.startDeadLetters(u.cfg.Kafka, u.stages, u.metrics, u.log); err != nil {
		return err
	}
	u.stages.start("ingest", u.in.run)
	u.log.Info("freshet is up", "api", u.monitor.static.API, "kafka", u.monitor.static.Kafka, "nats", u.monitor.static.NATS, "flight", u.shown.address(u.cfg.Flight),
		"replicas", len(u.replicas), "blas", nn.Backend(), "data_dir", u.cfg.DataDir)
	u.monitor.enter(view.StageRunning)
	ends, err := u.endOfInput(ctx)
	if err != nil {
		return err
	}
	// The input was bounded. What is on its way is read, closed, trained on, published and adopted.
	u.monitor.enter(view.StageDraining)
	if err := u.stages.until(ctx, func() bool { return u.in.reached(ends) }); err != nil {
		return err
	}
	if err := u.in.node.End(ctx); err != nil {
		return err
	}
	if !u.once {
		u.monitor.enter(view.StageRunning)
		u.log.Info("the input has ended; serving until interrupted")
		return u.stages.wait(ctx, nil)
	}
	u.train.trainer.Finish()
	if err := u.stages.wait(ctx, trained.done); err != nil {
		return err
	}
	last := u.train.trainer.Stats().Version
	deadline := time.Now().Add(adoptWithin)
	err = u.stages.until(ctx, func() bool { return u.train.behind(last, u.ids) == nil || time.Now().After(deadline) })
	return errors.Join(err, u.train.behind(last, u.ids))
}

// endOfInput returns the offsets behind the last record of the input, once that is in Kafka: of a file or the simulated shop,
// where the producer ends; of a Kafka topic, with --once what it holds now. An input without end returns with ctx.
func (u *up) endOfInput(ctx context.Context) ([]schema.Offset, error) {
	switch {
	case u.producer != nil:
		produced := u.stages.start("producer", func(ctx context.Context) error {
			if _, sorts := source.Sorting(u.input); sorts {
				u.log.Info("putting the file in the order of its times first", "file", u.cfg.Source.From)
			}
			if err := source.Prepare(ctx, u.input); err != nil {
				return err
			}
			return u.producer.Run(ctx)
		})
		err := u.stages.wait(ctx, produced.done)
		return u.producer.Stats().Ends, err
	case u.once:
		return u.in.kafka.Ends(ctx)
	}
	return nil, u.stages.wait(ctx, nil)
}

// adoptWithin bounds the wait for the replicas at the end. All else is done by then.
const adoptWithin = time.Minute

// show lets a person watch until the returned function is called: live on a terminal, as log lines elsewhere.
func (u *up) show() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if !u.terminal {
			view.Plain(ctx, u.log, 5*time.Second, u.monitor.status)
			return
		}
		screen := view.NewTerminal(view.TerminalConfig{In: u.stdin, Out: u.stderr, Poll: u.monitor.status, Stop: u.stop, Abort: u.abort})
		defer u.logTo(screen)()
		if err := screen.Run(ctx); err != nil {
			u.log.Warn("there is no live view", "error", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// summarise prints what the run has done: a table, or with --json one object as the last line.
func (u *up) summarise(asJSON bool) error {
	u.monitor.enter(view.StageDone)
	end := u.monitor.status().End()
	if asJSON {
		return json.NewEncoder(u.stdout).Encode(end)
	}
	_, err := fmt.Fprint(u.stdout, end.Table())
	return err
}
