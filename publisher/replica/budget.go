package replica

import "sync/atomic"

// freeBytes is the memory of a request that is not counted: the many small ones need no accounts, and are bounded by the connections.
const freeBytes = 16 << 10

// budget bounds the bytes of bodies and answers that are held at the same time beyond the free ones, so that a thousand callers who send a MiB slowly, or read one
// slowly, do not fill the memory.
type budget struct {
	most int64
	held atomic.Int64
}

// take reserves n bytes, or reports that they are not there.
func (b *budget) take(n int) bool {
	if b.held.Add(int64(n)) <= b.most {
		return true
	}
	b.held.Add(-int64(n))
	return false
}

func (b *budget) give(n int) { b.held.Add(-int64(n)) }

// maxHeldBytes is the budget: some hundred of the largest bodies and answers.
const maxHeldBytes = 64 << 20
