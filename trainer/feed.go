package trainer

import (
	"context"

	"github.com/freshet-ml/freshet/schema"
)

// Feed is the merged log as the trainer reads it.
type Feed interface {
	// Next returns the parts that follow in merged order, at most max of them, and how far the reading has come. It waits
	// until there is a part or progress. After an error, or when ctx ends, nothing is lost: the next call goes on.
	Next(ctx context.Context, max int) ([]schema.Part, schema.Progress, error)
	// History returns up to n parts with clicks of a user on partition p emitted before the given place, oldest first.
	History(p schema.Partition, user string, before schema.Emit, n int) ([]schema.Part, error)
	// Users returns up to n users who have parts with clicks on partition p and whom keep accepts, in an order that never changes,
	// behind after; "" begins with the first. Fewer than n say that there are no more.
	Users(p schema.Partition, after string, n int, keep func(user []byte) bool) ([]string, error)
	// Frontier returns how far the log has come: the event time before which all parts are there, or where the input has ended that of its end, and the number of
	// the entries that there have been of all partitions.
	Frontier() (through schema.EventTime, entries int64, err error)
	// Hold says that what was made of everything before position is durable: only histories need it any more. It is called
	// before the first Next and after each checkpoint. Where the log begins behind position, it returns an ErrGone and holds nothing.
	Hold(position schema.Position) error
}

// Table is a named table of a version.
type Table struct {
	Name  string
	Table schema.Table
}

// Version is a state of the model on its way out.
type Version struct {
	Kind         schema.Kind
	Tables       []Table
	FromParent   []Table // of a base that follows: what changed since the version before
	Through      schema.TrainedThrough
	Step         schema.Step
	Items        int
	Metrics      map[string]float64
	ConfigDigest string
}

// Publisher takes versions. Publish is called from one goroutine.
type Publisher interface {
	// NextKind says what the next version must be: a base where replicas could not apply a delta.
	NextKind() schema.Kind
	// Follows says whether what changed is of use beside a base: replicas have the version before.
	Follows() bool
	Publish(ctx context.Context, v Version) (schema.Version, error)
}
