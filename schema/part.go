package schema

import (
	"fmt"
	"maps"
	"slices"
)

// Partition is the number of a Kafka partition: the unit of ownership, order and state.
type Partition int32

// Offset is the place of a record in its Kafka partition.
type Offset int64

// Emit is the place of an entry in a partition's log. It counts from 0 without holes.
type Emit uint64

// Epoch counts the ends of bounded input in a partition's log. It is 0 until the input has ended once, and grows when more
// input follows an end.
type Epoch uint32

// Cause says why a part was emitted.
type Cause string

// The causes of an emission.
const (
	CauseAge    Cause = "age"    // the earliest unemitted click was part_age before the watermark
	CauseClicks Cause = "clicks" // part_clicks sealed clicks were waiting
	CauseGap    Cause = "gap"    // the watermark passed the last click by more than the gap
	CauseMax    Cause = "max"    // max_session was reached
	CauseEnd    Cause = "end"    // the bounded input ended
	CauseFull   Cause = "full"   // as many sessions were open as may be, and its last click was the oldest
)

// Part is a slice of a session, emitted once and never changed. A whole session is a run of parts of one user with the
// same SessionStart, numbered from 0, the last one Final.
type Part struct {
	Partition Partition
	Emit      Emit
	Epoch     Epoch

	// Due is the event time after which the watermark made the part ready. Within (Partition, Epoch) it never falls from
	// one part to the next, so it is the key by which partitions are merged.
	Due EventTime

	UserID       string
	SessionStart EventTime // event time of the session's first click
	Number       int32     // counts from 0 within the session
	Final        bool      // the session is closed; Clicks may be empty
	Cause        Cause
	Clicks       []Click // in event-time order; equal times in offset order
}

// SessionID names the session of p: the user and the session's start.
func (p *Part) SessionID() string { return fmt.Sprintf("%s@%d", p.UserID, p.SessionStart) }

// Position is how much of each partition's log a reader has consumed: the Emit it wants next.
type Position map[Partition]Emit

// Clone returns a copy of p.
func (p Position) Clone() Position { return maps.Clone(p) }

// Partitions returns the partitions of p in rising order.
func (p Position) Partitions() []Partition { return slices.Sorted(maps.Keys(p)) }

// Progress is how far a merged reading of the log has come: all parts of earlier epochs, and all parts of Epoch with Due
// before Through, have been returned.
type Progress struct {
	Epoch   Epoch
	Through EventTime
	// Ended says that every partition's input has ended and that the reader has returned all there is.
	Ended bool
}
