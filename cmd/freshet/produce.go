package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/ingest/source"
)

// Run sends a file to Kafka. Run again after an interruption, it goes on behind the last record that arrived.
func (c *ProduceCmd) Run(ctx context.Context, a *app) error {
	if err := needFile(a.cfg.Source); err != nil {
		return err
	}
	return produce(ctx, a, false)
}

// Run sends the simulated shop to Kafka, or writes it to a file.
func (c *SimulateCmd) Run(ctx context.Context, a *app) error {
	a.cfg.Source.From = "sim"
	if c.Out != "" {
		return write(ctx, a, c.Out)
	}
	return produce(ctx, a, a.cfg.Source.Clicks == 0)
}

// produce sends the configured stream to the configured topic, which it makes where it is missing.
func produce(ctx context.Context, a *app, live bool) (err error) {
	c := a.cfg.Config
	if c.Kafka.Embedded() {
		return errors.New("no Kafka to send to: give --brokers HOST:PORT")
	}
	stream, id, err := openStream(c, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	config, err := producerConfig(c, c.Kafka.Brokers, id, live, a.log)
	if err != nil {
		return err
	}
	if _, err := source.EnsureTopic(ctx, source.TopicConfig{Brokers: c.Kafka.Brokers, Security: security(c.Kafka), Topic: c.Kafka.Topic, Partitions: c.Kafka.Partitions}); err != nil {
		return err
	}
	p, err := source.NewProducer(config, stream)
	if err != nil {
		return err
	}
	s := newStages()
	if err := a.prepare(ctx, s, stream); err != nil {
		return err
	}
	sent := s.start("producer", p.Run)
	done := func() int64 {
		stats := p.Stats()
		return int64(stats.Sent + stats.Skipped)
	}
	s.start("progress", func(ctx context.Context) error { return a.progress(ctx, "produce", stream.Len(), done) })
	if err := s.stop(s.wait(ctx, sent.done)); err != nil {
		return err
	}
	stats := p.Stats()
	_, err = fmt.Fprintf(a.stdout, "%d records sent to topic %s, %d were there already\n", stats.Sent, c.Kafka.Topic, stats.Skipped)
	return err
}

// prepare sorts stream, if it has to be, and shows how far that has come.
func (a *app) prepare(ctx context.Context, s *stages, stream source.Stream) error {
	p, sorts := source.Sorting(stream)
	if !sorts {
		return nil
	}
	sorted := s.start("sort", func(ctx context.Context) error { return source.Prepare(ctx, stream) })
	_, total := p.Progress()
	s.start("progress", func(ctx context.Context) error {
		return a.progressOf(ctx, "bytes", "sort", int(total), func() int64 { done, _ := p.Progress(); return done })
	})
	return errors.Join(s.stop(s.wait(ctx, sorted.done)), ctx.Err())
}

// write writes the configured stream to a file, one record a line.
func write(ctx context.Context, a *app, path string) (err error) {
	if a.cfg.Source.Clicks == 0 {
		return errors.New("the simulated shop has no end: say how many records with --clicks")
	}
	stream, _, err := openStream(a.cfg.Config, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	out := a.stdout
	if path != "-" {
		f, err := os.Create(path)
		if err != nil {
			return fmt.Errorf("simulate: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	w := bufio.NewWriter(out)
	for n := 0; ; n++ {
		record, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return w.Flush()
		}
		if err != nil {
			return fmt.Errorf("simulate: %w", err)
		}
		if n%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := w.Write(append(record.Value, '\n')); err != nil {
			return fmt.Errorf("simulate: write %s: %w", path, err)
		}
	}
}

// progress shows done out of total clicks until ctx ends.
func (a *app) progress(ctx context.Context, label string, total int, done func() int64) error {
	return a.progressOf(ctx, "clicks", label, total, done)
}

// progressOf is progress of what is not clicks.
func (a *app) progressOf(ctx context.Context, units, label string, total int, done func() int64) error {
	var bar io.Writer
	if a.terminal {
		bar = a.stderr
	}
	p := view.NewProgressOf(units, bar, a.log, label, int64(total), a.now)
	defer p.Close()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var shown int64
	for {
		n := done()
		p.Add(n - shown)
		shown = n
		select {
		case <-ctx.Done():
			p.Add(done() - shown)
			return nil
		case <-tick.C:
		}
	}
}
