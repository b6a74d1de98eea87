package source_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
)

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
