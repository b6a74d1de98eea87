package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/freshet-ml/freshet/schema"
)

// ErrCorrupt marks a stored value that is not what this program writes.
var ErrCorrupt = errors.New("corrupt value")

// A click, in a list of clicks of one user:
//
//	u8       flags, low five bits: what is there of the optional fields; high three: the action
//	varint   event time, ms after the click before it (the first: after the session's start)
//	varint   arrived at, ms after the event time
//	string   item id                      a string is its uvarint length and its bytes
//	string   action                       if the flags say other
//	string   event id, session id, scene  each if flagged
//	string, string, f64                   category, seller, price: all three if flagged
//	string   context                      if flagged
const (
	hasEventID = 1 << iota
	hasSessionID
	hasScene
	hasItem
	hasContext

	actionShift   = 5
	actionOther   = 7
	leastClickLen = 4 // flags, two one-byte varints, an empty item id
)

// actionCodes are the actions that have a code: their place.
var actionCodes = []schema.Action{schema.ActionExposure, schema.ActionClick, schema.ActionCart, schema.ActionPurchase}

func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendFloat(b []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
}

func appendClicks(b []byte, at schema.EventTime, clicks []schema.Click) []byte {
	b = binary.AppendUvarint(b, uint64(len(clicks)))
	for i := range clicks {
		b = appendClick(b, at, &clicks[i])
		at = clicks[i].EventTime
	}
	return b
}

func appendClick(b []byte, before schema.EventTime, c *schema.Click) []byte {
	flags := byte(0)
	flag := func(bit byte, is bool) bool {
		if is {
			flags |= bit
		}
		return is
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
		b = appendFloat(appendString(appendString(b, c.Item.Category), c.Item.Seller), c.Item.Price)
	}
	if flags&hasContext != 0 {
		b = appendString(b, c.Context)
	}
	return b
}

// reader decodes one value. The first fault sticks and makes every later read return zero, so that callers check once, at
// done. Strings share one copy of the value.
type reader struct {
	b    []byte // what is left
	text string // the copy; its end is b
	err  error
}

func newReader(b []byte) *reader { return &reader{b: b, text: string(b)} }

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s at byte %d of %d", ErrCorrupt, what, len(r.text)-len(r.b), len(r.text))
	}
	r.b = nil
}

// done returns the first fault. Bytes that are left over are one.
func (r *reader) done() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("something unread")
	}
	return r.err
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("no byte")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("no uvarint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail("no varint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things that take at least size bytes each, so that it bounds an allocation.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail("a number of things beyond the end")
		return 0
	}
	return int(n)
}

func (r *reader) bounded(most uint64) uint64 {
	n := r.uvarint()
	if n > most {
		r.fail("a number out of range")
		return 0
	}
	return n
}

func (r *reader) string() string {
	n := r.count(1)
	from := len(r.text) - len(r.b)
	if r.err != nil {
		return ""
	}
	r.b = r.b[n:]
	return r.text[from : from+n]
}

func (r *reader) fixed64() uint64 {
	if len(r.b) < 8 {
		r.fail("no eight bytes")
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) clicks(user string, at schema.EventTime) []schema.Click {
	n := r.count(leastClickLen)
	if n == 0 {
		return nil
	}
	clicks := make([]schema.Click, n)
	for i := range clicks {
		r.click(&clicks[i], user, at)
		at = clicks[i].EventTime
	}
	return clicks
}

func (r *reader) click(c *schema.Click, user string, before schema.EventTime) {
	flags := r.byte()
	c.UserID = user
	c.EventTime = before + schema.EventTime(r.varint())
	c.ArrivedAt = schema.ArrivalTime(int64(c.EventTime) + r.varint())
	c.ItemID = r.string()
	switch action := int(flags >> actionShift); {
	case action < len(actionCodes):
		c.Action = actionCodes[action]
	case action == actionOther:
		c.Action = schema.Action(r.string())
	default:
		r.fail("an unknown action")
	}
	if flags&hasEventID != 0 {
		c.EventID = r.string()
	}
	if flags&hasSessionID != 0 {
		c.SessionID = r.string()
	}
	if flags&hasScene != 0 {
		c.Scene = r.string()
	}
	if flags&hasItem != 0 {
		c.Item = schema.ItemInfo{Category: r.string(), Seller: r.string(), Price: math.Float64frombits(r.fixed64())}
	}
	if flags&hasContext != 0 {
		c.Context = []byte(r.string())
	}
}
