package window

// expectedAtOnce is how many users are looked up at a time: enough for their misses to overlap, few enough that what was
// fetched is still there when their clicks come.
const expectedAtOnce = 16

// expectFrom is how many entries the table has at least when looking ahead pays: fewer sessions are in the caches anyway.
const expectFrom = 1 << 17

// Expect is told the users of the next clicks, as far as they are known. It changes nothing: it reads what their sessions lie
// in, one kind of thing for all of them after the other, so that the waits for memory go on at the same time and not one
// after another. A wrong user costs the look and nothing else.
func (w *Windower) Expect(users [][]byte) {
	if len(w.users.entries) < expectFrom {
		return
	}
	for len(users) > 0 {
		n := min(len(users), expectedAtOnce)
		w.expect(users[:n])
		users = users[n:]
	}
}

func (w *Windower) expect(users [][]byte) {
	var hashes [expectedAtOnce]uint32
	var refs [expectedAtOnce]ref
	sum := byte(0)
	for i, user := range users {
		hashes[i] = w.hash(user)
		sum += byte(w.users.entries[w.users.first(hashes[i])])
	}
	for i := range users {
		if refs[i], _ = w.users.next(hashes[i], w.users.first(hashes[i])); refs[i] != 0 {
			s := w.slab.at(refs[i])
			sum += byte(s.block) + byte(s.place[1].next) // both of its lines
		}
	}
	for _, r := range refs[:len(users)] {
		if r != 0 {
			s := w.slab.at(r)
			b := w.arena.bytes(s.block, s.class)
			sum += b[0] + b[len(b)-1]
		}
	}
	w.expected = sum
}
