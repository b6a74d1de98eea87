package model

import (
	"hash/fnv"
	"math"

	"github.com/freshet-ml/freshet/schema"
)

// layout is a batch as tokens. The sequences stand one behind the other, without padding:
//
//	[c1, items of session 1, c2, items of session 2, ..., c of the request]   [c1, ...]   ...
//
// A context token has row -1.
type layout struct {
	row      []Row
	action   []uint8 // of item tokens
	scene    []uint16
	hour     []uint8
	gap      []uint8
	position []int32 // sessions back from the request: the request is 0, the last session 1, ...
	sees     []int32 // tokens of its sequence before which a token sees everything; and itself
	at       []int32 // place in the sequence

	start  []int32 // of each sequence, and the end
	query  []int32 // the request's token of each sequence
	bucket []uint8 // time buckets, T·T a sequence
	pairs  []int32 // where a sequence's buckets start
	past   []bool  // whether the sequence has a past
}

func (l *layout) reset() {
	l.row, l.action, l.scene, l.hour, l.gap = l.row[:0], l.action[:0], l.scene[:0], l.hour[:0], l.gap[:0]
	l.position, l.sees, l.at = l.position[:0], l.sees[:0], l.at[:0]
	l.start, l.query, l.bucket, l.pairs, l.past = append(l.start[:0], 0), l.query[:0], l.bucket[:0], l.pairs[:0], l.past[:0]
}

func (l *layout) sequences() int { return len(l.query) }
func (l *layout) tokens() int    { return len(l.row) }

// kept is a session that fits.
type kept struct {
	session *Session
	events  []Event
}

// add appends the sequence of one request. The newest sessions are kept, at most MaxSessions and within MaxTokens; of the last one that
// fits in part, the latest items.
func (l *layout) add(c *Config, past []Session, at schema.EventTime, scene string) {
	var buffer [32]kept
	keep := buffer[:0] // newest first
	room := c.MaxTokens - 1
	for i := len(past) - 1; i >= 0 && len(keep) < c.MaxSessions && room >= 2; i-- {
		events := past[i].Events
		if len(events) == 0 {
			continue
		}
		events = events[max(0, len(events)-(room-1)):]
		keep = append(keep, kept{&past[i], events})
		room -= 1 + len(events)
	}
	first := l.tokens()
	var sessions [33]schema.EventTime
	times := sessions[:0]
	for k := len(keep) - 1; k >= 0; k-- {
		s := keep[k].session
		l.context(c, s.At, s.Scene, times, int32(k+1), first)
		times = append(times, s.At)
		own := int32(l.tokens() - first) // a sibling's place: items see up to their context token
		for _, e := range keep[k].events {
			l.token(e.Row, int32(k+1), own, first)
			l.action[len(l.action)-1] = actionIndex(e.Action)
		}
	}
	l.context(c, at, scene, times, 0, first)
	times = append(times, at)
	n := l.tokens() - first
	l.query = append(l.query, int32(l.tokens()-1))
	l.start = append(l.start, int32(l.tokens()))
	l.past = append(l.past, len(keep) > 0)
	l.fillBuckets(first, n, times)
}

func (l *layout) context(c *Config, at schema.EventTime, scene string, before []schema.EventTime, position int32, first int) {
	l.token(-1, position, int32(l.tokens()-first), first)
	i := len(l.row) - 1
	l.scene[i], l.hour[i], l.gap[i] = sceneBucket(scene, c.Scenes), hourOf(at), uint8(gapNone)
	if n := len(before); n > 0 {
		l.gap[i] = gapBucket(before[n-1], at)
	}
}

func (l *layout) token(row Row, position, sees int32, first int) {
	l.at = append(l.at, int32(len(l.row)-first))
	l.row = append(l.row, row)
	l.position = append(l.position, position)
	l.sees = append(l.sees, sees)
	l.action, l.scene, l.hour, l.gap = append(l.action, 0), append(l.scene, 0), append(l.hour, 0), append(l.gap, 0)
}

// fillBuckets computes one bucket a pair of sessions and spreads it over their tokens. Pairs that no token sees are never read with effect,
// and are filled only because a row is contiguous.
func (l *layout) fillBuckets(first, n int, times []schema.EventTime) {
	l.pairs = append(l.pairs, int32(len(l.bucket)))
	l.bucket = append(l.bucket, make([]uint8, n*n)...)
	b := l.bucket[len(l.bucket)-n*n:]
	last := int32(len(times) - 1)
	session := func(i int) int32 { return last - l.position[first+i] }
	for i := 0; i < n; i++ {
		row := b[i*n:][:n]
		if i > 0 && session(i) == session(i-1) {
			copy(row, b[(i-1)*n:][:n])
			continue
		}
		of := times[session(i)]
		for j := 0; j < n && session(j) <= session(i); j++ {
			if j > 0 && session(j) == session(j-1) {
				row[j] = row[j-1]
			} else {
				row[j] = timeBucket(of, times[session(j)])
			}
		}
	}
}

// timeBuckets is HSTU's: floor(ln(seconds)/0.301), clamped.
const timeBuckets = 129

func timeBucket(a, b schema.EventTime) uint8 {
	seconds := math.Abs(float64(a)-float64(b)) / 1000
	return uint8(min(math.Floor(math.Log(max(1, seconds))/0.301), timeBuckets-1))
}

// gapEdges, in seconds, cut the time since the session before; fine where a user is still there, coarse over days.
var gapEdges = [...]float64{5, 15, 30, 60, 120, 300, 600, 1800, 3600, 10800, 28800, 86400, 259200}

const (
	gapNone = len(gapEdges) + 1 // there is no session before
	gaps    = len(gapEdges) + 2
	hours   = 24
)

func gapBucket(before, at schema.EventTime) uint8 {
	seconds := (float64(at) - float64(before)) / 1000
	for i, edge := range gapEdges {
		if seconds < edge {
			return uint8(i)
		}
	}
	return uint8(len(gapEdges))
}

// hourOf is the hour of the day in UTC.
func hourOf(t schema.EventTime) uint8 {
	const hour, day = 3_600_000, 24 * 3_600_000
	return uint8((int64(t)%day + day) % day / hour)
}

// sceneBucket is 0 for no scene and a hash of the name otherwise.
func sceneBucket(scene string, buckets int) uint16 {
	if scene == "" || buckets == 1 {
		return 0
	}
	h := fnv.New32a()
	h.Write([]byte(scene))
	return uint16(1 + h.Sum32()%uint32(buckets-1))
}
