package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

// readCommitted asks the broker for records of finished transactions only, and for the list of the aborted ones.
const readCommitted = 1

// fetchRequest says what is wanted of a partition.
type fetchRequest struct {
	partition schema.Partition
	offset    schema.Offset
	maxWait   time.Duration
	maxBytes  int
	wantSeq   bool // find the sequence numbers of a Producer
}

// fetched is what a broker gave.
type fetched struct {
	records       []Record
	next          schema.Offset
	highWatermark schema.Offset
	control       int // control records that were passed over
	aborted       int // records of aborted transactions that were left out
	seqs          []sequence
}

// fetch does one fetch. kafka-go's own readers cannot be used: they hand out transaction markers as records and ignore the
// isolation level, so the batches of the response are taken apart here.
func (b *broker) fetch(ctx context.Context, r fetchRequest) (fetched, error) {
	client, err := b.connect(ctx)
	if err != nil {
		return fetched{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.maxWait+requestTimeout)
	defer cancel()
	m, err := client.Transport.RoundTrip(ctx, client.Addr, &fetch.Request{
		ReplicaID:      -1,
		MaxWaitTime:    int32(r.maxWait.Milliseconds()),
		MinBytes:       1,
		MaxBytes:       int32(r.maxBytes),
		IsolationLevel: readCommitted,
		SessionEpoch:   -1, // no fetch session: one request stands for itself
		Topics: []fetch.RequestTopic{{Topic: b.topic, Partitions: []fetch.RequestPartition{{
			Partition:          int32(r.partition),
			CurrentLeaderEpoch: -1,
			FetchOffset:        int64(r.offset),
			LogStartOffset:     -1,
			PartitionMaxBytes:  int32(r.maxBytes),
		}}}},
	})
	if err != nil {
		return fetched{}, fmt.Errorf("fetch partition %d at %d: %w", r.partition, r.offset, err)
	}
	response := m.(*fetch.Response)
	if response.ErrorCode != 0 {
		return fetched{}, fmt.Errorf("fetch partition %d at %d: %w", r.partition, r.offset, kafka.Error(response.ErrorCode))
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return fetched{}, fmt.Errorf("fetch partition %d at %d: the broker answered for another partition", r.partition, r.offset)
	}
	p := &response.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		return fetched{}, fmt.Errorf("fetch partition %d at %d: %w", r.partition, r.offset, kafka.Error(p.ErrorCode))
	}
	f := fetched{next: r.offset, highWatermark: schema.Offset(p.HighWatermark)}
	stream, ok := p.RecordSet.Records.(*protocol.RecordStream)
	if !ok { // nothing there
		return f, nil
	}
	if err := f.read(stream, r, p.AbortedTransactions); err != nil {
		return fetched{}, fmt.Errorf("fetch partition %d at %d: %w", r.partition, r.offset, err)
	}
	if f.next == r.offset && f.next < f.highWatermark {
		// There are batches, and all that compaction left of them lies before the offset. Where the last batch ends is not
		// told, so go on by one: the broker gives this batch again until its end is passed.
		f.next++
	}
	return f, nil
}

// read takes the batches apart, as the Java client does: a batch of a transaction is left out from the transaction's first
// offset, as listed by the broker, to its abort marker.
func (f *fetched) read(stream *protocol.RecordStream, r fetchRequest, aborted []fetch.ResponseTransaction) error {
	slices.SortFunc(aborted, func(a, b fetch.ResponseTransaction) int { return int(a.FirstOffset - b.FirstOffset) })
	open := make(map[int64]bool) // producers whose records are left out at this point
	begin := func(upTo int64) {
		for len(aborted) > 0 && aborted[0].FirstOffset <= upTo {
			open[aborted[0].ProducerID] = true
			aborted = aborted[1:]
		}
	}
	var memory arena
	for _, batch := range stream.Records {
		switch batch := batch.(type) {
		case *protocol.ControlBatch:
			begin(batch.BaseOffset) // a fetch may begin with the marker of a transaction whose records lie before it
			n, err := f.pass(batch, r.offset)
			if err != nil {
				return err
			}
			f.control += n
			delete(open, batch.ProducerID) // the marker ends the producer's transaction, whichever way
		case *protocol.RecordBatch:
			begin(batch.BaseOffset)
			if batch.Attributes.Transactional() && open[batch.ProducerID] {
				n, err := f.pass(batch, r.offset)
				if err != nil {
					return err
				}
				f.aborted += n
				continue
			}
			if err := f.take(batch, r, &memory); err != nil {
				return err
			}
		default: // batches from before transactions
			if err := f.take(batch, r, &memory); err != nil {
				return err
			}
		}
	}
	return nil
}

// pass moves next over the records of a batch and counts those from offset on.
func (f *fetched) pass(batch protocol.RecordReader, offset schema.Offset) (n int, err error) {
	for {
		record, err := batch.ReadRecord()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if at := schema.Offset(record.Offset); at >= offset {
			n++
			f.next = max(f.next, at+1)
		}
		release(record)
	}
}

// take copies the records of a batch from the wanted offset on; a batch may begin before it.
func (f *fetched) take(batch protocol.RecordReader, r fetchRequest, memory *arena) error {
	for {
		record, err := batch.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if at := schema.Offset(record.Offset); at >= r.offset {
			key, err := memory.copy(record.Key)
			if err != nil {
				return err
			}
			value, err := memory.copy(record.Value)
			if err != nil {
				return err
			}
			f.records = append(f.records, Record{
				Partition: r.partition, Offset: at, ArrivedAt: schema.ArrivalTime(record.Time.UnixMilli()), Key: key, Value: value,
			})
			if r.wantSeq {
				for _, h := range record.Headers {
					if seq, ok := parseSequence(h); ok {
						f.seqs = append(f.seqs, seq)
					}
				}
			}
			f.next = max(f.next, at+1)
		}
		release(record)
	}
}

// release gives the pages of a record back to kafka-go's pool.
func release(r *protocol.Record) {
	if r.Key != nil {
		_ = r.Key.Close()
	}
	if r.Value != nil {
		_ = r.Value.Close()
	}
}

// arena hands out memory in blocks, so that a batch costs a few allocations instead of two a record. The blocks belong to
// the records: nothing is used again.
type arena struct{ free []byte }

const arenaBlock = 256 << 10

func (a *arena) copy(b protocol.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	n := b.Len()
	if n > len(a.free) {
		a.free = make([]byte, max(n, arenaBlock))
	}
	dst := a.free[:n:n]
	a.free = a.free[n:]
	_, err := io.ReadFull(b, dst)
	return dst, err
}
