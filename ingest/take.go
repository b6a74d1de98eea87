package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// maxDetailBytes bounds the sentence that is kept beside a record that went aside.
const maxDetailBytes = 512

// lookAhead is of how many records the window is told the users before it takes the first of them.
const lookAhead = 16

// expect tells the window whose clicks come next, which the key of a record should say. Where it does not nothing is gained.
func (o *partition) expect(records []source.Record) {
	o.keys = o.keys[:0]
	for i := range records[:min(len(records), lookAhead)] {
		o.keys = append(o.keys, records[i].Key)
	}
	o.window.Expect(o.keys)
}

// take gives records to o's window, and what comes of them to c. Records that o has had already are skipped: Kafka delivers
// again what was not committed to it, and freshet commits to its own store (I2).
func (n *Node) take(ctx context.Context, o *partition, records []source.Record, c *buffer.Commit, several bool) error {
	for i := range records {
		if i%lookAhead == 0 {
			o.expect(records[i:])
		}
		r := &records[i]
		if r.Offset < o.next {
			continue
		}
		if err := n.recallUpTo(o, r.Offset, c); err != nil {
			return err
		}
		o.next = r.Offset + 1
		click := &o.click
		reason, err := n.click(ctx, r, click)
		switch {
		case errors.Is(err, ErrNotReady):
			return err
		case reason != "":
			o.window.Reject(reason)
			n.putAside(c, r, reason, err.Error())
			continue
		}
		if several {
			n.users.note(click.UserID, o.id, n)
		}
		parts, reason := o.window.Add(click)
		addParts(c, parts)
		switch reason {
		case "":
			if n.opts.Live.Heard() {
				o.taken.Add(click)
			}
		case schema.ReasonLate:
			n.putAside(c, r, reason, fmt.Sprintf("its event time %s is before the watermark %s",
				stamp(click.EventTime), stamp(o.window.Meta().Watermark)))
		case schema.ReasonOverflow:
			n.putAside(c, r, reason, "there is no room for it before the watermark goes on: its user has as many clicks as one user may have, "+
				"or every one of max_open_sessions sessions has a click after the watermark")
		case schema.ReasonDuplicate: // counted by the window; the log has what its bytes say
		}
	}
	return nil
}

// click makes a valid click of r, or says what is wrong with it.
func (n *Node) click(ctx context.Context, r *source.Record, click *schema.Click) (schema.Reason, error) {
	if size := len(r.Key) + len(r.Value); size > schema.MaxRecordBytes {
		return schema.ReasonOversize, fmt.Errorf("it has %d bytes, at most %d are allowed", size, schema.MaxRecordBytes)
	}
	*click = schema.Click{}
	err := n.decodeSafely(r, click)
	if errors.Is(err, ErrNotReady) {
		err = n.await(ctx, &n.notReady, func() error { return n.decodeSafely(r, click) })
	}
	if err != nil {
		return schema.ReasonUndecodable, err
	}
	click.ArrivedAt = r.ArrivedAt
	if err := click.Validate(n.opts.MaxAhead); err != nil {
		return schema.ReasonInvalid, err
	}
	return "", nil
}

// decodeSafely turns a panic of the decoder into an error: outside bytes must not be able to stop the stream.
func (n *Node) decodeSafely(r *source.Record, click *schema.Click) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: %v", errPanic, fault)
		}
	}()
	return n.decode(*r, click)
}

func (n *Node) putAside(c *buffer.Commit, r *source.Record, reason schema.Reason, detail string) {
	c.Aside = append(c.Aside, schema.Rejected{
		Topic: n.opts.Topic, Partition: c.Partition, Offset: r.Offset, ArrivedAt: r.ArrivedAt, Reason: reason,
		Detail: strings.ToValidUTF8(detail[:min(len(detail), maxDetailBytes)], ""), Key: r.Key, Value: r.Value,
	})
}

func stamp(t schema.EventTime) string { return t.Time().Format(time.RFC3339Nano) }
