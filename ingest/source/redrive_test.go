package source_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

// readBack reads n records of the topic with another client.
func readBack(t *testing.T, address string, n int) (records []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for len(records) < n {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

func redriver(t *testing.T, address string) *source.Redriver {
	t.Helper()
	sent := time.UnixMilli(1_800_000_000_000)
	r, err := source.NewRedriver([]string{address}, source.Security{}, topic, func() time.Time { return sent })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func asides(p, n int) []schema.Rejected {
	records := make([]schema.Rejected, n)
	for o := range records {
		records[o] = schema.Rejected{Topic: "elsewhere", Partition: schema.Partition(p), Offset: schema.Offset(o * 3), Key: fmt.Append(nil, "u", o), Value: fmt.Append(nil, "v", o)}
	}
	return records
}

// TestRedrive: key, value and partition are those of before, whatever their hash says, and the header says where it was.
func TestRedrive(t *testing.T) {
	_, address := startKafka(t, 3)
	r := redriver(t, address)
	if n, err := r.Partitions(t.Context()); n != 3 || err != nil {
		t.Fatalf("%d partitions, %v", n, err)
	}
	records := asides(2, 5)
	records[1].Key, records[1].Value = nil, nil
	records[3].Value = bytes.Repeat([]byte("x"), 700<<10) // larger than a request is meant to be
	if n, err := r.Send(t.Context(), records); n != 5 || err != nil {
		t.Fatalf("sent %d, %v", n, err)
	}
	for i, got := range readBack(t, address, 5) {
		want := records[i]
		header := fmt.Sprintf("2:%d", i*3)
		if got.Partition != 2 || !bytes.Equal(got.Key, want.Key) || !bytes.Equal(got.Value, want.Value) || got.Timestamp.UnixMilli() != 1_800_000_000_000 ||
			len(got.Headers) != 1 || got.Headers[0].Key != source.RedrivenHeader || string(got.Headers[0].Value) != header {
			t.Errorf("record %d: partition %d, key %q, %d bytes, at %v, headers %q", i, got.Partition, got.Key, len(got.Value), got.Timestamp, got.Headers)
		}
		if len(want.Key) == 0 && got.Key != nil {
			t.Error("a record without a key has got one")
		}
	}
}

// TestRedriveFaults: what passes is waited out, and what does not is said, with how much was sent before.
func TestRedriveFaults(t *testing.T) {
	answer := func(code int16) func(kmsg.Request) (kmsg.Response, error, bool) {
		return func(r kmsg.Request) (kmsg.Response, error, bool) {
			response := r.ResponseKind().(*kmsg.ProduceResponse)
			for _, of := range r.(*kmsg.ProduceRequest).Topics {
				rt := kmsg.NewProduceResponseTopic()
				rt.Topic, rt.TopicID = of.Topic, of.TopicID
				for _, p := range of.Partitions {
					rp := kmsg.NewProduceResponseTopicPartition()
					rp.Partition, rp.ErrorCode = p.Partition, code
					rt.Partitions = append(rt.Partitions, rp)
				}
				response.Topics = append(response.Topics, rt)
			}
			return response, nil, true
		}
	}
	broken := func(t *testing.T, codes ...int16) (*kfake.Cluster, string) {
		c, address := startKafka(t, 1)
		asked := 0
		c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			if asked++; asked <= len(codes) && codes[asked-1] != 0 {
				return answer(codes[asked-1])(r)
			}
			return nil, nil, false
		})
		return c, address
	}
	t.Run("passes", func(t *testing.T) {
		_, address := broken(t, kerr.NotLeaderForPartition.Code, kerr.NotEnoughReplicas.Code)
		if n, err := redriver(t, address).Send(t.Context(), asides(0, 3)); n != 3 || err != nil {
			t.Errorf("sent %d, %v", n, err)
		}
		readBack(t, address, 3)
	})
	t.Run("too large", func(t *testing.T) {
		_, address := broken(t, 0, kerr.MessageTooLarge.Code)
		records := asides(0, 2)
		records[0].Value = bytes.Repeat([]byte("x"), 600<<10) // so that the second goes in a request of its own
		n, err := redriver(t, address).Send(t.Context(), records)
		if n != 1 || err == nil || !strings.Contains(err.Error(), "max.message.bytes") {
			t.Errorf("sent %d, %v", n, err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		_, address := broken(t, kerr.NotEnoughReplicas.Code, kerr.NotEnoughReplicas.Code)
		r := redriver(t, address)
		if _, err := r.Partitions(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if n, err := r.Send(ctx, asides(0, 3)); n != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("sent %d, %v", n, err)
		}
	})
	t.Run("nothing to send to", func(t *testing.T) {
		if _, err := source.NewRedriver(nil, source.Security{}, "", time.Now); err == nil || !strings.Contains(err.Error(), "brokers") || !strings.Contains(err.Error(), "topic") {
			t.Errorf("%v", err)
		}
	})
}
