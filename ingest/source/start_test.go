package source_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/twmb/franz-go/pkg/kfake"
)

// TestOutageAtTheStart stops the broker between the first question that a process asks and the first fetch: that is an outage
// as any other, and no reason to end.
func TestOutageAtTheStart(t *testing.T) {
	for _, group := range []string{"", "g"} {
		const n = 100
		dir := t.TempDir()
		cluster, address := startKafka(t, 2, kfake.DataDir(dir))
		produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: n, users: 10})
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: group, SessionTimeout: 6 * time.Second})
		if partitions, err := k.Partitions(t.Context()); err != nil || partitions != 2 {
			t.Fatalf("%d partitions: %v", partitions, err)
		}
		cluster.Close()
		c := newCollector()
		stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
		c.until(t, "the outage is seen", func() bool { return k.Health() != nil })
		_, port, _ := net.SplitHostPort(address)
		number, _ := strconv.Atoi(port)
		startKafka(t, 2, kfake.DataDir(dir), kfake.Ports(number))
		c.until(t, "all", func() bool { return c.total() >= n })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		checkNumbered(t, c, n)
	}
}

// TestInterruptedBeforeABrokerAnswers ends the wait for the first answer: that is an interrupt, and says nothing of brokers.
func TestInterruptedBeforeABrokerAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}})
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 150 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		if _, err := k.Partitions(ctx); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "no broker") {
			t.Errorf("interrupted after %v: %v", after, err)
		}
		cancel()
	}
}
