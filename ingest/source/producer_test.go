package source_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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
