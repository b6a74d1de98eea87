package source

import (
	"context"
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// fetchRequest says what is wanted of a partition.
type fetchRequest struct {
	partition schema.Partition
	offset    schema.Offset
	maxWait   time.Duration
	maxBytes  int
	isolation byte // readCommitted or readUncommitted
}

// fetched is what a broker gave for a fetchRequest.
type fetched struct {
	partition     schema.Partition
	offset        schema.Offset // which was asked for
	next          schema.Offset // to go on from when all of it is taken
	highWatermark schema.Offset
	throttled     time.Duration // for how long the broker wants to be left alone
	aborted       []abortedTransaction
	records       []byte // the record set; part of buffer
	buffer        []byte
}

// release gives the memory back. Nothing that points into it may be used afterwards.
func (f *fetched) release() {
	giveBuffer(f.buffer)
	f.buffer, f.records = nil, nil
}

// fetch does one fetch. kafka-go's own readers are not used: they hand out transaction markers as records and ignore the
// isolation level.
func (b *broker) fetch(ctx context.Context, r fetchRequest) (*fetched, error) {
	client, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.maxWait+requestTimeout)
	defer cancel()
	m, err := client.Transport.RoundTrip(ctx, client.Addr, &fetchCall{topic: b.topic, request: r})
	if err != nil {
		return nil, fmt.Errorf("fetch partition %d at %d: %w", r.partition, r.offset, err)
	}
	f, err := m.(*fetchCall).decode()
	if err != nil {
		return nil, fmt.Errorf("fetch partition %d at %d: %w", r.partition, r.offset, err)
	}
	end, err := endOf(f.records, int64(r.offset), int64(f.highWatermark))
	if err != nil {
		return nil, fmt.Errorf("fetch partition %d at %d: %w", r.partition, r.offset, err)
	}
	f.next = schema.Offset(end)
	f.highWatermark = max(f.highWatermark, f.next) // see farBehind
	if f.next == r.offset && len(f.records) > 0 {
		return nil, fmt.Errorf("fetch partition %d at %d: the broker answered with what lies before", r.partition, r.offset)
	}
	return f, nil
}
