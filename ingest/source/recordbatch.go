package source

import (
	"encoding/binary"
	"hash/crc32"
)

// recordBatch builds a Kafka record batch (message format 2) in place, so that a record is copied once on its way from the
// stream to the socket:
//
//	 0 int32 size of what follows (the protocol's length of the record set, not part of the batch)
//	 4 int64 base offset          the broker's to set
//	12 int32 length               of what follows in the batch
//	16 int32 leader epoch         the broker's to set
//	20 int8  magic                2
//	21 int32 crc                  Castagnoli, of what follows
//	25 int16 attributes           0: no compression, create time
//	27 int32 last offset delta
//	31 int64 first timestamp      ms
//	39 int64 max timestamp        ms
//	47 int64 producer id
//	55 int16 producer epoch
//	57 int32 base sequence        the producer's count of records in this partition
//	61 int32 number of records
//	65       records
//
// A record is, with zigzag varints: length, attributes (one byte), timestamp delta, offset delta, key, value, headers.
type recordBatch struct {
	buf        []byte
	n          int
	firstStamp int64
	maxStamp   int64
	last       uint64 // index in the stream of the last record
}

const recordsAt = 65

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (b *recordBatch) reset() {
	if cap(b.buf) < recordsAt {
		b.buf = make([]byte, 0, 64<<10)
	}
	*b = recordBatch{buf: b.buf[:recordsAt]}
	clear(b.buf)
}

// maxOverhead bounds what a record takes beside its key and value.
const maxOverhead = 5*binary.MaxVarintLen32 + 2*binary.MaxVarintLen64 + 2 + len(seqHeader) + seqBytes

func (b *recordBatch) size() int { return len(b.buf) }

// append adds a record with one header. Stamp is its create time in ms.
func (b *recordBatch) append(out Outgoing, seq sequence, stamp int64) {
	if b.n == 0 {
		b.firstStamp, b.maxStamp = stamp, stamp
	}
	b.maxStamp = max(b.maxStamp, stamp)
	stampDelta, offsetDelta := stamp-b.firstStamp, int64(b.n)
	length := 1 + varintSize(stampDelta) + varintSize(offsetDelta) +
		bytesSize(out.Key) + bytesSize(out.Value) + 1 + 1 + len(seqHeader) + 1 + seqBytes
	p := b.buf
	p = binary.AppendVarint(p, int64(length))
	p = append(p, 0)
	p = binary.AppendVarint(p, stampDelta)
	p = binary.AppendVarint(p, offsetDelta)
	p = appendBytes(p, out.Key)
	p = appendBytes(p, out.Value)
	p = binary.AppendVarint(p, 1)
	p = binary.AppendVarint(p, int64(len(seqHeader)))
	p = append(p, seqHeader...)
	p = binary.AppendVarint(p, seqBytes)
	b.buf = seq.append(p)
	b.n++
	b.last = seq.index
}

// producerState is what the broker tells duplicates of a batch by.
type producerState struct {
	id    int64
	epoch int16
	next  int32 // sequence of the next record
}

// finish fills in the header and returns the batch with its size before it.
func (b *recordBatch) finish(p producerState) []byte {
	big := binary.BigEndian
	h := b.buf[:recordsAt]
	big.PutUint32(h[0:], uint32(len(b.buf)-4))
	big.PutUint32(h[12:], uint32(len(b.buf)-16))
	big.PutUint32(h[16:], ^uint32(0))
	h[20] = 2
	big.PutUint32(h[27:], uint32(b.n-1))
	big.PutUint64(h[31:], uint64(b.firstStamp))
	big.PutUint64(h[39:], uint64(b.maxStamp))
	big.PutUint64(h[47:], uint64(p.id))
	big.PutUint16(h[55:], uint16(p.epoch))
	big.PutUint32(h[57:], uint32(p.next))
	big.PutUint32(h[61:], uint32(b.n))
	big.PutUint32(h[21:], crc32.Checksum(b.buf[25:], castagnoli))
	return b.buf
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}

func bytesSize(b []byte) int {
	if b == nil {
		return 1
	}
	return varintSize(int64(len(b))) + len(b)
}

func varintSize(v int64) int {
	n := 1
	for u := uint64(v<<1) ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}
