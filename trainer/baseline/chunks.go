package baseline

import "slices"

// chunkSize is how many neighbouring entries of a table are shared or copied together.
const chunkSize = 256

// chunked is a table by row, or by place, in chunks that versions of it share.
type chunked[T any] struct {
	n      int // entries; those beyond are zero
	chunks []*[chunkSize]T
}

// at returns entry i, which may be written where the caller owns its chunk. It must be below n.
func (c *chunked[T]) at(i int) *T { return &c.chunks[i/chunkSize][i%chunkSize] }

// get returns entry i, or a zero one beyond n.
func (c *chunked[T]) get(i int) (v T) {
	if uint(i) < uint(c.n) {
		v = c.chunks[i/chunkSize][i%chunkSize]
	}
	return v
}

// grow makes room for entry i and says whether it did anything.
func (c *chunked[T]) grow(i int) bool {
	if i < c.n {
		return false
	}
	for i >= len(c.chunks)*chunkSize {
		c.chunks = append(c.chunks, new([chunkSize]T))
	}
	c.n = i + 1
	return true
}

// sharing returns a copy that shares all chunks.
func (c *chunked[T]) sharing() chunked[T] {
	return chunked[T]{n: c.n, chunks: append(make([]*[chunkSize]T, 0, len(c.chunks)+1), c.chunks...)}
}

// own returns entry i to be written, beyond n as well. A chunk that is still before's is copied first.
func (c *chunked[T]) own(i int, before *chunked[T]) *T {
	c.grow(i)
	if k := i / chunkSize; k < len(before.chunks) && before.chunks[k] == c.chunks[k] {
		copied := *c.chunks[k]
		c.chunks[k] = &copied
	}
	return c.at(i)
}

// changes are the entries of a table that changed since they were last taken. Entries that were added count as changed.
type changes struct {
	is    []bool
	which []int32
	known int // entries of the table when they were last taken
}

func (c *changes) add(i int) {
	if i >= len(c.is) {
		c.is = append(c.is, make([]bool, i+1-len(c.is))...)
	}
	if !c.is[i] {
		c.is[i] = true
		c.which = append(c.which, int32(i))
	}
}

// take returns the changed ones of n entries, rising, or all, and begins anew.
func (c *changes) take(n int, all bool) []int32 {
	from := c.known
	if all {
		from = 0
	}
	for i := from; i < n; i++ {
		c.add(i)
	}
	taken := slices.Clone(c.which)
	slices.Sort(taken)
	for _, i := range taken {
		c.is[i] = false
	}
	c.which, c.known = c.which[:0], n
	return taken
}
