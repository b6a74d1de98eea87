package buffer

import (
	"encoding/binary"
	"math"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// Meta is the state of a partition apart from its open sessions and its log.
type Meta struct {
	Partition  schema.Partition
	NextOffset schema.Offset // the first record that is not in the state
	NextEmit   schema.Emit   // the number of the next entry of the log
	Ticks      uint64        // how many entries of the log are ticks
	Aside      uint64        // records put aside, also those trimmed since
	AsideBytes uint64        // and their bytes
	Window     window.Meta
}

func newMeta(p schema.Partition) Meta { return Meta{Partition: p, Window: window.NewMeta()} }

// The meta of a partition:
//
//	uvarint next offset, next emit, ticks, aside, aside bytes
//	varint  watermark, max seen
//	uvarint epoch
//	u8      ended
//	uvarint taken, emitted
//	uvarint n, then n counts of rejected records    in the order of schema.Reasons
//	uvarint n, then n counts of parts               in the order of window.Causes
func appendMeta(b []byte, m *Meta) []byte {
	for _, v := range []uint64{uint64(m.NextOffset), uint64(m.NextEmit), m.Ticks, m.Aside, m.AsideBytes} {
		b = binary.AppendUvarint(b, v)
	}
	w := &m.Window
	b = binary.AppendVarint(b, int64(w.Watermark))
	b = binary.AppendVarint(b, int64(w.MaxSeen))
	b = binary.AppendUvarint(b, uint64(w.Epoch))
	ended := byte(0)
	if w.Ended {
		ended = 1
	}
	b = append(b, ended)
	b = binary.AppendUvarint(b, w.Counts.Taken)
	b = binary.AppendUvarint(b, w.Counts.Emitted)
	b = appendCounts(b, w.Counts.Rejected[:])
	return appendCounts(b, w.Counts.Parts[:])
}

func appendCounts(b []byte, counts []uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(counts)))
	for _, n := range counts {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func decodeMeta(b []byte, p schema.Partition) (Meta, error) {
	r := newReader(b)
	m := Meta{Partition: p}
	m.NextOffset = schema.Offset(r.bounded(math.MaxInt64))
	m.NextEmit = schema.Emit(r.uvarint())
	m.Ticks, m.Aside, m.AsideBytes = r.uvarint(), r.uvarint(), r.uvarint()
	w := &m.Window
	w.Watermark = schema.EventTime(r.varint())
	w.MaxSeen = schema.EventTime(r.varint())
	w.Epoch = schema.Epoch(r.bounded(math.MaxUint32))
	switch r.byte() {
	case 0:
	case 1:
		w.Ended = true
	default:
		r.fail("a flag that is neither 0 nor 1")
	}
	w.Counts.Taken, w.Counts.Emitted = r.uvarint(), r.uvarint()
	r.counts(w.Counts.Rejected[:])
	r.counts(w.Counts.Parts[:])
	if err := r.done(); err != nil {
		return Meta{}, err
	}
	return m, nil
}

// counts reads counts into to. There may be fewer than to has room for: a later program may know more reasons.
func (r *reader) counts(to []uint64) {
	n := r.count(1)
	if n > len(to) {
		r.fail("more counts than there are names")
		return
	}
	for i := range n {
		to[i] = r.uvarint()
	}
}

// An open session. User and start are in its key.
//
//	uvarint last, ms after start
//	uvarint number of the next part
//	uvarint emitted clicks
//	uvarint n, then n × u64 little-endian    hashes of event ids
//	clicks  pending                          codec.go
func appendSession(b []byte, s *window.Session) []byte {
	b = binary.AppendUvarint(b, uint64(s.Last-s.Start))
	b = binary.AppendUvarint(b, uint64(s.Number))
	b = binary.AppendUvarint(b, uint64(s.Emitted))
	b = binary.AppendUvarint(b, uint64(len(s.EventIDs)))
	for _, id := range s.EventIDs {
		b = binary.LittleEndian.AppendUint64(b, id)
	}
	return appendClicks(b, s.Start, s.Pending)
}

func decodeSession(b []byte, k window.Key) (window.Session, error) {
	r := newReader(b)
	s := window.Session{UserID: k.UserID, Start: k.Start}
	s.Last = s.Start + schema.EventTime(r.bounded(math.MaxInt64))
	s.Number = int32(r.bounded(math.MaxInt32))
	s.Emitted = int(r.bounded(math.MaxInt32))
	if n := r.count(8); n > 0 {
		s.EventIDs = make([]uint64, n)
		for i := range s.EventIDs {
			s.EventIDs[i] = r.fixed64()
		}
	}
	s.Pending = r.clicks(k.UserID, s.Start)
	if err := r.done(); err != nil {
		return window.Session{}, err
	}
	return s, nil
}
