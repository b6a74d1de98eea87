package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// Kind says what an entry of a log is.
type Kind byte

// The kinds of entry.
const (
	KindPart Kind = 1
	KindTick Kind = 2 // the watermark went on because time passed on an idle partition
	KindEnd  Kind = 3 // the bounded input ended; what follows is of the next epoch
	KindGrow Kind = 4 // from here on the topic has Mark.Partitions partitions; only in partition 0's log
	KindGap  Kind = 5 // in a mirror: stands for an entry that no node has; the watermark stays
)

// Mark is what an entry that is no part did to the partition, so that its log can be made again from its records.
type Mark struct {
	Epoch      schema.Epoch     // after it
	Watermark  schema.EventTime // after it
	Offset     schema.Offset    // the next record when it happened
	Partitions int              // of KindGrow: how many partitions the topic has from here on
}

// Entry is one entry of a partition's log. A part is written with the clicks of Packed or, where that is empty, of
// Part.Clicks. It is read into Part.Clicks.
type Entry struct {
	Kind   Kind
	Emit   schema.Emit
	Part   schema.Part // of KindPart
	Packed packed.Clicks
	Mark   Mark // of the other kinds
}

// clicks returns the number of clicks of e.
func (e *Entry) clicks() int {
	if e.Packed.N > 0 {
		return e.Packed.N
	}
	return len(e.Part.Clicks)
}

// time returns what the due of no later entry is below.
func (e *Entry) time() schema.EventTime {
	if e.Kind == KindPart {
		return e.Part.Due
	}
	return e.Mark.Watermark
}

// An entry of the log, in a block. Partition and emit come from its place.
//
//	u8 kind = 1   part                          u8 kind = 2 to 5    mark
//	uvarint       epoch                         uvarint             epoch
//	varint        due                           varint              watermark
//	varint        session start, ms before due  uvarint             offset
//	uvarint       number                        uvarint             partitions, of kind 4
//	u8            cause << 1 | final
//	string        user
//	uvarint       number of clicks
//	clicks        packed, to the end
func appendEntry(b []byte, e *Entry) []byte {
	b = append(b, byte(e.Kind))
	if e.Kind != KindPart {
		b = binary.AppendUvarint(b, uint64(e.Mark.Epoch))
		b = binary.AppendVarint(b, int64(e.Mark.Watermark))
		b = binary.AppendUvarint(b, uint64(e.Mark.Offset))
		if e.Kind == KindGrow {
			b = binary.AppendUvarint(b, uint64(e.Mark.Partitions))
		}
		return b
	}
	b = appendPartHead(b, &e.Part)
	b = binary.AppendUvarint(b, uint64(e.clicks()))
	if e.Packed.N > 0 {
		return append(b, e.Packed.Bytes...)
	}
	for i := range e.Part.Clicks {
		b = packed.Append(b, &e.Part.Clicks[i])
	}
	return b
}

func appendPartHead(b []byte, p *schema.Part) []byte {
	b = binary.AppendUvarint(b, uint64(p.Epoch))
	b = binary.AppendVarint(b, int64(p.Due))
	b = binary.AppendVarint(b, int64(p.Due-p.SessionStart))
	b = binary.AppendUvarint(b, uint64(p.Number))
	code := byte(slices.Index(window.Causes, p.Cause)) << 1
	if p.Final {
		code |= 1
	}
	return appendString(append(b, code), p.UserID)
}

// decodeEntry decodes entry emit of partition p.
func decodeEntry(b []byte, p schema.Partition, emit schema.Emit) (Entry, error) {
	e, err := openEntry(b, p, emit)
	if err != nil {
		return Entry{}, err
	}
	if e.Part.Clicks, err = e.Packed.Decode(e.Part.UserID); err != nil {
		return Entry{}, errors.Join(ErrCorrupt, err)
	}
	e.Packed = packed.Clicks{}
	return e, nil
}

// openEntry decodes entry emit of partition p but for its clicks, which it leaves packed. They alias b, and are not checked.
func openEntry(b []byte, p schema.Partition, emit schema.Emit) (Entry, error) {
	r := newReader(b)
	e := Entry{Kind: Kind(r.byte()), Emit: emit}
	switch e.Kind {
	case KindPart:
		e.Part = r.partHead()
		e.Part.Partition, e.Part.Emit = p, emit
		e.Packed = packed.Clicks{N: int(r.bounded(math.MaxInt32)), Bytes: r.rest()}
	case KindTick, KindEnd, KindGrow, KindGap:
		e.Mark = r.mark(e.Kind)
	default:
		r.fail(fmt.Sprintf("an entry of unknown kind %d", e.Kind))
	}
	if err := r.done(); err != nil {
		return Entry{}, err
	}
	return e, nil
}

func (r *reader) mark(k Kind) Mark {
	m := Mark{
		Epoch: schema.Epoch(r.bounded(math.MaxUint32)), Watermark: schema.EventTime(r.varint()),
		Offset: schema.Offset(r.bounded(math.MaxInt64)),
	}
	if k == KindGrow {
		m.Partitions = int(r.bounded(MaxPartitions))
	}
	return m
}

func (r *reader) partHead() schema.Part {
	p := schema.Part{Epoch: schema.Epoch(r.bounded(math.MaxUint32)), Due: schema.EventTime(r.varint())}
	p.SessionStart = p.Due - schema.EventTime(r.varint())
	p.Number = int32(r.bounded(math.MaxInt32))
	code := r.byte()
	p.Final = code&1 == 1
	if int(code>>1) >= len(window.Causes) {
		r.fail("an unknown cause")
		return p
	}
	p.Cause = window.Causes[code>>1]
	p.UserID = r.string()
	return p
}
