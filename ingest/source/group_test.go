package source_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
)

// TestRebalance lets a second member join and leave while records keep coming. Both write into one handler state, as two
// nodes with one store would: the offsets that it keeps must never be passed by or given twice.
func TestRebalance(t *testing.T) {
	const n = 30_000
	_, address := startKafka(t, 4, kfake.GroupMinSessionTimeout(time.Second))
	shared := newCollector()
	member := func() func() error {
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: "g", SessionTimeout: 2 * time.Second,
			MaxWait: 20 * time.Millisecond, CommitEvery: 50 * time.Millisecond})
		return run(t, func(ctx context.Context) error { return k.Run(ctx, &strict{collector: shared}) })
	}
	produced := run(t, func(ctx context.Context) error {
		p, err := source.NewProducer(source.ProducerConfig{Brokers: []string{address}, Topic: topic, BatchRecords: 50},
			&numbered{n: n, users: 100, onNext: func(i int) {
				if i%100 == 0 {
					time.Sleep(10 * time.Millisecond)
				}
			}})
		if err != nil {
			return err
		}
		return p.Run(ctx)
	})
	first := member()
	shared.until(t, "first member", func() bool { return shared.total() > 1000 })
	second := member()
	shared.until(t, "both members", func() bool {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		return shared.members() == 2
	})
	if err := first(); err != nil {
		t.Fatal(err)
	}
	shared.until(t, "all", func() bool { return shared.total() >= n })
	if err := second(); err != nil {
		t.Fatal(err)
	}
	if err := produced(); err != nil {
		t.Fatal(err)
	}
	if len(shared.faults) > 0 {
		t.Fatal(shared.faults)
	}
	checkNumbered(t, shared, n)
}

// TestMembersComeAndGo has three members join and leave a group at random while records keep coming. All write into one
// handler state, as nodes that hand partitions over would: no record may be passed by or given twice, no partition may have
// two owners, and none may get a batch once it is revoked.
func TestMembersComeAndGo(t *testing.T) {
	seed := rand.Uint64()
	for round := range uint64(6) {
		t.Run(fmt.Sprintf("seed %d", seed+round), func(t *testing.T) {
			t.Parallel()
			membersComeAndGo(t, rand.New(rand.NewPCG(seed+round, 0)))
		})
	}
}

func membersComeAndGo(t *testing.T, random *rand.Rand) {
	const partitions, steps, perStep = 5, 20, 200
	_, address := startKafka(t, partitions)
	shared := newCollector()
	members := make([]func() error, 3) // nil: not there
	owners := func() (n int) {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		for p := range schema.Partition(partitions) {
			n += shared.assigned[p]
		}
		return n
	}
	n := 0
	next := make(chan int) // how many records are to be there
	stream := &numbered{n: steps * perStep, users: 100, onNext: func(i int) {
		for i >= n {
			n = <-next
		}
	}}
	producing := run(t, func(ctx context.Context) error {
		p, err := source.NewProducer(source.ProducerConfig{Brokers: []string{address}, Topic: topic, BatchRecords: 20}, stream)
		if err != nil {
			return err
		}
		return p.Run(context.WithoutCancel(ctx))
	})
	rebalances := 0
	for step := range steps {
		i := random.IntN(len(members))
		there := 0
		for _, m := range members {
			if m != nil {
				there++
			}
		}
		switch {
		case members[i] == nil:
			k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: "g", SessionTimeout: 10 * time.Second,
				MaxWait: 10 * time.Millisecond, CommitEvery: 20 * time.Millisecond, Seed: random.Uint64()})
			members[i] = run(t, func(ctx context.Context) error { return k.Run(ctx, &strict{collector: shared}) })
			rebalances++
		case there > 1:
			if err := members[i](); err != nil {
				t.Fatal(err)
			}
			members[i] = nil
			rebalances++
		}
		next <- (step + 1) * perStep
		// Half of the steps come before the one before is dealt with: a member may leave before it is given anything.
		if random.IntN(2) == 0 || step == steps-1 {
			shared.until(t, "the records of this step", func() bool { return shared.total() == (step+1)*perStep && owners() == partitions })
		}
	}
	if err := producing(); err != nil {
		t.Fatal(err)
	}
	for _, stop := range members {
		if stop != nil {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	}
	if len(shared.faults) > 0 {
		t.Error(shared.faults)
	}
	if owners() != 0 {
		t.Errorf("%d partitions were not revoked", owners())
	}
	if rebalances < 3 {
		t.Errorf("%d members joined or left: the test tests nothing", rebalances)
	}
	checkNumbered(t, shared, steps*perStep)
}

// strict is one member of a group, which notes what it is assigned.
type strict struct{ *collector }

func (s *strict) Assign(ctx context.Context, p schema.Partition) (schema.Offset, error) {
	s.mu.Lock()
	if s.owners == nil {
		s.owners = map[schema.Partition]*strict{}
	}
	s.owners[p] = s
	s.mu.Unlock()
	return s.collector.Assign(ctx, p)
}

func (c *collector) members() int {
	distinct := map[*strict]bool{}
	for _, s := range c.owners {
		distinct[s] = true
	}
	return len(distinct)
}

// TestCommitsShowTheLag reads the group's offsets after a clean end.
func TestCommitsShowTheLag(t *testing.T) {
	_, address := startKafka(t, 2)
	const n = 500
	produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: n, users: 50})
	c := consume(t, address, "g", n)
	for p, next := range c.next {
		if got := committed(t, address, "g", p); got != int64(next) {
			t.Errorf("partition %d: committed %d, want %d", p, got, next)
		}
	}
}

// TestBrokerIsKilled kills the broker's process (SIGKILL) again and again under a producer, and demands every record once.
func TestBrokerIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	const n = 20_000
	dir := t.TempDir()
	child, address := brokerProcess(t, dir, 0)
	_, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	stats := produce(t, source.ProducerConfig{Brokers: []string{address}, BatchRecords: 100}, &numbered{n: n, users: 50, onNext: func(i int) {
		if i%6000 == 5000 {
			kill(child)
			child, _ = brokerProcess(t, dir, number)
		}
	}})
	if stats.Sent != n {
		t.Errorf("sent %d, want %d", stats.Sent, n)
	}
	kill(child)
	child, _ = brokerProcess(t, dir, number)
	defer kill(child)
	checkNumbered(t, consume(t, address, "", n), n)
}

// TestProducerIsKilled kills the producer's process (SIGKILL) at random moments, and demands every record once.
func TestProducerIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	_, address := startKafka(t, 4)
	random := rand.New(rand.NewPCG(5, 6))
	for range 5 {
		c := producerProcess(t, address)
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		kill(c)
	}
	if c := producerProcess(t, address); c.Wait() != nil {
		t.Fatalf("the last producer failed: %v", c.ProcessState)
	}
	checkNumbered(t, consume(t, address, "", killedRecords), killedRecords)
}

const killedRecords = 10_000

func producerProcess(t testing.TB, address string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "PRODUCER_ADDRESS="+address)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

func runProducer(address string) error {
	p, err := source.NewProducer(source.ProducerConfig{Brokers: []string{address}, Topic: topic, BatchRecords: 20},
		&numbered{n: killedRecords, users: 50, onNext: func(i int) {
			if i%100 == 0 {
				time.Sleep(5 * time.Millisecond)
			}
		}})
	if err != nil {
		return err
	}
	return p.Run(context.Background())
}

func kill(c *exec.Cmd) {
	_ = c.Process.Kill()
	_ = c.Wait()
}

func brokerProcess(t testing.TB, dir string, port int) (*exec.Cmd, string) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "BROKER_DIR="+dir, fmt.Sprintf("BROKER_PORT=%d", port))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("the broker process ended: %v", c.Wait())
	}
	return c, lines.Text()
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("BROKER_DIR"); dir != "" {
		port, _ := strconv.Atoi(os.Getenv("BROKER_PORT"))
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, topic), kfake.DataDir(dir), kfake.Ports(port))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(c.ListenAddrs()[0])
		select {}
	}
	if address := os.Getenv("PRODUCER_ADDRESS"); address != "" {
		if err := runProducer(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// fakeClock moves only when someone sleeps.
type fakeClock struct {
	now   time.Time
	slept []time.Duration
}

func (c *fakeClock) Now() time.Time { return c.now }
func (c *fakeClock) Sleep(_ context.Context, d time.Duration) error {
	c.slept = append(c.slept, d)
	c.now = c.now.Add(d)
	return nil
}

func TestPacing(t *testing.T) {
	_, address := startKafka(t, 1)
	event := func(i int) schema.EventTime {
		return []schema.EventTime{1_000_000, 1_010_000, 1_005_000, 1_030_000, 1_031_000, 1_040_000}[i]
	}
	c := &fakeClock{now: time.UnixMilli(5_000_000)}
	produce(t, source.ProducerConfig{Brokers: []string{address}, Speed: 10, Clock: c}, &numbered{n: 4, users: 1, event: event})
	if diff := cmp.Diff([]time.Duration{time.Second, 2 * time.Second}, c.slept); diff != "" {
		t.Errorf("slept (-want +got):\n%s", diff)
	}
	got := consume(t, address, "", 4)
	var stamps []schema.ArrivalTime
	for _, r := range got.records[0] {
		stamps = append(stamps, r.ArrivedAt)
	}
	if diff := cmp.Diff([]schema.ArrivalTime{5_000_000, 5_001_000, 5_001_000, 5_003_000}, stamps); diff != "" {
		t.Errorf("record timestamps (-want +got):\n%s", diff)
	}
	// Going on, the first record that is sent sets the pace: the fifth goes at once, the sixth nine seconds later.
	c = &fakeClock{now: time.UnixMilli(9_000_000)}
	produce(t, source.ProducerConfig{Brokers: []string{address}, Speed: 1, Clock: c}, &numbered{n: 6, users: 1, event: event})
	if diff := cmp.Diff([]time.Duration{9 * time.Second}, c.slept); diff != "" {
		t.Errorf("slept (-want +got):\n%s", diff)
	}
}

func TestProducerStopsOnABrokenStream(t *testing.T) {
	_, address := startKafka(t, 1)
	broken := errors.New("the disk is gone")
	p, err := source.NewProducer(source.ProducerConfig{Brokers: []string{address}, Topic: topic}, &failing{err: broken})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(context.Background()); !errors.Is(err, broken) {
		t.Errorf("Run returned %v, want the stream's error", err)
	}
}

type failing struct{ err error }

func (s *failing) Next() (source.Outgoing, error) { return source.Outgoing{}, s.err }
func (s *failing) Len() int                       { return -1 }
func (s *failing) Close() error                   { return nil }

func TestNothingIsLeftRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, topic))
	if err != nil {
		t.Fatal(err)
	}
	address := cluster.ListenAddrs()[0]
	produce(t, source.ProducerConfig{Brokers: []string{address}}, &numbered{n: 1000, users: 50})
	for _, group := range []string{"", "g"} {
		k, err := source.NewKafka(source.KafkaConfig{Brokers: []string{address}, Topic: topic, Group: group})
		if err != nil {
			t.Fatal(err)
		}
		c := newCollector()
		stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
		c.until(t, "all", func() bool { return c.total() == 1000 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		k.Close()
	}
	cluster.Close()
	goleak.VerifyNone(t, before)
}
