package buffer

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble"
	"github.com/cockroachdb/pebble/vfs"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// What is in this file writes format 1, as the program that used it did. The golden bytes hold it to that.

func appendTime1[T ~int64](b []byte, t T) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t)^1<<63)
}

func sessionKey1(b []byte, p schema.Partition, user string, start schema.EventTime) []byte {
	return appendTime1(appendUser(spaceOf(b, spaceSession1, p), user), start)
}

func asideKey1(b []byte, at schema.ArrivalTime, p schema.Partition, o schema.Offset) []byte {
	b = binary.BigEndian.AppendUint32(appendTime1(append(b, spaceAside1), at), uint32(p))
	return binary.BigEndian.AppendUint64(b, uint64(o))
}

func appendClicks1(b []byte, at schema.EventTime, clicks []schema.Click) []byte {
	b = binary.AppendUvarint(b, uint64(len(clicks)))
	for i := range clicks {
		b = appendClick1(b, at, &clicks[i])
		at = clicks[i].EventTime
	}
	return b
}

func appendClick1(b []byte, before schema.EventTime, c *schema.Click) []byte {
	flags := byte(0)
	flag := func(bit byte, is bool) {
		if is {
			flags |= bit
		}
	}
	action := slices.Index(actionCodes, c.Action)
	if action < 0 {
		action = actionOther
	}
	flag(hasEventID, c.EventID != "")
	flag(hasSessionID, c.SessionID != "")
	flag(hasScene, c.Scene != "")
	flag(hasItem, c.Item != schema.ItemInfo{})
	flag(hasContext, len(c.Context) > 0)
	flags |= byte(action) << actionShift

	b = append(b, flags)
	b = binary.AppendVarint(b, int64(c.EventTime-before))
	b = binary.AppendVarint(b, int64(c.ArrivedAt)-int64(c.EventTime))
	b = appendString(b, c.ItemID)
	if action == actionOther {
		b = appendString(b, c.Action)
	}
	if flags&hasEventID != 0 {
		b = appendString(b, c.EventID)
	}
	if flags&hasSessionID != 0 {
		b = appendString(b, c.SessionID)
	}
	if flags&hasScene != 0 {
		b = appendString(b, c.Scene)
	}
	if flags&hasItem != 0 {
		b = appendString(appendString(b, c.Item.Category), c.Item.Seller)
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(c.Item.Price))
	}
	if flags&hasContext != 0 {
		b = appendString(b, c.Context)
	}
	return b
}

func appendEntry1(b []byte, e *Entry) []byte {
	if e.Kind != KindPart {
		return appendEntry(b, e)
	}
	b = appendPartHead(append(b, byte(e.Kind)), &e.Part)
	return appendClicks1(b, e.Part.SessionStart, e.Part.Clicks)
}

func appendSession1(b []byte, s *window.Session) []byte {
	b = binary.AppendUvarint(b, uint64(s.Last-s.Start))
	b = binary.AppendUvarint(b, uint64(s.Number))
	b = binary.AppendUvarint(b, uint64(s.Emitted))
	b = binary.AppendUvarint(b, uint64(len(s.EventIDs)))
	for _, id := range s.EventIDs {
		b = binary.LittleEndian.AppendUint64(b, id)
	}
	return appendClicks1(b, s.Start, s.Pending)
}

func appendMeta1(b []byte, m *Meta) []byte {
	for _, v := range []uint64{uint64(m.NextOffset), uint64(m.NextEmit), m.Ticks, m.Aside, m.AsideBytes} {
		b = binary.AppendUvarint(b, v)
	}
	w := &m.Window
	b = binary.AppendVarint(b, int64(w.Watermark))
	b = binary.AppendVarint(b, int64(w.MaxSeen))
	b = binary.AppendUvarint(b, uint64(w.Epoch))
	b = appendFlag(b, w.Ended)
	b = binary.AppendUvarint(b, w.Counts.Taken)
	b = binary.AppendUvarint(b, w.Counts.Emitted)
	b = appendCounts(b, w.Counts.Rejected[:6])
	return appendCounts(b, w.Counts.Parts[:5]) // format 1 had no cause "full"
}

func appendAside1(b []byte, r *schema.Rejected) []byte {
	b = appendString(b, r.Reason)
	b = appendString(b, r.Topic)
	b = appendString(b, r.Detail)
	b = appendString(b, r.Key)
	return appendString(b, r.Value)
}

// format1Store returns a disk with a store of format 1: testdata has all its keys and values, as a program of format 1 left
// them after the first nine batches of newInputs(16, 25).
func format1Store(t fataler) *vfs.MemFS {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "format1-store.txt"))
	must(t, err)
	disk := vfs.NewMem()
	must(t, disk.MkdirAll("store", 0o755))
	db, err := pebble.Open("store", &pebble.Options{FS: disk, FormatMajorVersion: pebble.FormatNewest, Logger: quiet{slog.New(slog.DiscardHandler)}})
	must(t, err)
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		k, errKey := hex.DecodeString(key)
		v, errValue := hex.DecodeString(value)
		must(t, errors.Join(errKey, errValue, db.Set(k, v, pebble.NoSync)))
	}
	must(t, db.Close())
	return disk
}
