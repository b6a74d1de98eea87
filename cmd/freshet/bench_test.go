package main

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/datadir"
	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// benchRecords is how many records of the simulated shop one iteration reads: half an hour of a busy shop.
const benchRecords = 100_000

// discard is freshet's own reading without the rest: it takes the same records and throws them away.
type discard struct{ offsets chan schema.Offset }

func (discard) Assign(context.Context, schema.Partition) (schema.Offset, error) { return 0, nil }
func (discard) Revoke(schema.Partition)                                         {}
func (d discard) Apply(_ context.Context, _ schema.Partition, b source.Batch) error {
	d.offsets <- schema.Offset(len(b.Records))
	return nil
}

// BenchmarkPipeline reads the same records from the same broker: thrown away by kafka-go's own readers, the bare loop that
// ingest is compared with; thrown away by freshet's; into a durable log; and all the way into published versions. The
// figures of one run compare; those of different runs do not.
func BenchmarkPipeline(b *testing.B) {
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	c := config.Default()
	c.Source.Clicks = benchRecords
	broker, err := embed.StartKafka(embed.KafkaConfig{DataDir: b.TempDir(), Topic: c.Kafka.Topic, Partitions: c.Kafka.Partitions})
	if err != nil {
		b.Fatal(err)
	}
	defer broker.Close()
	server, err := embed.StartNATS(embed.NATSConfig{StoreDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	brokers := []string{broker.Address()}
	stream, id, err := openStream(c, "")
	if err != nil {
		b.Fatal(err)
	}
	producer, err := source.NewProducer(source.ProducerConfig{Brokers: brokers, Topic: c.Kafka.Topic, StreamID: id}, stream)
	if err != nil {
		b.Fatal(err)
	}
	if err := producer.Run(ctx); err != nil {
		b.Fatal(err)
	}
	ends := producer.Stats().Ends
	rate := func(b *testing.B, began time.Time) {
		b.ReportMetric(benchRecords*float64(b.N)/time.Since(began).Seconds(), "clicks/s")
		b.ReportMetric(0, "ns/op")
	}
	open := func(b *testing.B) (*intake, *datadir.Dir) {
		dir, err := datadir.Open(b.TempDir()+"/data", time.Now())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { dir.Close() })
		// Without a group nothing but reading is timed.
		in, err := openIntake(ctx, config.Config{Kafka: config.Kafka{Topic: c.Kafka.Topic}, Window: c.Window}, dir, brokers, false, log)
		if err != nil {
			b.Fatal(err)
		}
		return in, dir
	}
	b.Run("kafka-go", func(b *testing.B) {
		began := time.Now()
		for range b.N {
			var reading errgroup.Group
			for p, end := range ends {
				reading.Go(func() error {
					r := kafka.NewReader(kafka.ReaderConfig{Brokers: brokers, Topic: c.Kafka.Topic, Partition: p, MinBytes: 1, MaxBytes: 8 << 20, MaxWait: 250 * time.Millisecond})
					for range end {
						if _, err := r.FetchMessage(ctx); err != nil {
							return errors.Join(err, r.Close())
						}
					}
					return r.Close()
				})
			}
			if err := reading.Wait(); err != nil {
				b.Fatal(err)
			}
		}
		rate(b, began)
	})
	b.Run("fetch", func(b *testing.B) {
		began := time.Now()
		for range b.N {
			k, err := source.NewKafka(source.KafkaConfig{Brokers: brokers, Topic: c.Kafka.Topic})
			if err != nil {
				b.Fatal(err)
			}
			running, stop := context.WithCancel(ctx)
			d, done := discard{make(chan schema.Offset, 64)}, make(chan error, 1)
			go func() { done <- k.Run(running, d) }()
			for read := schema.Offset(0); read < benchRecords; {
				read += <-d.offsets
			}
			stop()
			for waiting := true; waiting; {
				select {
				case <-d.offsets:
				case err := <-done:
					waiting = false
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			k.Close()
		}
		rate(b, began)
	})
	ingest := func(b *testing.B, in *intake) {
		s := newStages()
		s.start("ingest", in.run)
		if err := s.until(ctx, func() bool { return in.reached(ends) }); err != nil {
			b.Fatal(s.stop(err))
		}
		if err := in.node.End(ctx); err != nil {
			b.Fatal(err)
		}
		if err := s.stop(nil); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("ingest", func(b *testing.B) {
		began := time.Now()
		for range b.N {
			in, _ := open(b)
			ingest(b, in)
			if err := in.close(); err != nil {
				b.Fatal(err)
			}
		}
		rate(b, began)
	})
	b.Run("train", func(b *testing.B) {
		began := time.Now()
		for range b.N {
			in, dir := open(b)
			nats, err := dialNATS(ctx, config.NATS{URL: server.URL()}, "bench", log)
			if err != nil {
				b.Fatal(err)
			}
			t, err := openTraining(ctx, c, dir, in, nats.js, prometheus.NewRegistry(), log)
			if err != nil {
				b.Fatal(err)
			}
			s := newStages()
			trained := s.start("trainer", t.run)
			ingest(b, in)
			t.trainer.Finish()
			if err := s.stop(s.wait(ctx, trained.done)); err != nil {
				b.Fatal(err)
			}
			nats.Close()
			if err := in.close(); err != nil {
				b.Fatal(err)
			}
		}
		rate(b, began)
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		b.ReportMetric(float64(memory.HeapAlloc)/(1<<20), "heap-MB")
	})
}
