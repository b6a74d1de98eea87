package flight

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

const (
	pathLog          = "log"
	actionPartitions = "partitions"
)

// ticket says what DoGet sends.
type ticket struct {
	Partition *schema.Partition `json:"partition,omitempty"`
	From      *schema.Emit      `json:"from,omitempty"`
	Since     *schema.EventTime `json:"since,omitempty"`
	Follow    bool              `json:"follow,omitempty"`
	Marks     bool              `json:"marks,omitempty"`
	MaxBytes  int               `json:"max_bytes,omitempty"`

	Live bool `json:"live,omitempty"`

	User string `json:"user,omitempty"`
	N    int    `json:"n,omitempty"`
}

// Bounds of what a ticket asks for.
const (
	maxTicket        = 4 << 10
	defaultMaxBytes  = 1 << 20 // larger batches were not faster in BenchmarkStream, smaller ones were slower
	leastMaxBytes    = 4 << 10
	mostMaxBytes     = 64 << 20
	maxRows          = 8192 // of a batch
	mostHistoryParts = 10_000
)

func parseTicket(b []byte) (t ticket, err error) {
	if len(b) > maxTicket {
		return t, fmt.Errorf("the ticket has %d bytes, at most %d are allowed", len(b), maxTicket)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return t, fmt.Errorf("the ticket %.100q is not one: %w: send JSON such as {\"partition\":0,\"follow\":true}", b, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return t, fmt.Errorf("the ticket %.100q has something behind its end", b)
	}
	if t.MaxBytes == 0 {
		t.MaxBytes = defaultMaxBytes
	}
	log := t.Partition != nil
	switch {
	case t.Live && (log || t.User != "" || t.N != 0 || t.From != nil || t.Since != nil || t.Follow || t.Marks):
		return t, errors.New("the ticket has live, which goes with max_bytes alone")
	case !t.Live && log == (t.User != ""):
		return t, errors.New("the ticket names neither a partition nor a user, or both: name one")
	case log && t.N != 0:
		return t, errors.New("the ticket has n, which goes with a user")
	case !log && (t.From != nil || t.Since != nil || t.Follow || t.Marks):
		return t, errors.New("the ticket has from, since, follow or marks, which go with a partition")
	case !log && !t.Live && (t.N < 1 || t.N > mostHistoryParts):
		return t, fmt.Errorf("n is %d: ask for 1 to %d parts", t.N, mostHistoryParts)
	case t.From != nil && t.Since != nil:
		return t, errors.New("the ticket has both from and since: give one")
	case t.MaxBytes < leastMaxBytes || t.MaxBytes > mostMaxBytes:
		return t, fmt.Errorf("max_bytes is %d: give %d to %d", t.MaxBytes, leastMaxBytes, mostMaxBytes)
	}
	return t, nil
}

func (t ticket) bytes() []byte { return mustJSON(t) }

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("flight: " + err.Error()) // plain structs of numbers and strings
	}
	return b
}

// state is how far a partition is, on its way between machines. Its fields are explained in doc.go.
type state struct {
	Partition  schema.Partition         `json:"partition"`
	First      schema.Emit              `json:"first"`
	Next       schema.Emit              `json:"next"`
	Epoch      schema.Epoch             `json:"epoch"`
	Watermark  moment                   `json:"watermark"`
	MaxSeen    moment                   `json:"max_seen"`
	Ended      bool                     `json:"ended"`
	NextOffset schema.Offset            `json:"next_offset"`
	Ticks      uint64                   `json:"ticks"`
	Aside      uint64                   `json:"aside"`
	AsideBytes uint64                   `json:"aside_bytes"`
	Taken      uint64                   `json:"taken"`
	Emitted    uint64                   `json:"emitted"`
	Rejected   map[schema.Reason]uint64 `json:"rejected"`
	Parts      map[schema.Cause]uint64  `json:"parts"`
	Grows      []grow                   `json:"grows,omitempty"`
}

type grow struct {
	Partitions int          `json:"partitions"`
	Epoch      schema.Epoch `json:"epoch"`
	Watermark  moment       `json:"watermark"`
	Emit       schema.Emit  `json:"emit"`
}

// moment is an event time that is null in JSON at the beginning of time, which other programs' dates do not reach.
type moment schema.EventTime

func (m moment) MarshalJSON() ([]byte, error) {
	if schema.EventTime(m) == schema.BeginningOfTime {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, int64(m), 10), nil
}

func (m *moment) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*m = moment(schema.BeginningOfTime)
		return nil
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	*m = moment(n)
	return err
}

// same reports whether a reader who knows s learns nothing from t.
func (s state) same(t state) bool {
	return s.First == t.First && s.Next == t.Next && s.Epoch == t.Epoch && s.Watermark == t.Watermark && s.Ended == t.Ended && s.NextOffset == t.NextOffset
}

func stateOf(m buffer.Meta) state {
	c := m.Window.Counts
	s := state{
		Partition: m.Partition, First: m.FirstEmit, Next: m.NextEmit, Epoch: m.Window.Epoch, Watermark: moment(m.Window.Watermark),
		MaxSeen: moment(m.Window.MaxSeen), Ended: m.Window.Ended, NextOffset: m.NextOffset, Ticks: m.Ticks, Aside: m.Aside,
		AsideBytes: m.AsideBytes, Taken: c.Taken, Emitted: c.Emitted, Rejected: map[schema.Reason]uint64{}, Parts: map[schema.Cause]uint64{},
	}
	for i, n := range c.Rejected {
		if n > 0 {
			s.Rejected[schema.Reasons[i]] = n
		}
	}
	for i, n := range c.Parts {
		if n > 0 {
			s.Parts[window.Causes[i]] = n
		}
	}
	for _, g := range m.Grows {
		s.Grows = append(s.Grows, grow{g.Partitions, g.Epoch, moment(g.Watermark), g.Emit})
	}
	return s
}

// maxState bounds a state as JSON.
const maxState = 64 << 10

func parseState(b []byte) (state, error) {
	s := state{Watermark: moment(schema.BeginningOfTime), MaxSeen: moment(schema.BeginningOfTime)}
	if len(b) > maxState {
		return s, fmt.Errorf("a state of %d bytes, at most %d are allowed", len(b), maxState)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("the state %.100q is not one: %w", b, err)
	}
	if s.First > s.Next || s.Partition < 0 || s.NextOffset < 0 {
		return s, fmt.Errorf("the state %.100q cannot be", b)
	}
	return s, nil
}

// meta returns s as the store keeps it. Counts under names that this program does not know are left out.
func (s state) meta() buffer.Meta {
	m := buffer.Meta{
		Partition: s.Partition, FirstEmit: s.First, NextEmit: s.Next, NextOffset: s.NextOffset, Ticks: s.Ticks, Aside: s.Aside, AsideBytes: s.AsideBytes,
		Window: window.Meta{Epoch: s.Epoch, Watermark: schema.EventTime(s.Watermark), MaxSeen: schema.EventTime(s.MaxSeen), Ended: s.Ended},
	}
	m.Window.Counts.Taken, m.Window.Counts.Emitted = s.Taken, s.Emitted
	for reason, n := range s.Rejected {
		if i := slices.Index(schema.Reasons, reason); i >= 0 {
			m.Window.Counts.Rejected[i] = n
		}
	}
	for cause, n := range s.Parts {
		if i := slices.Index(window.Causes, cause); i >= 0 {
			m.Window.Counts.Parts[i] = n
		}
	}
	for _, g := range s.Grows {
		m.Grows = append(m.Grows, buffer.Grow{Partitions: g.Partitions, Epoch: g.Epoch, Watermark: schema.EventTime(g.Watermark), Emit: g.Emit})
		m.Partitions = g.Partitions
	}
	return m
}

// rowKinds and entryKinds translate between the kinds of a log and of the table.
var rowKinds = map[buffer.Kind]schema.RowKind{
	buffer.KindPart: schema.RowPart, buffer.KindTick: schema.RowTick, buffer.KindEnd: schema.RowEnd, buffer.KindGrow: schema.RowGrow,
	buffer.KindGap: schema.RowGap,
}

// rowOf returns e, of p's log, as a row.
func rowOf(p schema.Partition, e *buffer.Entry) schema.PartsRow {
	if e.Kind == buffer.KindPart {
		return schema.PartsRow{Kind: schema.RowPart, Part: e.Part}
	}
	return schema.PartsRow{
		Kind:   rowKinds[e.Kind],
		Part:   schema.Part{Partition: p, Emit: e.Emit, Epoch: e.Mark.Epoch, Due: e.Mark.Watermark},
		Offset: e.Mark.Offset, Partitions: int32(e.Mark.Partitions),
	}
}

// entryOf returns r as an entry of its partition's log.
func entryOf(r *schema.PartsRow) buffer.Entry {
	if r.Kind == schema.RowPart {
		return buffer.Entry{Kind: buffer.KindPart, Emit: r.Part.Emit, Part: r.Part}
	}
	e := buffer.Entry{Emit: r.Part.Emit, Mark: buffer.Mark{Epoch: r.Part.Epoch, Watermark: r.Part.Due, Offset: r.Offset, Partitions: int(r.Partitions)}}
	for kind, name := range rowKinds {
		if name == r.Kind {
			e.Kind = kind
		}
	}
	return e
}

// partitionOf returns the partition that a descriptor's path names, or nil for all of them.
func partitionOf(d *flight.FlightDescriptor) (*schema.Partition, error) {
	path := d.GetPath()
	if d.GetType() != flight.DescriptorPATH || len(path) < 1 || len(path) > 2 || path[0] != pathLog {
		return nil, fmt.Errorf("there is no flight %q: ask for the path [\"log\"], or [\"log\", \"0\"] for one partition", path)
	}
	if len(path) == 1 {
		return nil, nil
	}
	n, err := strconv.ParseInt(path[1], 10, 32)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%q is not a partition: write its number", path[1])
	}
	p := schema.Partition(n)
	return &p, nil
}
