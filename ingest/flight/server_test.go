package flight

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// anyClient is a Flight client that knows nothing of freshet.
func anyClient(t testing.TB, m *machine, o ...grpc.DialOption) flight.Client {
	t.Helper()
	if len(o) == 0 {
		o = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	c, err := flight.NewClientWithMiddleware(m.address, nil, nil, o...)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// got is what a DoGet brought.
type got struct {
	rows    []schema.PartsRow
	batches int
	states  []state
}

// get reads all that ticket asks for, with Arrow's own reader.
func get(t testing.TB, c flight.Client, ticket string) (g got, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	in, err := c.DoGet(ctx, &flight.Ticket{Ticket: []byte(ticket)})
	if err != nil {
		return g, err
	}
	reader, err := flight.NewRecordReader(in)
	if err != nil {
		return g, err
	}
	defer reader.Release()
	if !reader.Schema().Equal(schema.PartsSchema()) {
		t.Fatalf("another schema: %v", reader.Schema())
	}
	for reader.Next() {
		batch, err := schema.OpenParts(reader.Record())
		must(t, err)
		rows, err := batch.Rows()
		must(t, err)
		g.rows = append(g.rows, rows...)
		g.batches++
		if b := reader.LatestAppMetadata(); b != nil {
			s, err := parseState(b)
			must(t, err)
			g.states = append(g.states, s)
		}
	}
	return g, reader.Err()
}

func TestAnyClientReadsTheParts(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 2)
	m := newMachine(t, o.store, ServerConfig{})
	for range 300 {
		o.grow(t, schema.Partition(o.rand.IntN(2)))
	}
	c, ctx := anyClient(t, m), context.Background()

	flights, err := c.ListFlights(ctx, &flight.Criteria{})
	must(t, err)
	var all []buffer.Entry
	for p := schema.Partition(0); ; p++ {
		info, err := flights.Recv()
		if errors.Is(err, io.EOF) {
			if p != 2 {
				t.Fatalf("%d flights", p)
			}
			break
		}
		must(t, err)
		meta := o.store.Partition(p)
		if info.TotalRecords != int64(meta.NextEmit) || len(info.Endpoint) != 1 {
			t.Errorf("partition %d: %+v", p, info)
		}
		s, err := parseState(info.AppMetadata)
		must(t, err)
		if diff := cmp.Diff(stateOf(meta), s); diff != "" {
			t.Errorf("state of partition %d (-is +says):\n%s", p, diff)
		}
		sc, err := flight.DeserializeSchema(info.Schema, nil)
		must(t, err)
		if !sc.Equal(schema.PartsSchema()) {
			t.Errorf("schema %v", sc)
		}
		again, err := c.GetFlightInfo(ctx, info.FlightDescriptor)
		must(t, err)
		if string(again.Endpoint[0].Ticket.Ticket) != string(info.Endpoint[0].Ticket.Ticket) {
			t.Errorf("the flight's own descriptor gives another ticket")
		}
		g, err := get(t, c, string(info.Endpoint[0].Ticket.Ticket))
		must(t, err)
		all = entries(t, o.store, p, 0, meta.NextEmit)
		var want []schema.PartsRow
		for i := range all {
			if row := rowOf(p, &all[i]); row.Kind == schema.RowPart {
				want = append(want, row)
			}
		}
		if diff := cmp.Diff(want, g.rows); diff != "" {
			t.Errorf("parts of partition %d (-log +read):\n%.1000s", p, diff)
		}
	}

	// The same with marks, from the middle, in small batches.
	meta := o.store.Partition(1)
	g, err := get(t, c, `{"partition":1,"from":10,"marks":true,"max_bytes":4096}`)
	must(t, err)
	for i := range all[10:] {
		if want := rowOf(1, &all[10+i]); !cmp.Equal(want, g.rows[i]) {
			t.Fatalf("row %d is %+v, want %+v", i, g.rows[i], want)
		}
	}
	if len(g.rows) != int(meta.NextEmit)-10 || g.batches < 3 || len(g.states) != g.batches {
		t.Errorf("%d rows in %d batches with %d states", len(g.rows), g.batches, len(g.states))
	}

	// From a time on.
	watermark := meta.Window.Watermark
	g, err = get(t, c, string(mustJSON(map[string]any{"partition": 1, "since": watermark - 30, "marks": true})))
	must(t, err)
	first := slices.IndexFunc(all, func(e buffer.Entry) bool { row := rowOf(1, &e); return row.Part.Due >= watermark-30 })
	if len(g.rows) != len(all)-first || len(g.rows) == 0 {
		t.Errorf("%d rows since then, want %d", len(g.rows), len(all)-first)
	}

	// A user's history.
	history, err := o.store.Recent("user-1-3", 7)
	must(t, err)
	g, err = get(t, c, `{"user":"user-1-3","n":7}`)
	must(t, err)
	if len(history) != 7 || len(g.rows) != 7 || len(g.states) != 0 {
		t.Fatalf("%d parts, %d read", len(history), len(g.rows))
	}
	for i := range history {
		if !cmp.Equal(history[i], g.rows[i].Part) {
			t.Errorf("history: %s", cmp.Diff(history[i], g.rows[i].Part))
		}
	}
	if g, err = get(t, c, `{"user":"nobody","n":7}`); err != nil || len(g.rows) != 0 || g.batches != 1 {
		t.Errorf("nobody: %d rows in %d batches, %v", len(g.rows), g.batches, err)
	}

	info, err := c.GetFlightInfo(ctx, &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{"log"}})
	must(t, err)
	if len(info.Endpoint) != 2 || info.TotalRecords != int64(o.store.Partition(0).NextEmit+meta.NextEmit) {
		t.Errorf("the whole log: %+v", info)
	}
	sc, err := c.GetSchema(ctx, info.FlightDescriptor)
	must(t, err)
	if !bytes.Equal(sc.Schema, info.Schema) {
		t.Error("GetSchema gives another schema")
	}
	actions, err := c.ListActions(ctx, &flight.Empty{})
	must(t, err)
	if a, err := actions.Recv(); err != nil || a.Type != actionPartitions {
		t.Errorf("actions: %v, %v", a, err)
	}
	if st := m.server.Stats(); st.Rows == 0 || st.Bytes == 0 || st.Batches == 0 || st.Streams != 0 || st.Refused != 0 {
		t.Errorf("%+v", st)
	}
}

func TestWrongRequestsSayWhatToAskFor(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 1)
	o.grow(t, 0)
	m := newMachine(t, nil, ServerConfig{})
	for len(o.metas[0]) < 10 {
		o.grow(t, 0)
	}
	o.bring(t, m.store, 0, 9) // it begins late
	c, ctx := anyClient(t, m), context.Background()
	for _, tc := range []struct {
		ticket string
		code   codes.Code
		says   string
	}{
		{``, codes.InvalidArgument, "send JSON such as"},
		{`0`, codes.InvalidArgument, "send JSON such as"},
		{`{"partition":0,"form":7}`, codes.InvalidArgument, "form"},
		{`{"partition":0} {}`, codes.InvalidArgument, "behind its end"},
		{`{}`, codes.InvalidArgument, "name one"},
		{`{"partition":0,"user":"u","n":1}`, codes.InvalidArgument, "name one"},
		{`{"partition":0,"n":1}`, codes.InvalidArgument, "n, which goes with a user"},
		{`{"user":"u"}`, codes.InvalidArgument, "ask for 1 to"},
		{`{"user":"u","n":1,"follow":true}`, codes.InvalidArgument, "which go with a partition"},
		{`{"partition":0,"from":1,"since":1}`, codes.InvalidArgument, "give one"},
		{`{"partition":0,"max_bytes":1}`, codes.InvalidArgument, "max_bytes is 1"},
		{`{"partition":0,"from":-1}`, codes.InvalidArgument, "from"},
		{`{"user":"` + strings.Repeat("u", maxTicket) + `","n":1}`, codes.InvalidArgument, "at most"},
		{`{"live":true,"partition":0}`, codes.InvalidArgument, "live, which goes with max_bytes alone"},
		{`{"live":true,"max_bytes":1}`, codes.InvalidArgument, "max_bytes is 1"},
		{`{"live":true}`, codes.FailedPrecondition, "ask the nodes that do"},
		{`{"partition":7}`, codes.NotFound, "partition 7 is not on this node"},
		{`{"partition":0,"from":0}`, codes.OutOfRange, "no longer on this node"},
		{`{"partition":0,"from":99999}`, codes.OutOfRange, "not on this node yet"},
	} {
		if _, err := get(t, c, tc.ticket); status.Code(err) != tc.code || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%.60s: %v, want %v with %q", tc.ticket, err, tc.code, tc.says)
		}
	}
	for _, path := range [][]string{nil, {"parts"}, {"log", "x"}, {"log", "-1"}, {"log", "0", "1"}} {
		if _, err := c.GetFlightInfo(ctx, &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: path}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("path %q: %v", path, err)
		}
	}
	if _, err := c.GetFlightInfo(ctx, &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{"log", "3"}}); status.Code(err) != codes.NotFound {
		t.Errorf("a partition that is not there: %v", err)
	}
	in, err := c.DoAction(ctx, &flight.Action{Type: "drop"})
	must(t, err)
	if _, err := in.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an unknown action: %v", err)
	}
}

// TestFollowEndsWithTheServer: a stream that waits for more gets it, and hears when the server stops.
func TestFollowEndsWithTheServer(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 1)
	m := newMachine(t, o.store, ServerConfig{})
	in, err := anyClient(t, m).DoGet(context.Background(), &flight.Ticket{Ticket: []byte(`{"partition":0,"follow":true,"marks":true}`)})
	must(t, err)
	reader, err := flight.NewRecordReader(in)
	must(t, err)
	defer reader.Release()
	next := func() (arrow.Record, state) {
		t.Helper()
		if !reader.Next() {
			t.Fatal(reader.Err())
		}
		s, err := parseState(reader.LatestAppMetadata())
		must(t, err)
		return reader.Record(), s
	}
	if r, s := next(); r.NumRows() != 1 || s.Next != 1 || s.Watermark != moment(schema.BeginningOfTime) || s.Grows[0].Partitions != 1 {
		t.Errorf("%d rows, %+v", r.NumRows(), s)
	}
	w := o.store.Partition(0).Window
	w.Watermark = noon
	o.commit(t, buffer.Commit{Partition: 0, NextOffset: 5, Window: w}) // the watermark alone
	if r, s := next(); r.NumRows() != 0 || s.Watermark != moment(noon) || s.NextOffset != 5 {
		t.Errorf("%d rows, %+v", r.NumRows(), s)
	}
	for m := o.store.Partition(0); o.store.Partition(0).NextEmit == m.NextEmit; {
		o.grow(t, 0)
	}
	for rows := int64(0); rows == 0; {
		r, _ := next()
		rows = r.NumRows()
	}
	m.kill()
	for reader.Next() {
	}
	if err := reader.Err(); status.Code(err) != codes.Unavailable {
		t.Errorf("when the server stops: %v", err)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 1)
	m := newMachine(t, o.store, ServerConfig{MaxStreams: 2})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for range 2 {
		in, err := anyClient(t, m).DoGet(ctx, &flight.Ticket{Ticket: []byte(`{"partition":0,"follow":true}`)})
		must(t, err)
		_, err = in.Recv()
		must(t, err)
	}
	if _, err := get(t, anyClient(t, m), `{"partition":0}`); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the third stream: %v", err)
	}
	cancel()
	until(t, o.store, "streams that ended make room", func() error {
		_, err := get(t, anyClient(t, m), `{"partition":0}`)
		return err
	})
}

// damaging is a log that gives some entries another form.
type damaging struct {
	*buffer.Store
	damage func(*buffer.Entry)
}

func (d damaging) LogPacked(p schema.Partition, from schema.Emit, limit int) ([]buffer.Entry, error) {
	all, err := d.Store.LogPacked(p, from, limit)
	for i := range all {
		d.damage(&all[i])
	}
	return all, err
}

// TestMirrorRefusesWhatNoLogHolds: nothing of another machine's fault reaches the store.
func TestMirrorRefusesWhatNoLogHolds(t *testing.T) {
	for name, damage := range map[string]func(e *buffer.Entry){
		"emit":        func(e *buffer.Entry) { e.Part.Emit += 2 },
		"partition":   func(e *buffer.Entry) { e.Part.Partition++ },
		"no user":     func(e *buffer.Entry) { e.Part.UserID = "" },
		"long user":   func(e *buffer.Entry) { e.Part.UserID = strings.Repeat("u", 70_000) },
		"cause":       func(e *buffer.Entry) { e.Part.Cause = "mood" },
		"number":      func(e *buffer.Entry) { e.Part.Number = -1 },
		"due falls":   func(e *buffer.Entry) { e.Part.Due = noon - schema.EventTime(e.Part.Emit) },
		"epoch falls": func(e *buffer.Entry) { e.Part.Epoch = 9 - schema.Epoch(e.Part.Emit%10) },
		"clicks' time": func(e *buffer.Entry) {
			e.Packed = packed.Clicks{}
			e.Part.Clicks = []schema.Click{{EventTime: 2}, {EventTime: 1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newTopic(t, seeded(t, 0), 1)
			for o.store.Partition(0).NextEmit < 30 {
				o.grow(t, 0)
			}
			m := newMachine(t, o.store, ServerConfig{})
			m.kill()
			m.log = damaging{o.store, func(e *buffer.Entry) {
				if e.Kind == buffer.KindPart && e.Emit >= 10 {
					damage(e)
				}
			}}
			m.start()
			config := quickMirror(m)
			config.BatchBytes = leastMaxBytes
			mirror := startMirror(t, buffer.Memory(), config)
			until(t, mirror.store, "health names the fault", func() error {
				if err := mirror.Health(); err == nil || !strings.Contains(err.Error(), errDamaged.Error()) && !strings.Contains(err.Error(), errDisagree.Error()) {
					return errOf("it says %v", err)
				}
				return nil
			})
			m.kill()
			m.log = nil
			m.start()
			mirror.reaches(o) // what had been copied was right
			equalLogs(t, o, mirror.store)
			until(t, mirror.store, "all is well", mirror.Health)
		})
	}
}

func FuzzTicket(t *testing.F) {
	f := fuzz.Of(t)
	f.Add([]byte(`{"partition":0,"from":7,"follow":true,"marks":true,"max_bytes":65536}`))
	f.Add([]byte(`{"user":"u","n":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := parseTicket(b); err == nil {
			again, err := parseTicket(got.bytes())
			if err != nil || !cmp.Equal(got, again) {
				t.Fatalf("%q: %+v, again %+v, %v", b, got, again, err)
			}
		}
	})
}

func FuzzState(t *testing.F) {
	f := fuzz.Of(t)
	f.Add(mustJSON(stateOf(buffer.Meta{Partition: 3, FirstEmit: 1, NextEmit: 7, Grows: []buffer.Grow{{Partitions: 4, Watermark: schema.BeginningOfTime}}})))
	f.Add([]byte(`{"watermark":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		m := s.meta()
		again, err := parseState(mustJSON(stateOf(m)))
		if err != nil || !cmp.Equal(again.meta(), m) {
			t.Fatalf("%q: %+v, again %+v, %v", b, m, again, err)
		}
	})
}

func TestStateIsComplete(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 1)
	for range 30 {
		o.grow(t, 0)
	}
	o.end(t)
	m := o.store.Partition(0)
	m.Window.Counts.Rejected[1], m.Aside, m.AsideBytes = 3, 3, 99
	s, err := parseState(mustJSON(stateOf(m)))
	must(t, err)
	want := m
	want.LogBytes, want.Mirror, want.Reached = 0, false, 0 // each store's own
	if diff := cmp.Diff(want, s.meta()); diff != "" {
		t.Errorf("meta (-was +is):\n%s", diff)
	}
	if !json.Valid(mustJSON(s)) {
		t.Error("no JSON")
	}
}
