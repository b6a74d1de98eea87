package source

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/freshet-ml/freshet/schema"
)

// Range is a part of a topic: of each partition the offsets from From up to, and without, To.
type Range struct{ From, To []schema.Offset }

// Records returns how many offsets there are in it: at least as many as records.
func (r Range) Records() (n int64) {
	for p := range r.To {
		n += max(0, int64(r.To[p]-r.From[p]))
	}
	return n
}

// Range returns the part of the topic with the records from the first one at or after from to the last one before until, by the times that Kafka has of
// them. 0 is no bound: the earliest record there is, and the end as it is now. Nothing is asked of any group.
func (k *Kafka) Range(ctx context.Context, from, until schema.ArrivalTime) (Range, error) {
	n, err := k.broker.partitions(ctx)
	if err != nil {
		return Range{}, err
	}
	all := make([]int, n)
	for p := range all {
		all[p] = p
	}
	bounds, err := k.broker.bounds(ctx, all...)
	if err != nil {
		return Range{}, err
	}
	r := Range{From: make([]schema.Offset, n), To: make([]schema.Offset, n)}
	for p := range all {
		r.From[p], r.To[p] = schema.Offset(bounds[p].first), schema.Offset(bounds[p].end)
	}
	if from > 0 {
		if err := k.broker.since(ctx, from, r.From, r.To); err != nil {
			return Range{}, err
		}
	}
	if until > 0 {
		to := make([]schema.Offset, n)
		if err := k.broker.since(ctx, until, to, r.To); err != nil {
			return Range{}, err
		}
		r.To = to
	}
	return r, nil
}

// since sets offsets to those of the first records at or after a time, or to ends where there is none.
func (b *broker) since(ctx context.Context, at schema.ArrivalTime, offsets, ends []schema.Offset) error {
	client, err := b.connect(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var requests []kafka.OffsetRequest
	for p := range offsets {
		requests = append(requests, kafka.TimeOffsetOf(p, time.UnixMilli(int64(at))))
	}
	r, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{b.topic: requests}})
	if err != nil {
		return fmt.Errorf("kafka: look up the offsets of topic %q at a time: %w", b.topic, err)
	}
	copy(offsets, ends)
	answered := 0
	for _, p := range r.Topics[b.topic] {
		if p.Error != nil {
			return fmt.Errorf("kafka: look up the offsets of topic %q partition %d at a time: %w", b.topic, p.Partition, p.Error)
		}
		if p.Partition < 0 || p.Partition >= len(offsets) {
			continue
		}
		answered++
		for offset := range p.Offsets { // one, or none where all records are older
			if offset >= 0 {
				offsets[p.Partition] = schema.Offset(offset)
			}
		}
	}
	if answered < len(offsets) {
		return fmt.Errorf("kafka: look up the offsets of topic %q at a time: the broker left out %d of %d partitions", b.topic, len(offsets)-answered, len(offsets))
	}
	return nil
}

// RunRange hands the records of r to h, each partition from where h wants to go on, and returns nil once h has all of them, or when ctx ends. What h is
// given ends at r.To whatever is written meanwhile.
func (k *Kafka) RunRange(ctx context.Context, r Range, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ranged := &rangeHandler{Handler: h, r: r, left: map[schema.Partition]bool{}, done: cancel}
	for p := range r.To {
		ranged.left[schema.Partition(p)] = true
	}
	if len(ranged.left) == 0 {
		return nil
	}
	err := k.Run(ctx, ranged)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// rangeHandler shows a handler a part of a topic as if that were all of it.
type rangeHandler struct {
	Handler
	r    Range
	done func()

	mu   sync.Mutex
	left map[schema.Partition]bool // guarded by mu; partitions whose end has not been reached
}

// Topology implements TopologyHandler: partitions that are added meanwhile are not of the range.
func (h *rangeHandler) Topology(ctx context.Context, _ int) error {
	if told, ok := h.Handler.(TopologyHandler); ok {
		return told.Topology(ctx, len(h.r.To))
	}
	return nil
}

func (h *rangeHandler) has(p schema.Partition) bool { return int(p) < len(h.r.To) }

func (h *rangeHandler) Assign(ctx context.Context, p schema.Partition) (schema.Offset, error) {
	if !h.has(p) {
		return 0, nil
	}
	next, err := h.Handler.Assign(ctx, p)
	if err != nil {
		return 0, err
	}
	next = max(next, h.r.From[p])
	h.reached(p, next)
	return next, nil
}

func (h *rangeHandler) Apply(ctx context.Context, p schema.Partition, b Batch) error {
	if !h.has(p) {
		return nil
	}
	to := h.r.To[p]
	if len(b.Records) > 0 && b.Records[0].Offset >= to {
		h.reached(p, to)
		return nil
	}
	n := len(b.Records)
	for n > 0 && b.Records[n-1].Offset >= to {
		n--
	}
	b.Records, b.Next, b.HighWatermark = b.Records[:n], min(b.Next, to), min(b.HighWatermark, to)
	if err := h.Handler.Apply(ctx, p, b); err != nil {
		return err
	}
	h.reached(p, b.Next)
	return nil
}

func (h *rangeHandler) Revoke(p schema.Partition) {
	if h.has(p) {
		h.Handler.Revoke(p)
	}
}

// reached notes how far p has come, and ends the reading when no partition is left.
func (h *rangeHandler) reached(p schema.Partition, next schema.Offset) {
	if next < h.r.To[p] {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.left, p)
	if len(h.left) == 0 {
		h.done()
	}
}
