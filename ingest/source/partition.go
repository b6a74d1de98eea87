package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
)

// idlePause keeps a partition from spinning where a broker answers an empty fetch at once, as it may while a transaction
// is open.
const idlePause = 10 * time.Millisecond

// partitionReader reads one partition. While the handler takes what one fetch gave, the next is under way: one, not more,
// so that a slow handler holds the brokers back.
type partitionReader struct {
	kafka    *Kafka
	id       schema.Partition
	offset   schema.Offset // up to which the handler has taken the records
	progress *progress
	unpacker unpacker
	random   *rand.Rand
	shrink   int // how often what a fetch asks for is halved

	ahead  chan fetchResult // of one; nil when no fetch is under way
	cancel context.CancelFunc
}

type fetchResult struct {
	*fetched
	err error
}

// begin starts the fetch from offset.
func (r *partitionReader) begin(ctx context.Context, offset schema.Offset) {
	ctx, r.cancel = context.WithCancel(ctx)
	ahead := make(chan fetchResult, 1)
	r.ahead = ahead
	request := fetchRequest{partition: r.id, offset: offset, maxWait: r.kafka.config.MaxWait, maxBytes: r.kafka.fetchBytes(r.shrink), isolation: readCommitted}
	go func() {
		asked := time.Now()
		f, err := r.kafka.broker.fetch(ctx, request)
		if err == nil {
			pause := min(f.throttled, maxThrottle)
			if len(f.records) == 0 && time.Since(asked) < idlePause {
				pause = max(pause, idlePause)
			}
			if pause > 0 {
				_ = wait(ctx, pause) // what was fetched is good, whether ctx ended or not
			}
		}
		ahead <- fetchResult{f, err}
	}()
}

// maxThrottle bounds how long the broker's wish to be left alone is heeded; brokers with a quota ask for seconds.
const maxThrottle = 30 * time.Second

// drop gives up the fetch that is under way.
func (r *partitionReader) drop() {
	if r.ahead == nil {
		return
	}
	r.cancel()
	if f := <-r.ahead; f.err == nil {
		f.release()
	}
	r.ahead = nil
}

// take waits for the fetch that is under way, or for a new one.
func (r *partitionReader) take(ctx context.Context) (*fetched, error) {
	if r.ahead == nil {
		r.begin(ctx, r.offset)
	}
	f := <-r.ahead
	r.ahead = nil
	r.cancel()
	return f.fetched, f.err
}

// runPartition hands a partition to h until ctx ends. at follows it.
func (k *Kafka) runPartition(ctx context.Context, h Handler, at *progress) error {
	p := at.partition
	offset, err := h.Assign(ctx, p)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("assign partition %d: %w", p, err)
	}
	defer h.Revoke(p)
	k.note(at)
	defer k.forget(at)
	at.next.Store(int64(offset))
	r := &partitionReader{
		kafka: k, id: p, offset: offset, progress: at, random: rand.New(rand.NewPCG(k.config.Seed, uint64(p))),
		unpacker: unpacker{maxRecords: k.config.MaxRecords, maxBytes: k.config.MaxBytes},
	}
	defer r.drop()
	for failures := 0; ctx.Err() == nil; failures++ {
		err := r.step(ctx, h)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failures = -1
			r.shrink = max(0, r.shrink-1)
			k.outages.works(p)
			continue
		case errors.Is(err, kafka.OffsetOutOfRange):
			var earliest schema.Offset
			if earliest, err = k.earliest(ctx, p, r.offset); err == nil {
				r.offset = earliest
				continue
			}
		}
		var fatal handlerError
		if errors.As(err, &fatal) || errors.Is(err, ErrTruncated) || errors.Is(err, ErrRecreated) || errors.Is(err, ErrExpired) {
			return err
		}
		if errors.Is(err, errNotListed) && failures < int(2*metadataTTL/backoffMin) {
			// kafka-go looks at the topic now and then, and need not know a partition that is new.
			if wait(ctx, backoffMin) != nil {
				return nil
			}
			continue
		}
		k.outages.failed(p, err)
		r.shrink = min(r.shrink+1, 16)
		if wait(ctx, backoff(failures, r.random)) != nil {
			return nil
		}
	}
	return nil
}

// handlerError is what a handler returned: not to be tried again.
type handlerError struct{ error }

func (e handlerError) Unwrap() error { return e.error }

// step hands what one fetch gives to h.
func (r *partitionReader) step(ctx context.Context, h Handler) error {
	f, err := r.take(ctx)
	if err != nil {
		return err
	}
	defer f.release()
	r.progress.high.Store(int64(f.highWatermark))
	r.progress.fetchedAt.Store(time.Now().UnixNano())
	if len(f.records) > 0 {
		r.begin(ctx, f.next)
	}
	k := r.kafka
	err = r.unpacker.unpack(f, func(b Batch, passed passed) error {
		if err := h.Apply(ctx, r.id, b); err != nil {
			return handlerError{fmt.Errorf("apply partition %d from %d: %w", r.id, r.offset, err)}
		}
		r.offset = b.Next
		r.progress.next.Store(int64(b.Next))
		k.stats.records.Add(uint64(len(b.Records)))
		k.stats.control.Add(uint64(passed.control))
		k.stats.aborted.Add(uint64(passed.aborted))
		return ctx.Err()
	})
	if err != nil {
		r.drop() // it would go on behind what was not taken
	}
	return err
}

// ErrTruncated says that a partition ends before the offset that the handler wants to go on from.
var ErrTruncated = errors.New("the partition is shorter than what was read of it")

// ErrExpired says that retention removed records before they were read, and that OnExpired is to stop then.
var ErrExpired = errors.New("retention removed records before they were read")

// earliest decides where to go on when the broker does not have the offset. What retention has removed is lost: that is
// said and counted, and reading goes on with the earliest record there is. An offset beyond the end is another matter: the
// topic was made anew or has lost its tail, and what it holds now is not the continuation of what was read.
func (k *Kafka) earliest(ctx context.Context, p schema.Partition, offset schema.Offset) (schema.Offset, error) {
	found, err := k.broker.bounds(ctx, int(p))
	if err != nil {
		return 0, err
	}
	at := found[int(p)]
	if int64(offset) > at.end {
		if err := k.recreated(ctx); err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("kafka: topic %q partition %d ends at %d, and %d records of it were read before: %w: "+
			"the topic was made anew, or an unclean election has lost its tail: start with an empty --data-dir", k.config.Topic, p, at.end, offset, ErrTruncated)
	}
	if int64(offset) >= at.first {
		return 0, fmt.Errorf("partition %d: the broker refuses offset %d, and has %d to %d", p, offset, at.first, at.end)
	}
	if offset == 0 { // nothing of the partition was ever read: it begins where it begins
		k.config.Log.Info("kafka: beginning with the earliest record", "topic", k.config.Topic, "partition", p, "earliest", at.first)
		return schema.Offset(at.first), nil
	}
	lost := at.first - int64(offset)
	if k.config.OnExpired == ExpiredStop {
		return 0, fmt.Errorf("kafka: topic %q partition %d: %w: %d, offsets %d to %d: raise the topic's retention.ms, and go on without them "+
			"(kafka.on_expired: earliest) or begin again (an empty --data-dir)", k.config.Topic, p, ErrExpired, lost, offset, at.first-1)
	}
	k.stats.expired.Add(uint64(lost))
	k.config.Log.Warn("kafka: retention removed records before they were read: going on with the earliest",
		"topic", k.config.Topic, "partition", p, "wanted", offset, "earliest", at.first, "lost", lost)
	return schema.Offset(at.first), nil
}

// note keeps the progress of a partition that this process reads now.
func (k *Kafka) note(at *progress) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reading[at.partition] = at
}

// forget drops what is known of a partition that this process no longer reads.
func (k *Kafka) forget(at *progress) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reading[at.partition] == at {
		delete(k.reading, at.partition)
		k.outages.forget(at.partition)
	}
}

// fetchBytes is what a fetch asks for: two of them for each partition stay within MaxBuffered. After a failure it is half as
// much, and after a success twice as much again, because over a line that is slow or breaks, what is large never arrives.
// A broker sends the first batch whole, so that the least is no more than what keeps requests few.
func (k *Kafka) fetchBytes(shrink int) int {
	if k.config.fetchBytes > 0 {
		return k.config.fetchBytes
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n := min(k.config.MaxBytes, k.config.MaxBuffered/(2*max(1, len(k.reading))))
	return max(leastFetch, n>>shrink)
}

const leastFetch = 64 << 10
