package source_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestOutage stops the broker under a producer and a consumer, and starts it again on the same data.
func TestOutage(t *testing.T) {
	for _, group := range []string{"", "g"} {
		const n = 6000
		dir := t.TempDir()
		cluster, address := startKafka(t, 4, kfake.DataDir(dir))
		_, port, _ := net.SplitHostPort(address)
		number, _ := strconv.Atoi(port)
		c := newCollector()
		stream := &numbered{n: n, users: 50, onNext: func(i int) {
			if i == 2000 || i == 4000 {
				c.until(t, "some records", func() bool { return c.total() >= i/2 })
				cluster.Close()
				time.Sleep(50 * time.Millisecond)
				cluster, _ = startKafka(t, 4, kfake.DataDir(dir), kfake.Ports(number))
			}
		}}
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: group, MaxWait: 20 * time.Millisecond, SessionTimeout: 6 * time.Second})
		stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
		stats := produce(t, source.ProducerConfig{Brokers: []string{address}, BatchRecords: 10}, stream)
		if stats.Sent != n {
			t.Errorf("sent %d, want %d", stats.Sent, n)
		}
		c.until(t, "all", func() bool { return c.total() >= n })
		c.until(t, "health", func() bool { return k.Health() == nil })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if len(c.faults) > 0 {
			t.Fatal(c.faults)
		}
		checkNumbered(t, c, n)
		if k.Stats().Faults == 0 {
			t.Error("the consumer did not notice the outage: the test tests nothing")
		}
	}
}

// TestGroupFaults has the coordinator fail to join members and to take commits.
func TestGroupFaults(t *testing.T) {
	cluster, address := startKafka(t, 2)
	const n = 100
	produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: n, users: 10})
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.CoordinatorNotAvailable})
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.CoordinatorNotAvailable})
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: "g", CommitEvery: 10 * time.Millisecond})
	c := newCollector()
	stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	c.until(t, "all", func() bool { return c.total() == n })
	c.until(t, "the second commit", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return committed(t, address, "g", 0) == int64(len(c.records[0])) && committed(t, address, "g", 1) == int64(len(c.records[1]))
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if k.Stats().Faults == 0 {
		t.Error("joining did not fail: the test tests nothing")
	}
	checkNumbered(t, c, n)
}

// withTrouble writes n numbered records while members read them, and calls trouble in the middle of it. All must be there, once
// and in order. It returns the faults that the readers counted.
func withTrouble(t *testing.T, address, group string, n, members int, trouble func(i int)) (faults uint64) {
	t.Helper()
	c := newCollector()
	var readers []*source.Kafka
	var stops []func() error
	for range members {
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: group, MaxWait: 10 * time.Millisecond, SessionTimeout: 2 * time.Second,
			CommitEvery: 20 * time.Millisecond, WatchEvery: 50 * time.Millisecond})
		readers = append(readers, k)
		stops = append(stops, run(t, func(ctx context.Context) error { return k.Run(ctx, &strict{collector: c}) }))
	}
	stats := produce(t, source.ProducerConfig{Brokers: []string{address}, BatchRecords: 20}, &numbered{n: n, users: 50, onNext: trouble})
	if stats.Sent != uint64(n) {
		t.Errorf("sent %d, want %d", stats.Sent, n)
	}
	c.until(t, "all", func() bool { return c.total() >= n })
	for i, stop := range stops {
		if err := stop(); err != nil {
			t.Error(err)
		}
		faults += readers[i].Stats().Faults
	}
	if len(c.faults) > 0 {
		t.Error(c.faults)
	}
	checkNumbered(t, c, n)
	return faults
}

// TestBrokersAnswerWithErrors has some of the requests fail with errors that pass.
func TestBrokersAnswerWithErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		group string
		keys  []kmsg.Key
		err   *kerr.Error
	}{
		"not leader":          {"", []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets, kmsg.Produce}, kerr.NotLeaderForPartition},
		"no leader":           {"", []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets}, kerr.LeaderNotAvailable},
		"storage":             {"", []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets}, kerr.KafkaStorageError},
		"epoch":               {"", []kmsg.Key{kmsg.Fetch}, kerr.UnknownLeaderEpoch},
		"timed out":           {"", []kmsg.Key{kmsg.Fetch}, kerr.RequestTimedOut},
		"coordinator loading": {"g", []kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup, kmsg.OffsetFetch}, kerr.CoordinatorLoadInProgress},
		"not coordinator":     {"g", []kmsg.Key{kmsg.Heartbeat, kmsg.OffsetCommit}, kerr.NotCoordinator},
		"no coordinator":      {"g", []kmsg.Key{kmsg.FindCoordinator}, kerr.CoordinatorNotAvailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, address := startKafka(t, 2, kfake.GroupMinSessionTimeout(time.Second))
			random := rand.New(rand.NewPCG(1, 2)) // used on the broker's goroutine only
			handle := cluster.Fault(kfake.Fault{Keys: tc.keys, Err: tc.err, Count: -1, When: func(kmsg.Request) bool { return random.IntN(8) == 0 }})
			withTrouble(t, address, tc.group, 500, 1, func(i int) {
				if i%20 == 0 {
					time.Sleep(5 * time.Millisecond)
				}
			})
			if handle.Hits() == 0 {
				t.Error("no request failed: the test tests nothing")
			}
		})
	}
}

// TestLeadersMove moves partitions and the group's coordinator between three brokers, and takes one of the brokers away.
func TestLeadersMove(t *testing.T) {
	for _, group := range []string{"", "g"} {
		t.Run(fmt.Sprintf("group %q", group), func(t *testing.T) {
			t.Parallel()
			cluster, address := startKafka(t, 4, kfake.NumBrokers(3), kfake.GroupMinSessionTimeout(time.Second))
			faults := withTrouble(t, address, group, 3000, 1+len(group), func(i int) {
				switch {
				case i == 2000:
					if err := cluster.RemoveNode(2); err != nil {
						t.Error(err)
					}
				case i%500 == 0:
					cluster.ShufflePartitionLeaders()
					cluster.RehashCoordinators()
				case i%50 == 0:
					time.Sleep(5 * time.Millisecond)
				}
			})
			if faults == 0 {
				t.Error("no request failed: the test tests nothing")
			}
		})
	}
}

// flaky cuts each connection to a broker off after a random number of bytes, in the middle of an answer for the most part.
type flaky struct {
	net.Listener
	mu     sync.Mutex
	random *rand.Rand // guarded by mu
	cut    atomic.Int64
}

func (f *flaky) Accept() (net.Conn, error) {
	c, err := f.Listener.Accept()
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return &cutOff{Conn: c, left: 2000 + f.random.IntN(150_000), cut: &f.cut}, nil
}

type cutOff struct {
	net.Conn
	left int
	cut  *atomic.Int64
}

func (c *cutOff) Write(b []byte) (int, error) {
	if len(b) < c.left {
		c.left -= len(b)
		return c.Conn.Write(b)
	}
	_, _ = c.Conn.Write(b[:c.left])
	c.cut.Add(1)
	return 0, errors.Join(errors.New("cut off"), c.Conn.Close())
}

// TestConnectionsAreCutOff reads and writes over connections that break in the middle of answers.
func TestConnectionsAreCutOff(t *testing.T) {
	f := &flaky{random: rand.New(rand.NewPCG(3, 4))}
	_, address := startKafka(t, 2, kfake.GroupMinSessionTimeout(time.Second), kfake.ListenFn(func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		f.Listener = l
		return f, err
	}))
	faults := withTrouble(t, address, "", 20_000, 1, func(int) {})
	if f.cut.Load() < 10 || faults == 0 {
		t.Errorf("%d connections were cut off, %d requests failed: the test tests nothing", f.cut.Load(), faults)
	}
}

// TestHealthDuringAnOutage holds that health says since when and why nothing comes, and that it is well again afterwards.
func TestHealthDuringAnOutage(t *testing.T) {
	dir := t.TempDir()
	cluster, address := startKafka(t, 2, kfake.DataDir(dir))
	_, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	put(t, address, "before", 0, 1)
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, MaxWait: 10 * time.Millisecond})
	c := newCollector()
	stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	c.until(t, "the records before", func() bool { return c.total() == 2 })
	if err := k.Health(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	cluster.Close()
	var o *source.Outage
	c.until(t, "an outage", func() bool { return errors.As(k.Health(), &o) && len(o.Partitions) == 2 && o.Failures >= 4 })
	if o.Since.Before(begun) || o.Since.After(time.Now()) || o.Topic != topic || !strings.Contains(o.Error(), `partitions 0-1: waiting for the brokers since 2`) {
		t.Errorf("outage %+v: %v", o, o)
	}
	startKafka(t, 2, kfake.DataDir(dir), kfake.Ports(number))
	put(t, address, "after", 0, 1)
	c.until(t, "the records after", func() bool { return c.total() == 4 })
	c.until(t, "health", func() bool { return k.Health() == nil })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
