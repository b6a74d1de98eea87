package buffer

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/freshet-ml/freshet/schema"
)

// Every key of the store. Numbers are big-endian, so that keys sort as numbers do. A user id carries its length, so that no
// user's keys lie among another's.
//
//	f                                                     format version                     → uvarint
//	p  partition u32                                      meta of a partition                → meta.go
//	h  partition u32                                      header of a partition's snapshot   → header.go
//	n  partition u32 | generation u64 | page u32          page of a snapshot                 → window.Pages
//	j  partition u32 | number u64                         journal of one commit              → window.Journal
//	l  partition u32 | emit u64                           entries of the log from emit on    → block.go
//	u  partition u32 | len u16, user | emit u64           user's parts with clicks up to emit → userindex.go
//	i  partition u32                                      how far the user index is written  → uvarint emit
//	b  partition u32                                      where the log begins               → retain.go
//	k  name                                               position that a reader holds       → hold.go
//	r  partition u32 | offset u64                         record put aside                   → aside.go
//	d  partition u32                                      how far aside has been forwarded   → uvarint offset
//	t                                                     what was trimmed from aside        → asidetrim.go
//	e                                                     what was sent again from aside     → redrive.go
//
// Histories, in a directory of their own, have metas and:
//
//	v  len u16, user                                      what is kept of a user beside parts  → historiesput.go
//	w  len u16, user | number u64                         a part of the user's history         → historiesput.go
//	x  seen u64 | len u16, user                           users by when they were last seen    → nothing
//	y  partition u32                                      last entry that was appended         → entry.go
//	z                                                     totals                               → historiesput.go
//
// Format 1 had, and an upgrade reads (upgrade.go):
//
//	s  partition u32 | len u16, user | start i64          open session
//	a  arrived i64 | partition u32 | offset u64           record put aside
const (
	spaceFormat  = 'f'
	spaceMeta    = 'p'
	spaceHeader  = 'h'
	spacePage    = 'n'
	spaceJournal = 'j'
	spaceLog     = 'l'
	spaceUser    = 'u'
	spaceIndexed = 'i'
	spaceBegin   = 'b'
	spaceHold    = 'k'
	spaceAside   = 'r'
	spaceForward = 'd'
	spaceTrimmed = 't'
	spaceResent  = 'e'

	spaceHead    = 'v'
	spaceHistory = 'w'
	spaceSeen    = 'x'
	spaceLast    = 'y'
	spaceTotals  = 'z'

	spaceSession1 = 's'
	spaceAside1   = 'a'
)

// formatVersion is the layout that this program writes. Open brings a directory of an earlier one up to it.
const formatVersion = 2

func appendUser(b []byte, user string) []byte {
	if len(user) > math.MaxUint16 {
		panic(fmt.Sprintf("buffer: key: user id of %d bytes", len(user)))
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(len(user))), user...)
}

func spaceOf(b []byte, space byte, p schema.Partition) []byte {
	return binary.BigEndian.AppendUint32(append(b, space), uint32(p))
}

func metaKey(b []byte, p schema.Partition) []byte    { return spaceOf(b, spaceMeta, p) }
func headerKey(b []byte, p schema.Partition) []byte  { return spaceOf(b, spaceHeader, p) }
func indexedKey(b []byte, p schema.Partition) []byte { return spaceOf(b, spaceIndexed, p) }
func beginKey(b []byte, p schema.Partition) []byte   { return spaceOf(b, spaceBegin, p) }
func forwardKey(b []byte, p schema.Partition) []byte { return spaceOf(b, spaceForward, p) }

func pageKey(b []byte, p schema.Partition, generation uint64, page uint32) []byte {
	b = binary.BigEndian.AppendUint64(spaceOf(b, spacePage, p), generation)
	return binary.BigEndian.AppendUint32(b, page)
}

func journalKey(b []byte, p schema.Partition, number uint64) []byte {
	return binary.BigEndian.AppendUint64(spaceOf(b, spaceJournal, p), number)
}

func logKey(b []byte, p schema.Partition, e schema.Emit) []byte {
	return binary.BigEndian.AppendUint64(spaceOf(b, spaceLog, p), uint64(e))
}

func userKey(b []byte, p schema.Partition, user string, e schema.Emit) []byte {
	return binary.BigEndian.AppendUint64(userSpace(b, p, user), uint64(e))
}

func userSpace(b []byte, p schema.Partition, user string) []byte {
	return appendUser(spaceOf(b, spaceUser, p), user)
}

func holdKey(b []byte, name string) []byte { return append(append(b, spaceHold), name...) }

func asideKey(b []byte, p schema.Partition, o schema.Offset) []byte {
	return binary.BigEndian.AppendUint64(spaceOf(b, spaceAside, p), uint64(o))
}

// after returns the first key behind all keys that begin with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// splitPartition returns the partition in a key, and what is behind it.
func splitPartition(key []byte) (schema.Partition, []byte, bool) {
	if len(key) < 5 {
		return 0, nil, false
	}
	return schema.Partition(binary.BigEndian.Uint32(key[1:])), key[5:], true
}

// lastNumber returns the number at the end of a key with a partition.
func lastNumber(key []byte) (uint64, bool) {
	if len(key) < 13 {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[len(key)-8:]), true
}

// splitPage returns the partition and the generation of a page's key.
func splitPage(key []byte) (schema.Partition, uint64, bool) {
	p, rest, ok := splitPartition(key)
	if !ok || len(rest) != 12 {
		return 0, 0, false
	}
	return p, binary.BigEndian.Uint64(rest), true
}

// splitAside returns the partition and the offset of an aside key.
func splitAside(key []byte) (schema.Partition, schema.Offset, bool) {
	p, rest, ok := splitPartition(key)
	if !ok || len(rest) != 8 {
		return 0, 0, false
	}
	return p, schema.Offset(binary.BigEndian.Uint64(rest)), true
}

// nameOf says in words which key it is, for errors.
func nameOf(key []byte) string {
	if len(key) == 0 {
		return "the empty key"
	}
	p, rest, ok := splitPartition(key)
	switch space := key[0]; {
	case space == spaceFormat && len(key) == 1:
		return "format version"
	case space == spaceMeta && ok:
		return fmt.Sprintf("meta of partition %d", p)
	case space == spaceHeader && ok:
		return fmt.Sprintf("snapshot header of partition %d", p)
	case space == spacePage && ok && len(rest) == 12:
		return fmt.Sprintf("page %d of snapshot %d of partition %d", binary.BigEndian.Uint32(rest[8:]), binary.BigEndian.Uint64(rest), p)
	case space == spaceJournal && ok && len(rest) == 8:
		return fmt.Sprintf("journal %d of partition %d", binary.BigEndian.Uint64(rest), p)
	case space == spaceLog && ok && len(rest) == 8:
		return fmt.Sprintf("log entry %d of partition %d", binary.BigEndian.Uint64(rest), p)
	case space == spaceUser && ok:
		return fmt.Sprintf("user index of partition %d", p)
	case space == spaceIndexed && ok:
		return fmt.Sprintf("end of the user index of partition %d", p)
	case space == spaceBegin && ok:
		return fmt.Sprintf("beginning of the log of partition %d", p)
	case space == spaceHold:
		return fmt.Sprintf("held position %q", key[1:])
	case space == spaceAside && ok && len(rest) == 8:
		return fmt.Sprintf("aside record of partition %d at offset %d", p, binary.BigEndian.Uint64(rest))
	case space == spaceForward && ok:
		return fmt.Sprintf("forward cursor of partition %d", p)
	case space == spaceTrimmed && len(key) == 1:
		return "count of what was trimmed from aside"
	}
	return fmt.Sprintf("key %x", key)
}
