package ingest

import (
	"cmp"
	"context"
	"errors"
	"io"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

// Moves is where nodes leave the state of their partitions for one another. A partition has one owner there, who claims it:
// from then on the owner before is refused (ErrFenced). doc.go has the argument.
type Moves interface {
	// Claim takes p over, or says why it cannot at the moment.
	Claim(ctx context.Context, p schema.Partition) (Claim, error)
}

// Claim is the ownership of one partition, until another claims it. Its methods may be called from several goroutines.
type Claim interface {
	// Left returns where the owner before has released the partition: at the beginning, if there was none. Where it has not
	// released it, it may still believe to own it, and has come nobody knows how far.
	Left() (Place, bool)
	// State returns the snapshots and marks that are there.
	State() Moved
	// Check asks whether the claim still stands: nil, ErrFenced, or why it cannot be known at the moment.
	Check(ctx context.Context) error
	// Record makes a mark durable before it is made. After an error it is not recorded and never will be, unless the error is
	// ErrDoubt; with ErrFenced another's claim has decided.
	Record(ctx context.Context, m Recorded) error
	// Save stores what export writes as the newest snapshot, of the place that export returns.
	Save(ctx context.Context, export func(io.Writer) (Place, error)) (Snapshot, error)
	// Open returns the bytes of a snapshot. ErrDamaged, also in place of io.EOF, says that they are not what was written.
	Open(ctx context.Context, s Snapshot) (io.Reader, error)
	// Discard forgets a damaged snapshot.
	Discard(s Snapshot)
	// Release says that this node has left the partition at a place, and does nothing with it any more.
	Release(ctx context.Context, at Place) error
}

// What a Claim's errors are told apart by.
var (
	ErrFenced  = errors.New("another node has claimed the partition")
	ErrDoubt   = errors.New("whether the mark is recorded is not known")
	ErrDamaged = errors.New("the snapshot is damaged")
	ErrRefused = errors.New("the claim is refused for good") // of Claim: trying again does not help
)

// Place is how far a partition has come: how much of its records is in its state, and how much of its log is out.
type Place struct {
	Offset schema.Offset // of the next record
	Emit   schema.Emit   // of the next entry of the log
}

func placeOf(m buffer.Meta) Place { return Place{Offset: m.NextOffset, Emit: m.NextEmit} }

// Compare orders places of one partition: by offset and, because marks come between two records, by emit.
func (a Place) Compare(b Place) int {
	return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Emit, b.Emit))
}

// Snapshot is a stored state of a partition.
type Snapshot struct {
	Object string // its name where it is stored
	Place
	Bytes int64
}

// Recorded is a mark as it is recorded before it is made.
type Recorded struct {
	Kind buffer.Kind
	Emit schema.Emit // the next entry of the log when it is made: before the parts that it closes, and before itself
	Mark buffer.Mark
}

// Moved is what is known of a partition besides its records.
type Moved struct {
	Snapshots []Snapshot  // newest first, at most two
	Marks     []Recorded  // in the order in which they were made
	MarksFrom schema.Emit // there are no others from this entry of the log on
}

// since returns the marks that are not in a state that has come to emit, and whether those are all that it lacks.
func (m Moved) since(emit schema.Emit) (marks []Recorded, all bool) {
	for _, r := range m.Marks {
		if r.Emit >= emit {
			marks = append(marks, r)
		}
	}
	return marks, m.MarksFrom <= emit
}

// made returns the marks that a state which has come to emit must have made, of those from the entry first on.
func (m Moved) made(first, emit schema.Emit) (marks []Recorded) {
	for _, r := range m.Marks {
		if r.Emit >= first && r.Emit < emit {
			marks = append(marks, r)
		}
	}
	return marks
}
