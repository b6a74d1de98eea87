package window

import (
	"cmp"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
)

// TestTheCalendarEqualsASortedList drives a calendar over many of its days, over empty years, and with dues beyond its last
// day, and demands what a list that is sorted each time would give.
func TestTheCalendarEqualsASortedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := DefaultConfig()
		w := newWindower(c, NewMeta())
		dues := map[*session]schema.EventTime{}
		cal := &w.gaps
		cal.shift = uint(rapid.IntRange(0, 4).Draw(t, "shift"))
		cal.due = func(s *session) (schema.EventTime, bool) { due, is := dues[s]; return due, is }
		now := schema.EventTime(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "now"))
		cal.begin(now)
		var open []ref
		starts := schema.EventTime(0)
		ahead := func(name string) schema.EventTime {
			reach := rapid.SampledFrom([]int{3, 100, days << cal.shift, 1 << 20, 1 << 40}).Draw(t, name)
			return now + schema.EventTime(rapid.IntRange(0, reach).Draw(t, "by"))
		}
		before := func(a, b ref) int {
			s, o := w.slab.at(a), w.slab.at(b)
			return cmp.Or(cmp.Compare(dues[s], dues[o]), slices.Compare(w.userOf(s), w.userOf(o)), cmp.Compare(s.start, o.start))
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "do") {
			case 0, 1:
				r, s := w.slab.add()
				user := fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "user"))
				starts++
				s.start, s.user = starts, uint16(len(user))
				s.block, s.class = w.arena.alloc(len(user))
				copy(w.userOf(s), user)
				s.place[0].is, s.place[1].is = nowhere, nowhere
				dues[s] = ahead("due")
				cal.put(r, dues[s])
				open = append(open, r)
			case 2:
				if len(open) > 0 {
					r := rapid.SampledFrom(open).Draw(t, "moved")
					dues[w.slab.at(r)] = ahead("to")
					cal.advance(r, dues[w.slab.at(r)])
				}
			case 3:
				if len(open) > 0 {
					i := rapid.IntRange(0, len(open)-1).Draw(t, "removed")
					cal.remove(open[i])
					open = slices.Delete(open, i, i+1)
				}
			case 4:
				to := ahead("advance")
				if rapid.IntRange(0, 9).Draw(t, "all") == 0 {
					to = schema.EndOfTime
				}
				for {
					r, due := cal.next(to)
					slices.SortFunc(open, before)
					if r == 0 {
						if len(open) > 0 && dues[w.slab.at(open[0])] < to {
							t.Fatalf("nothing is next before %d, want a session at %d", to, dues[w.slab.at(open[0])])
						}
						break
					}
					if r != open[0] || due != dues[w.slab.at(r)] || due >= to {
						t.Fatalf("next before %d is %d at %d, want %d at %d", to, r, due, open[0], dues[w.slab.at(open[0])])
					}
					cal.remove(r)
					open = open[1:]
				}
				if to != schema.EndOfTime {
					now = to
				}
			}
			seen := map[ref]bool{}
			for _, r := range open {
				seen[r] = true
			}
			if fault := cal.examine(seen); fault != "" {
				t.Fatal(fault)
			}
		}
	})
}

// TestTheTableEqualsAMap uses few hashes, so that the runs of entries grow into each other.
func TestTheTableEqualsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table table
		want := map[uint32][]ref{}
		hash := rapid.SampledFrom([]uint32{0, 1, 2, 62, 63, 64, 127, 1 << 31, 1<<32 - 1})
		next := ref(0)
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			h := hash.Draw(t, "hash")
			if refs := want[h]; len(refs) > 0 && rapid.Bool().Draw(t, "remove") {
				i := rapid.IntRange(0, len(refs)-1).Draw(t, "which")
				table.remove(h, refs[i])
				want[h] = slices.Delete(refs, i, i+1)
			} else {
				next++
				table.add(h, next)
				want[h] = append(refs, next)
			}
			count := 0
			for h, refs := range want {
				var got []ref
				for r, i := table.next(h, table.first(h)); r != 0; r, i = table.next(h, i) {
					got = append(got, r)
				}
				slices.Sort(got)
				if !slices.Equal(got, refs) {
					t.Fatalf("hash %d has %v, want %v", h, got, refs)
				}
				count += len(refs)
			}
			if table.count != count {
				t.Fatalf("%d entries, want %d", table.count, count)
			}
		}
	})
}

// TestBlocksDoNotOverlap fills each block with a byte of its own, and finds it there until it is released.
func TestBlocksDoNotOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type block struct {
			ref   blockRef
			class uint8
			fill  byte
		}
		var a arena
		var blocks []block
		for i := range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(blocks) > 0 && rapid.IntRange(0, 2).Draw(t, "release") == 0 {
				j := rapid.IntRange(0, len(blocks)-1).Draw(t, "which")
				b := blocks[j]
				for _, got := range a.bytes(b.ref, b.class) {
					if got != b.fill {
						t.Fatalf("block %d of class %d was written over", b.ref, b.class)
					}
				}
				a.release(b.ref, b.class)
				blocks = slices.Delete(blocks, j, j+1)
				continue
			}
			n := rapid.SampledFrom([]int{0, 1, 32, 33, 100, 128, 129, 5000, largest - 1, largest, largest + 1, 3 * largest}).Draw(t, "bytes")
			b := block{fill: byte(i)}
			b.ref, b.class = a.alloc(n)
			if got := a.bytes(b.ref, b.class); len(got) < n || cap(got) != len(got) || b.ref == none {
				t.Fatalf("block %d of %d bytes for %d", b.ref, len(got), n)
			}
			for j := range a.bytes(b.ref, b.class) {
				a.bytes(b.ref, b.class)[j] = b.fill
			}
			blocks = append(blocks, b)
		}
	})
}

func TestClassesAreTheSmallestThatFit(t *testing.T) {
	for n := range largest + 1 {
		class := classOf(n)
		if classBytes[class] < n || class > 0 && classBytes[class-1] >= n {
			t.Fatalf("%d bytes go into blocks of %d", n, classBytes[class])
		}
	}
	if classOf(largest+1) != bigClass {
		t.Fatal("a block above the largest is not big")
	}
}
