package snapshots

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

const (
	entryFormat = 1
	// keep is how many snapshots of a partition there are: where the newest is damaged, the one before will do.
	keep = 2
	// MaxMarks bounds the marks since the older snapshot, and so an entry. At the most ticks that idle partitions make, it is
	// more than an hour of them: by then snapshots have failed for long.
	MaxMarks = 4096
	// keepMarks is how many marks are kept besides those since the older snapshot. With them a node that had the partition not
	// long ago can read its records again, instead of importing it with a hole in its log. Every mark writes all of them anew.
	keepMarks = 256
	// maxEntryBytes is more than MaxMarks take.
	maxEntryBytes = 1 << 20
)

// ErrEntry marks an entry that this program cannot read.
var ErrEntry = errors.New("the partition's entry cannot be read")

// At is a place in a partition: how much of its records is in the state, and how much of its log is out.
type At struct {
	Offset schema.Offset `json:"offset"` // of the next record
	Emit   schema.Emit   `json:"emit"`   // of the next entry of the log
}

// Compare orders places of one partition: by offset, then, because ticks come between two records, by emit.
func (a At) Compare(b At) int {
	return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Emit, b.Emit))
}

// Mark is a mark of a partition's log.
type Mark struct {
	Kind string `json:"kind"` // what the caller calls it
	At
	Epoch      schema.Epoch     `json:"epoch,omitempty"`
	Watermark  schema.EventTime `json:"watermark,omitempty"` // ms since 1970
	Partitions int              `json:"partitions,omitempty"`
}

// Snapshot is a stored state of a partition.
type Snapshot struct {
	Object string `json:"object"`
	At
	Bytes   int64     `json:"bytes"`
	SHA256  string    `json:"sha256"` // lower-case hex
	TakenAt time.Time `json:"taken_at"`
}

// State is what is known of a partition besides its records.
type State struct {
	Snapshots []Snapshot  `json:"snapshots,omitempty"` // newest first
	Marks     []Mark      `json:"marks,omitempty"`     // in the order in which they were made
	MarksFrom schema.Emit `json:"marks_from"`          // there are no others from this entry of the log on
}

// entry is what the KV bucket holds of a partition.
type entry struct {
	Format    int              `json:"format"`
	TopicID   string           `json:"topic_id,omitempty"` // what the brokers call the topic, besides its name
	Partition schema.Partition `json:"partition"`
	Claim     uint64           `json:"claim"` // how often it was claimed
	Token     string           `json:"token"` // of the present claim
	Owner     string           `json:"owner"`
	ClaimedAt time.Time        `json:"claimed_at"`
	Left      *At              `json:"left,omitempty"` // the owner has let go there, and does nothing any more
	State
}

// with returns s with m as its last mark. The slices of s are not changed.
func (s State) with(m Mark) State {
	s.Marks = append(s.Marks[:len(s.Marks):len(s.Marks)], m)
	return s
}

// covered returns s with n as its newest snapshot, without what that makes superfluous.
func (s State) covered(n Snapshot) State {
	before := s.Snapshots
	s.Snapshots = append([]Snapshot{n}, before[:min(len(before), keep-1)]...)
	if len(s.Snapshots) < keep {
		return s // the marks before the only snapshot are what a replay of all records needs
	}
	covered := 0
	for covered < len(s.Marks) && s.Marks[covered].Emit < s.Snapshots[keep-1].Emit {
		covered++
	}
	if drop := covered - keepMarks; drop > 0 {
		s.MarksFrom = s.Marks[drop-1].Emit + 1 // and not what the snapshot has: the next mark may be long after it
		s.Marks = s.Marks[drop:]
	}
	return s
}

// without returns s without the snapshot in object.
func (s State) without(object string) State {
	var left []Snapshot
	for _, n := range s.Snapshots {
		if n.Object != object {
			left = append(left, n)
		}
	}
	s.Snapshots = left
	return s
}

func encodeEntry(e entry) ([]byte, error) {
	b, err := json.Marshal(e)
	if err == nil && len(b) > maxEntryBytes {
		err = fmt.Errorf("the entry of partition %d has %d bytes, at most %d are allowed", e.Partition, len(b), maxEntryBytes)
	}
	return b, err
}

// decodeEntry returns the entry of p in b, or an ErrEntry.
func decodeEntry(b []byte, p schema.Partition) (entry, error) {
	var e entry
	fail := func(format string, args ...any) (entry, error) {
		return entry{}, fmt.Errorf("%w: "+format, append([]any{ErrEntry}, args...)...)
	}
	if len(b) > maxEntryBytes {
		return fail("it has %d bytes, at most %d are allowed", len(b), maxEntryBytes)
	}
	var format struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &format); err != nil {
		return fail("%w", err)
	}
	if format.Format > entryFormat {
		return fail("newer format (%d > %d): run a newer freshet", format.Format, entryFormat)
	}
	if format.Format != entryFormat {
		return fail("format %d is unknown", format.Format)
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return fail("%w", err)
	}
	switch {
	case e.Partition != p:
		return fail("it is of partition %d", e.Partition)
	case e.Token == "":
		return fail("it has no token")
	case len(e.Snapshots) > keep || len(e.Marks) > MaxMarks:
		return fail("%d snapshots and %d marks are too many", len(e.Snapshots), len(e.Marks))
	}
	for i, n := range e.Snapshots {
		if n.Object == "" || n.Bytes < 0 || n.Offset < 0 || i > 0 && n.Compare(e.Snapshots[i-1].At) > 0 {
			return fail("its snapshots are out of order")
		}
	}
	for i, m := range e.Marks {
		if m.Offset < 0 || m.Emit < e.MarksFrom || i > 0 && (m.Offset < e.Marks[i-1].Offset || m.Emit <= e.Marks[i-1].Emit) {
			return fail("its marks are out of order")
		}
	}
	return e, nil
}
