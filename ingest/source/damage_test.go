package source_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestDamagedBatch has the broker answer with a batch that was damaged on its way, some times: what lies before it is read,
// health says what is wrong, and then all of it is there, once.
func TestDamagedBatch(t *testing.T) {
	cluster, address := startKafka(t, 1)
	put(t, address, "a", 0)
	put(t, address, "b", 0)
	good := fetchAll(t, address)
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 1
	var heal atomic.Bool
	cluster.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		request := r.(*kmsg.FetchRequest)
		if heal.Load() {
			return nil, nil, false
		}
		p := kmsg.NewFetchResponseTopicPartition()
		p.HighWatermark, p.LastStableOffset, p.RecordBatches = 2, 2, bad
		if request.Topics[0].Partitions[0].FetchOffset == 1 {
			p.RecordBatches = bad[len(bad)/2:]
		}
		response := request.ResponseKind().(*kmsg.FetchResponse)
		response.Topics = []kmsg.FetchResponseTopic{{Topic: topic, Partitions: []kmsg.FetchResponseTopicPartition{p}}}
		return response, nil, true
	})
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, MaxWait: 10 * time.Millisecond})
	c := newCollector()
	stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	c.until(t, "the damage to be told", func() bool {
		var o *source.Outage
		return errors.As(k.Health(), &o) && o.Failures > 1 && !o.Since.IsZero() && slices.Equal(o.Partitions, []schema.Partition{0}) &&
			strings.Contains(o.Error(), `topic "clicks" partitions 0: waiting for the brokers since`) && strings.Contains(o.Error(), "partition 0 at 1: a batch is damaged")
	})
	if diff := cmp.Diff([]string{"a"}, values(c.snapshot(0))); diff != "" {
		t.Errorf("before the damage (-want +got):\n%s", diff)
	}
	heal.Store(true)
	c.until(t, "the rest", func() bool { return c.total() == 2 })
	c.until(t, "health", func() bool { return k.Health() == nil })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, values(c.records[0])); diff != "" || len(c.faults) > 0 {
		t.Errorf("(-want +got):\n%s%v", diff, c.faults)
	}
}

// fetchAll returns the record set that the broker has of partition 0.
func fetchAll(t testing.TB, address string) []byte {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrFetchRequest()
	request.Version, request.MaxBytes = 11, 1<<20
	part := kmsg.NewFetchRequestTopicPartition()
	part.PartitionMaxBytes = 1 << 20
	of := kmsg.NewFetchRequestTopic()
	of.Topic, of.Partitions = topic, []kmsg.FetchRequestTopicPartition{part}
	request.Topics = append(request.Topics, of)
	cc, err := client.Broker(0).RetriableRequest(context.Background(), &pinned{request, 11})
	if err != nil {
		t.Fatal(err)
	}
	return cc.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches
}

// pinned is a request whose version is not negotiated.
type pinned struct {
	*kmsg.FetchRequest
	version int16
}

func (p *pinned) MaxVersion() int16 { return p.version }

// TestEmptiedEndOfABatch answers fetches as a broker does whose compaction removed the end of a batch: with the whole
// batch, as long as the offset lies within it.
func TestEmptiedEndOfABatch(t *testing.T) {
	cluster, address := startKafka(t, 1)
	batch := kmsg.RecordBatch{Magic: 2, LastOffsetDelta: 9, NumRecords: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, PartitionLeaderEpoch: -1}
	for i := range 2 {
		r := kmsg.Record{OffsetDelta: int32(i), Value: []byte{'a' + byte(i)}}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		batch.Records = r.AppendTo(batch.Records)
	}
	batch.Length = int32(len(batch.AppendTo(nil)) - 12)
	batch.CRC = int32(crc32.Checksum(batch.AppendTo(nil)[21:], crc32.MakeTable(crc32.Castagnoli)))
	cluster.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		request := r.(*kmsg.FetchRequest)
		p := kmsg.NewFetchResponseTopicPartition()
		p.HighWatermark, p.LastStableOffset = 10, 10
		if request.Topics[0].Partitions[0].FetchOffset < 10 {
			p.RecordBatches = batch.AppendTo(nil)
		}
		response := request.ResponseKind().(*kmsg.FetchResponse)
		response.Topics = []kmsg.FetchResponseTopic{{Topic: topic, Partitions: []kmsg.FetchResponseTopicPartition{p}}}
		return response, nil, true
	})
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}})
	c := newCollector()
	stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	c.until(t, "the end", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.empty[0].Next == 10
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, values(c.records[0])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOffsetsOutOfRange(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	address := cluster.ListenAddrs()[0]
	if err := cluster.CreateTopic(topic, 1, map[string]string{"retention.ms": "0"}); err != nil {
		t.Fatal(err)
	}
	produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: 100, users: 5})
	cluster.ApplyRetention()
	produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: 110, users: 5})
	c := newCollector()
	c.next[0] = 40
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}})
	stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	c.until(t, "the rest", func() bool { return c.total() == 10 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := k.Stats().Expired; got != 60 {
		t.Errorf("%d offsets expired, want 60", got)
	}
	c.next[0] = 111
	if err := k.Run(context.Background(), c); !errors.Is(err, source.ErrTruncated) || !strings.Contains(err.Error(), "empty --data-dir") {
		t.Errorf("behind the end: %v, want ErrTruncated", err)
	}
	c.next[0] = 40
	k = newKafka(t, source.KafkaConfig{Brokers: []string{address}, OnExpired: source.ExpiredStop})
	if err := k.Run(context.Background(), c); !errors.Is(err, source.ErrExpired) ||
		!strings.Contains(err.Error(), "60, offsets 40 to 99: raise the topic's retention.ms, and go on without them (kafka.on_expired: earliest)") {
		t.Errorf("expired, and to stop: %v, want ErrExpired", err)
	}
	// Who has read nothing yet has lost nothing: the topic begins where it begins.
	fresh := newCollector()
	stop = run(t, func(ctx context.Context) error { return k.Run(ctx, fresh) })
	fresh.until(t, "what there is", func() bool { return fresh.total() == 10 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := k.Stats().Expired; got != 0 {
		t.Errorf("%d offsets expired, want none", got)
	}
}

// TestCompactedTopic reads a log in which whole batches and the ends of batches are gone.
func TestCompactedTopic(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	address := cluster.ListenAddrs()[0]
	if err := cluster.CreateTopic(topic, 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, keys := range []string{"abc", "zzz", "bcq", "abcde", "xbc"} { // each word is a batch, of the letters' records
		var records []*kgo.Record
		for _, k := range keys {
			records = append(records, &kgo.Record{Key: []byte(string(k)), Value: fmt.Appendf(nil, "%c%s", k, keys)})
		}
		if err := client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	cluster.Compact()
	for start := range schema.Offset(17) {
		c := newCollector()
		c.next[0] = start
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, MaxWait: 10 * time.Millisecond})
		stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
		c.until(t, "the end", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.next[0] == 17
		})
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, r := range c.records[0] {
			got[string(r.Key)] = string(r.Value)
		}
		if start == 0 {
			want := map[string]string{"a": "aabcde", "z": "zzzz", "q": "qbcq", "d": "dabcde", "e": "eabcde", "x": "xxbc", "b": "bxbc", "c": "cxbc"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	}
}
