package model

import "hash/maphash"

// rowIndex finds the row of a name: a hash table of rows alone, because the names stand in the rows already. It takes 5 to 11 bytes an item, where a map takes
// some 60.
type rowIndex struct {
	seed  maphash.Seed
	slots []int32 // row+1; 0 is free. Their number is a power of two
	n     int
}

// newRowIndex has room for n rows before it grows.
func newRowIndex(n int) *rowIndex {
	size := 16
	for size*3/4 < n {
		size *= 2
	}
	return &rowIndex{seed: maphash.MakeSeed(), slots: make([]int32, size)}
}

// slot returns where id is or would be. name gives the names of rows.
func (x *rowIndex) slot(id string, name func(Row) string) *int32 {
	mask := uint64(len(x.slots) - 1)
	for i := maphash.String(x.seed, id) & mask; ; i = (i + 1) & mask {
		if s := &x.slots[i]; *s == 0 || name(Row(*s-1)) == id {
			return s
		}
	}
}

func (x *rowIndex) find(id string, name func(Row) string) (Row, bool) {
	if s := *x.slot(id, name); s > 0 {
		return Row(s - 1), true
	}
	return 0, false
}

// add puts a name in that is not there.
func (x *rowIndex) add(id string, r Row, name func(Row) string) {
	if x.n >= len(x.slots)*3/4 {
		bigger := &rowIndex{seed: x.seed, slots: make([]int32, 2*len(x.slots))}
		for _, s := range x.slots {
			if s > 0 {
				*bigger.slot(name(Row(s-1)), name) = s
			}
		}
		x.slots = bigger.slots
	}
	*x.slot(id, name) = int32(r) + 1
	x.n++
}

// remove takes a name out that is there. The names behind it move up, so that none is behind a gap.
func (x *rowIndex) remove(id string, name func(Row) string) {
	mask := uint64(len(x.slots) - 1)
	gap := maphash.String(x.seed, id) & mask
	for name(Row(x.slots[gap]-1)) != id {
		gap = (gap + 1) & mask
	}
	for i := (gap + 1) & mask; x.slots[i] > 0; i = (i + 1) & mask {
		home := maphash.String(x.seed, name(Row(x.slots[i]-1))) & mask
		if (i-home)&mask >= (i-gap)&mask { // it may stand in the gap, which is not before its home
			x.slots[gap], gap = x.slots[i], i
		}
	}
	x.slots[gap] = 0
	x.n--
}
