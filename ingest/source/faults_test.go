package source_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
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

// TestProduceFaults has the broker append batches and answer that it timed out, or refuse them for reasons that pass.
func TestProduceFaults(t *testing.T) {
	for _, fault := range []*kerr.Error{kerr.RequestTimedOut, kerr.NotLeaderForPartition, kerr.UnknownProducerID,
		kerr.OutOfOrderSequenceNumber, kerr.InvalidProducerEpoch} {
		cluster, address := startKafka(t, 2)
		random := rand.New(rand.NewPCG(1, 2)) // used on the broker's goroutine only
		handle := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: fault, Count: -1, When: func(kmsg.Request) bool {
			return random.IntN(4) == 0
		}})
		const n = 200
		stats := produce(t, source.ProducerConfig{Brokers: []string{address}, BatchRecords: 20}, &numbered{n: n, users: 50})
		if hits := handle.Hits(); hits == 0 {
			t.Errorf("%v: no request failed: the test tests nothing", fault)
		}
		handle.Remove()
		if stats.Sent != n {
			t.Errorf("%v: sent %d, want %d", fault, stats.Sent, n)
		}
		checkNumbered(t, consume(t, address, "", n), n)
	}
}

func TestProduceGivesUpWhereRetryingCannotHelp(t *testing.T) {
	cluster, address := startKafka(t, 1)
	try := func(s source.Stream) error {
		p, err := source.NewProducer(source.ProducerConfig{Brokers: []string{address}, Topic: topic}, s)
		if err != nil {
			t.Fatal(err)
		}
		return p.Run(context.Background())
	}
	if err := try(&fixed{values: [][]byte{make([]byte, 3<<20)}}); err == nil || !strings.Contains(err.Error(), "raise its max.message.bytes") {
		t.Errorf("too large: %v", err)
	}
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed})
	if err := try(&fixed{values: [][]byte{{1}}}); err == nil || !strings.Contains(err.Error(), "allow it") {
		t.Errorf("not allowed: %v", err)
	}
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord})
	if err := try(&fixed{values: [][]byte{{1}}}); err == nil || !strings.Contains(err.Error(), "check its settings") {
		t.Errorf("refused: %v", err)
	}
}

// TestHealthOfAProducer looks at it while the broker refuses, and lets the broker answer once that was seen.
func TestHealthOfAProducer(t *testing.T) {
	cluster, address := startKafka(t, 1)
	handle := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: -1})
	p, err := source.NewProducer(source.ProducerConfig{Brokers: []string{address}, Topic: topic}, &numbered{n: 10, users: 1})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run(context.Background()) }()
	for p.Health() == nil {
		time.Sleep(time.Millisecond)
	}
	handle.Remove()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := p.Health(); err != nil || p.Stats().Sent != 10 {
		t.Errorf("health %v, stats %+v after the fault", err, p.Stats())
	}
}

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

// TestResume stops producers at random points and demands the same partitions as without a stop.
func TestResume(t *testing.T) {
	const n = 5000
	_, whole := startKafka(t, 4)
	produce(t, source.ProducerConfig{Brokers: []string{whole}, StreamID: 7}, &numbered{n: n, users: 50})
	want := consume(t, whole, "", n)
	_, address := startKafka(t, 4)
	random := rand.New(rand.NewPCG(3, 4))
	for at := 0; at < n; {
		at += random.IntN(1500)
		ctx, cancel := context.WithCancel(context.Background())
		p, err := source.NewProducer(source.ProducerConfig{Brokers: []string{address}, Topic: topic, StreamID: 7, BatchRecords: 1 + random.IntN(50)},
			&numbered{n: n, users: 50, onNext: func(i int) {
				if i == at {
					cancel()
				}
			}})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		cancel()
	}
	stats := produce(t, source.ProducerConfig{Brokers: []string{address}, StreamID: 7}, &numbered{n: n, users: 50})
	if stats.Sent+stats.Skipped != n {
		t.Errorf("the last run sent %d and skipped %d, want %d together", stats.Sent, stats.Skipped, n)
	}
	got := consume(t, address, "", n)
	checkNumbered(t, got, n)
	for p := range schema.Partition(4) {
		if diff := cmp.Diff(values(want.records[p]), values(got.records[p])); diff != "" {
			t.Errorf("partition %d (-want +got):\n%s", p, diff)
		}
	}
	if again := produce(t, source.ProducerConfig{Brokers: []string{address}, StreamID: 7}, &numbered{n: n, users: 50}); again.Sent != 0 || again.Skipped != n {
		t.Errorf("a finished stream again: %+v, want all skipped", again)
	}
	if other := produce(t, source.ProducerConfig{Brokers: []string{address}, StreamID: 8}, &numbered{n: 10, users: 50}); other.Sent != 10 {
		t.Errorf("another stream: %+v, want all sent", other)
	}
	if again := produce(t, source.ProducerConfig{Brokers: []string{address}, StreamID: 7}, &numbered{n: n + 5, users: 50}); again.Sent != 5 {
		t.Errorf("the first stream, longer, behind another: %+v, want 5 sent", again)
	}
}

// TestResumeInATopicThatGrew grows the topic under a producer and between two. The stream stays where it began: the same
// partitions have the same records as without growth.
func TestResumeInATopicThatGrew(t *testing.T) {
	const n = 1000
	_, whole := startKafka(t, 3)
	produce(t, source.ProducerConfig{Brokers: []string{whole}}, &numbered{n: n, users: 50})
	want := consume(t, whole, "", n)
	_, address := startKafka(t, 3)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var said bytes.Buffer
	first, err := source.NewProducer(source.ProducerConfig{Brokers: []string{address}, Topic: topic, BatchRecords: 10}, &numbered{n: n, users: 50, onNext: func(i int) {
		switch i {
		case 200:
			grow(t, address, 5)
		case 600:
			cancel()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&said, nil))
	stats := produce(t, source.ProducerConfig{Brokers: []string{address}, Log: log}, &numbered{n: n, users: 50})
	if stats.Sent+stats.Skipped != n || stats.Skipped == 0 || len(stats.Ends) != 3 {
		t.Errorf("the second run: %+v", stats)
	}
	if !strings.Contains(said.String(), "the topic has grown since the stream began") {
		t.Errorf("the log says %s", said.String())
	}
	got := consume(t, address, "", n)
	checkNumbered(t, got, n)
	for p := range schema.Partition(5) {
		if diff := cmp.Diff(values(want.records[p]), values(got.records[p])); diff != "" {
			t.Errorf("partition %d (-want +got):\n%s", p, diff)
		}
	}
	if other := produce(t, source.ProducerConfig{Brokers: []string{address}, StreamID: 1}, &numbered{n: 100, users: 50}); len(other.Ends) != 5 || other.Ends[3]+other.Ends[4] == 0 {
		t.Errorf("a stream that begins now: %+v, want it to use all 5 partitions", other)
	}
}

func TestResumeBehindRetention(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	address := cluster.ListenAddrs()[0]
	if err := cluster.CreateTopic(topic, 2, map[string]string{"retention.ms": "0"}); err != nil {
		t.Fatal(err)
	}
	const n = 1000
	produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: n, users: 50})
	cluster.ApplyRetention()
	stats := produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: n + 100, users: 50})
	if stats.Skipped != n || stats.Sent != 100 {
		t.Errorf("%+v, want %d skipped and 100 sent", stats, n)
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

// TestPartitionsAreThoseOfOtherClients compares with franz-go's default partitioner, which is Kafka's own.
func TestPartitionsAreThoseOfOtherClients(t *testing.T) {
	_, address := startKafka(t, 7)
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const n = 200
	theirs := map[string]schema.Partition{}
	for i := range n {
		r, err := client.ProduceSync(context.Background(), &kgo.Record{Key: fmt.Appendf(nil, "user-%d", i)}).First()
		if err != nil {
			t.Fatal(err)
		}
		theirs[string(r.Key)] = schema.Partition(r.Partition)
	}
	produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: n, users: n})
	for p, records := range consume(t, address, "", 2*n).records {
		for _, r := range records {
			if theirs[string(r.Key)] != p {
				t.Errorf("%s is on partition %d, other clients put it on %d", r.Key, p, theirs[string(r.Key)])
			}
		}
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
