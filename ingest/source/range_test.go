package source_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// taken notes what a handler was given.
type taken struct {
	mu      sync.Mutex
	values  map[schema.Partition][]string
	begin   schema.Offset
	told    int
	revoked int
}

func (h *taken) Topology(_ context.Context, n int) error {
	h.told = n
	return nil
}
func (h *taken) Assign(context.Context, schema.Partition) (schema.Offset, error) { return h.begin, nil }
func (h *taken) Revoke(schema.Partition) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.revoked++
}
func (h *taken) Apply(_ context.Context, p schema.Partition, b source.Batch) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range b.Records {
		h.values[p] = append(h.values[p], string(r.Value))
	}
	return nil
}

// A part of a topic by time is read without a group, exactly, and to its end, whatever is written behind it.
func TestRange(t *testing.T) {
	_, address := startKafka(t, 3)
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const first = 1_700_000_000_000
	send := func(p int32, i int) {
		t.Helper()
		r := &kgo.Record{Partition: p, Value: fmt.Appendf(nil, "%d/%d", p, i), Timestamp: time.UnixMilli(first + int64(i)*1000)}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		send(0, i)
		if i < 5 {
			send(1, i) // ends before the range begins; partition 2 is empty
		}
	}
	const group = "production"
	at := func(i int) schema.ArrivalTime { return schema.ArrivalTime(first + i*1000) }
	for _, tc := range []struct {
		from, until schema.ArrivalTime
		begin       schema.Offset
		want        [2][2]int // of partitions 0 and 1, first and behind the last
	}{
		{0, 0, 0, [2][2]int{{0, 20}, {0, 5}}},
		{at(7), at(12), 0, [2][2]int{{7, 12}, {5, 5}}},
		{at(7) - 1, at(12) - 1, 0, [2][2]int{{7, 12}, {5, 5}}},
		{at(3), 0, 0, [2][2]int{{3, 20}, {3, 5}}},
		{0, at(2), 0, [2][2]int{{0, 2}, {0, 2}}},
		{at(3), 0, 4, [2][2]int{{4, 20}, {4, 5}}}, // the handler has some of it
		{at(99), 0, 0, [2][2]int{}},
	} {
		kafka, err := source.NewKafka(source.KafkaConfig{Brokers: []string{address}, Topic: topic})
		if err != nil {
			t.Fatal(err)
		}
		defer kafka.Close()
		r, err := kafka.Range(t.Context(), tc.from, tc.until)
		if err != nil {
			t.Fatal(err)
		}
		send(2, 1000) // after the look: not of the range
		h := &taken{values: map[schema.Partition][]string{}, begin: tc.begin}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err = kafka.RunRange(ctx, r, h)
		if err != nil || ctx.Err() != nil {
			t.Fatalf("%v, %v", err, ctx.Err())
		}
		cancel()
		for p, w := range tc.want {
			var want []string
			for i := w[0]; i < w[1]; i++ {
				want = append(want, fmt.Sprintf("%d/%d", p, i))
			}
			if got := h.values[schema.Partition(p)]; !slices.Equal(got, want) {
				t.Errorf("%+v: partition %d: %q, want %q", tc, p, got, want)
			}
		}
		if n := schema.Offset(len(h.values[2])); n != r.To[2]-max(r.From[2], tc.begin) || h.told != 3 || h.revoked != 3 {
			t.Errorf("%+v: %d records of partition 2 in %v, told of %d partitions, %d revoked", tc, n, r, h.told, h.revoked)
		}
	}
	if n := committed(t, address, group, 0); n > 0 {
		t.Errorf("offset %d is committed", n)
	}
}
