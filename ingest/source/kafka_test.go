package source_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const topic = "clicks"

// startKafka runs a broker with one topic and returns its address.
func startKafka(t testing.TB, partitions int, opts ...kfake.Opt) (*kfake.Cluster, string) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(int32(partitions), topic),
		kfake.BrokerConfigs(map[string]string{"message.max.bytes": fmt.Sprint(2 << 20)})}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, c.ListenAddrs()[0]
}

var errEnd = io.EOF

// committed returns the offset that a group has committed, or -1.
func committed(t testing.TB, address, group string, p schema.Partition) int64 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrOffsetFetchRequest()
	request.Group = group
	part := kmsg.NewOffsetFetchRequestTopic()
	part.Topic, part.Partitions = topic, []int32{int32(p)}
	request.Topics = append(request.Topics, part)
	r, err := request.RequestWith(context.Background(), client)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range r.Groups {
		for _, of := range g.Topics {
			return of.Partitions[0].Offset
		}
	}
	for _, of := range r.Topics {
		return of.Partitions[0].Offset
	}
	return -1 // no one has committed yet
}

// numbered is a stream of n records of as many users; the value of a record is its index.
type numbered struct {
	n, users, at int
	event        func(i int) schema.EventTime
	onNext       func(i int)
}

func (s *numbered) Next() (source.Outgoing, error) {
	if s.at == s.n {
		return source.Outgoing{}, io.EOF
	}
	i := s.at
	s.at++
	if s.onNext != nil {
		s.onNext(i)
	}
	out := source.Outgoing{Key: fmt.Appendf(nil, "user-%d", i*7919%s.users), Value: fmt.Appendf(nil, "%d", i)}
	if s.event != nil {
		out.EventTime = s.event(i)
	}
	return out, nil
}
func (s *numbered) Len() int     { return s.n }
func (s *numbered) Close() error { return nil }

// collector is a handler that keeps what it is given, and goes on where it stopped when a partition comes back.
type collector struct {
	mu       sync.Mutex
	next     map[schema.Partition]schema.Offset
	records  map[schema.Partition][]source.Record
	assigned map[schema.Partition]int
	empty    map[schema.Partition]source.Batch // last batch without records
	batches  int
	changed  chan struct{}
	apply    func(p schema.Partition, b source.Batch) error
	faults   []string
	owners   map[schema.Partition]*strict // by which member a partition was assigned last
}

func newCollector() *collector {
	return &collector{next: map[schema.Partition]schema.Offset{}, records: map[schema.Partition][]source.Record{},
		assigned: map[schema.Partition]int{}, empty: map[schema.Partition]source.Batch{}, changed: make(chan struct{}, 1)}
}

func (c *collector) Assign(_ context.Context, p schema.Partition) (schema.Offset, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.assigned[p]++
	if c.assigned[p] != 1 {
		c.faults = append(c.faults, fmt.Sprintf("partition %d is assigned %d times", p, c.assigned[p]))
	}
	return c.next[p], nil
}

func (c *collector) Apply(_ context.Context, p schema.Partition, b source.Batch) error {
	if c.apply != nil {
		if err := c.apply(p, b); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.assigned[p] != 1 {
		c.faults = append(c.faults, fmt.Sprintf("partition %d gets a batch and is assigned %d times", p, c.assigned[p]))
	}
	for _, r := range b.Records {
		if r.Offset < c.next[p] || r.Partition != p {
			c.faults = append(c.faults, fmt.Sprintf("partition %d: offset %d of partition %d after %d", p, r.Offset, r.Partition, c.next[p]))
		}
		c.next[p] = r.Offset + 1
	}
	if b.Next < c.next[p] {
		c.faults = append(c.faults, fmt.Sprintf("partition %d: next is %d after offset %d", p, b.Next, c.next[p]-1))
	}
	c.next[p] = b.Next
	for _, r := range b.Records {
		r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value) // they are used again
		c.records[p] = append(c.records[p], r)
	}
	if len(b.Records) == 0 {
		c.empty[p] = b
	}
	c.batches++
	select {
	case c.changed <- struct{}{}:
	default:
	}
	return nil
}

func (c *collector) Revoke(p schema.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.assigned[p]--
}

func (c *collector) total() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.records {
		n += len(r)
	}
	return n
}

// snapshot returns the records of a partition so far.
func (c *collector) snapshot(p schema.Partition) []source.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.records[p])
}

// until waits for done to hold after some batch.
func (c *collector) until(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for !done() {
		select {
		case <-c.changed:
		case <-time.After(20 * time.Millisecond): // done may depend on more than this collector
		case <-deadline:
			t.Fatalf("%s: waited a minute; got %d records, faults %v", what, c.total(), c.faults)
		}
	}
}

func newKafka(t testing.TB, c source.KafkaConfig) *source.Kafka {
	t.Helper()
	c.Topic = topic
	k, err := source.NewKafka(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// run starts f and returns a function that ends it and reports its error.
func run(t testing.TB, f func(context.Context) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel()
			err = <-ended
		})
		return err
	}
	t.Cleanup(func() { stop() })
	return stop
}

func produce(t testing.TB, c source.ProducerConfig, s source.Stream) source.ProducerStats {
	t.Helper()
	c.Topic = topic
	p, err := source.NewProducer(c, s)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	return p.Stats()
}

// consume reads the topic until it has n records and checks the order of offsets.
func consume(t testing.TB, address, group string, n int) *collector {
	t.Helper()
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: group})
	c := newCollector()
	stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	c.until(t, "consume", func() bool { return c.total() >= n })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(c.faults) > 0 {
		t.Fatal(c.faults)
	}
	if got := c.total(); got != n {
		t.Fatalf("got %d records, want %d", got, n)
	}
	for p, n := range c.assigned {
		if n != 0 {
			t.Errorf("partition %d was not revoked", p)
		}
	}
	return c
}

// checkNumbered checks that c has each of n numbered records once, in order within its partition, and a user on one
// partition only.
func checkNumbered(t testing.TB, c *collector, n int) {
	t.Helper()
	seen := make([]bool, n)
	home := map[string]schema.Partition{}
	for p, records := range c.records {
		last := -1
		for _, r := range records {
			var i int
			if _, err := fmt.Sscan(string(r.Value), &i); err != nil {
				t.Fatal(err)
			}
			if i <= last {
				t.Fatalf("partition %d: record %d comes after %d", p, i, last)
			}
			last = i
			if seen[i] {
				t.Fatalf("record %d is there twice", i)
			}
			seen[i] = true
			if at, ok := home[string(r.Key)]; ok && at != p {
				t.Fatalf("user %s is on partitions %d and %d", r.Key, at, p)
			}
			home[string(r.Key)] = p
		}
	}
	for i, ok := range seen {
		if !ok {
			t.Fatalf("record %d is missing", i)
		}
	}
}

func TestProduceAndConsume(t *testing.T) {
	for _, group := range []string{"", "g"} {
		_, address := startKafka(t, 4)
		const n = 20_000
		before := time.Now().UnixMilli()
		stats := produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: n, users: 100})
		if stats.Sent != n || stats.Skipped != 0 {
			t.Fatalf("stats %+v, want %d sent", stats, n)
		}
		c := consume(t, address, group, n)
		checkNumbered(t, c, n)
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}})
		ends, err := k.Ends(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if partitions, err := k.Partitions(context.Background()); err != nil || partitions != 4 || len(ends) != 4 {
			t.Fatalf("got %d partitions, %v, and %d ends, want 4", partitions, err, len(ends))
		}
		for p, end := range ends {
			if end != c.next[schema.Partition(p)] || end != stats.Ends[p] || end == 0 {
				t.Errorf("partition %d ends at %d; read up to %d, sent up to %d", p, end, c.next[schema.Partition(p)], stats.Ends[p])
			}
			for _, r := range c.records[schema.Partition(p)] {
				if at := int64(r.ArrivedAt); at < before || at > time.Now().UnixMilli() {
					t.Fatalf("a record arrived at %d, it was sent after %d", at, before)
				}
			}
		}
	}
}

func TestIdleIsTold(t *testing.T) {
	_, address := startKafka(t, 2)
	produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: 100, users: 10})
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, MaxWait: 10 * time.Millisecond})
	c := newCollector()
	run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	c.until(t, "idle", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.empty) == 2
	})
	for p, b := range c.empty {
		if b.Next != b.HighWatermark || b.Next != schema.Offset(len(c.records[p])) {
			t.Errorf("partition %d is idle at %d, high watermark %d, with %d records", p, b.Next, b.HighWatermark, len(c.records[p]))
		}
	}
}

func TestBatchesAreBounded(t *testing.T) {
	_, address := startKafka(t, 1)
	const n = 1000
	produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: n, users: 10})
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, MaxRecords: 7})
	c := newCollector()
	c.apply = func(_ schema.Partition, b source.Batch) error {
		if len(b.Records) > 7 {
			return fmt.Errorf("a batch has %d records", len(b.Records))
		}
		if len(b.Records) > 0 && b.Next != b.Records[len(b.Records)-1].Offset+1 {
			return fmt.Errorf("a batch up to %d has next %d", b.Records[len(b.Records)-1].Offset, b.Next)
		}
		return nil
	}
	stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	c.until(t, "all", func() bool { return c.total() == n })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	checkNumbered(t, c, n)
}

func TestLargeRecordsArrive(t *testing.T) {
	_, address := startKafka(t, 1)
	big := make([]byte, schema.MaxRecordBytes+5000)
	for i := range big {
		big[i] = byte(i)
	}
	produce(t, source.ProducerConfig{Brokers: []string{address}}, &fixed{values: [][]byte{[]byte("a"), big, []byte("b"), big}})
	c := consume(t, address, "", 4)
	for i, want := range []int{1, len(big), 1, len(big)} {
		if got := c.records[0][i]; len(got.Value) != want || (want > 1 && string(got.Value) != string(big)) {
			t.Errorf("record %d has %d bytes, want %d", i, len(got.Value), want)
		}
	}
}

// fixed is a stream of given values.
type fixed struct {
	values [][]byte
	at     int
}

func (s *fixed) Next() (source.Outgoing, error) {
	if s.at == len(s.values) {
		return source.Outgoing{}, io.EOF
	}
	s.at++
	return source.Outgoing{Value: s.values[s.at-1]}, nil
}
func (s *fixed) Len() int     { return len(s.values) }
func (s *fixed) Close() error { return nil }

func TestHandlerFailureEndsRun(t *testing.T) {
	for _, group := range []string{"", "g"} {
		_, address := startKafka(t, 2)
		produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: 10, users: 5})
		broken := errors.New("disk full")
		c := newCollector()
		c.apply = func(schema.Partition, source.Batch) error { return broken }
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: group})
		if err := k.Run(context.Background(), c); !errors.Is(err, broken) {
			t.Errorf("group %q: Run returned %v, want the handler's error", group, err)
		}
	}
}
