package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
)

// idlePause keeps a partition from spinning where a broker answers an empty fetch at once, as it may while a transaction
// is open.
const idlePause = 10 * time.Millisecond

// runPartition hands partition p to h until ctx ends. next follows the offset up to which h has taken the records.
func (k *Kafka) runPartition(ctx context.Context, h Handler, p schema.Partition, next *atomic.Int64) error {
	offset, err := h.Assign(ctx, p)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("assign partition %d: %w", p, err)
	}
	defer h.Revoke(p)
	defer k.forget(p)
	random := rand.New(rand.NewPCG(k.config.Seed, uint64(p)))
	for attempt := 0; ctx.Err() == nil; {
		asked := time.Now()
		f, err := k.broker.fetch(ctx, fetchRequest{partition: p, offset: offset, maxWait: k.config.MaxWait, maxBytes: k.config.MaxBytes})
		if errors.Is(err, kafka.OffsetOutOfRange) {
			var earliest schema.Offset
			if earliest, err = k.earliest(ctx, p, offset); err == nil {
				offset = earliest
				continue
			}
			if errors.Is(err, ErrTruncated) {
				return err
			}
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			k.failed(p, err)
			if wait(ctx, backoff(attempt, random)) != nil {
				return nil
			}
			attempt++
			continue
		}
		attempt = 0
		k.works(p)
		k.stats.control.Add(uint64(f.control))
		k.stats.aborted.Add(uint64(f.aborted))
		for _, b := range k.cut(f) {
			if err := h.Apply(ctx, p, b); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("apply partition %d from %d: %w", p, offset, err)
			}
			offset = b.Next
			next.Store(int64(offset))
			k.stats.records.Add(uint64(len(b.Records)))
			if ctx.Err() != nil {
				return nil
			}
		}
		if len(f.records) == 0 && time.Since(asked) < idlePause {
			if wait(ctx, idlePause) != nil {
				return nil
			}
		}
	}
	return nil
}

// cut divides what was fetched into batches within the bounds. There is always at least one.
func (k *Kafka) cut(f fetched) []Batch {
	var batches []Batch
	from, bytes := 0, 0
	for i, r := range f.records {
		size := len(r.Key) + len(r.Value)
		if i > from && (i-from >= k.config.MaxRecords || bytes+size > k.config.MaxBytes) {
			batches = append(batches, Batch{Records: f.records[from:i], Next: r.Offset, HighWatermark: f.highWatermark})
			from, bytes = i, 0
		}
		bytes += size
	}
	return append(batches, Batch{Records: f.records[from:], Next: f.next, HighWatermark: f.highWatermark})
}

// ErrTruncated says that a partition ends before the offset that the handler wants to go on from.
var ErrTruncated = errors.New("the partition is shorter than what was read of it")

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
		return 0, fmt.Errorf("kafka: topic %q partition %d ends at %d, and %d records of it were read before: %w: "+
			"start with an empty --data-dir if the topic was made anew", k.config.Topic, p, at.end, offset, ErrTruncated)
	}
	if int64(offset) >= at.first {
		return 0, fmt.Errorf("partition %d: the broker refuses offset %d, and has %d to %d", p, offset, at.first, at.end)
	}
	lost := at.first - int64(offset)
	k.stats.expired.Add(uint64(lost))
	k.config.Log.Warn("kafka: retention removed records before they were read: going on with the earliest",
		"topic", k.config.Topic, "partition", p, "wanted", offset, "earliest", at.first, "lost", lost)
	return schema.Offset(at.first), nil
}

// forget drops the health of a partition that this member no longer has.
func (k *Kafka) forget(p schema.Partition) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.down, p)
}
