package buffer

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// Every key of the store. Numbers are big-endian, so that keys sort as numbers do; times are signed and have their sign bit
// flipped for the same reason. A user id carries its length, so that no user's keys lie among another's.
//
//	f                                                     format version              → uvarint
//	p  partition u32                                      meta of a partition         → state.go
//	s  partition u32 | len u16, user | start i64          open session                → state.go
//	l  partition u32 | emit u64                           entry of the log            → entry.go
//	u  partition u32 | len u16, user | emit u64           user's non-empty parts      → nothing
//	a  arrived i64 | partition u32 | offset u64           record put aside            → aside.go
//	t                                                     what was trimmed from aside → aside.go
const (
	spaceFormat  = 'f'
	spaceMeta    = 'p'
	spaceSession = 's'
	spaceLog     = 'l'
	spaceUser    = 'u'
	spaceAside   = 'a'
	spaceTrimmed = 't'
)

// formatVersion is the layout that this program writes. A program reads its own version only; a later one that changes the
// layout also brings the way from the one before.
const formatVersion = 1

func appendTime[T ~int64](b []byte, t T) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t)^1<<63)
}

func appendUser(b []byte, user string) []byte {
	if len(user) > math.MaxUint16 {
		panic(fmt.Sprintf("buffer: key: user id of %d bytes", len(user)))
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(len(user))), user...)
}

func spaceOf(b []byte, space byte, p schema.Partition) []byte {
	return binary.BigEndian.AppendUint32(append(b, space), uint32(p))
}

func metaKey(b []byte, p schema.Partition) []byte { return spaceOf(b, spaceMeta, p) }

func sessionKey(b []byte, p schema.Partition, k window.Key) []byte {
	return appendTime(appendUser(spaceOf(b, spaceSession, p), k.UserID), k.Start)
}

func logKey(b []byte, p schema.Partition, e schema.Emit) []byte {
	return binary.BigEndian.AppendUint64(spaceOf(b, spaceLog, p), uint64(e))
}

func userKey(b []byte, p schema.Partition, user string, e schema.Emit) []byte {
	return binary.BigEndian.AppendUint64(appendUser(spaceOf(b, spaceUser, p), user), uint64(e))
}

func asideKey(b []byte, at schema.ArrivalTime, p schema.Partition, o schema.Offset) []byte {
	b = binary.BigEndian.AppendUint32(appendTime(append(b, spaceAside), at), uint32(p))
	return binary.BigEndian.AppendUint64(b, uint64(o))
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

func splitPartition(key []byte) (schema.Partition, []byte, bool) {
	if len(key) < 5 {
		return 0, nil, false
	}
	return schema.Partition(binary.BigEndian.Uint32(key[1:])), key[5:], true
}

func splitTime(b []byte) schema.EventTime {
	return schema.EventTime(binary.BigEndian.Uint64(b) ^ 1<<63)
}

// splitSession returns the user and the start in a session's key.
func splitSession(key []byte) (window.Key, bool) {
	_, rest, ok := splitPartition(key)
	if !ok || len(rest) < 2 {
		return window.Key{}, false
	}
	n := int(binary.BigEndian.Uint16(rest))
	if len(rest) != 2+n+8 {
		return window.Key{}, false
	}
	return window.Key{UserID: string(rest[2 : 2+n]), Start: splitTime(rest[2+n:])}, true
}

// lastEmit returns the emit number at the end of a log or user key.
func lastEmit(key []byte) (schema.Emit, bool) {
	if len(key) < 13 {
		return 0, false
	}
	return schema.Emit(binary.BigEndian.Uint64(key[len(key)-8:])), true
}

// splitAside returns the parts of an aside key.
func splitAside(key []byte) (schema.ArrivalTime, schema.Partition, schema.Offset, bool) {
	if len(key) != 21 {
		return 0, 0, 0, false
	}
	return schema.ArrivalTime(splitTime(key[1:])), schema.Partition(binary.BigEndian.Uint32(key[9:])),
		schema.Offset(binary.BigEndian.Uint64(key[13:])), true
}

// nameOf says in words which key it is, for errors.
func nameOf(key []byte) string {
	if len(key) > 0 {
		p, _, ok := splitPartition(key)
		switch {
		case key[0] == spaceMeta && ok:
			return fmt.Sprintf("meta of partition %d", p)
		case key[0] == spaceLog && len(key) == 13:
			e, _ := lastEmit(key)
			return fmt.Sprintf("log entry %d of partition %d", e, p)
		case key[0] == spaceSession && ok:
			if k, ok := splitSession(key); ok {
				return fmt.Sprintf("session of user %q at %d in partition %d", k.UserID, k.Start, p)
			}
		case key[0] == spaceAside:
			if _, p, o, ok := splitAside(key); ok {
				return fmt.Sprintf("aside record of partition %d at offset %d", p, o)
			}
		}
	}
	return fmt.Sprintf("key %x", key)
}
