package model

import (
	"sync/atomic"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// bases are what is added to an item's product whoever asks: its bias, and the terms of the tables of With by the weights of a gap bucket. A chunk of them is put together
// when a request of the bucket first looks at it: from then on six terms an item cost one addition, and four bytes an item and bucket.
type bases []atomic.Pointer[[chunkRows]float32] // (gaps, chunks)

// newBases returns empty ones for s, or nil where the bias is all there is.
func (s *Served) newBases() bases {
	if s.live == nil {
		return nil
	}
	return make(bases, gaps*len(s.names))
}

// baseOf returns those of a chunk for the gap bucket of c.effect. Two goroutines may ask for the same one: they get the same numbers.
func (s *Served) baseOf(c *scan, chunk int) []float32 {
	bias := s.items.bias[chunk]
	if s.cfg.Cosine {
		bias = s.lengths[chunk].bias[:]
	}
	if s.bases == nil {
		return bias
	}
	at := &s.bases[(c.effect.row-1)*len(s.names)+chunk]
	if b := at.Load(); b != nil {
		return b[:]
	}
	b, terms := &[chunkRows]float32{}, s.live.chunk(chunk)
	copy(b[:], bias)
	for k, w := range c.effect.items {
		nn.AddScaled(b[:], w, terms[k][:])
	}
	at.Store(b)
	return b[:]
}
