package source_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
)

func BenchmarkProduce(b *testing.B) {
	cluster, address := startKafka(b, 4)
	b.ReportAllocs()
	b.ResetTimer()
	stats := produce(b, source.ProducerConfig{Brokers: []string{address}}, &repeated{n: b.N, value: clickBytes})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.StopTimer()
	var held int64 // what the broker says it has
	for _, p := range cluster.PartitionInfos(topic) {
		held += p.HighWatermark
	}
	if held != int64(b.N) || stats.Sent != uint64(b.N) {
		b.Fatalf("sent %d, the broker has %d, want %d", stats.Sent, held, b.N)
	}
}

// repeated is a stream of n records that costs next to nothing to make.
type repeated struct {
	n, at int
	key   [4]byte
	value []byte
}

func (s *repeated) Next() (source.Outgoing, error) {
	if s.at == s.n {
		return source.Outgoing{}, errEnd
	}
	s.at++
	s.key = [4]byte{byte('a' + s.at%26), byte('a' + s.at/26%26), byte('a' + s.at/676%26), 'x'}
	return source.Outgoing{Key: s.key[:], Value: s.value}, nil
}
func (s *repeated) Len() int     { return s.n }
func (s *repeated) Close() error { return nil }

// counter is a handler that keeps nothing. What it does with a record costs about the time of cost.
type counter struct {
	left atomic.Int64
	cost time.Duration
	done chan struct{}
}

func (c *counter) Assign(context.Context, schema.Partition) (schema.Offset, error) { return 0, nil }
func (c *counter) Revoke(schema.Partition)                                         {}
func (c *counter) Apply(_ context.Context, _ schema.Partition, b source.Batch) error {
	if c.cost > 0 {
		for begun := time.Now(); time.Since(begun) < time.Duration(len(b.Records))*c.cost; {
			runtime.KeepAlive(b)
		}
	}
	n := int64(len(b.Records))
	if left := c.left.Add(-n); left <= 0 && left+n > 0 {
		close(c.done)
	}
	return nil
}

var clickBytes = []byte(`{"user_id":"59","item_id":"234853","timestamp":1506826800026,"action":"click","session_id":"1506826329267796"}`)

// BenchmarkFetch reads a topic of four partitions to its end. The broker runs in the same process and takes its share of the
// processor; "bare kafka-go reader" is what kafka-go itself reads of the same topic in the same run, thrown away.
func BenchmarkFetch(b *testing.B) {
	_, address := startKafka(b, 4)
	produced := 0
	fill := func(b *testing.B) {
		if b.N > produced {
			produce(b, source.ProducerConfig{Brokers: []string{address}}, &repeated{n: b.N, value: clickBytes})
			produced = b.N
		}
		b.ReportAllocs()
		b.ResetTimer()
	}
	freshet := func(cost time.Duration) func(*testing.B) {
		return func(b *testing.B) {
			fill(b)
			k := newKafka(b, source.KafkaConfig{Brokers: []string{address}})
			c := &counter{done: make(chan struct{}), cost: cost}
			c.left.Store(int64(b.N))
			stop := run(b, func(ctx context.Context) error { return k.Run(ctx, c) })
			<-c.done
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.StopTimer()
			if err := stop(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("freshet", freshet(0))
	b.Run("bare kafka-go reader", func(b *testing.B) {
		fill(b)
		var left atomic.Int64
		left.Store(int64(b.N))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var reading sync.WaitGroup
		for p := range 4 {
			reading.Go(func() {
				r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{address}, Topic: topic, Partition: p, MinBytes: 1, MaxBytes: 8 << 20, MaxWait: 250 * time.Millisecond})
				defer r.Close()
				for {
					if _, err := r.FetchMessage(ctx); err != nil {
						return
					}
					if left.Add(-1) == 0 {
						cancel()
					}
				}
			})
		}
		<-ctx.Done()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		b.StopTimer()
		reading.Wait()
	})
	b.Run("freshet with a handler of 1.5 µs a record", freshet(1500*time.Nanosecond))
}
