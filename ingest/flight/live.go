package flight

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/freshet-ml/freshet/schema"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Live clicks on their way between machines: the server sends what its node tells of, a mirror hears it. Nothing of it is kept on the way.

// live sends clicks as the node takes them. A batch without rows comes first: what is taken after it is heard.
func (w *stream) live() error {
	told := w.server.cfg.Live
	if told == nil {
		return status.Error(codes.FailedPrecondition, "this node takes no clicks from Kafka itself: ask the nodes that do")
	}
	l := told.Listen()
	defer l.Close()
	ctx, cancel := context.WithCancel(w.out.Context())
	defer cancel()
	go func() { // Next waits for ctx alone
		select {
		case <-w.server.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := w.send(nil); err != nil {
		return err
	}
	for {
		clicks, err := l.Next(ctx)
		if err != nil {
			if w.out.Context().Err() != nil {
				return w.out.Context().Err()
			}
			return errStopping
		}
		for _, c := range clicks {
			if err := c.Each(w.addLive); err != nil {
				return status.Error(codes.Internal, err.Error())
			}
		}
		if err := w.send(nil); err != nil {
			return err
		}
	}
}

// addLive adds c as a row of its own: a part of one click that is in no log.
func (w *stream) addLive(c *schema.Click) error {
	n := schema.ClicksBytes(1, len(c.ItemID)+len(c.Context))
	if w.batch.Rows() > 0 && (w.batch.Bytes()+n > w.ticket.MaxBytes || w.batch.Rows() >= maxRows) {
		if err := w.send(nil); err != nil {
			return err
		}
	}
	w.batch.AddHead(&schema.Part{UserID: c.UserID, Due: c.EventTime, SessionStart: c.EventTime})
	w.batch.AddClick(c)
	return nil
}

// Listen hands the clicks that the nodes take from now on to hear, before they are in any part, until ctx ends. It is best effort: a reader that is slow loses the oldest, and so does one whose
// stream breaks. hear is called from one goroutine for each node, and must keep nothing of the click, whose texts are a batch's memory.
func (m *Mirror) Listen(ctx context.Context, hear func(*schema.Click)) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range m.nodes {
		g.Go(func() error { return m.listen(ctx, n, hear) })
	}
	return g.Wait()
}

// listen listens to n again and again.
func (m *Mirror) listen(ctx context.Context, n *node, hear func(*schema.Click)) error {
	pause, said := m.cfg.RetryLeast, false
	for {
		heard, err := m.listenOnce(ctx, n, hear)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if heard {
			pause, said = m.cfg.RetryLeast, false
		}
		if !said {
			m.cfg.Log.Warn("flight: the live clicks of a node are not heard; trying again. Histories follow with its log", "error", n.explain(fmt.Errorf("live clicks: %w", err)))
			said = true
		}
		m.faults.Add(1)
		if c := status.Code(err); c == codes.FailedPrecondition || c == codes.InvalidArgument { // it has none, or is of an earlier version
			pause = max(pause, m.cfg.RetryMost)
		}
		if err := sleep(ctx, m.jitter(pause)); err != nil {
			return err
		}
		pause = min(2*pause, max(pause, m.cfg.RetryMost))
	}
}

// listenOnce reads one stream to its end, and says whether it began.
func (m *Mirror) listenOnce(ctx context.Context, n *node, hear func(*schema.Click)) (began bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in, err := n.client.DoGet(ctx, &flight.Ticket{Ticket: ticket{Live: true}.bytes()})
	if err != nil {
		return false, err
	}
	m.streams.Add(1)
	var (
		reader schema.PartsReader
		click  schema.Click
	)
	for first := true; ; first = false {
		data, err := in.Recv()
		if err != nil {
			return began, err
		}
		if first { // the schema, of which the reader has its own
			continue
		}
		began = true
		batch, err := reader.Read(data.DataHeader, data.DataBody)
		if err != nil {
			return began, fmt.Errorf("%w: %w", errDamaged, err)
		}
		m.bytes.Add(uint64(len(data.DataHeader) + len(data.DataBody)))
		for i := range batch.Len() {
			row, err := batch.Row(i)
			if err != nil {
				return began, fmt.Errorf("%w: %w", errDamaged, err)
			}
			for from, to := batch.Clicks(i); from < to; from++ {
				batch.Click(from, &click)
				click.UserID = row.Part.UserID
				hear(&click)
				m.live.Add(1)
			}
		}
	}
}
