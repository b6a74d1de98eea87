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
	FirstEmit  schema.Emit   // the number of the first entry of the log that is there: retention or an import left it
	NextEmit   schema.Emit   // the number of the next entry of the log
	Ticks      uint64        // how many entries of the log are ticks, also those that are no longer there
	Aside      uint64        // records put aside, also those trimmed since
	AsideBytes uint64        // and their bytes
	LogBytes   uint64        // bytes of the entries that are there, as stored before compression
	// Partitions is how many partitions the topic has, and Grows says where it got more, oldest first. Only partition 0 has
	// them; 0 and none before the first Grow mark.
	Partitions int
	Grows      []Grow
	// Mirror says that the log is written by Append alone, and that there are no windows here.
	Mirror bool
	// Reached is how far the log ever came. It is more than NextEmit while an imported partition, whose log was mirrored
	// further than the import, emits the entries between them again.
	Reached schema.Emit
	Window  window.Meta
}

// Grow is a place in the merged order of the logs from which on the topic has Partitions partitions.
type Grow struct {
	Partitions int
	Epoch      schema.Epoch
	Watermark  schema.EventTime
	Emit       schema.Emit // of its mark in partition 0's log
}

// maxGrows bounds how often a topic may grow: its partition 0 writes all of it with each commit.
const maxGrows = 256

// MaxPartitions bounds the partitions of a topic.
const MaxPartitions = 1 << 20

// state is all that the store keeps of a partition beside its log.
type state struct {
	Meta
	journal      uint64 // the number of the next piece of the journal
	journalBytes uint64 // of the pieces since the snapshot
	appended     uint64 // bytes of all blocks of the log that were ever appended
}

func newState(p schema.Partition) state {
	return state{Meta: Meta{Partition: p, Window: window.NewMeta()}}
}

// The meta of a partition. Format 1 ended before the bytes of the log.
//
//	uvarint next offset, next emit, ticks, aside, aside bytes
//	varint  watermark, max seen
//	uvarint epoch
//	u8      ended
//	uvarint taken, emitted
//	uvarint n, then n counts of rejected records    in the order of schema.Reasons
//	uvarint n, then n counts of parts               in the order of window.Causes
//	uvarint bytes of all entries that were ever appended
//	uvarint next journal number, bytes of the journal since the snapshot
//	uvarint reached
//	u8      mirror
//	uvarint n, then n grows: uvarint partitions, epoch; varint watermark; uvarint emit
func appendMeta(b []byte, s *state) []byte {
	for _, v := range []uint64{uint64(s.NextOffset), uint64(s.NextEmit), s.Ticks, s.Aside, s.AsideBytes} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendWindowMeta(b, &s.Window)
	for _, v := range []uint64{s.appended, s.journal, s.journalBytes, uint64(s.Reached)} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendFlag(b, s.Mirror)
	b = binary.AppendUvarint(b, uint64(len(s.Grows)))
	for _, g := range s.Grows {
		b = binary.AppendUvarint(b, uint64(g.Partitions))
		b = binary.AppendUvarint(b, uint64(g.Epoch))
		b = binary.AppendVarint(b, int64(g.Watermark))
		b = binary.AppendUvarint(b, uint64(g.Emit))
	}
	return b
}

func appendWindowMeta(b []byte, w *window.Meta) []byte {
	b = binary.AppendVarint(b, int64(w.Watermark))
	b = binary.AppendVarint(b, int64(w.MaxSeen))
	b = binary.AppendUvarint(b, uint64(w.Epoch))
	b = appendFlag(b, w.Ended)
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

// decodeMeta decodes a meta of format 2, or of format 1. FirstEmit, and what was trimmed, are in another key.
func decodeMeta(b []byte, p schema.Partition) (state, error) {
	r := newReader(b)
	s := newState(p)
	s.NextOffset = schema.Offset(r.bounded(math.MaxInt64))
	s.NextEmit = schema.Emit(r.uvarint())
	s.Ticks, s.Aside, s.AsideBytes = r.uvarint(), r.uvarint(), r.uvarint()
	s.Window = r.windowMeta()
	if r.err == nil && len(r.b) > 0 {
		s.appended, s.journal, s.journalBytes = r.uvarint(), r.uvarint(), r.uvarint()
		s.Reached = schema.Emit(r.uvarint())
		s.Mirror = r.flag()
		s.Grows = r.grows()
		if n := len(s.Grows); n > 0 {
			s.Partitions = s.Grows[n-1].Partitions
		}
	}
	if err := r.done(); err != nil {
		return state{}, err
	}
	return s, nil
}

func (r *reader) windowMeta() window.Meta {
	var w window.Meta
	w.Watermark = schema.EventTime(r.varint())
	w.MaxSeen = schema.EventTime(r.varint())
	w.Epoch = schema.Epoch(r.bounded(math.MaxUint32))
	w.Ended = r.flag()
	w.Counts.Taken, w.Counts.Emitted = r.uvarint(), r.uvarint()
	r.counts(w.Counts.Rejected[:])
	r.counts(w.Counts.Parts[:])
	return w
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

func (r *reader) grows() []Grow {
	n := r.count(4)
	if n > maxGrows {
		r.fail("more grows than there may be")
	}
	if n == 0 || r.err != nil {
		return nil
	}
	grows := make([]Grow, n)
	for i := range grows {
		grows[i] = Grow{
			Partitions: int(r.bounded(MaxPartitions)), Epoch: schema.Epoch(r.bounded(math.MaxUint32)),
			Watermark: schema.EventTime(r.varint()), Emit: schema.Emit(r.uvarint()),
		}
	}
	return grows
}
