package ingest

import (
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/zeebo/xxh3"
)

// userTable notices users who come on two partitions: their producer does not use the user id as the key, and what they do
// is cut into pieces that no window can put together.
//
// It is a table of fixed size without chains: a user takes the place of another one now and then. So it may miss a user,
// and count one twice after it was displaced, but its memory is bounded (2 MiB) and a fault of the producer, which hits
// every user, shows at once.
//
// A slot holds the upper 48 bits of the hash of the user id, and the partition, or counted once it was counted.
type userTable struct {
	slots  [1 << 18]atomic.Uint64
	split  atomic.Uint64 // users seen on two partitions
	warned atomic.Int64  // Unix nanoseconds of the last warning
}

const (
	slotCounted = 0xffff
	warnEvery   = time.Minute
)

func newUserTable() *userTable { return &userTable{} }

// note sees user on p.
func (t *userTable) note(user string, p schema.Partition, n *Node) {
	h := xxh3.HashString(user)
	slot := &t.slots[h&(1<<18-1)]
	name, mine := h&^0xffff, uint64(uint16(p)%slotCounted)
	old := slot.Load()
	switch {
	case old == name|mine || old == name|slotCounted:
		return
	case old&^0xffff != name || old == 0:
		slot.Store(name | mine)
		return
	}
	slot.Store(name | slotCounted)
	t.split.Add(1)
	now := n.opts.Now().UnixNano()
	if last := t.warned.Load(); now-last >= int64(warnEvery) && t.warned.CompareAndSwap(last, now) {
		n.opts.Log.Warn("a user came on two partitions; the sessions are cut in two: produce with the user id as the Kafka key",
			"partition", p, "other_partition", old&0xffff, "users_so_far", t.split.Load())
	}
}
