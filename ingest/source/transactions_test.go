package source_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// transact writes each group of values as a transaction, committed or aborted.
func transact(t testing.TB, address, id string, commit bool, groups ...[]string) {
	t.Helper()
	ctx := context.Background()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, g := range groups {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, v := range g {
			if err := client.ProduceSync(ctx, kgo.StringRecord(v)).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTransactions(t *testing.T) {
	_, address := startKafka(t, 1)
	transact(t, address, "one", true, []string{"a", "b"})
	transact(t, address, "one", false, []string{"no", "no"})
	transact(t, address, "two", true, []string{"c"}, []string{"d"})
	produce(t, source.ProducerConfig{Brokers: []string{address}}, &fixed{values: [][]byte{[]byte("e")}})
	transact(t, address, "two", false, []string{"no"})
	want := []string{"a", "b", "c", "d", "e"}
	for _, maxRecords := range []int{1, 5000} {
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, MaxRecords: maxRecords, MaxWait: 10 * time.Millisecond})
		c := newCollector()
		stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
		c.until(t, "idle", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.empty[0].HighWatermark > 0 && c.empty[0].Next == c.empty[0].HighWatermark
		})
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, values(c.records[0])); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// Five transactions leave five markers; three records were aborted.
		if s := k.Stats(); s.Records != 5 || s.Control != 5 || s.Aborted != 3 {
			t.Errorf("stats %+v, want 5 records, 5 markers, 3 aborted", s)
		}
	}
}

// TestInterleavedTransactions has two transactions open at once, of which one is aborted, and reads from every offset.
func TestInterleavedTransactions(t *testing.T) {
	_, address := startKafka(t, 1)
	ctx := context.Background()
	var clients []*kgo.Client
	for _, id := range []string{"good", "bad"} {
		client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		clients = append(clients, client)
	}
	good, bad := clients[0], clients[1]
	put := func(c *kgo.Client, v string) {
		if err := c.ProduceSync(ctx, kgo.StringRecord(v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	end := func(c *kgo.Client, commit bool) {
		if err := c.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		for _, c := range clients {
			if err := c.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
		}
		put(bad, "no")
		put(good, fmt.Sprintf("a%d", round))
		put(bad, "no")
		put(good, fmt.Sprintf("b%d", round))
		end(bad, round == 1)
		put(good, fmt.Sprintf("c%d", round))
		end(good, true)
	}
	all := []string{"a0", "b0", "c0", "no", "a1", "no", "b1", "c1", "a2", "b2", "c2"}
	// Offsets of those in the log: 7 places a round, of which 2 are markers.
	at := []schema.Offset{1, 3, 5, 7, 8, 9, 10, 12, 15, 17, 19}
	for start := range schema.Offset(21) {
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, MaxWait: 10 * time.Millisecond})
		c := newCollector()
		c.next[0] = start
		stop := run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
		c.until(t, "end", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.next[0] == 21
		})
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range all {
			if at[i] >= start {
				want = append(want, all[i])
			}
		}
		if diff := cmp.Diff(want, values(c.records[0])); diff != "" {
			t.Errorf("from %d (-want +got):\n%s", start, diff)
		}
	}
}

// codecs are the ways in which a producer may compress its batches.
var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// TestCompression reads what other clients compress, inside of transactions and outside.
func TestCompression(t *testing.T) {
	ctx := context.Background()
	for name, codec := range codecs {
		_, address := startKafka(t, 1)
		var want []string
		for _, transactional := range []bool{false, true} {
			opts := []kgo.Opt{kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec)}
			if transactional {
				opts = append(opts, kgo.TransactionalID("t"))
			}
			client, err := kgo.NewClient(opts...)
			if err != nil {
				t.Fatal(err)
			}
			for _, commit := range []bool{true, false, true} {
				if transactional {
					if err := client.BeginTransaction(); err != nil {
						t.Fatal(err)
					}
				}
				var records []*kgo.Record
				for i := range 500 {
					v := fmt.Sprintf("a value that can be compressed, of %s, transactional %v, number %d", name, transactional, i)
					if commit || !transactional {
						want = append(want, v)
					}
					records = append(records, kgo.StringRecord(v))
				}
				if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
					t.Fatal(err)
				}
				if transactional {
					if err := client.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
						t.Fatal(err)
					}
				}
			}
			client.Close()
		}
		got := consume(t, address, "", len(want))
		if diff := cmp.Diff(want, values(got.records[0])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestRandomTransactions interleaves the transactions of three producers, and records of a fourth that has none, at random,
// while three consumers read: one batch at a time, as much as there is, and with restarts. Each must have exactly what was
// committed, in the order of the offsets, and never anything before its transaction ends.
func TestRandomTransactions(t *testing.T) {
	seed := rand.Uint64()
	for round := range uint64(3) {
		t.Run(fmt.Sprintf("seed %d", seed+round), func(t *testing.T) { randomTransactions(t, rand.New(rand.NewPCG(seed+round, 0))) })
	}
}

// transactor is one producer of TestRandomTransactions.
type transactor struct {
	*kgo.Client
	transactional, open bool
	written             map[int64]string // of the open transaction
}

func randomTransactions(t *testing.T, random *rand.Rand) {
	_, address := startKafka(t, 1)
	ctx := context.Background()
	producers := make([]*transactor, 4)
	for i := range producers {
		opts := []kgo.Opt{kgo.SeedBrokers(address), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0),
			kgo.ProducerBatchCompression(codecs[slices.Sorted(maps.Keys(codecs))[random.IntN(len(codecs))]])}
		if i > 0 {
			opts = append(opts, kgo.TransactionalID(fmt.Sprint("t", i)))
		}
		client, err := kgo.NewClient(opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		producers[i] = &transactor{Client: client, transactional: i > 0, written: map[int64]string{}}
	}
	committed := map[int64]string{}
	var control, aborted uint64
	end := func(p *transactor, commit bool) {
		if err := p.EndTransaction(ctx, kgo.TransactionEndTry(commit)); err != nil {
			t.Fatal(err)
		}
		if len(p.written) > 0 {
			control++
		}
		for offset, v := range p.written {
			if commit {
				committed[offset] = v
			} else {
				aborted++
			}
		}
		clear(p.written)
		p.open = false
	}
	consumer := func(c *collector, fetchBytes int) (*source.Kafka, func() error) {
		k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, MaxWait: 5 * time.Millisecond}.WithFetchBytes(fetchBytes))
		return k, run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	}
	readers := []*collector{newCollector(), newCollector(), newCollector()}
	single, stopSingle := consumer(readers[0], 1)
	_, stopWhole := consumer(readers[1], 8<<20)
	_, stopRestarted := consumer(readers[2], 300)
	for step := range 150 {
		p := producers[random.IntN(len(producers))]
		switch what := random.IntN(10); {
		case p.transactional && !p.open:
			if err := p.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			p.open = true
		case p.transactional && what < 3:
			end(p, what < 2)
		default:
			var records []*kgo.Record
			for i := range 1 + random.IntN(4) {
				records = append(records, kgo.StringRecord(fmt.Sprintf("step %d record %d", step, i)))
			}
			if err := p.ProduceSync(ctx, records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				if p.transactional {
					p.written[r.Offset] = string(r.Value)
				} else {
					committed[r.Offset] = string(r.Value)
				}
			}
		}
		if step%40 == 39 {
			if err := stopRestarted(); err != nil {
				t.Fatal(err)
			}
			_, stopRestarted = consumer(readers[2], 300)
		}
	}
	for _, p := range producers {
		if p.open {
			end(p, random.IntN(2) == 0)
		}
	}
	var want []string
	for _, offset := range slices.Sorted(maps.Keys(committed)) {
		want = append(want, committed[offset])
	}
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}})
	ends, err := k.Ends(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range readers {
		c.until(t, "the end", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.next[0] == ends[0]
		})
		if diff := cmp.Diff(want, values(c.records[0])); diff != "" {
			t.Errorf("reader %d (-want +got):\n%s", i, diff)
		}
		if len(c.faults) > 0 {
			t.Error(c.faults)
		}
	}
	if s := single.Stats(); s.Control != control || s.Aborted != aborted || s.Records != uint64(len(want)) {
		t.Errorf("stats %+v, want %d markers, %d aborted, %d records", s, control, aborted, len(want))
	}
	for _, stop := range []func() error{stopSingle, stopWhole, stopRestarted} {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	if control == 0 || aborted == 0 {
		t.Log("no transaction was aborted in this round")
	}
}

// TestOpenTransactionHoldsBack has a record wait behind an open transaction, and no longer when that ends.
func TestOpenTransactionHoldsBack(t *testing.T) {
	_, address := startKafka(t, 1)
	ctx := context.Background()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.TransactionalID("t"), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, kgo.StringRecord("open")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	// A Producer, which looks for the end of its stream first, is not held up by others' transactions.
	produce(t, source.ProducerConfig{Brokers: []string{address}, StreamID: 1}, &fixed{values: [][]byte{[]byte("behind")}})
	k := newKafka(t, source.KafkaConfig{Brokers: []string{address}, MaxWait: 5 * time.Millisecond})
	c := newCollector()
	run(t, func(ctx context.Context) error { return k.Run(ctx, c) })
	// The fetch comes back empty below the high watermark: the partition is not idle.
	c.until(t, "an empty fetch", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.empty[0].Next == 0 && c.empty[0].HighWatermark == 2
	})
	if n := c.total(); n != 0 {
		t.Fatalf("%d records were read past an open transaction", n)
	}
	if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	c.until(t, "both", func() bool { return c.total() == 2 })
	if diff := cmp.Diff([]string{"open", "behind"}, values(c.records[0])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
