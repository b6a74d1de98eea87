package packed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/freshet-ml/freshet/schema"
)

// ErrCorrupt marks bytes that are not packed clicks.
var ErrCorrupt = errors.New("corrupt clicks")

// A packed click:
//
//	i64      event time, little-endian, ms since 1970
//	uvarint  length of what follows
//	u8       flags, low five bits: what is there of the optional fields; high three: the action
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

	actionShift = 5
	actionOther = 7

	timeBytes = 8
	// MinBytes is the least number of bytes of a packed click: time, length, flags, arrival, an empty item id.
	MinBytes = timeBytes + 4
)

// actionCodes are the actions that have a code: their place. The format fixes their order.
var actionCodes = [...]schema.Action{schema.ActionExposure, schema.ActionClick, schema.ActionCart, schema.ActionPurchase}

func actionCode(a schema.Action) byte {
	for i := range actionCodes {
		if a == actionCodes[i] {
			return byte(i)
		}
	}
	return actionOther
}

// Append appends c without its user to b.
func Append(b []byte, c *schema.Click) []byte {
	action := actionCode(c.Action)
	flags := action << actionShift
	arrived := zigzag(int64(c.ArrivedAt) - int64(c.EventTime))
	size := 1 + uvarintBytes(arrived) + stringBytes(len(c.ItemID))
	if action == actionOther {
		size += stringBytes(len(c.Action))
	}
	if c.EventID != "" {
		flags |= hasEventID
		size += stringBytes(len(c.EventID))
	}
	if c.SessionID != "" {
		flags |= hasSessionID
		size += stringBytes(len(c.SessionID))
	}
	if c.Scene != "" {
		flags |= hasScene
		size += stringBytes(len(c.Scene))
	}
	if c.Item != (schema.ItemInfo{}) {
		flags |= hasItem
		size += stringBytes(len(c.Item.Category)) + stringBytes(len(c.Item.Seller)) + 8
	}
	if len(c.Context) > 0 {
		flags |= hasContext
		size += stringBytes(len(c.Context))
	}

	b = binary.LittleEndian.AppendUint64(b, uint64(c.EventTime))
	b = binary.AppendUvarint(b, uint64(size))
	b = append(b, flags)
	b = binary.AppendUvarint(b, arrived)
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

func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// zigzag maps small numbers of either sign to small ones without, as binary.AppendVarint does.
func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

func uvarintBytes(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func stringBytes(n int) int { return uvarintBytes(uint64(n)) + n }

// Time returns the event time of the packed click that b begins with. b must hold one.
func Time(b []byte) schema.EventTime { return schema.EventTime(binary.LittleEndian.Uint64(b)) }

// Len returns the length of the packed click that b begins with. b must hold a whole one: Clicks.Check says so.
func Len(b []byte) int {
	if n := b[timeBytes]; n < 0x80 {
		return timeBytes + 1 + int(n)
	}
	n, size := binary.Uvarint(b[timeBytes:])
	return timeBytes + size + int(n)
}

// First returns the packed click that b begins with, and what follows it. Unlike Len it takes any bytes: it returns
// ErrCorrupt unless b begins with a whole click.
func First(b []byte) (click, rest []byte, err error) {
	if len(b) >= MinBytes {
		n, size := binary.Uvarint(b[timeBytes:])
		if size > 0 && n <= uint64(len(b)-timeBytes-size) {
			end := timeBytes + size + int(n)
			click, rest = b[:end:end], b[end:]
			return click, rest, Clicks{N: 1, Bytes: click}.Check()
		}
	}
	return nil, nil, fmt.Errorf("%w: a click beyond the end of %d bytes", ErrCorrupt, len(b))
}

// EventID returns the event id of the packed click that b begins with, or nothing when it has none. b must hold a whole
// one. The result is a part of b.
func EventID(b []byte) []byte {
	b = b[timeBytes:]
	flags, b := body(b)
	if flags&hasEventID == 0 {
		return nil
	}
	_, b = cut(b) // the item
	if flags>>actionShift == actionOther {
		_, b = cut(b)
	}
	id, _ := cut(b)
	return id
}

// Same reports whether the packed clicks that a and b begin with both have no event id, and have the same item and action.
// a and b must hold whole ones.
func Same(a, b []byte) bool {
	flags, a := body(a[timeBytes:])
	others, b := body(b[timeBytes:])
	if (flags|others)&hasEventID != 0 || flags>>actionShift != others>>actionShift {
		return false
	}
	item, a := cut(a)
	other, b := cut(b)
	if !bytes.Equal(item, other) {
		return false
	}
	if flags>>actionShift != actionOther {
		return true
	}
	action, _ := cut(a)
	other, _ = cut(b)
	return bytes.Equal(action, other)
}

// body returns the flags and what follows the arrival time; b begins with the length.
func body(b []byte) (flags byte, rest []byte) {
	_, n := binary.Uvarint(b)
	flags, b = b[n], b[n+1:]
	_, n = binary.Uvarint(b)
	return flags, b[n:]
}

// cut returns the string that b begins with, and what follows it.
func cut(b []byte) (s, rest []byte) {
	n, size := binary.Uvarint(b)
	return b[size : size+int(n)], b[size+int(n):]
}

// Clicks are N packed clicks of one user, in event-time order.
type Clicks struct {
	N     int
	Bytes []byte
}

// Check returns ErrCorrupt unless c is what Append writes N times. Time, Len, EventID and Same may be used on what passed.
func (c Clicks) Check() error {
	_, err := c.walk("", "", nil)
	return err
}

// Decode returns the clicks, with user as their user. The strings share one copy of the bytes.
func (c Clicks) Decode(user string) ([]schema.Click, error) {
	if c.N == 0 && len(c.Bytes) == 0 {
		return nil, nil
	}
	if c.N < 0 || c.N > len(c.Bytes)/MinBytes { // before memory is taken for them
		return nil, fmt.Errorf("%w: %d clicks in %d bytes", ErrCorrupt, c.N, len(c.Bytes))
	}
	return c.walk(user, string(c.Bytes), make([]schema.Click, 0, c.N))
}

// walk reads all clicks, and appends them to to unless it is nil. text is a copy of the bytes.
func (c Clicks) walk(user, text string, to []schema.Click) ([]schema.Click, error) {
	r := reader{b: c.Bytes, text: text, size: len(c.Bytes)}
	var click schema.Click
	n := 0
	for ; len(r.b) > 0 && r.fault == ""; n++ {
		click = schema.Click{UserID: user}
		r.click(&click, to != nil)
		if to != nil {
			if len(to) == cap(to) {
				r.fail("more clicks than there should be")
				break
			}
			to = append(to, click)
		}
	}
	if r.fault == "" && n != c.N {
		r.fault, r.at = fmt.Sprintf("%d clicks instead of %d", n, c.N), r.size
	}
	if r.fault != "" {
		return nil, fmt.Errorf("%w: %s at byte %d of %d", ErrCorrupt, r.fault, r.at, r.size)
	}
	return to, nil
}
