package buffer

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// header says which snapshot of a partition's windows counts, and what to do with it.
type header struct {
	generation uint64
	pages      uint32
	bytes      uint64 // of the pages
	journal    uint64 // the first piece of the journal that is not in the pages
	window     window.Meta
	// config is what the windows follow, also when the journal is replayed. A partition of format 1 has none until it is
	// loaded: its windows were written whole with each commit, so nothing has to be replayed.
	config    window.Config
	hasConfig bool
}

// The header of a snapshot:
//
//	uvarint generation, pages, bytes of the pages, first journal number
//	meta of the windows     meta.go
//	u8      has a config
//	uvarint n, then n × varint: gap, lateness bound, part age, part clicks, max session age, max session clicks, max open
//	        sessions; times in ms. Fields of later programs follow; a field that is missing is 0.
func appendHeader(b []byte, h *header) []byte {
	for _, v := range []uint64{h.generation, uint64(h.pages), h.bytes, h.journal} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendWindowMeta(b, &h.window)
	b = appendFlag(b, h.hasConfig)
	if !h.hasConfig {
		return b
	}
	fields := configFields(&h.config)
	b = binary.AppendUvarint(b, uint64(len(fields)))
	for _, f := range fields {
		b = binary.AppendVarint(b, f.get())
	}
	return b
}

func decodeHeader(b []byte) (header, error) {
	r := newReader(b)
	h := header{generation: r.uvarint(), pages: uint32(r.bounded(math.MaxUint32)), bytes: r.uvarint(), journal: r.uvarint()}
	h.window = r.windowMeta()
	if h.hasConfig = r.flag(); h.hasConfig {
		fields := configFields(&h.config)
		n := r.count(1)
		for i := range n {
			v := r.varint()
			switch {
			case i < len(fields):
				fields[i].set(v)
			case v != 0:
				r.fail(fmt.Sprintf("field %d of a window config that this freshet does not know", i))
			}
		}
	}
	return h, r.done()
}

// field is a field of a window config as a number.
type field struct {
	get func() int64
	set func(int64)
}

// configFields lists the fields of c in the order of the format, which is only ever added to.
func configFields(c *window.Config) []field {
	duration := func(d *time.Duration) field {
		return field{
			get: d.Milliseconds,
			set: func(v int64) { *d = time.Duration(min(max(v, -maxMillis), maxMillis)) * time.Millisecond },
		}
	}
	number := func(n *int) field {
		return field{get: func() int64 { return int64(*n) }, set: func(v int64) { *n = int(v) }}
	}
	return []field{
		duration(&c.Gap), duration(&c.LatenessBound), duration(&c.PartAge), number(&c.PartClicks),
		duration(&c.MaxSessionAge), number(&c.MaxSessionClicks), number(&c.MaxOpenSessions),
	}
}

// maxMillis is the longest time that a time.Duration can hold.
const maxMillis = math.MaxInt64 / int64(time.Millisecond)

func (s *Store) loadHeaders() error {
	return s.eachPartition(spaceHeader, func(p schema.Partition, value []byte) (err error) {
		s.headers[p], err = decodeHeader(value)
		return err
	})
}

func (s *Store) header(p schema.Partition) (header, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, ok := s.headers[p]
	return h, ok
}

// loaded says whether p has windows here, of a known config.
func (s *Store) loaded(p schema.Partition) bool {
	h, ok := s.header(p)
	return ok && h.hasConfig
}
