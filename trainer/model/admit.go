package model

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// sketch counts how often names without a row were seen lately: a count-min sketch (Cormode and Muthukrishnan, 2005) with conservative update, whose counters are
// halved now and then (TinyLFU, arXiv 1512.00727), so that it speaks of the stream as it is. It errs upwards only: an item may get its row early, never late. Its size is a
// setting, whatever the stream is.
type sketch struct {
	counters []uint8 // sketchHashes parts of the same length, a power of two
	added    int     // sightings since the last halving
}

const (
	sketchHashes = 4
	// sketchLoad is how many counters there are for each sighting between two halvings: a part holds some two counters for each, and as much of what was before.
	sketchLoad = 8
)

func newSketch(counters int) *sketch { return &sketch{counters: make([]uint8, counters)} }

// see counts a sighting and returns how many there were, this one included.
func (s *sketch) see(name string) int {
	h := xxh3.HashString128(name)
	part := uint64(len(s.counters) / sketchHashes)
	var at [sketchHashes]uint64
	least := uint8(255)
	for i := range at { // double hashing: two hashes stand for four (Kirsch and Mitzenmacher, 2006)
		at[i] = uint64(i)*part + (h.Lo+uint64(i)*(h.Hi|1))&(part-1)
		least = min(least, s.counters[at[i]])
	}
	if least < 255 {
		least++
	}
	for _, j := range at {
		s.counters[j] = max(s.counters[j], least)
	}
	if s.added++; s.added >= len(s.counters)/sketchLoad {
		s.added = 0
		for i, c := range s.counters {
			s.counters[i] = c / 2
		}
	}
	return int(least)
}

// words are the counters, eight to a number, as a checkpoint has them.
func (s *sketch) words() []uint64 {
	out := make([]uint64, len(s.counters)/8)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(s.counters[8*i:])
	}
	return out
}

func (s *sketch) restore(words []uint64) {
	for i, w := range words {
		binary.LittleEndian.PutUint64(s.counters[8*i:], w)
	}
}
