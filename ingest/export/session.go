package export

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// session is the parts of a session so far, with the items as bytes: uvarint length and id, one after another.
type session struct {
	key
	end    schema.EventTime
	parts  int32
	clicks int
	items  []byte
}

// key names a session. The partition is part of it, because a producer that changes its keys can put a user on two.
type key struct {
	partition schema.Partition
	user      string
	start     schema.EventTime
}

func keyOf(p *schema.Part) key { return key{p.Partition, p.UserID, p.SessionStart} }

// sessionBytes is what a held session takes beside its items and its user: the struct, its place in the map, and what the
// allocator rounds up.
const sessionBytes = 256

func (s *session) cost() int64 { return int64(sessionBytes + len(s.user) + cap(s.items)) }

// reset makes s a session without parts, in the memory that it has.
func (s *session) reset(k key) { *s = session{key: k, end: k.start, items: s.items[:0]} }

// add appends the next part.
func (s *session) add(p *schema.Part) {
	for i := range p.Clicks {
		c := &p.Clicks[i]
		s.items = append(binary.AppendUvarint(s.items, uint64(len(c.ItemID))), c.ItemID...)
		s.end = max(s.end, c.EventTime)
	}
	s.clicks += len(p.Clicks)
	s.parts++
}

// eachItem calls f with the ids of the items, in the order of the clicks. The slices are valid during the call.
func (s *session) eachItem(f func(id []byte)) {
	for b := s.items; len(b) > 0; {
		n, size := binary.Uvarint(b)
		f(b[size : size+int(n)])
		b = b[size+int(n):]
	}
}

// joiner makes sessions of parts.
type joiner struct {
	log   Log
	limit int64 // bytes of sessions held
	all   bool  // those that have no final part are wanted too

	held    map[key]*session
	bytes   int64
	scratch session
	out     func(s *session) error
	wanted  func(s *session) bool
	from    map[schema.Partition]schema.Emit // where the reading began

	open   map[schema.Partition]int64 // begun and not final
	cut    int64                      // closed, but their beginning is no longer in the log
	reread int64                      // closed, and read again because there was no room to hold them
}

func newJoiner(m *merge, o Options, wanted func(s *session) bool, out func(s *session) error) *joiner {
	return &joiner{log: m.log, limit: o.HeldBytes, all: o.Open, held: map[key]*session{}, open: map[schema.Partition]int64{}, wanted: wanted, out: out, from: m.from}
}

// put hands out a session if it is wanted.
func (j *joiner) put(s *session) error {
	if !j.wanted(s) {
		return nil
	}
	return j.out(s)
}

// add takes the next part of the log. A final one makes a row.
func (j *joiner) add(p *schema.Part) error {
	k := keyOf(p)
	switch {
	case p.Final && p.Number == 0:
		j.scratch.reset(k)
		j.scratch.add(p)
		return j.put(&j.scratch)
	case p.Final:
		return j.close(k, p)
	case p.Number == 0:
		j.open[p.Partition]++
		s := &session{key: k, end: k.start}
		j.bytes += s.cost()
		j.held[k] = s
		return j.hold(s, p)
	}
	if s := j.held[k]; s != nil {
		return j.hold(s, p)
	}
	return nil // there was no room for its beginning: its final part fetches all of it
}

// hold appends a part to a held session, or lets the session go where there is no room.
func (j *joiner) hold(s *session, p *schema.Part) error {
	j.bytes -= s.cost()
	s.add(p)
	if j.bytes += s.cost(); j.bytes <= j.limit {
		return nil
	}
	if j.all {
		return fmt.Errorf("export: the open sessions take more than %d MiB, and those that stay open are wanted too: allow more with --held-mib, or leave --open out", j.limit>>20)
	}
	j.drop(s)
	return nil
}

func (j *joiner) drop(s *session) {
	j.bytes -= s.cost()
	delete(j.held, s.key)
}

// close makes the row of the session that p is the final part of.
func (j *joiner) close(k key, p *schema.Part) error {
	if s := j.held[k]; s != nil {
		j.drop(s)
		j.open[p.Partition]--
		s.add(p)
		return j.put(s)
	}
	parts, err := j.log.History(p.Partition, p.UserID, p.Emit, int(p.Number))
	if err != nil {
		return err
	}
	s := &j.scratch
	s.reset(k)
	for i := range parts {
		if parts[i].SessionStart == k.start && parts[i].Number == s.parts {
			s.add(&parts[i])
		}
	}
	if s.parts != p.Number { // an early part always has clicks, so History has it unless retention took it
		s.reset(k)
		for i := range parts {
			if parts[i].SessionStart == k.start {
				s.add(&parts[i]) // for its end
			}
		}
		if s.add(p); j.wanted(s) {
			j.cut++
		}
		return nil
	}
	if parts[0].Emit >= j.from[p.Partition] {
		j.open[p.Partition]-- // it was counted when it began
	}
	j.reread++
	s.add(p)
	return j.put(s)
}

// rest puts out the sessions that are still open, by their ends.
func (j *joiner) rest() error {
	if !j.all {
		return nil
	}
	left := make([]*session, 0, len(j.held))
	for _, s := range j.held {
		left = append(left, s)
	}
	slices.SortFunc(left, func(a, b *session) int {
		return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.partition, b.partition), cmp.Compare(a.user, b.user), cmp.Compare(a.start, b.start))
	})
	for _, s := range left {
		if err := j.put(s); err != nil {
			return err
		}
	}
	return nil
}
