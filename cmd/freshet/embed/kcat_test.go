package embed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// kcat runs kcat, the client of librdkafka, as half of the clients in the field do. Where it is not installed the test is
// skipped, and fails in CI.
func kcat(t *testing.T, address, input string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("kcat"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("kcat is not installed: install the Debian package kcat")
		}
		t.Skip("NOT RUN: kcat is not installed (Debian package kcat)")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kcat", append([]string{"-b", address, "-X", "topic.partitioner=murmur2_random"}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("kcat %s: %v: %s", strings.Join(args, " "), err, problems.String())
	}
	return out.String()
}

// reader keeps what it is handed.
type reader struct {
	mu      sync.Mutex
	next    map[schema.Partition]schema.Offset
	records []source.Record
}

func (r *reader) Assign(_ context.Context, p schema.Partition) (schema.Offset, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next[p], nil
}

func (r *reader) Apply(_ context.Context, p schema.Partition, b source.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range b.Records {
		record.Key, record.Value = bytes.Clone(record.Key), bytes.Clone(record.Value)
		r.records = append(r.records, record)
	}
	if r.next == nil {
		r.next = map[schema.Partition]schema.Offset{}
	}
	r.next[p] = b.Next
	return nil
}

func (r *reader) Revoke(schema.Partition) {}

func (r *reader) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.records)
}

// read has source.Kafka read the click topic until it has n records.
func read(t *testing.T, address string, n int) []source.Record {
	t.Helper()
	k, err := source.NewKafka(source.KafkaConfig{Brokers: []string{address}, Topic: "clicks", MaxWait: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := &reader{}
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx, r) }()
	for r.total() < n && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if len(r.records) != n {
		t.Fatalf("%d records were read, want %d", len(r.records), n)
	}
	return r.records
}

// keyed is a stream of n clicks of 50 users.
type keyed struct{ n, at int }

func (s *keyed) Next() (source.Outgoing, error) {
	if s.at == s.n {
		return source.Outgoing{}, io.EOF
	}
	user := fmt.Sprintf("user-%d", s.at%50)
	s.at++
	return source.Outgoing{Key: []byte(user), Value: fmt.Appendf(nil, `{"user_id":%q,"item_id":"i%d","timestamp":1700000000000}`, user, s.at)}, nil
}
func (s *keyed) Len() int     { return s.n }
func (s *keyed) Close() error { return nil }

func kcatBroker(t *testing.T) string {
	t.Helper()
	return start(t, embed.KafkaConfig{Topic: "clicks", Partitions: 5}).Address()
}

// TestKcatProduces has kcat write keyed JSON lines, compressed in each way that it knows, and freshet read them.
func TestKcatProduces(t *testing.T) {
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			address := kcatBroker(t)
			const n = 500
			var lines strings.Builder
			s := keyed{n: n}
			for range n {
				out, _ := s.Next()
				fmt.Fprintf(&lines, "%s|%s\n", out.Key, out.Value)
			}
			kcat(t, address, lines.String(), "-P", "-t", "clicks", "-K", "|", "-z", codec)
			last := map[string]int{}
			home := map[string]schema.Partition{}
			for _, r := range read(t, address, n) {
				var click struct {
					User string `json:"user_id"`
					Item string `json:"item_id"`
				}
				if err := json.Unmarshal(r.Value, &click); err != nil || click.User != string(r.Key) {
					t.Fatalf("%s: %s, %v", r.Key, r.Value, err)
				}
				item, err := strconv.Atoi(strings.TrimPrefix(click.Item, "i"))
				if err != nil || item <= last[click.User] {
					t.Fatalf("%s comes after %d, %v", click.Item, last[click.User], err)
				}
				last[click.User] = item
				if at, ok := home[click.User]; ok && at != r.Partition {
					t.Fatalf("%s is on partitions %d and %d", click.User, at, r.Partition)
				}
				home[click.User] = r.Partition
			}
		})
	}
}

// TestKcatReads has freshet's producer write and kcat list the topic and read it, alone and as a group; then kcat writes the
// same users, which must land where freshet put them.
func TestKcatReads(t *testing.T) {
	address := kcatBroker(t)
	const n = 500
	p, err := source.NewProducer(source.ProducerConfig{Brokers: []string{address}, Topic: "clicks"}, &keyed{n: n})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if list := kcat(t, address, "", "-L", "-t", "clicks"); !strings.Contains(list, `topic "clicks" with 5 partitions`) {
		t.Errorf("kcat -L says %s", list)
	}
	var want []string
	home := map[string]schema.Partition{}
	for _, r := range read(t, address, n) {
		want = append(want, fmt.Sprintf("%d %d %s %s", r.Partition, r.Offset, r.Key, r.Value))
		home[string(r.Key)] = r.Partition
	}
	slices.Sort(want)
	for _, args := range [][]string{
		{"-C", "-t", "clicks", "-o", "beginning", "-e", "-q", "-f", "%p %o %k %s\\n"},
		{"-q", "-X", "auto.offset.reset=earliest", "-c", strconv.Itoa(n), "-f", "%p %o %k %s\\n", "-G", "kcats", "clicks"},
	} {
		got := strings.Split(strings.TrimSpace(kcat(t, address, "", args...)), "\n")
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("kcat %s: %d records, want %d", args[0], len(got), len(want))
		}
	}
	var lines strings.Builder
	for user := range home {
		fmt.Fprintf(&lines, "%s|again\n", user)
	}
	kcat(t, address, lines.String(), "-P", "-t", "clicks", "-K", "|")
	for _, r := range read(t, address, n+len(home)) {
		if home[string(r.Key)] != r.Partition {
			t.Errorf("kcat puts %s on partition %d, freshet on %d", r.Key, r.Partition, home[string(r.Key)])
		}
	}
}
