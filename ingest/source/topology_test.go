package source_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// grow gives the topic more partitions.
func grow(t testing.TB, address string, partitions int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrCreatePartitionsRequest()
	part := kmsg.NewCreatePartitionsRequestTopic()
	part.Topic, part.Count = topic, int32(partitions)
	request.Topics = append(request.Topics, part)
	r, err := request.RequestWith(context.Background(), client)
	if err == nil {
		err = kerr.ErrorForCode(r.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// put writes one record with this value to each of the partitions.
func put(t testing.TB, address, value string, partitions ...int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, p := range partitions {
		if err := client.ProduceSync(context.Background(), &kgo.Record{Topic: topic, Partition: int32(p), Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// surveyor is a handler that is told of the topology, and holds that it is told before it needs to know.
type surveyor struct {
	*collector
	mu    sync.Mutex
	told  []int
	wrong []string
}

var _ source.TopologyHandler = (*surveyor)(nil)

func (s *surveyor) Topology(_ context.Context, partitions int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, partitions)
	return nil
}

func (s *surveyor) must(p schema.Partition, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.told) == 0 || s.told[len(s.told)-1] <= int(p) {
		s.wrong = append(s.wrong, fmt.Sprintf("%s of partition %d, and it was told of %v", what, p, s.told))
	}
}

func (s *surveyor) Assign(ctx context.Context, p schema.Partition) (schema.Offset, error) {
	s.must(p, "assignment")
	return s.collector.Assign(ctx, p)
}

func (s *surveyor) Apply(ctx context.Context, p schema.Partition, b source.Batch) error {
	s.must(p, "a batch")
	return s.collector.Apply(ctx, p, b)
}

// TestTopicGrows adds partitions to a topic that is read: by a process alone, by one with an open range, by one whose
// partitions are fixed, and by two members of a group; also where brokers know no topic ids.
func TestTopicGrows(t *testing.T) {
	open, err := source.ParsePartitions("1-")
	if err != nil {
		t.Fatal(err)
	}
	fixed, err := source.ParsePartitions("0-1")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		config  source.KafkaConfig
		members int
		want    int // records
		opts    []kfake.Opt
	}{
		"alone":        {source.KafkaConfig{}, 1, 5, nil},
		"old brokers":  {source.KafkaConfig{}, 1, 5, []kfake.Opt{kfake.MaxVersions(kversion.V2_7_0())}},
		"open range":   {source.KafkaConfig{Partitions: open}, 1, 4, nil},
		"fixed":        {source.KafkaConfig{Partitions: fixed}, 1, 2, nil},
		"group of two": {source.KafkaConfig{Group: "g"}, 2, 5, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, address := startKafka(t, 2, tc.opts...)
			tc.config.Brokers, tc.config.WatchEvery, tc.config.MaxWait = []string{address}, 10*time.Millisecond, 10*time.Millisecond
			shared := newCollector()
			members := make([]*surveyor, tc.members)
			var stops []func() error
			for i := range members {
				members[i] = &surveyor{collector: shared}
				k := newKafka(t, tc.config)
				stops = append(stops, run(t, func(ctx context.Context) error { return k.Run(ctx, members[i]) }))
			}
			before := 0
			put(t, address, "before", 0, 1)
			for p := range schema.Partition(2) {
				if tc.config.Partitions.Has(p) {
					before++
				}
			}
			shared.until(t, "the first records", func() bool { return shared.total() == before })
			grow(t, address, 5)
			put(t, address, "after", 2, 3, 4)
			shared.until(t, "the new partitions", func() bool {
				for _, m := range members {
					m.mu.Lock()
					told := len(m.told) == 2
					m.mu.Unlock()
					if !told {
						return false
					}
				}
				return shared.total() >= tc.want
			})
			for _, stop := range stops {
				if err := stop(); err != nil {
					t.Error(err)
				}
			}
			for i, m := range members {
				if diff := cmp.Diff([]int{2, 5}, m.told); diff != "" {
					t.Errorf("member %d was told (-want +got):\n%s", i, diff)
				}
				if len(m.wrong) > 0 || len(m.faults) > 0 {
					t.Error(m.wrong, m.faults)
				}
			}
			if got := shared.total(); got != tc.want {
				t.Errorf("%d records, want %d", got, tc.want)
			}
		})
	}
}

// TestTopologyFailureEndsRun has the handler refuse what it is told.
func TestTopologyFailureEndsRun(t *testing.T) {
	for _, group := range []string{"", "g"} {
		_, address := startKafka(t, 1)
		broken := errors.New("disk full")
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: group, WatchEvery: 10 * time.Millisecond})
		h := &refusing{collector: newCollector(), from: 2, err: broken}
		ended := make(chan error, 1)
		go func() { ended <- k.Run(context.Background(), h) }()
		h.until(t, "the first partition", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.assigned[0] == 1 })
		grow(t, address, 2)
		if err := <-ended; !errors.Is(err, broken) {
			t.Errorf("group %q: Run returned %v, want the handler's error", group, err)
		}
	}
}

type refusing struct {
	*collector
	from int
	err  error
}

func (r *refusing) Topology(_ context.Context, partitions int) error {
	if partitions >= r.from {
		return r.err
	}
	return nil
}

// TestTopicIsMadeAnew deletes and creates the topic under a reader, with as many partitions and records as before.
func TestTopicIsMadeAnew(t *testing.T) {
	for _, group := range []string{"", "g"} {
		cluster, address := startKafka(t, 1)
		put(t, address, "old", 0)
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: group, WatchEvery: 10 * time.Millisecond, MaxWait: 10 * time.Millisecond})
		c := newCollector()
		ended := make(chan error, 1)
		go func() { ended <- k.Run(context.Background(), c) }()
		c.until(t, "the old record", func() bool { return c.total() == 1 })
		deleteTopic(t, address)
		c.until(t, "health", func() bool { return errors.Is(k.Health(), source.ErrUnknownTopic) })
		if err := cluster.CreateTopic(topic, 1, nil); err != nil {
			t.Fatal(err)
		}
		err := <-ended
		if !errors.Is(err, source.ErrRecreated) || !strings.Contains(err.Error(), "empty --data-dir") {
			t.Errorf("group %q: Run returned %v, want ErrRecreated", group, err)
		}
	}
}

func deleteTopic(t testing.TB, address string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrDeleteTopicsRequest()
	name := topic
	request.TopicNames = []string{name}
	request.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}
	r, err := request.RequestWith(context.Background(), client)
	if err == nil {
		err = kerr.ErrorForCode(r.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestParsePartitions(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		s, err := source.ParsePartitions(text)
		if err != nil || s.String() != want {
			t.Errorf("%q: %q, %v, want %q", text, s, err, want)
		}
		if again, err := source.ParsePartitions(s.String()); err != nil || again.String() != s.String() {
			t.Errorf("%q does not read back: %v, %v", s, again, err)
		}
	}
	f("", "")
	f("3", "3")
	f("7, 0-3", "0-3,7")
	f("4-", "4-")
	f("0,1,5-5", "0,1,5")
	s, _ := source.ParsePartitions("0-3,7,9-")
	for p, want := range map[schema.Partition]bool{0: true, 3: true, 4: false, 6: false, 7: true, 8: false, 9: true, 1000: true} {
		if s.Has(p) != want {
			t.Errorf("%v has %d: %v", s, p, !want)
		}
	}
	for text, want := range map[string]string{
		"a": `"a" is not the number`, "-3": `"" is not the number`, "0-3,3": "3 is in it twice", "5-2": "runs backwards: write 2-5",
		"1-2-3": `"2-3" is not`, "0,": `"" is not`, "99999999999999999999": "is not the number", "4-,9": "9 is in it twice", "1.5": "is not the number",
	} {
		if s, err := source.ParsePartitions(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want %q", text, s, err, want)
		}
	}
}

// TestAssigned reads some partitions without a group, and commits their offsets to it for lag displays.
func TestAssigned(t *testing.T) {
	_, address := startKafka(t, 4)
	put(t, address, "a", 0, 1, 2, 3)
	set, err := source.ParsePartitions("1-2")
	if err != nil {
		t.Fatal(err)
	}
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, Group: "g", Partitions: set, CommitEvery: 10 * time.Millisecond, MaxWait: 10 * time.Millisecond})
	c := newCollector()
	stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	c.until(t, "a commit", func() bool { return committed(t, address, "g", 1) == 1 && committed(t, address, "g", 2) == 1 })
	put(t, address, "b", 0, 1, 2, 3)
	c.until(t, "all", func() bool { return c.total() == 4 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for p, want := range []int64{-1, 2, 2, -1} { // also at the end
		if got := committed(t, address, "g", schema.Partition(p)); got != want || len(c.records[schema.Partition(p)]) != int(max(want, 0)) {
			t.Errorf("partition %d: committed %d, %d records, want %d", p, got, len(c.records[schema.Partition(p)]), want)
		}
	}
	far, _ := source.ParsePartitions("0-33")
	k = newKafka(t, source.KafkaConfig{Brokers: []string{address}, Partitions: far})
	if err := k.Run(context.Background(), newCollector()); err == nil || !strings.Contains(err.Error(), `has 4 partitions, 0 to 3`) {
		t.Errorf("partitions that are not there: %v", err)
	}
}
