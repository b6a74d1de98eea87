package model

import "sync/atomic"

// liveTables are the item terms that a Served answers with. They are asked for when a chunk of rows is first looked at, and kept, 24 bytes an item: to ask a table for
// those of all rows takes as long as the look itself, to read them again a tenth of it.
type liveTables struct {
	live   Live
	chunks []atomic.Pointer[termChunk]
}

// termChunk is a chunk of rows by column, as a look at them reads it.
type termChunk [ItemTerms][chunkRows]float32

// With returns s with other tables, nil for none: all the rest is shared. The tables may know more items than s, or fewer. A version that Apply makes of s has
// those of s.
func (s *Served) With(l Live) *Served {
	next := *s
	next.live = nil
	if l != nil && s.cfg.Terms {
		next.live = &liveTables{live: l, chunks: make([]atomic.Pointer[termChunk], len(s.names))}
	}
	next.bases, next.ranked = next.newBases(), &rankedBases{}
	return &next
}

// grown returns t with room for so many chunks.
func (t *liveTables) grown(chunks int) *liveTables {
	if t == nil || chunks == len(t.chunks) {
		return t
	}
	next := &liveTables{live: t.live, chunks: make([]atomic.Pointer[termChunk], chunks)}
	for i := range t.chunks {
		next.chunks[i].Store(t.chunks[i].Load())
	}
	return next
}

// chunk returns the terms of a chunk. Two goroutines may ask for the same one: they get the same numbers.
func (t *liveTables) chunk(i int) *termChunk {
	if c := t.chunks[i].Load(); c != nil {
		return c
	}
	rows, c := make([]float32, chunkRows*ItemTerms), &termChunk{}
	t.live.ItemTerms(rows, Row(i*chunkRows)) // also of rows that are not there yet: the next version has them
	for j := range chunkRows {
		for k := range c {
			c[k][j] = rows[j*ItemTerms+k]
		}
	}
	t.chunks[i].Store(c)
	return c
}
