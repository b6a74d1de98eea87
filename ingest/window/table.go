package window

// table finds the open sessions of a user. It is an array of entries, each the upper half of the user's hash and the place
// of a session, with the entries of one hash one behind the other from the place that the hash names (linear probing).
// What an entry says of its hash is enough to move it, so that growing and removing touch no session.
type table struct {
	entries []uint64 // hash half << 32 | ref; 0 is empty
	mask    uint32
	count   int
}

const leastTable = 64

// first returns the place where the entries of hash begin.
func (t *table) first(hash uint32) uint32 { return hash & t.mask }

// next returns the first session of hash in an entry from i on, and the entry behind it; 0 when there is no more.
func (t *table) next(hash, i uint32) (ref, uint32) {
	for len(t.entries) > 0 {
		e := t.entries[i]
		if e == 0 {
			break
		}
		i = (i + 1) & t.mask
		if uint32(e>>32) == hash {
			return ref(e), i
		}
	}
	return 0, 0
}

// add adds r, a session of hash.
func (t *table) add(hash uint32, r ref) {
	if 4*(t.count+1) > 3*len(t.entries) {
		t.grow()
	}
	t.count++
	t.set(uint64(hash)<<32 | uint64(r))
}

func (t *table) set(e uint64) {
	i := t.first(uint32(e >> 32))
	for t.entries[i] != 0 {
		i = (i + 1) & t.mask
	}
	t.entries[i] = e
}

func (t *table) grow() {
	old := t.entries
	t.entries = make([]uint64, max(leastTable, 2*len(old)))
	t.mask = uint32(len(t.entries) - 1)
	for _, e := range old {
		if e != 0 {
			t.set(e)
		}
	}
}

// remove takes out r, which must be in, and moves up what lies behind it and may lie before.
func (t *table) remove(hash uint32, r ref) {
	e := uint64(hash)<<32 | uint64(r)
	i := t.first(hash)
	for t.entries[i] != e {
		i = (i + 1) & t.mask
	}
	t.count--
	for j := (i + 1) & t.mask; t.entries[j] != 0; j = (j + 1) & t.mask {
		if home := t.first(uint32(t.entries[j] >> 32)); (j-home)&t.mask >= (j-i)&t.mask {
			t.entries[i] = t.entries[j]
			i = j
		}
	}
	t.entries[i] = 0
}
