package source_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// shelf keeps rejected records in memory.
type shelf struct {
	mu        sync.Mutex
	rejected  map[schema.Partition][]schema.Rejected
	forwarded map[schema.Partition]schema.Offset
	forget    bool // what is forwarded is not kept, as before a crash
	err       error
}

var _ source.Rejects = (*shelf)(nil)

func newShelf(rejected ...schema.Rejected) *shelf {
	s := &shelf{rejected: map[schema.Partition][]schema.Rejected{}, forwarded: map[schema.Partition]schema.Offset{}}
	for _, r := range rejected {
		s.rejected[r.Partition] = append(s.rejected[r.Partition], r)
	}
	return s
}

func (s *shelf) Partitions() (all []schema.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.rejected {
		all = append(all, p)
	}
	return all
}

func (s *shelf) AsideFrom(p schema.Partition, from schema.Offset, n int) ([]schema.Rejected, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	i, _ := slices.BinarySearchFunc(s.rejected[p], from, func(r schema.Rejected, at schema.Offset) int { return cmp.Compare(r.Offset, at) })
	return slices.Clone(s.rejected[p][i:min(len(s.rejected[p]), i+n)]), nil
}

func (s *shelf) Forwarded(p schema.Partition) (schema.Offset, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forwarded[p], nil
}

func (s *shelf) SetForwarded(p schema.Partition, next schema.Offset) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next <= s.forwarded[p] && !s.forget {
		return fmt.Errorf("partition %d goes back from %d to %d", p, s.forwarded[p], next)
	}
	s.forwarded[p] = next
	return nil
}

func reject(p schema.Partition, offset schema.Offset, reason schema.Reason, key, value string) schema.Rejected {
	return schema.Rejected{Topic: topic, Partition: p, Offset: offset, ArrivedAt: 1_700_000_000_000, Reason: reason, Detail: "what is wrong with " + value[:min(len(value), 20)], Key: []byte(key), Value: []byte(value)}
}

// letters reads the dead-letter topic until it has n records.
func letters(t testing.TB, address string, n int) (all []*kgo.Record) {
	t.Helper()
	readLetters(t, address, func(r *kgo.Record) bool {
		all = append(all, r)
		return len(all) == n
	})
	return all
}

// readLetters reads the dead-letter topic until enough returns true.
func readLetters(t testing.TB, address string, enough func(*kgo.Record) bool) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics("dead"), kgo.FetchMaxBytes(64<<20), kgo.FetchMaxPartitionBytes(32<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		f := client.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(f.Records(), enough) {
			return
		}
	}
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return "none"
}

// from names the record that a letter is about.
func from(r *kgo.Record) string {
	return header(r, "__connect.errors.partition") + "/" + header(r, "__connect.errors.offset")
}

func forward(t testing.TB, address string, s *shelf, c source.DeadLetterConfig) (*source.DeadLetters, func() error) {
	t.Helper()
	c.Brokers, c.Topic, c.PollEvery = []string{address}, "dead", 10*time.Millisecond
	d, err := source.NewDeadLetters(c)
	if err != nil {
		t.Fatal(err)
	}
	return d, run(t, func(ctx context.Context) error { return d.Forward(ctx, s) })
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	newCollector().until(t, what, done)
}

func TestDeadLetters(t *testing.T) {
	_, address := startKafka(t, 2)
	s := newShelf(
		reject(1, 7, schema.ReasonUndecodable, "u1", "{not json"), reject(1, 9, schema.ReasonLate, "", `{"user_id":"u2"}`),
		reject(0, 3, schema.ReasonInvalid, "u3", "bad \xff bytes"), reject(0, 4, schema.ReasonOversize, "u4", "big"),
	)
	d, stop := forward(t, address, s, source.DeadLetterConfig{Name: "shop", Task: 2})
	got := letters(t, address, 4)
	s.mu.Lock()
	s.rejected[0] = append(s.rejected[0], reject(0, 11, schema.ReasonOverflow, "u5", "later"))
	s.mu.Unlock()
	waitFor(t, "what came later", func() bool { return d.Stats().Forwarded == 5 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	type seen struct{ From, Key, Value, Stage, Exception, Message, Stack, Reason string }
	var have []seen
	for _, r := range got {
		have = append(have, seen{from(r), string(r.Key), string(r.Value), header(r, "__connect.errors.stage"), header(r, "__connect.errors.exception.class.name"),
			header(r, "__connect.errors.exception.message"), header(r, "__connect.errors.exception.stacktrace"), header(r, "freshet-reason")})
		if header(r, "__connect.errors.topic") != topic || header(r, "__connect.errors.connector.name") != "shop" || header(r, "__connect.errors.task.id") != "2" ||
			header(r, "__connect.errors.class.name") != "freshet.ingest.Node" || r.Timestamp.UnixMilli() != 1_700_000_000_000 || len(r.Headers) != 11 {
			t.Errorf("letter of %s: %v %v", from(r), r.Timestamp, r.Headers)
		}
		if from(r) == "1/9" && r.Key != nil {
			t.Error("a record without a key has got one")
		}
	}
	want := []seen{
		{"0/3", "u3", "bad \xff bytes", "TRANSFORMATION", "freshet.invalid", "what is wrong with bad \uFFFD bytes", "freshet.invalid: what is wrong with bad \uFFFD bytes", "invalid"},
		{"0/4", "u4", "big", "KAFKA_CONSUME", "freshet.oversize", "what is wrong with big", "freshet.oversize: what is wrong with big", "oversize"},
		{"1/7", "u1", "{not json", "VALUE_CONVERTER", "freshet.undecodable", "what is wrong with {not json", "freshet.undecodable: what is wrong with {not json", "undecodable"},
		{"1/9", "", `{"user_id":"u2"}`, "TASK_PUT", "freshet.late", `what is wrong with {"user_id":"u2"}`, `freshet.late: what is wrong with {"user_id":"u2"}`, "late"},
	}
	if diff := gocmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff(map[schema.Partition]schema.Offset{0: 12, 1: 10}, s.forwarded); diff != "" {
		t.Errorf("forwarded (-want +got):\n%s", diff)
	}
}

// TestDeadLettersAtLeastOnce forwards many records to three partitions while the broker refuses and the cursor is lost now
// and then. All are there, a user's in order, and what comes twice names the same record.
func TestDeadLettersAtLeastOnce(t *testing.T) {
	cluster, address := startKafka(t, 1)
	if _, err := source.EnsureTopic(context.Background(), source.TopicConfig{Brokers: []string{address}, Topic: "dead", Partitions: 3}); err != nil {
		t.Fatal(err)
	}
	const n = 1000
	var all []schema.Rejected
	for i := range n {
		all = append(all, reject(schema.Partition(i%2), schema.Offset(i), schema.ReasonLate, fmt.Sprint("user ", i%50), strings.Repeat("x", i)))
	}
	s := newShelf(all...)
	s.forget = true
	for _, fault := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicas, kerr.TopicAuthorizationFailed} {
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: fault, Count: 2})
	}
	for round := range 3 {
		d, stop := forward(t, address, s, source.DeadLetterConfig{})
		waitFor(t, "some letters", func() bool { return d.Stats().Forwarded > 30 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if round == 0 && d.Stats().Faults == 0 {
			t.Error("no request failed: the test tests nothing")
		}
		s.mu.Lock()
		s.forwarded[0] = max(0, s.forwarded[0]-100)
		s.mu.Unlock()
	}
	d, stop := forward(t, address, s, source.DeadLetterConfig{})
	waitFor(t, "the end", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.forwarded[0] == n-1 && s.forwarded[1] == n
	})
	if err := d.Health(); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	home := map[string]int32{}
	readLetters(t, address, func(r *kgo.Record) bool {
		if p, ok := home[string(r.Key)]; ok && p != r.Partition {
			t.Errorf("%s is on partitions %d and %d", r.Key, p, r.Partition)
		}
		home[string(r.Key)] = r.Partition
		seen[from(r)] = true
		return len(seen) == n
	})
	for _, r := range all {
		if !seen[fmt.Sprintf("%d/%d", r.Partition, r.Offset)] {
			t.Fatalf("the record of partition %d offset %d is missing", r.Partition, r.Offset)
		}
	}
}

// TestDeadLettersThatDoNotFit has the topic take less than what is forwarded, and nothing of one record.
func TestDeadLettersThatDoNotFit(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	address := cluster.ListenAddrs()[0]
	if err := cluster.CreateTopic("dead", 1, map[string]string{"max.message.bytes": "5000"}); err != nil {
		t.Fatal(err)
	}
	s := newShelf(
		reject(0, 1, schema.ReasonLate, "u1", "small"), reject(0, 2, schema.ReasonOversize, "u2", strings.Repeat("v", 6000)),
		reject(0, 3, schema.ReasonOversize, strings.Repeat("k", 6000), strings.Repeat("v", 6000)), reject(0, 5, schema.ReasonLate, "u5", "last"),
	)
	huge := reject(0, 4, schema.ReasonLate, "u4", "no")
	huge.Detail = strings.Repeat("d", 6000)
	s.rejected[0] = slices.Insert(s.rejected[0], 3, huge)
	d, stop := forward(t, address, s, source.DeadLetterConfig{})
	got := letters(t, address, 4)
	waitFor(t, "the counts", func() bool {
		return d.Stats().Forwarded == 4 && d.Stats().Cut == 2 && d.Stats().Dropped == 1
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, r := range got {
		have = append(have, fmt.Sprintf("%s key %d value %d omitted %s", from(r), len(r.Key), len(r.Value), header(r, "freshet-omitted")))
	}
	want := []string{"0/1 key 2 value 5 omitted none", "0/2 key 2 value 0 omitted value, 6000 bytes",
		"0/3 key 0 value 0 omitted key, 6000 bytes; value, 6000 bytes", "0/5 key 2 value 4 omitted none"}
	if diff := gocmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A topic that is made here takes the largest record whole.
	_, address = startKafka(t, 1)
	big := strings.Repeat("v", 2<<20)
	_, stop = forward(t, address, newShelf(reject(0, 0, schema.ReasonOversize, "u", big)), source.DeadLetterConfig{})
	if r := letters(t, address, 1)[0]; !bytes.Equal(r.Value, []byte(big)) {
		t.Errorf("the letter has %d bytes, want %d", len(r.Value), len(big))
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestDeadLettersStop(t *testing.T) {
	_, address := startKafka(t, 1)
	broken := errors.New("disk full")
	s := newShelf(reject(0, 1, schema.ReasonLate, "u1", "x"))
	s.err = broken
	d, err := source.NewDeadLetters(source.DeadLetterConfig{Brokers: []string{address}, Topic: "dead"})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Forward(context.Background(), s); !errors.Is(err, broken) {
		t.Errorf("Forward returned %v, want the store's error", err)
	}
	s.err = nil
	d, err = source.NewDeadLetters(source.DeadLetterConfig{Brokers: []string{address}, Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Forward(context.Background(), s); err == nil || !strings.Contains(err.Error(), "come back for ever") {
		t.Errorf("forwarding to the click topic: %v", err)
	}
	_, err = source.NewDeadLetters(source.DeadLetterConfig{Partitions: -1, Task: -1, PollEvery: -1})
	for _, want := range []string{"brokers", "topic", "partitions", "task", "poll every"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to name %s", err, want)
		}
	}
}
