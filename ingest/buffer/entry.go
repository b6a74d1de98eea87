package buffer

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

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
)

// Mark is what a tick or an end did to the partition, so that its log can be made again from its records.
type Mark struct {
	Epoch     schema.Epoch     // after it
	Watermark schema.EventTime // after it
	Offset    schema.Offset    // the next record when it happened
}

// Entry is one entry of a partition's log.
type Entry struct {
	Kind Kind
	Emit schema.Emit
	Part schema.Part // of KindPart
	Mark Mark        // of KindTick and KindEnd
}

// An entry of the log. Partition and emit are in its key.
//
//	u8 kind = 1   part                          u8 kind = 2, 3   mark
//	uvarint       epoch                         uvarint          epoch
//	varint        due                           varint           watermark
//	varint        session start, ms before due  uvarint          offset
//	uvarint       number
//	u8            cause << 1 | final
//	string        user
//	clicks        codec.go
func appendEntry(b []byte, e *Entry) []byte {
	b = append(b, byte(e.Kind))
	if e.Kind != KindPart {
		b = binary.AppendUvarint(b, uint64(e.Mark.Epoch))
		b = binary.AppendVarint(b, int64(e.Mark.Watermark))
		return binary.AppendUvarint(b, uint64(e.Mark.Offset))
	}
	p := &e.Part
	b = binary.AppendUvarint(b, uint64(p.Epoch))
	b = binary.AppendVarint(b, int64(p.Due))
	b = binary.AppendVarint(b, int64(p.Due-p.SessionStart))
	b = binary.AppendUvarint(b, uint64(p.Number))
	code := byte(slices.Index(window.Causes, p.Cause)) << 1
	if p.Final {
		code |= 1
	}
	b = appendString(append(b, code), p.UserID)
	return appendClicks(b, p.SessionStart, p.Clicks)
}

// decodeEntry decodes the value of entry emit of partition p.
func decodeEntry(b []byte, p schema.Partition, emit schema.Emit) (Entry, error) {
	r := newReader(b)
	e := Entry{Kind: Kind(r.byte()), Emit: emit}
	switch e.Kind {
	case KindPart:
		e.Part = r.part()
		e.Part.Partition, e.Part.Emit = p, emit
	case KindTick, KindEnd:
		e.Mark.Epoch = schema.Epoch(r.bounded(math.MaxUint32))
		e.Mark.Watermark = schema.EventTime(r.varint())
		e.Mark.Offset = schema.Offset(r.bounded(math.MaxInt64))
	default:
		r.fail(fmt.Sprintf("an entry of unknown kind %d", e.Kind))
	}
	if err := r.done(); err != nil {
		return Entry{}, err
	}
	return e, nil
}

func (r *reader) part() schema.Part {
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
	p.Clicks = r.clicks(p.UserID, p.SessionStart)
	return p
}
