package source_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kfake"
)

func values(records []source.Record) (v []string) {
	for _, r := range records {
		v = append(v, string(r.Value))
	}
	return v
}

func TestNoBrokerAtTheStart(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	want := fmt.Sprintf("kafka: no broker answers at %s: start one, or give the address of one that runs", address)
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, ConnectTimeout: 300 * time.Millisecond})
	if err := k.Run(context.Background(), newCollector()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("consumer: %v, want %q", err, want)
	}
	p, err := source.NewProducer(source.ProducerConfig{Brokers: []string{address}, Topic: topic, ConnectTimeout: 300 * time.Millisecond}, &numbered{n: 1, users: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(context.Background()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("producer: %v, want %q", err, want)
	}
}

func TestTopics(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	address := cluster.ListenAddrs()[0]
	ctx := context.Background()
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}})
	if _, err := k.Partitions(ctx); !errors.Is(err, source.ErrUnknownTopic) || !strings.Contains(err.Error(), `"clicks" at `+address+`: create it`) {
		t.Errorf("unknown topic: %v", err)
	}
	if err := k.Run(ctx, newCollector()); !errors.Is(err, source.ErrUnknownTopic) {
		t.Errorf("Run with an unknown topic: %v", err)
	}
	config := source.TopicConfig{Brokers: []string{address}, Topic: topic, Partitions: 3, Retention: time.Hour, RetentionBytes: -1}
	for range 2 {
		if n, err := source.EnsureTopic(ctx, config); n != 3 || err != nil {
			t.Fatalf("EnsureTopic: %d, %v, want 3 partitions", n, err)
		}
		config.Partitions = 5 // left alone, since the topic is there
	}
	info := cluster.TopicInfo(topic)
	for name, want := range map[string]string{"retention.ms": "3600000", "retention.bytes": "-1", "max.message.bytes": "2097152"} {
		if got := info.Configs[name]; got == nil || *got != want {
			t.Errorf("%s is %v, want %s", name, got, want)
		}
	}
}

func TestConfigsNameAllFaults(t *testing.T) {
	_, err := source.NewKafka(source.KafkaConfig{MaxRecords: -1, MaxBytes: 5, SessionTimeout: time.Millisecond, MaxWait: time.Hour, ConnectTimeout: -1})
	for _, want := range []string{"brokers", "topic", "max records", "max bytes", "session timeout", "max wait", "connect timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("kafka: %v, want it to name %s", err, want)
		}
	}
	_, err = source.NewProducer(source.ProducerConfig{Speed: -1, BatchRecords: -1, BatchBytes: -1, Linger: -1, ConnectTimeout: -1}, nil)
	for _, want := range []string{"brokers", "topic", "speed", "batch records", "batch bytes", "linger", "connect timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("producer: %v, want it to name %s", err, want)
		}
	}
}

// TestStats looks at what metrics are made of.
func TestStats(t *testing.T) {
	_, address := startKafka(t, 2)
	put(t, address, "a", 0, 0, 0, 1)
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: "g", MaxWait: 10 * time.Millisecond}.WithFetchBytes(1))
	c := newCollector()
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	c.apply = func(p schema.Partition, b source.Batch) error {
		if p == 0 && len(b.Records) > 0 && b.Records[0].Offset == 1 {
			held <- struct{}{}
			<-hold
		}
		return nil
	}
	stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	<-held
	c.until(t, "the other partition", func() bool { return c.total() == 2 })
	s := k.Stats()
	if s.TopicPartitions != 2 || s.Rebalances != 1 || s.Records != 2 || len(s.Partitions) != 2 {
		t.Errorf("stats %+v", s)
	}
	want := []source.PartitionStats{{Partition: 0, Next: 1, HighWatermark: 3, Lag: 2}, {Partition: 1, Next: 1, HighWatermark: 1}}
	if diff := cmp.Diff(want, s.Partitions, cmpopts.IgnoreFields(source.PartitionStats{}, "FetchedAt")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, p := range s.Partitions {
		if age := time.Since(p.FetchedAt); age < 0 || age > time.Minute {
			t.Errorf("partition %d was fetched %v ago", p.Partition, age)
		}
	}
	close(hold)
	c.until(t, "all", func() bool { return c.total() == 4 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if s := k.Stats(); len(s.Partitions) != 0 {
		t.Errorf("at the end it still reads %+v", s.Partitions)
	}
}
