package source

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/freshet-ml/freshet/schema"
)

// seqHeader is the header in which a Producer writes which record of which stream a record is:
//
//	8 bytes  index in the stream, big-endian, from 0
//	8 bytes  id of the stream, big-endian
//	4 bytes  over how many partitions the stream is spread, big-endian
//
// Earlier versions left the last out, and the id where it is 0.
const seqHeader = "freshet-seq"

// seqBytes is the length of its value.
const seqBytes = 8 + 8 + 4

// sequence names a record of a stream.
type sequence struct {
	index      uint64
	stream     uint64
	partitions uint32 // 0: not known
}

func (s sequence) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, s.index)
	dst = binary.BigEndian.AppendUint64(dst, s.stream)
	return binary.BigEndian.AppendUint32(dst, s.partitions)
}

// parseSequence finds out which record of which stream r is.
func parseSequence(r *storedRecord) (s sequence, ok bool) {
	value, ok := r.header(seqHeader)
	if !ok || (len(value) != 8 && len(value) != 16 && len(value) != seqBytes) {
		return s, false
	}
	s.index = binary.BigEndian.Uint64(value)
	if len(value) >= 16 {
		s.stream = binary.BigEndian.Uint64(value[8:])
	}
	if len(value) == seqBytes {
		s.partitions = binary.BigEndian.Uint32(value[16:])
	}
	return s, true
}

// tail is how far a stream has got in a partition.
type tail struct {
	end   int64  // offset of the next record
	from  uint64 // index of the first record of the stream that the partition may still need
	count uint64 // records of the partition to be skipped where no index is known: see broker.tail
	// partitions is over how many the stream is spread, as its last record here says, and 0 where none does.
	partitions int
	// arrived is when the last record was sent, and 0 if there is none.
	arrived schema.ArrivalTime
}

// tailWindow is how far back from the end a record of the stream is looked for. In a topic that one producer writes it is
// the last record; behind other producers' records it may be further back.
const tailWindow = 10_000

// tail finds the last record of the stream in partition p. It looks past open transactions, which are other producers'. Where retention has removed the records, their number is still
// known, since a partition's end counts all that were ever written to it, and the first so many are skipped.
func (b *broker) tail(ctx context.Context, p int, stream uint64) (tail, error) {
	found, err := b.bounds(ctx, p)
	if err != nil {
		return tail{}, err
	}
	at := found[p]
	t := tail{end: at.end}
	if at.first == at.end {
		t.count = uint64(at.end)
		return t, nil
	}
	for back := int64(1); ; back *= 10 {
		from := max(at.first, at.end-back)
		for offset := schema.Offset(from); int64(offset) < at.end; {
			f, err := b.fetch(ctx, fetchRequest{partition: schema.Partition(p), offset: offset, maxBytes: 8 << 20, isolation: readUncommitted})
			if err != nil {
				return tail{}, err
			}
			err = f.each(func(r *storedRecord) {
				t.arrived = max(t.arrived, schema.ArrivalTime(r.stamp))
				if s, ok := parseSequence(r); ok && s.stream == stream && s.index >= t.from {
					t.from, t.partitions = s.index+1, int(s.partitions)
				}
			})
			f.release()
			if err != nil {
				return tail{}, fmt.Errorf("look for the end of the stream in partition %d: %w", p, err)
			}
			if f.next == offset {
				return tail{}, fmt.Errorf("partition %d ends at %d, and the broker has nothing at %d", p, at.end, offset)
			}
			offset = f.next
		}
		if t.from > 0 || from == at.first || back >= tailWindow {
			return t, nil
		}
	}
}

// each goes through the records of f, those of aborted transactions included: no transaction writes a stream.
func (f *fetched) each(visit func(*storedRecord)) error {
	var inflated []byte
	for it := (batchIterator{set: f.records, high: int64(f.highWatermark)}); ; {
		var b storedBatch
		ok, err := it.next(&b)
		if !ok || err != nil {
			return err
		}
		if b.old != nil || b.has(controlBit) {
			continue
		}
		if err := b.verify(); err != nil {
			return err
		}
		body := b.body
		if codec := b.attributes & compressionBits; codec != 0 {
			if inflated, err = inflate(inflated[:0], body, codec); err != nil {
				return err
			}
			body = inflated
		}
		records := recordIterator{batch: &b, body: body, left: b.count}
		for {
			var r storedRecord
			ok, err := records.next(&r)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if r.offset >= int64(f.offset) {
				visit(&r)
			}
		}
	}
}
