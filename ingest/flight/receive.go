package flight

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
)

// delivery is a record batch, read: its rows, and their clicks as they will lie in the log.
type delivery struct {
	rows   []schema.PartsRow
	clicks []packed.Clicks
	state  state
	bytes  int
}

// Bounds of what is read and not appended yet, beside gRPC's window and the batch that is being read.
const (
	queuedBatches = 2
	appendRows    = 4096 // of one append: each is a sync of the disk
)

// more adds to d what has arrived since, so that one append takes it all.
func more(d delivery, queue <-chan delivery) delivery {
	for len(d.rows) < appendRows {
		select {
		case next, ok := <-queue:
			if !ok {
				return d
			}
			d.rows, d.clicks = append(d.rows, next.rows...), append(d.clicks, next.clicks...)
			d.state, d.bytes = next.state, d.bytes+next.bytes
		default:
			return d
		}
	}
	return d
}

// receive reads batches into queue until the stream ends.
func receive(ctx context.Context, in flight.FlightService_DoGetClient, queue chan<- delivery) error {
	var reader schema.PartsReader
	for first := true; ; first = false {
		data, err := in.Recv()
		if err != nil {
			return err
		}
		if first { // the schema, of which the reader has its own
			continue
		}
		d := delivery{bytes: len(data.DataHeader) + len(data.DataBody)}
		if d.state, err = parseState(data.AppMetadata); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		batch, err := reader.Read(data.DataHeader, data.DataBody)
		if err == nil {
			err = d.pack(batch)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		select {
		case queue <- d:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pack takes the rows of b, and packs their clicks.
func (d *delivery) pack(b *schema.PartsBatch) (err error) {
	d.rows, d.clicks = make([]schema.PartsRow, b.Len()), make([]packed.Clicks, b.Len())
	all := make([]byte, 0, d.bytes) // about: the clicks' columns and their packed form are of one size
	var c schema.Click
	for i := range d.rows {
		if d.rows[i], err = b.Row(i); err != nil {
			return err
		}
		from, to := b.Clicks(i)
		if d.rows[i].Kind != schema.RowPart || from == to {
			continue
		}
		begin, at := len(all), schema.BeginningOfTime
		for j := from; j < to; j++ {
			b.Click(j, &c)
			if c.EventTime < at {
				return fmt.Errorf("entry %d of partition %d: its clicks are out of order", d.rows[i].Part.Emit, d.rows[i].Part.Partition)
			}
			at = c.EventTime
			all = packed.Append(all, &c)
		}
		d.clicks[i] = packed.Clicks{N: to - from, Bytes: all[begin:len(all):len(all)]}
	}
	return nil
}
