package buffer

import (
	"encoding/binary"
	"math"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// What is in this file reads format 1. Its log entries stay in the log as they are; its open sessions and its records aside
// are written anew by the upgrade.

// A click of format 1, in a list of clicks of one user:
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

func (r *reader) clicks1(user string, at schema.EventTime) []schema.Click {
	n := r.count(leastClickLen)
	if n == 0 {
		return nil
	}
	clicks := make([]schema.Click, n)
	for i := range clicks {
		r.click1(&clicks[i], user, at)
		at = clicks[i].EventTime
	}
	return clicks
}

func (r *reader) click1(c *schema.Click, user string, before schema.EventTime) {
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

// decodeEntry1 decodes a log entry of format 1, which was the whole value of its key. It differs from one of format 2 in its
// clicks: their number is followed by the clicks of format 1.
func decodeEntry1(b []byte, p schema.Partition, emit schema.Emit) (Entry, error) {
	if len(b) == 0 || Kind(b[0]) != KindPart {
		return decodeEntry(b, p, emit)
	}
	r := newReader(b)
	e := Entry{Kind: Kind(r.byte()), Emit: emit, Part: r.partHead()}
	e.Part.Partition, e.Part.Emit = p, emit
	e.Part.Clicks = r.clicks1(e.Part.UserID, e.Part.SessionStart)
	if err := r.done(); err != nil {
		return Entry{}, err
	}
	return e, nil
}

// An open session of format 1. User and start are in its key.
//
//	uvarint last, ms after start
//	uvarint number of the next part
//	uvarint emitted clicks
//	uvarint n, then n × u64 little-endian    hashes of event ids
//	clicks  pending
func decodeSession1(key, value []byte) (window.Session, error) {
	_, rest, ok := splitPartition(key)
	if !ok || len(rest) < 2 {
		return window.Session{}, ErrCorrupt
	}
	n := int(binary.BigEndian.Uint16(rest))
	if len(rest) != 2+n+8 {
		return window.Session{}, ErrCorrupt
	}
	s := window.Session{UserID: string(rest[2 : 2+n]), Start: splitTime1(rest[2+n:])}
	r := newReader(value)
	s.Last = s.Start + schema.EventTime(r.bounded(math.MaxInt64))
	s.Number = int32(r.bounded(math.MaxInt32))
	s.Emitted = int(r.bounded(math.MaxInt32))
	if n := r.count(8); n > 0 {
		s.EventIDs = make([]uint64, n)
		for i := range s.EventIDs {
			s.EventIDs[i] = r.fixed64()
		}
	}
	s.Pending = r.clicks1(s.UserID, s.Start)
	if err := r.done(); err != nil {
		return window.Session{}, err
	}
	return s, nil
}

// decodeAside1 decodes a record put aside in format 1. Arrival, partition and offset were in its key, and sorted by it.
func decodeAside1(key, value []byte) (schema.Rejected, error) {
	if len(key) != 21 {
		return schema.Rejected{}, ErrCorrupt
	}
	r := newReader(value)
	rejected := schema.Rejected{
		ArrivedAt: schema.ArrivalTime(splitTime1(key[1:])), Partition: schema.Partition(binary.BigEndian.Uint32(key[9:])),
		Offset: schema.Offset(binary.BigEndian.Uint64(key[13:])),
		Reason: schema.Reason(r.string()), Topic: r.string(), Detail: r.string(), Key: []byte(r.string()), Value: []byte(r.string()),
	}
	return rejected, r.done()
}

// splitTime1 returns a time in a key: its sign bit was flipped, so that keys sort as times do.
func splitTime1(b []byte) schema.EventTime {
	return schema.EventTime(binary.BigEndian.Uint64(b) ^ 1<<63)
}
