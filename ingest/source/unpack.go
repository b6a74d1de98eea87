package source

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go/protocol"
)

// abortedTransaction is a transaction of which the broker says that it was aborted.
type abortedTransaction struct{ producer, first int64 }

// unpacker turns what was fetched of a partition into batches for the handler. The records point into the answer of the
// broker, or into the unpacker's own memory, and both are used again: a record is good until emit returns.
type unpacker struct {
	maxRecords int
	maxBytes   int

	records  []Record
	last     schema.Offset // of the record that came last, or what lies before the first
	bytes    int           // of the keys and values of records
	inflated []byte        // of compressed batches, while a fetch is unpacked; records may point into it
	passed   passed
	open     map[int64]bool // producers whose records are left out at this point
	aborted  []abortedTransaction
}

// passed counts what was not handed out, since the last batch.
type passed struct {
	control int // transaction markers
	aborted int // records of aborted transactions
}

// unpack gives the records of f from its offset on to emit, in batches within the bounds. There is always at least one. An
// errDamaged comes after everything before the damage was emitted.
//
// A batch of a transaction is left out from the transaction's first offset, as listed by the broker, to its abort marker,
// as the Java client does.
func (u *unpacker) unpack(f *fetched, emit func(Batch, passed) error) error {
	defer u.rest(len(f.records) == 0)
	slices.SortFunc(f.aborted, func(a, b abortedTransaction) int { return int(a.first - b.first) })
	u.aborted, u.last = f.aborted, f.offset-1
	clear(u.open)
	u.reset()
	emitted := f.offset
	var refused error // what emit returned
	flush := func(next schema.Offset) error {
		refused = emit(Batch{Records: u.records, Next: next, HighWatermark: f.highWatermark}, u.passed)
		emitted = next
		u.reset()
		return refused
	}
	for it := (batchIterator{set: f.records, high: int64(f.highWatermark)}); ; {
		var b storedBatch
		at := max(it.end, int64(f.offset))
		ok, err := it.next(&b)
		if err == nil && ok {
			err = u.batch(&b, f, flush)
		}
		if refused != nil {
			return refused
		}
		if err != nil {
			if n := len(u.records); n > 0 {
				if failed := flush(u.records[n-1].Offset + 1); failed != nil {
					return failed
				}
			}
			return fmt.Errorf("partition %d at %d: %w", f.partition, at, err)
		}
		if !ok {
			break
		}
	}
	if emitted == f.next && f.next > f.offset {
		return nil
	}
	return flush(f.next)
}

// rest gives back what is large between two fetches, and what is left where a partition is idle: a process may read a
// thousand partitions.
func (u *unpacker) rest(idle bool) {
	giveBuffer(u.inflated)
	u.inflated = nil
	if idle {
		u.records = nil
	}
}

func (u *unpacker) reset() {
	clear(u.records) // what they point to is to be collected
	u.records, u.bytes, u.passed = u.records[:0], 0, passed{}
}

// batch adds the records of b, or passes over them.
func (u *unpacker) batch(b *storedBatch, f *fetched, flush func(schema.Offset) error) error {
	if b.last < int64(f.offset) && b.old == nil {
		return nil
	}
	if b.old != nil {
		return u.oldMessage(b.old, f, flush)
	}
	if err := b.verify(); err != nil {
		return err
	}
	for len(u.aborted) > 0 && u.aborted[0].first <= b.base { // a fetch may begin with the marker of a transaction whose records lie before it
		if u.open == nil {
			u.open = make(map[int64]bool)
		}
		u.open[u.aborted[0].producer] = true
		u.aborted = u.aborted[1:]
	}
	if b.has(controlBit) {
		delete(u.open, b.producer) // the marker ends the producer's transaction, whichever way
		u.passed.control += b.wanted(f.offset)
		return nil
	}
	if b.has(transactionBit) && u.open[b.producer] {
		u.passed.aborted += b.wanted(f.offset)
		return nil
	}
	body, err := u.body(b, flush)
	if err != nil {
		return err
	}
	records := recordIterator{batch: b, body: body, left: b.count}
	for {
		var r storedRecord
		ok, err := records.next(&r)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if r.offset < int64(f.offset) { // a batch may begin before the offset
			continue
		}
		if err := u.add(f.partition, &r, flush); err != nil {
			return err
		}
	}
}

// wanted returns how many records of b lie at offset or behind it.
func (b *storedBatch) wanted(offset schema.Offset) int {
	n := b.last - max(b.base, int64(offset)) + 1
	return int(min(n, int64(b.count)))
}

// body returns the records of b as they were before they were compressed. Where records that wait to be emitted have taken
// up the memory for that, they are emitted.
func (u *unpacker) body(b *storedBatch, flush func(schema.Offset) error) ([]byte, error) {
	codec := b.attributes & compressionBits
	if codec == 0 {
		return b.body, nil
	}
	if n := len(u.records); n > 0 && len(u.inflated) > u.maxBytes {
		if err := flush(u.records[n-1].Offset + 1); err != nil {
			return nil, err
		}
	}
	if u.inflated == nil {
		u.inflated = takeBuffer(smallestKept)
	}
	if len(u.records) == 0 {
		u.inflated = u.inflated[:0]
	}
	at := len(u.inflated)
	inflated, err := inflate(u.inflated, b.body, codec)
	if err != nil {
		return nil, fmt.Errorf("%w: decompress it: %w", errDamaged, err)
	}
	u.inflated = inflated
	return inflated[at:], nil
}

// add adds a record, and emits those before it where they are enough. Offsets grow: a record that came behind one with a higher offset would be taken for one that was read before.
func (u *unpacker) add(p schema.Partition, r *storedRecord, flush func(schema.Offset) error) error {
	if schema.Offset(r.offset) <= u.last {
		return fmt.Errorf("%w: a record at offset %d comes behind offset %d", errDamaged, r.offset, u.last)
	}
	u.last = schema.Offset(r.offset)
	size := len(r.key) + len(r.value)
	if n := len(u.records); n > 0 && (n >= u.maxRecords || u.bytes+size > u.maxBytes) {
		if err := flush(u.records[n-1].Offset + 1); err != nil {
			return err
		}
	}
	u.records = append(u.records, Record{
		Partition: p, Offset: schema.Offset(r.offset), ArrivedAt: schema.ArrivalTime(r.stamp), Key: r.key, Value: r.value,
	})
	u.bytes += size
	return nil
}

// oldMessage adds the records of a message from before Kafka 0.11, which may hold others in compressed form. kafka-go reads
// them: they are too rare to be fast.
func (u *unpacker) oldMessage(message []byte, f *fetched, flush func(schema.Offset) error) error {
	size := binary.BigEndian.AppendUint32(nil, uint32(len(message)))
	var set protocol.RecordSet
	if _, err := set.ReadFrom(bufio.NewReader(io.MultiReader(bytes.NewReader(size), bytes.NewReader(message)))); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if set.Records == nil {
		return nil
	}
	for {
		m, err := set.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		r := storedRecord{offset: m.Offset, stamp: m.Time.UnixMilli()}
		if r.key, err = protocol.ReadAll(m.Key); err == nil {
			r.value, err = protocol.ReadAll(m.Value)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		if r.offset < int64(f.offset) {
			continue
		}
		if err := u.add(f.partition, &r, flush); err != nil {
			return err
		}
	}
}
