package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// replayLog is what a replay reads: the log of parts that the same windows make of the same records as live.
type replayLog struct {
	store *buffer.Store
	name  string // what was read, for a person
}

// openLog opens the log of a data directory, or makes one of a file, the simulated shop or a part of a topic.
func (c *ReplayCmd) openLog(ctx context.Context, a *app, closers *closers) (l *replayLog, err error) {
	if c.DataDirectory != "" {
		a.cfg.DataDir = c.DataDirectory
		store, err := visitStore(a, closers, "stop it, or replay the topic it reads: --source kafka --from … --until …")
		if err != nil {
			return nil, err
		}
		return &replayLog{store, "The log in " + c.DataDirectory}, nil
	}
	path := c.KeepLog
	if path == "" {
		made, err := os.MkdirTemp("", "freshet-replay-")
		if err != nil {
			return nil, fmt.Errorf("a place for the log: %w: give one with --keep-log", err)
		}
		closers.add(func() error { return os.RemoveAll(made) })
		path = made
	}
	dir, err := datadir.Open(path, a.now())
	if err != nil {
		return nil, err
	}
	closers.add(dir.Close)
	in, err := c.input(ctx, a, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if err := in.recognise(dir); err != nil {
		return nil, err
	}
	store, err := buffer.Open(dir.Buffer(), buffer.Options{MinFreeBytes: a.cfg.Ingest.MinFree, Log: a.log}) // nothing is removed: a reader comes later
	if err != nil {
		return nil, err
	}
	closers.add(store.Close)
	if store.Partition(0).Window.Ended {
		a.log.Info("the log is there already, and is read as it is", "keep_log", path)
		return &replayLog{store, in.name}, nil
	}
	decoder, err := decode.New(in.records)
	if err != nil {
		return nil, err
	}
	node, err := ingest.New(store, recordDecoder(decoder), ingest.Options{Window: windowConfig(a.cfg.Window), Topic: a.cfg.Kafka.Topic, MaxAhead: a.cfg.Window.MaxAhead, Log: a.log})
	if err != nil {
		return nil, err
	}
	if err := in.fill(ctx, node); err != nil {
		return nil, err
	}
	if err := node.End(ctx); err != nil {
		return nil, err
	}
	return &replayLog{store, in.name}, nil
}

// input is a bounded stream that becomes a log.
type input struct {
	name     string
	identity string // of the stream and the windows: two inputs of one identity make the same log
	records  decode.Config
	fill     func(ctx context.Context, node *ingest.Node) error
	close    func() error
}

// identityFile is where a kept log says what it was made of.
const identityFile = "replay.json"

// recognise refuses a directory with the log of another input, and leaves a note in a new one.
func (in *input) recognise(dir *datadir.Dir) error {
	name := filepath.Join(dir.Path(), identityFile)
	before, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(dir.Buffer()); err == nil {
			return fmt.Errorf("--keep-log %s holds a log that no replay has made: read it with --data-dir %s, or name another directory", dir.Path(), dir.Path())
		}
		if err := os.WriteFile(name, []byte(in.identity), 0o640); err != nil {
			return fmt.Errorf("--keep-log: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("--keep-log: %w", err)
	case string(before) != in.identity:
		return fmt.Errorf("--keep-log %s holds the log of another input, or of other windows (%s): name another directory, or read it as it is with --data-dir %s",
			dir.Path(), before, dir.Path())
	}
	return nil
}

// identityOf writes what makes a log what it is.
func identityOf(stream string, of any, w config.Window) (string, error) {
	b, err := json.Marshal(struct {
		Input  string        `json:"input"`
		Of     any           `json:"of"`
		Window config.Window `json:"window"`
	}{stream, of, w})
	return string(b), err
}

// input opens what is to become a log.
func (c *ReplayCmd) input(ctx context.Context, a *app, dir *datadir.Dir) (*input, error) {
	if a.cfg.Source.Kind() == config.KindKafka {
		return c.topic(ctx, a)
	}
	return c.stream(a, dir)
}

// stream is a file, or the simulated shop.
func (c *ReplayCmd) stream(a *app, dir *datadir.Dir) (*input, error) {
	cfg := a.cfg.Config
	records, err := decodeConfig(cfg.Source)
	if err != nil {
		return nil, err
	}
	cfg.Source.Clicks = 0 // counted behind the bounds of time
	if cfg.Source.Kind() == config.KindSim {
		if c.Limit == 0 {
			return nil, errors.New("the simulated shop has no end: say how many clicks with --limit")
		}
		cfg.Source.Clicks = c.Limit
	}
	stream, _, err := openStream(cfg, dir.Path())
	if err != nil {
		return nil, err
	}
	bounds := [3]int64{c.From.ms(0), c.Until.ms(0), int64(c.Limit)}
	of := map[string]any{"bounds": bounds}
	name := "The simulated shop"
	switch cfg.Source.Kind() {
	case config.KindSim:
		of["sim"] = cfg.Sim
	case config.KindFile:
		name = cfg.Source.From
		of["format"], of["fields"], of["sort"] = cfg.Source.Format, cfg.Source.Fields, cfg.Source.Sort
		if info, err := os.Stat(cfg.Source.From); err == nil {
			of["bytes"], of["changed"] = info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano)
		}
	}
	in := &input{name: name, records: records, close: stream.Close}
	if in.identity, err = identityOf(cfg.Source.From, of, cfg.Window); err != nil {
		return nil, errors.Join(err, stream.Close())
	}
	in.fill = func(ctx context.Context, node *ingest.Node) error {
		if p, sorts := source.Sorting(stream); sorts {
			hide := a.showReading(p)
			err := source.Prepare(ctx, stream)
			hide()
			if err != nil {
				return err
			}
		}
		if p, ok := stream.(source.Progress); ok {
			defer a.showReading(p)()
		}
		return pour(ctx, stream, node, bounds[0], bounds[1], c.Limit)
	}
	return in, nil
}

// pourAtOnce is how many records are made durable together.
const pourAtOnce = 4096

// pour gives the records of s from one time up to, and without, another, at most limit of them, to partition 0 of node. A record's arrival is its event time: a file
// does not say when its rows came. A run that was interrupted goes on, because a record has the offset that its place gives it.
func pour(ctx context.Context, s source.Stream, node *ingest.Node, from, until int64, limit int) error {
	if err := node.Topology(ctx, 1); err != nil {
		return err
	}
	next, err := node.Assign(ctx, 0)
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = math.MaxInt
	}
	var records []source.Record
	offset := schema.Offset(0)
	flush := func() error {
		if len(records) == 0 {
			return nil
		}
		err := node.Apply(ctx, 0, source.Batch{Records: records, Next: offset, HighWatermark: offset})
		records = records[:0]
		return errors.Join(err, ctx.Err())
	}
	for int(offset) < limit {
		r, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		at := int64(r.EventTime)
		if from > 0 && at < from || until > 0 && at >= until {
			continue
		}
		if offset >= next {
			records = append(records, source.Record{Offset: offset, ArrivedAt: schema.ArrivalTime(at), Key: slices.Clone(r.Key), Value: slices.Clone(r.Value)})
		}
		offset++
		if len(records) == pourAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if offset == 0 {
		return errEmptyRange
	}
	return flush()
}

var errEmptyRange = errors.New("there is no record in it, or none within --from and --until: give other bounds, or another input")

// topic is a part of a Kafka topic, by the times at which its records arrived there.
func (c *ReplayCmd) topic(ctx context.Context, a *app) (*input, error) {
	cfg := a.cfg.Config
	if cfg.Kafka.Embedded() {
		return nil, errors.New("--source kafka needs --brokers HOST:PORT")
	}
	records, err := decodeConfig(cfg.Source)
	if err != nil {
		return nil, err
	}
	kafka, err := source.NewKafka(source.KafkaConfig{Brokers: cfg.Kafka.Brokers, Security: security(cfg.Kafka), Topic: cfg.Kafka.Topic, Log: a.log})
	if err != nil {
		return nil, err
	}
	now := a.now().UnixMilli()
	r, err := kafka.Range(ctx, schema.ArrivalTime(c.From.ms(now)), schema.ArrivalTime(c.Until.ms(now)))
	if err != nil {
		return nil, errors.Join(err, kafka.Close())
	}
	if r.Records() == 0 {
		return nil, errors.Join(fmt.Errorf("topic %s has no record within --from and --until: give other bounds, or leave them out", cfg.Kafka.Topic), kafka.Close())
	}
	in := &input{name: fmt.Sprintf("Topic %s, %d records", cfg.Kafka.Topic, r.Records()), records: records, close: kafka.Close}
	if in.identity, err = identityOf("kafka", map[string]any{"topic": cfg.Kafka.Topic, "range": r}, cfg.Window); err != nil {
		return nil, errors.Join(err, kafka.Close())
	}
	in.fill = func(ctx context.Context, node *ingest.Node) error {
		hide := a.showTopic(node, r)
		err := kafka.RunRange(ctx, r, node)
		hide()
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		for p := range r.To { // they were let go at the end of the range, and are closed next
			if _, err := node.Assign(ctx, schema.Partition(p)); err != nil {
				return err
			}
		}
		return nil
	}
	return in, nil
}

// showTopic draws how much of a range is read, until the returned function is called.
func (a *app) showTopic(node *ingest.Node, r source.Range) (hide func()) {
	if !a.drawn {
		return func() {}
	}
	bar := view.NewProgressOf("records", a.stderr, a.log, "read", r.Records(), a.now)
	return a.follow(bar, func() (n int64) {
		for p, next := range node.Offsets() {
			if int(p) < len(r.To) {
				n += max(0, int64(min(next, r.To[p])-r.From[p]))
			}
		}
		return n
	})
}
