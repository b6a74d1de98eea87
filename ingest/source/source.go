package source

import (
	"context"

	"github.com/freshet-ml/freshet/schema"
)

// Record is one record of the click topic, as Kafka has it. Its key and value belong to the source: see Handler.Apply.
type Record struct {
	Partition schema.Partition
	Offset    schema.Offset
	ArrivedAt schema.ArrivalTime
	Key       []byte
	Value     []byte
}

// Batch is a run of records of one partition, in offset order.
type Batch struct {
	Records []Record
	// Next is the offset to go on from. It may lie beyond the last record: control records and compacted offsets are
	// passed over.
	Next schema.Offset
	// HighWatermark is the broker's end of the partition at the time of the fetch.
	HighWatermark schema.Offset
}

// Handler takes the records of the partitions that a source has been given. Calls for one partition come one after
// another; calls for different partitions may come at the same time.
type Handler interface {
	// Assign begins partition p and returns the offset of the first record wanted.
	Assign(ctx context.Context, p schema.Partition) (schema.Offset, error)
	// Apply takes a batch of p. A batch without records says that a fetch came back empty: the partition is idle if Next
	// equals HighWatermark. When Apply returns nil, the batch is durable and will not be asked for again. The slice of
	// records and the bytes of their keys and values are used again once it has returned: what is kept has to be copied.
	Apply(ctx context.Context, p schema.Partition, b Batch) error
	// Revoke ends partition p: no further Apply comes until it is assigned again.
	Revoke(p schema.Partition)
}

// Outgoing is a record on its way to the click topic.
type Outgoing struct {
	Key       []byte // the user id
	Value     []byte
	EventTime schema.EventTime // for pacing; the record itself says its own
}

// Stream yields the records of a file, of standard input or of the simulated shop, in the order in which they are to be
// produced. The same stream opened again yields the same records, so that a producer can go on where it stopped.
type Stream interface {
	// Next returns the next record, or io.EOF at the end of a bounded stream. The slices are valid until the next call.
	Next() (Outgoing, error)
	// Len returns the number of records in the stream, or -1 when it is not known or not bounded.
	Len() int
	Close() error
}
