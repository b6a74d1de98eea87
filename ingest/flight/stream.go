package flight

import (
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// DoGet sends what the ticket asks for.
func (s *Server) DoGet(asked *flight.Ticket, out flight.FlightService_DoGetServer) error {
	t, err := parseTicket(asked.GetTicket())
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	defer s.streams.Add(-1)
	if n := s.streams.Add(1); n > int64(s.cfg.MaxStreams) {
		s.refused.Add(1)
		return status.Errorf(codes.ResourceExhausted, "%d streams are open, which is all that this node allows: close some, or read from another node", n-1)
	}
	if err := out.Send(&flight.FlightData{DataHeader: schema.PartsSchemaMessage()}); err != nil {
		return err
	}
	w := &stream{server: s, out: out, ticket: t}
	switch {
	case t.Live:
		return w.live()
	case t.User != "":
		return w.history()
	}
	return w.entries()
}

// readAhead is how many entries are read from the log at a time.
const readAhead = 1024

// stream is one DoGet.
type stream struct {
	server *Server
	out    flight.FlightService_DoGetServer
	ticket ticket
	batch  schema.PartsBuilder
}

// entries sends the log of a partition.
func (w *stream) entries() error {
	p, log := *w.ticket.Partition, w.server.log
	changed := log.Changed()
	metas, err := w.server.partitions(&p)
	if err != nil {
		return err
	}
	m := metas[0]
	next, err := w.start(m)
	if err != nil {
		return err
	}
	sent, began := state{}, false
	for {
		if next, err = w.upTo(m, next); err != nil {
			return err
		}
		// What is left, or only the state. It comes first of all in any case, so that a reader who is up to date knows it.
		if now := stateOf(m); w.batch.Rows() > 0 || !began || !sent.same(now) {
			if err := w.flush(m); err != nil {
				return err
			}
			sent, began = now, true
		}
		if !w.ticket.Follow {
			return nil
		}
		if err := w.wait(changed); err != nil {
			return err
		}
		changed = log.Changed() // before the meta, so that no commit is missed
		m = log.Partition(p)    // each commit, of any partition, wakes each stream: it looks at its own alone
		if _, err := log.LogPacked(p, next, 0); err != nil {
			return w.fault(p, next, err) // the store is closed, or retention was quicker
		}
	}
}

// lull is the least time between two looks at the log. A merge does not need every watermark, and batches of a few parts
// cost more than they carry.
const lull = 20 * time.Millisecond

var errStopping = status.Error(codes.Unavailable, "this node is stopping: read on from another, or when it is back")

// wait returns when the log has changed, and a lull has passed.
func (w *stream) wait(changed <-chan struct{}) error {
	timer := time.NewTimer(lull)
	defer timer.Stop()
	if err := await(w, changed); err != nil {
		return err
	}
	return await(w, timer.C)
}

// await returns nil when c has something, or why the stream ends.
func await[T any](w *stream, c <-chan T) error {
	select {
	case <-c:
		return nil
	case <-w.out.Context().Done():
		return w.out.Context().Err()
	case <-w.server.stopping:
		return errStopping
	}
}

// start returns the entry to begin with.
func (w *stream) start(m buffer.Meta) (schema.Emit, error) {
	switch {
	case w.ticket.Since != nil:
		return w.since(m, *w.ticket.Since)
	case w.ticket.From == nil:
		return m.FirstEmit, nil
	case *w.ticket.From < m.FirstEmit:
		return 0, status.Errorf(codes.OutOfRange, "entry %d of partition %d is no longer on this node: it begins at %d", *w.ticket.From, m.Partition, m.FirstEmit)
	case *w.ticket.From > m.NextEmit:
		return 0, status.Errorf(codes.OutOfRange, "entry %d of partition %d is not on this node yet: it ends before %d", *w.ticket.From, m.Partition, m.NextEmit)
	}
	return *w.ticket.From, nil
}

// since returns the first entry that is due at t or later. Dues and the marks' watermarks never fall in a log. Who copies the
// log, with its marks, is given the last entry where none is so late: it has to know where the log stands, because another
// node may go on there.
func (w *stream) since(m buffer.Meta, t schema.EventTime) (schema.Emit, error) {
	var fault error
	n := sort.Search(int(m.NextEmit-m.FirstEmit), func(i int) bool {
		if fault != nil {
			return true
		}
		entries, err := w.server.log.LogPacked(m.Partition, m.FirstEmit+schema.Emit(i), 1)
		if err != nil || len(entries) == 0 {
			fault = w.fault(m.Partition, m.FirstEmit+schema.Emit(i), err)
			return true
		}
		row := rowOf(m.Partition, &entries[0])
		return row.Part.Due >= t
	})
	first := m.FirstEmit + schema.Emit(n)
	if w.ticket.Marks && first == m.NextEmit && m.FirstEmit < m.NextEmit {
		first--
	}
	return first, fault
}

// upTo sends the entries from next to the end that m knows, apart from those that are left in the batch.
func (w *stream) upTo(m buffer.Meta, next schema.Emit) (schema.Emit, error) {
	for next < m.NextEmit {
		entries, err := w.server.log.LogPacked(m.Partition, next, min(readAhead, int(m.NextEmit-next)))
		if err != nil || len(entries) == 0 {
			return next, w.fault(m.Partition, next, err)
		}
		for i := range entries {
			if entries[i].Kind != buffer.KindPart && !w.ticket.Marks {
				continue
			}
			if err := w.add(m, &entries[i]); err != nil {
				return next, err
			}
		}
		next += schema.Emit(len(entries))
	}
	return next, nil
}

// fault says why the entry next cannot be sent.
func (w *stream) fault(p schema.Partition, next schema.Emit, err error) error {
	if first := w.server.log.Partition(p).FirstEmit; next < first {
		return status.Errorf(codes.OutOfRange, "entry %d of partition %d is no longer on this node: it begins at %d", next, p, first)
	}
	switch {
	case err == nil:
		return status.Errorf(codes.DataLoss, "entry %d of partition %d is missing on this node", next, p)
	case errors.Is(err, buffer.ErrClosed):
		return errStopping
	}
	w.server.cfg.Log.Error("flight cannot read the log", "partition", p, "emit", next, "error", err)
	return status.Error(codes.DataLoss, err.Error())
}

// add adds e to the batch, which is sent before it where it would become too large.
func (w *stream) add(m buffer.Meta, e *buffer.Entry) error {
	row := rowOf(m.Partition, e)
	n := schema.PartBytes(&row.Part) + schema.ClicksBytes(e.Packed.N, len(e.Packed.Bytes))
	if n > maxMessage-maxState {
		return status.Errorf(codes.ResourceExhausted, "entry %d of partition %d has about %d bytes, more than the %d of a message: it can only be read on the node itself",
			e.Emit, row.Part.Partition, n, maxMessage)
	}
	if w.batch.Rows() > 0 && (w.batch.Bytes()+n > w.ticket.MaxBytes || w.batch.Rows() >= maxRows) {
		if err := w.flush(m); err != nil {
			return err
		}
	}
	w.batch.AddRow(&row)
	// The clicks go from the log's bytes into the columns, without being made clicks of their own.
	var click schema.Click
	for rest := e.Packed.Bytes; len(rest) > 0; {
		var err error
		if rest, err = packed.Read(rest, &click); err != nil {
			return w.fault(row.Part.Partition, e.Emit, fmt.Errorf("log entry %d of partition %d: %w", e.Emit, row.Part.Partition, err))
		}
		w.batch.AddClick(&click)
	}
	return nil
}

// flush sends the batch of a log, with or without rows.
func (w *stream) flush(m buffer.Meta) error {
	if w.ticket.User != "" { // of several logs
		return w.send(nil)
	}
	return w.send(mustJSON(stateOf(m)))
}

// send sends the batch, with or without rows, and a state where it has one.
func (w *stream) send(state []byte) error {
	header, body, err := w.batch.Message()
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	data := &flight.FlightData{DataHeader: header, DataBody: body, AppMetadata: state}
	if err := w.out.Send(data); err != nil {
		return err
	}
	s := w.server
	s.batches.Add(1)
	s.rows.Add(uint64(w.batch.Rows()))
	s.bytes.Add(uint64(len(header) + len(body)))
	w.batch.Reset()
	return nil
}

// history sends the latest parts of a user.
func (w *stream) history() error {
	parts, err := w.server.log.Recent(w.ticket.User, w.ticket.N)
	if err != nil {
		return w.fault(0, 0, err)
	}
	for i := range parts {
		if err := w.add(buffer.Meta{}, &buffer.Entry{Kind: buffer.KindPart, Emit: parts[i].Emit, Part: parts[i]}); err != nil {
			return err
		}
	}
	return w.flush(buffer.Meta{})
}
