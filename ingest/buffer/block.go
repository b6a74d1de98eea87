package buffer

import (
	"encoding/binary"
	"fmt"

	"github.com/freshet-ml/freshet/schema"
)

// Bounds of a block; it has at most maxPlace entries and one more. Each key of a commit costs an insertion into Pebble's skiplist, which is most of what a commit costs;
// and each read of an entry reads its block.
const (
	blockEntries = 16
	blockBytes   = 4 << 10
)

// A block of the log: the entries of one commit, or a run of them, one behind the other. Its key has the first one's emit.
//
//	u8      16, which is no kind of an entry: format 1 had one entry per key, without a block around it
//	varint  time of the last entry: no later one is due before it
//	uvarint n, then n × uvarint length
//	entries                             entry.go
const blockTag = 16

// blockWriter puts entries into blocks. It is used again for the next block.
type blockWriter struct {
	first   schema.Emit
	last    schema.EventTime
	lengths []int
	body    []byte
	value   []byte
}

// add appends e and returns where it lies in the block.
func (w *blockWriter) add(e *Entry) (place int) {
	place = len(w.lengths)
	if place == 0 {
		w.first = e.Emit
	}
	before := len(w.body)
	w.body = appendEntry(w.body, e)
	w.lengths = append(w.lengths, len(w.body)-before)
	w.last = e.time()
	return place
}

func (w *blockWriter) empty() bool { return len(w.lengths) == 0 }

func (w *blockWriter) full() bool { return len(w.lengths) >= blockEntries || len(w.body) >= blockBytes }

// finish returns the block and begins the next one. The value is valid until then.
func (w *blockWriter) finish() (first schema.Emit, value []byte) {
	v := append(w.value[:0], blockTag)
	v = binary.AppendVarint(v, int64(w.last))
	v = binary.AppendUvarint(v, uint64(len(w.lengths)))
	for _, n := range w.lengths {
		v = binary.AppendUvarint(v, uint64(n))
	}
	w.value = append(v, w.body...)
	w.lengths, w.body = w.lengths[:0], w.body[:0]
	return w.first, w.value
}

// block is a value of the log, opened. It aliases the value.
type block struct {
	partition schema.Partition
	first     schema.Emit
	n         int
	old       bool   // one entry of format 1
	packed    bool   // entries are opened with their clicks packed, but for those of format 1
	lengths   []byte // n uvarints
	body      []byte
	size      int              // of the value
	last      schema.EventTime // of a block of format 2
}

func openBlock(value []byte, p schema.Partition, first schema.Emit) (block, error) {
	if len(value) == 0 || value[0] != blockTag {
		return block{partition: p, first: first, n: 1, old: true, body: value, size: len(value)}, nil
	}
	r := newReader(value)
	r.byte()
	b := block{partition: p, first: first, size: len(value), last: schema.EventTime(r.varint())}
	b.n = r.count(2) // a length, and at least a kind
	if b.n == 0 || b.n > maxPlace+1 {
		r.fail("a block of so many entries")
	}
	lengths := r.b
	sum := uint64(0)
	for range b.n {
		sum += r.bounded(uint64(len(value)))
	}
	b.lengths, b.body = lengths[:len(lengths)-len(r.b)], r.b
	if r.err == nil && sum != uint64(len(b.body)) {
		r.fail("entries of another length")
	}
	if r.err != nil {
		return block{}, fmt.Errorf("%s: %w", nameOf(logKey(nil, p, first)), r.err)
	}
	return b, nil
}

// entry decodes the entry at place, which must be below n.
func (b *block) entry(place int) (Entry, error) {
	if b.old {
		return b.decode(b.body, 0)
	}
	// openBlock has checked that the lengths are there and fit.
	lengths, from := b.lengths, 0
	for range place {
		n, size := binary.Uvarint(lengths)
		from += int(n)
		lengths = lengths[size:]
	}
	n, _ := binary.Uvarint(lengths)
	return b.decode(b.body[from:from+int(n)], place)
}

func (b *block) decode(body []byte, place int) (e Entry, err error) {
	emit := b.first + schema.Emit(place)
	switch {
	case b.old:
		e, err = decodeEntry1(body, b.partition, emit)
	case b.packed:
		e, err = openEntry(body, b.partition, emit)
	default:
		e, err = decodeEntry(body, b.partition, emit)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("%s: %w", nameOf(logKey(nil, b.partition, emit)), err)
	}
	return e, nil
}

// time returns the time of the entry at place, which must be below n.
func (b *block) time(place int) (schema.EventTime, error) {
	if place == b.n-1 && !b.old {
		return b.last, nil
	}
	e, err := b.entry(place)
	return e.time(), err
}

// all calls f with the entries from place on, until it returns false.
func (b *block) all(place int, f func(*Entry) bool) error {
	if b.old {
		e, err := b.entry(0)
		if err == nil && place == 0 {
			f(&e)
		}
		return err
	}
	lengths, from := b.lengths, 0
	for i := range b.n {
		n, size := binary.Uvarint(lengths)
		body := b.body[from : from+int(n)]
		lengths, from = lengths[size:], from+int(n)
		if i < place {
			continue
		}
		e, err := b.decode(body, i)
		if err != nil {
			return err
		}
		if !f(&e) {
			return nil
		}
	}
	return nil
}

// users calls f with the user of each part that has clicks, as the user index has them.
func (b *block) users(f func(at located, user string)) error {
	lengths, body := b.lengths, b.body
	for i := range b.n {
		value := body
		if !b.old {
			n, size := binary.Uvarint(lengths)
			value, lengths, body = body[:n], lengths[size:], body[n:]
		}
		r := newReader(value)
		if Kind(r.byte()) != KindPart {
			continue
		}
		p := r.partHead()
		clicks := r.uvarint()
		if r.err != nil {
			return fmt.Errorf("%s: %w", nameOf(logKey(nil, b.partition, b.first+schema.Emit(i))), r.err)
		}
		if clicks > 0 {
			f(located{b.first + schema.Emit(i), uint8(i)}, p.UserID)
		}
	}
	return nil
}
