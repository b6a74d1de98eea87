package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// storedBatch is a batch of records as it lies in a broker's log (drawn at recordBatch, from the base offset on).
type storedBatch struct {
	base       int64 // offset from which the records' deltas count
	last       int64 // offset of the last record that it ever had; compaction may have removed it
	attributes int16
	firstStamp int64 // ms
	maxStamp   int64 // ms
	producer   int64
	count      int32  // records in it
	checksum   uint32 // Castagnoli, of summed
	summed     []byte
	body       []byte // records, perhaps compressed
	old        []byte // the whole message, where it is from before Kafka 0.11; body is nil then
}

// Bits of a batch's attributes.
const (
	compressionBits = 0x07
	appendTimeBit   = 0x08 // the broker stamped the batch: maxStamp holds for all of its records
	transactionBit  = 0x10
	controlBit      = 0x20
)

func (b *storedBatch) has(bit int16) bool { return b.attributes&bit != 0 }

const (
	batchPrefix = 12                // base offset and length
	batchHeader = recordsAt - 4     // as recordBatch draws it, without the size before it
	batchMagic  = 20 - 4            // where the format's number is, in old messages too
	batchCRCAt  = 25 - 4            // what the checksum covers begins here
	leastOld    = 4 + 1 + 1 + 4 + 4 // a message from before Kafka 0.11: checksum, magic, attributes, key, value
)

var (
	// errPartial says that a record set ends within a batch, as it does where a fetch was full.
	errPartial = errors.New("the batch is cut off")
	// errDamaged says that bytes are not what their producer wrote.
	errDamaged = errors.New("a batch is damaged")
)

// nextBatch takes the first batch off a record set. It does not look at the records themselves.
func nextBatch(set []byte) (b storedBatch, rest []byte, err error) {
	if len(set) < batchMagic+1 {
		return b, nil, errPartial
	}
	big := binary.BigEndian
	b.base = int64(big.Uint64(set))
	length := int64(int32(big.Uint32(set[8:]))) // a negative one must stay negative
	if length < leastOld {
		return b, nil, fmt.Errorf("%w: it says that it has %d bytes", errDamaged, length)
	}
	if length > int64(len(set)-batchPrefix) {
		return b, nil, errPartial
	}
	whole := set[:batchPrefix+length]
	rest = set[len(whole):]
	switch magic := whole[batchMagic]; {
	case magic < 2:
		b.old, b.last = whole, b.base
		return b, rest, nil
	case magic > 2:
		return b, nil, fmt.Errorf("a batch has message format %d, which is newer than this freshet: update it", magic)
	case len(whole) < batchHeader:
		return b, nil, fmt.Errorf("%w: it has %d bytes", errDamaged, len(whole))
	}
	b.checksum = big.Uint32(whole[17:])
	b.summed = whole[batchCRCAt:]
	b.attributes = int16(big.Uint16(whole[21:]))
	b.last = b.base + int64(int32(big.Uint32(whole[23:])))
	b.firstStamp = int64(big.Uint64(whole[27:]))
	b.maxStamp = int64(big.Uint64(whole[35:]))
	b.producer = int64(big.Uint64(whole[43:]))
	b.count = int32(big.Uint32(whole[57:]))
	b.body = whole[batchHeader:]
	if b.last < b.base || b.count < 0 || b.base < 0 {
		return b, nil, fmt.Errorf("%w: it has %d records in offsets %d to %d", errDamaged, b.count, b.base, b.last)
	}
	return b, rest, nil
}

// verify compares the checksum.
func (b *storedBatch) verify() error {
	if sum := crc32.Checksum(b.summed, castagnoli); sum != b.checksum {
		return fmt.Errorf("%w: its checksum is %08x and should be %08x", errDamaged, sum, b.checksum)
	}
	return nil
}

// batchIterator goes through a record set. The offsets of a batch are not part of its checksum, so they are checked against
// those around them.
type batchIterator struct {
	set  []byte
	end  int64 // offset behind the last batch so far
	high int64 // the high watermark
}

// farBehind is how far behind the high watermark a batch cannot be. It may lie a little behind it: a broker notes the high
// watermark before it reads the batches.
const farBehind = 1 << 24

// next takes the next batch. It returns false at the end, also where that cuts a batch off.
func (it *batchIterator) next(b *storedBatch) (bool, error) {
	if len(it.set) == 0 {
		return false, nil
	}
	read, rest, err := nextBatch(it.set)
	if errors.Is(err, errPartial) {
		return false, nil
	}
	if err == nil && (read.base < it.end || read.last-farBehind >= it.high) {
		err = fmt.Errorf("%w: it has offsets %d to %d, behind %d and with a high watermark of %d", errDamaged, read.base, read.last, it.end-1, it.high)
	}
	if err != nil {
		return false, err
	}
	*b, it.set, it.end = read, rest, read.last+1
	return true, nil
}

// endOf returns the offset behind the last complete batch of a record set, or from where there is none. Damage is an error
// only in the first batch: what lies before it is good, and the next fetch begins with it.
func endOf(set []byte, from, high int64) (int64, error) {
	it := batchIterator{set: set, high: high}
	for first := true; ; first = false {
		var b storedBatch
		ok, err := it.next(&b)
		switch {
		case first && err != nil:
			return from, err
		case first && !ok && len(set) > 0:
			return from, fmt.Errorf("the first batch does not fit into the answer to the fetch: %w", errPartial)
		case !ok:
			return max(from, it.end), nil
		}
	}
}

// storedRecord is a record of a batch. Its slices point into the batch.
type storedRecord struct {
	offset  int64
	stamp   int64 // ms
	key     []byte
	value   []byte
	headers []byte // encoded
	nheader int
}

// recordIterator goes through the records of a batch whose body is not, or no longer, compressed.
type recordIterator struct {
	batch *storedBatch
	body  []byte
	left  int32
}

// next reads the next record into r, and reports whether there was one.
func (it *recordIterator) next(r *storedRecord) (bool, error) {
	if it.left == 0 {
		return false, nil
	}
	length, n := varint(it.body)
	if n <= 0 || length < 0 || length > int64(len(it.body)-n) {
		return false, it.damaged()
	}
	b := it.body[n : n+int(length)]
	it.body = it.body[n+int(length):]
	it.left--
	if len(b) < 1 {
		return false, it.damaged()
	}
	b = b[1:] // attributes: none are defined
	stamp, n := varint(b)
	if n <= 0 {
		return false, it.damaged()
	}
	b = b[n:]
	delta, n := varint(b)
	if n <= 0 || delta < 0 || delta > it.batch.last-it.batch.base {
		return false, it.damaged()
	}
	b = b[n:]
	var ok bool
	if r.key, b, ok = varBytes(b); !ok {
		return false, it.damaged()
	}
	if r.value, b, ok = varBytes(b); !ok {
		return false, it.damaged()
	}
	headers, n := varint(b)
	if n <= 0 || headers < 0 || headers > int64(len(b)) {
		return false, it.damaged()
	}
	r.headers, r.nheader = b[n:], int(headers)
	r.offset = it.batch.base + delta
	r.stamp = it.batch.firstStamp + stamp
	if it.batch.has(appendTimeBit) {
		r.stamp = it.batch.maxStamp
	}
	return true, nil
}

func (it *recordIterator) damaged() error {
	return fmt.Errorf("%w: record %d of %d cannot be read", errDamaged, it.batch.count-it.left, it.batch.count)
}

// header returns the value of the first header of that name.
func (r *storedRecord) header(name string) (value []byte, ok bool) {
	b := r.headers
	for range r.nheader {
		var key, value []byte
		if key, b, ok = varBytes(b); !ok {
			return nil, false
		}
		if value, b, ok = varBytes(b); !ok {
			return nil, false
		}
		if string(key) == name {
			return value, true
		}
	}
	return nil, false
}

// varint is binary.Varint with the short cut for one byte, which most of a record's numbers have.
func varint(b []byte) (int64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), 1
	}
	return binary.Varint(b)
}

// varBytes reads a length and as many bytes. A length of -1 is nil.
func varBytes(b []byte) (value, rest []byte, ok bool) {
	length, n := varint(b)
	if n <= 0 || length < -1 || length > int64(len(b)-n) {
		return nil, nil, false
	}
	b = b[n:]
	if length < 0 {
		return nil, b, true
	}
	return b[:length:length], b[length:], true
}
