package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// outbox sends the records of one partition. The producer adds records to one batch while another is under way; there is
// never more than one under way, which is what keeps the order.
type outbox struct {
	producer   *Producer
	partition  int
	random     *rand.Rand
	identity   producerState
	identified bool
	end        atomic.Int64 // offset behind the last acknowledged record
	tail       tail

	mu       sync.Mutex
	pending  *recordBatch  // guarded by mu
	spare    *recordBatch  // guarded by mu; nil while its batch is under way
	hurry    bool          // guarded by mu: send pending without lingering
	finished bool          // guarded by mu: no more is added
	work     chan struct{} // of one: pending has something new to send
	room     chan struct{} // of one: pending was taken
}

func newOutbox(p *Producer, partition int) *outbox {
	o := &outbox{
		producer: p, partition: partition,
		random:  rand.New(rand.NewPCG(p.config.Seed, uint64(partition))),
		pending: new(recordBatch), spare: new(recordBatch),
		work: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	o.pending.reset()
	o.spare.reset()
	return o
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// resume finds out how far the stream has got in the partition.
func (o *outbox) resume(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		t, err := o.producer.broker.tail(ctx, o.partition, o.producer.config.StreamID)
		if err == nil {
			o.tail = t
			o.end.Store(t.end)
			o.producer.outages.works(schema.Partition(o.partition))
			o.producer.config.Log.Debug("produce: going on", "partition", o.partition, "offset", t.end, "record", t.from)
			return nil
		}
		o.producer.outages.failed(schema.Partition(o.partition), err)
		if err := wait(ctx, backoff(attempt, o.random)); err != nil {
			return err
		}
	}
}

// has reports whether the partition has the record of this index already. It is asked for each of its records once.
func (o *outbox) has(index uint64) bool {
	if o.tail.count > 0 {
		o.tail.count--
		return true
	}
	return index < o.tail.from
}

// add puts a record into the pending batch, and waits while that is full.
func (o *outbox) add(ctx context.Context, out Outgoing, seq sequence) error {
	c := &o.producer.config
	size := len(out.Key) + len(out.Value) + maxOverhead
	o.mu.Lock()
	for o.pending.n > 0 && (o.pending.n >= c.BatchRecords || o.pending.size()+size > c.BatchBytes) {
		o.hurry = true
		o.mu.Unlock()
		signal(o.work)
		select {
		case <-o.room:
		case <-ctx.Done():
			return ctx.Err()
		}
		o.mu.Lock()
	}
	o.pending.append(out, seq, c.Clock.Now().UnixMilli())
	first := o.pending.n == 1
	o.mu.Unlock()
	if first {
		signal(o.work)
	}
	return nil
}

// finish says that no more is added.
func (o *outbox) finish() {
	o.mu.Lock()
	o.finished = true
	o.mu.Unlock()
	signal(o.work)
}

// run sends until all is sent or ctx ends.
func (o *outbox) run(ctx context.Context) error {
	for {
		b, err := o.take(ctx)
		if b == nil || err != nil {
			return err
		}
		if err := o.send(ctx, b); err != nil {
			return err
		}
		n := b.n
		b.reset()
		o.mu.Lock()
		o.spare = b
		o.mu.Unlock()
		o.producer.sent.Add(uint64(n))
	}
}

// take waits for records, lingers for more, and takes the pending batch. It returns nil when all is sent.
func (o *outbox) take(ctx context.Context) (*recordBatch, error) {
	var lingered <-chan time.Time
	for {
		o.mu.Lock()
		if o.pending.n == 0 && o.finished {
			o.mu.Unlock()
			return nil, nil
		}
		if o.pending.n > 0 && (o.hurry || o.finished || o.producer.config.Linger == 0) {
			b := o.pending
			o.pending, o.spare, o.hurry = o.spare, nil, false
			o.mu.Unlock()
			signal(o.room)
			return b, nil
		}
		if o.pending.n > 0 && lingered == nil {
			timer := time.NewTimer(o.producer.config.Linger)
			defer timer.Stop()
			lingered = timer.C
		}
		o.mu.Unlock()
		select {
		case <-o.work:
		case <-lingered:
			o.mu.Lock()
			o.hurry = true
			o.mu.Unlock()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// send sends b until it is acknowledged, once. The broker knows a batch that comes again by the producer's sequence, also
// when the first copy lands late; what the broker may have forgotten, the partition's own tail tells.
func (o *outbox) send(ctx context.Context, b *recordBatch) error {
	for attempt := 0; ; attempt++ {
		if attempt > 0 {
			if err := wait(ctx, backoff(attempt-1, o.random)); err != nil {
				return err
			}
			t, err := o.producer.broker.tail(ctx, o.partition, o.producer.config.StreamID)
			if err != nil {
				o.producer.outages.failed(schema.Partition(o.partition), err)
				continue
			}
			if t.from > b.last {
				o.acknowledged(b, t.end)
				return nil
			}
		}
		// A batch that is on its way is seen through when the run ends: how it went must be known before anyone, a
		// producer that goes on here for one, looks at the partition.
		base, err := o.produce(context.WithoutCancel(ctx), b)
		if err == nil {
			o.acknowledged(b, base+int64(b.n))
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := fatal(err, o.producer.config.Topic); err != nil {
			return err
		}
		switch {
		case errors.Is(err, kafka.OutOfOrderSequenceNumber), errors.Is(err, kafka.InvalidProducerEpoch),
			errors.Is(err, kafka.InvalidProducerIDMapping), errors.Is(err, kafka.UnknownProducerId):
			o.identified = false // the broker has lost what it knew of this producer
		}
		o.producer.outages.failed(schema.Partition(o.partition), err)
	}
}

func (o *outbox) acknowledged(b *recordBatch, end int64) {
	o.producer.outages.works(schema.Partition(o.partition))
	o.identity.next = int32((int64(o.identity.next) + int64(b.n)) & 0x7fffffff)
	o.end.Store(end)
}

// produce sends b once and returns the offset of its first record.
func (o *outbox) produce(ctx context.Context, b *recordBatch) (int64, error) {
	client, err := o.producer.broker.connect(ctx)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout+dialTimeout)
	defer cancel()
	if !o.identified {
		r, err := client.InitProducerID(ctx, &kafka.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1, TransactionTimeoutMs: 60_000})
		if err == nil {
			err = r.Error
		}
		if err != nil {
			return 0, fmt.Errorf("get a producer id: %w", err)
		}
		o.identity, o.identified = producerState{id: int64(r.Producer.ProducerID), epoch: int16(r.Producer.ProducerEpoch)}, true
	}
	m, err := client.Transport.RoundTrip(ctx, client.Addr, &rawproduce.Request{
		Acks:    -1, // all replicas that are in sync
		Timeout: int32(requestTimeout.Milliseconds()),
		Topics: []rawproduce.RequestTopic{{Topic: o.producer.config.Topic, Partitions: []rawproduce.RequestPartition{{
			Partition: int32(o.partition),
			RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(b.finish(o.identity))},
		}}}},
	})
	if err != nil {
		b.buf = bytes.Clone(b.buf) // the request that was given up may still be reading the old bytes
		return 0, fmt.Errorf("produce to partition %d: %w", o.partition, err)
	}
	r := m.(*produce.Response)
	if len(r.Topics) != 1 || len(r.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("produce to partition %d: the broker answered for another partition", o.partition)
	}
	p := r.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		return 0, fmt.Errorf("produce to partition %d: %w", o.partition, kafka.Error(p.ErrorCode))
	}
	return p.BaseOffset, nil
}
