package window

import (
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/ingest/packed"
)

// ExpectAnyway is Expect, however few sessions are open.
func ExpectAnyway(w *Windower, users ...[]byte) {
	if len(w.users.entries) > 0 {
		w.expect(users)
	}
}

// Examine looks at everything inside w and returns what is wrong with it, or "".
func Examine(w *Windower) string {
	seen := map[ref]bool{}
	for r := ref(1); r < w.slab.used; r++ {
		if s := w.slab.at(r); s.block != none {
			seen[r] = true
			if fault := w.examine(s); fault != "" {
				return fmt.Sprintf("session %d of %q: %s", r, w.userOf(s), fault)
			}
		}
	}
	if len(seen) != w.open {
		return fmt.Sprintf("%d sessions in the slab, but %d open", len(seen), w.open)
	}
	linked := 0
	for r := range seen {
		s := w.slab.at(r)
		for o, i := w.users.next(s.hash, w.users.first(s.hash)); o != 0; o, i = w.users.next(s.hash, i) {
			if o == r {
				linked++
			}
		}
	}
	if w.users.count != w.open {
		return fmt.Sprintf("%d sessions in the user table, but %d open", w.users.count, w.open)
	}
	if linked != w.open {
		return fmt.Sprintf("%d sessions in the user table, but %d open", linked, w.open)
	}
	for _, c := range []*calendar{&w.gaps, &w.other} {
		if fault := c.examine(seen); fault != "" {
			return fmt.Sprintf("calendar %d: %s", c.which, fault)
		}
	}
	return w.arena.examine(w)
}

func (w *Windower) examine(s *session) string {
	clicks := packed.Clicks{N: int(s.pending), Bytes: w.pendingOf(s)}
	if err := clicks.Check(); err != nil {
		return err.Error()
	}
	newest, fault := examine(clicks.Bytes, s.start, s.last)
	if fault == "" && s.pending > 0 && newest != s.newest {
		fault = fmt.Sprintf("the newest clicks begin at %d, not at %d", newest, s.newest)
	}
	return fault
}

func (c *calendar) examine(open map[ref]bool) string {
	found := map[ref]bool{}
	for i, a := range c.near {
		due, is := c.due(c.w.slab.at(a.ref))
		if c.place(a.ref).is != position(i) || found[a.ref] || !open[a.ref] || is && due < a.due || i > 0 && c.less(a, c.near[(i-1)/2]) {
			return fmt.Sprintf("place %d of the heap is wrong", i)
		}
		found[a.ref] = true
	}
	count := 0
	for i := range c.far {
		before := ref(0)
		for r := c.far[i]; r != 0; r = c.place(r).next {
			filed := c.today + 1 + (int64(i)-c.today-1)&(days-1)
			due, is := c.due(c.w.slab.at(r))
			p := c.place(r)
			if p.is != inFar-position(i) || p.prev != before || found[r] || !open[r] || is && c.day(due) < filed || filed == c.today+days {
				return fmt.Sprintf("session %d in list %d is wrong", r, i)
			}
			before = r
			found[r] = true
			count++
		}
		if (c.used[i/64]>>(i%64)&1 == 1) != (c.far[i] != 0) {
			return fmt.Sprintf("list %d is marked wrongly", i)
		}
	}
	if count != c.count {
		return fmt.Sprintf("%d sessions in the lists, counted as %d", count, c.count)
	}
	for r := range open {
		_, is := c.due(c.w.slab.at(r))
		if is && !found[r] || !found[r] && c.place(r).is != nowhere {
			return fmt.Sprintf("session %d is missing", r)
		}
	}
	return ""
}

// examine demands that every byte of the chunks is in one block, and each block in one session or one list.
func (a *arena) examine(w *Windower) string {
	type span struct{ from, to int }
	var spans []span
	add := func(b blockRef, class uint8) {
		from := int(b) * unit
		spans = append(spans, span{from, from + classBytes[class]})
	}
	big := 0
	for r := ref(1); r < w.slab.used; r++ {
		s := w.slab.at(r)
		switch {
		case s.block == none:
		case s.class == bigClass:
			big++
		default:
			add(s.block, s.class)
		}
	}
	for class := range a.free {
		for b := a.free[class]; b != none; b = a.next(b, uint8(class)) {
			add(b, uint8(class))
		}
	}
	if len(a.big) > 0 && big+len(a.bigFree)+1 != len(a.big) {
		return fmt.Sprintf("arena: %d big blocks in use, %d free, of %d", big, len(a.bigFree), len(a.big)-1)
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	at := smallest
	for _, s := range spans {
		rest := chunkBytes - at%chunkBytes // what is left of a chunk may be too small for any block
		if s.from != at && (rest >= smallest || s.from != at+rest) {
			return fmt.Sprintf("arena: a block from %d to %d where %d is next", s.from, s.to, at)
		}
		at = s.to
	}
	if len(a.chunks) > 0 && at != (len(a.chunks)-1)*chunkBytes+a.carved {
		return fmt.Sprintf("arena: blocks end at %d", at)
	}
	return ""
}
