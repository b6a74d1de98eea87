package buffer

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/freshet-ml/freshet/schema"
)

// located is where a part is: its emit, and its place in its block.
type located struct {
	emit  schema.Emit
	place uint8
}

// tail is the user index of a log from some entry on.
type tail struct {
	mu    sync.RWMutex // guards what follows; the partition's owner writes
	from  schema.Emit  // the parts before it have keys
	heads map[uint64]uint32
	parts []tailPart
	users []byte
	seed  maphash.Seed
}

// tailPart is a part in a tail.
type tailPart struct {
	located
	before uint32 // the part before it with a user of the same hash, one more than its index; or 0
	user   uint32 // where the user is in users: uvarint length and bytes
}

func newTail(from schema.Emit) *tail {
	return &tail{from: from, heads: map[uint64]uint32{}, seed: maphash.MakeSeed()}
}

func (t *tail) userOf(p *tailPart) []byte {
	n, size := binary.Uvarint(t.users[p.user:])
	from := int(p.user) + size
	return t.users[from : from+int(n)]
}

// add adds the next part. The caller holds mu.
func (t *tail) add(user string, at located) {
	hash := maphash.String(t.seed, user)
	p := tailPart{located: at, before: t.heads[hash]}
	if p.before > 0 && string(t.userOf(&t.parts[p.before-1])) == user {
		p.user = t.parts[p.before-1].user
	} else {
		p.user = uint32(len(t.users))
		t.users = appendString(t.users, user)
	}
	t.parts = append(t.parts, p)
	t.heads[hash] = uint32(len(t.parts))
}

// last appends the last parts of user before the given entry to to, newest first, until it has n. It returns where t begins.
func (t *tail) last(to []located, user string, before schema.Emit, n int) ([]located, schema.Emit) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i := t.heads[maphash.String(t.seed, user)]; i > 0 && len(to) < n; i = t.parts[i-1].before {
		if p := &t.parts[i-1]; p.emit < before && string(t.userOf(p)) == user {
			to = append(to, p.located)
		}
	}
	return to, t.from
}

// userList is all that a tail has of a user, newest first.
type userList struct {
	user  []byte
	parts []located
}

// lists returns what t has from first on, in the order of the keys.
func (t *tail) lists(first schema.Emit) []userList {
	lists := make([]userList, 0, len(t.heads))
	all := make([]located, 0, len(t.parts)) // never grows, so that the lists may share it
	var chain []*tailPart
	for _, i := range t.heads {
		for chain = chain[:0]; i > 0 && t.parts[i-1].emit >= first; i = t.parts[i-1].before {
			chain = append(chain, &t.parts[i-1])
		}
		for len(chain) > 0 { // once, but for users of the same hash
			user, from, others := t.userOf(chain[0]), len(all), chain[:0]
			for _, p := range chain {
				if bytes.Equal(t.userOf(p), user) {
					all = append(all, p.located)
				} else {
					others = append(others, p)
				}
			}
			lists = append(lists, userList{user: user, parts: all[from:]})
			chain = others
		}
	}
	slices.SortFunc(lists, func(a, b userList) int {
		return cmp.Or(cmp.Compare(len(a.user), len(b.user)), bytes.Compare(a.user, b.user))
	})
	return lists
}
