package baseline

import "math/bits"

// numbered gives small numbers to keys in the order in which they are first seen. A map of the language would do, at ten times the cost.
type numbered struct {
	slots []slot // their number is a power of two
	keys  []int32
}

type slot struct{ key, number int32 } // number+1; 0 is free

// reset forgets all keys and keeps the memory.
func (t *numbered) reset() {
	if t.slots == nil {
		t.slots = make([]slot, 256)
	}
	if len(t.keys) > 0 {
		clear(t.slots)
	}
	t.keys = t.keys[:0]
}

func (t *numbered) place(key int32) *slot {
	mask := uint32(len(t.slots) - 1)
	shift := 32 - bits.TrailingZeros32(uint32(len(t.slots)))
	for i := uint32(key) * 2654435769 >> shift; ; i = (i + 1) & mask { // Knuth's multiplicative hash
		if s := &t.slots[i]; s.number == 0 || s.key == key {
			return s
		}
	}
}

// find returns the number of a key, or -1.
func (t *numbered) find(key int32) int32 { return t.place(key).number - 1 }

// number returns the number of a key, and whether it is new.
func (t *numbered) number(key int32) (n int32, fresh bool) {
	s := t.place(key)
	if s.number > 0 {
		return s.number - 1, false
	}
	t.keys = append(t.keys, key)
	*s = slot{key, int32(len(t.keys))}
	if 2*len(t.keys) > len(t.slots) {
		t.slots = make([]slot, 2*len(t.slots))
		for i, k := range t.keys {
			*t.place(k) = slot{k, int32(i) + 1}
		}
	}
	return int32(len(t.keys)) - 1, true
}

// keyed is one of many that the best are wanted of.
type keyed struct {
	key float64
	at  int64
	i   int32
}

// before is the order: the larger key, then the later, then the lower number. No two are equal where numbers differ.
func (a *keyed) before(b *keyed) bool {
	if a.key != b.key {
		return a.key > b.key
	}
	if a.at != b.at {
		return a.at > b.at
	}
	return a.i < b.i
}

// best brings the first k to the front, in no order, and returns them.
func best(all []keyed, k int) []keyed {
	if k >= len(all) {
		return all
	}
	low, high := 0, len(all)
	for high-low > 1 {
		pivot := median(&all[low], &all[(low+high)/2], &all[high-1])
		i, j := low, high-1
		for i <= j { // Hoare's partition; the pivot is among them, so neither run leaves the range
			for all[i].before(&pivot) {
				i++
			}
			for pivot.before(&all[j]) {
				j--
			}
			if i <= j {
				all[i], all[j] = all[j], all[i]
				i++
				j--
			}
		}
		switch {
		case k <= j:
			high = j + 1
		case k > i:
			low = i
		default:
			return all[:k]
		}
	}
	return all[:k]
}

func median(a, b, c *keyed) keyed {
	if b.before(a) {
		a, b = b, a
	}
	if c.before(b) {
		b = c
		if b.before(a) {
			b = a
		}
	}
	return *b
}
