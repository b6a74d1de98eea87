package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

const noon schema.EventTime = 1_700_000_000_000

// decode reads the JSON of schema.Click itself. The wire format is source's business.
func decode(r source.Record, c *schema.Click) error {
	if string(r.Value) == "panic" {
		panic("a decoder with a bug")
	}
	return json.Unmarshal(r.Value, c)
}

func record(o int, c schema.Click) source.Record {
	if c.Action == "" {
		c.Action = schema.ActionClick
	}
	value, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return source.Record{Offset: schema.Offset(o), ArrivedAt: schema.ArrivalTime(c.EventTime), Key: []byte(c.UserID), Value: value}
}

func batch(records ...source.Record) source.Batch {
	if len(records) == 0 {
		return source.Batch{}
	}
	next := records[len(records)-1].Offset + 1
	return source.Batch{Records: records, Next: next, HighWatermark: next}
}

type fataler interface {
	Helper()
	Fatal(...any)
}

func open(t fataler, fs buffer.FS) *buffer.Store {
	t.Helper()
	s, err := buffer.Open("store", buffer.Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newNode(t fataler, s *buffer.Store, o ingest.Options, partitions ...schema.Partition) *ingest.Node {
	t.Helper()
	n, err := ingest.New(s, decode, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range partitions {
		if _, err := n.Assign(context.Background(), p); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wholeLog(t fataler, s *buffer.Store, p schema.Partition) []buffer.Entry {
	t.Helper()
	var all []buffer.Entry
	for {
		some, err := s.Log(p, schema.Emit(len(all)), 7)
		must(t, err)
		if len(some) == 0 {
			return all
		}
		all = append(all, some...)
	}
}

// balance demands that every record that was read is in the log, aside, pending, or a counted duplicate (I7).
func balance(t fataler, s *buffer.Store, in uint64) {
	t.Helper()
	totals := s.Totals()
	metas, err := s.Partitions()
	must(t, err)
	var emitted, pending, aside uint64
	for p := range metas {
		for _, e := range wholeLog(t, s, p) {
			emitted += uint64(len(e.Part.Clicks))
		}
		pending += metas[p].Window.Counts.Pending()
	}
	for _, err := range s.Aside(0) {
		must(t, err)
		aside++
	}
	sum := emitted + pending + aside + totals.AsideTrimmed + totals.Counts.ByReason(schema.ReasonDuplicate)
	if sum != in || totals.Counts.In() != in || totals.Counts.Emitted != emitted || totals.Counts.Pending() != pending || totals.AsideKept != aside {
		t.Fatal(fmt.Sprintf("%d records in, but emitted %d + pending %d + aside %d + duplicate; totals %+v", in, emitted, pending, aside, totals))
	}
}

func smallWindows() ingest.Options {
	o := ingest.DefaultOptions("clicks")
	o.IdleAfter = 0
	o.Window = window.Config{
		Gap: 20 * time.Millisecond, LatenessBound: 8 * time.Millisecond, PartAge: 10 * time.Millisecond, PartClicks: 3,
		MaxSessionAge: 100 * time.Millisecond, MaxSessionClicks: 8, MaxOpenSessions: 3,
	}
	return o
}

// drawRecords draws records of few users in a loose order, some of them bad.
func drawRecords(t *rapid.T, n int) []source.Record {
	now := noon
	records := make([]source.Record, rapid.IntRange(1, n).Draw(t, "records"))
	offset := 0
	for i := range records {
		now += schema.EventTime(rapid.IntRange(-9, 14).Draw(t, "step"))
		c := schema.Click{UserID: rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "user"), ItemID: "x", EventTime: now}
		if rapid.Bool().Draw(t, "has id") {
			c.EventID = fmt.Sprint(rapid.IntRange(0, 30).Draw(t, "id"))
		}
		records[i] = record(offset, c)
		switch rapid.IntRange(0, 30).Draw(t, "fault") {
		case 0:
			records[i].Value = []byte("{")
		case 1:
			records[i].Value = []byte("panic")
		case 2:
			records[i].ArrivedAt -= schema.ArrivalTime(time.Hour.Milliseconds())
		}
		offset += 1 + rapid.SampledFrom([]int{0, 0, 0, 2}).Draw(t, "hole")
	}
	return records
}

// TestTheLogIsAFunctionOfTheRecords is I1: however records are batched, delivered again, and however often the store is
// closed and opened between, the log is the one of a single batch.
func TestTheLogIsAFunctionOfTheRecords(t *testing.T) {
	ctx := context.Background()
	rapid.Check(t, func(t *rapid.T) {
		records := drawRecords(t, 120)
		plain := open(t, buffer.Memory())
		defer plain.Close()
		n := newNode(t, plain, smallWindows(), 0)
		must(t, n.Apply(ctx, 0, batch(records...)))
		balance(t, plain, uint64(len(records)))
		must(t, n.End(ctx))

		fs := buffer.Memory()
		s := open(t, fs)
		defer func() { s.Close() }()
		n = newNode(t, s, smallWindows(), 0)
		for from := 0; from < len(records); {
			again := max(0, from-rapid.IntRange(0, 5).Draw(t, "delivered again"))
			to := min(len(records), from+rapid.IntRange(1, 30).Draw(t, "batch"))
			must(t, n.Apply(ctx, 0, batch(records[again:to]...)))
			from = to
			balance(t, s, uint64(from))
			switch rapid.IntRange(0, 3).Draw(t, "then") {
			case 0: // the process comes and goes
				must(t, s.Close())
				s = open(t, fs)
				n = newNode(t, s, smallWindows(), 0)
			case 1: // the partition comes and goes
				n.Revoke(0)
				next, err := n.Assign(ctx, 0)
				must(t, err)
				if next != records[from-1].Offset+1 {
					t.Fatalf("assigned at offset %d, want %d", next, records[from-1].Offset+1)
				}
			}
		}
		must(t, n.End(ctx))
		balance(t, s, uint64(len(records)))
		if diff := gocmp.Diff(wholeLog(t, plain, 0), wholeLog(t, s, 0)); diff != "" {
			t.Fatalf("logs differ (-one batch +many):\n%s", diff)
		}
		if diff := gocmp.Diff(plain.Partition(0), s.Partition(0), ofTheBatches); diff != "" {
			t.Fatalf("metas differ:\n%s", diff)
		}
	})
}

// ofTheBatches are the fields of a meta that depend on how records were batched: the entries of a commit share a block.
var ofTheBatches = cmpopts.IgnoreFields(buffer.Meta{}, "LogBytes")

func TestBadRecordsGoAside(t *testing.T) {
	ctx := context.Background()
	s := open(t, buffer.Memory())
	defer s.Close()
	n := newNode(t, s, ingest.DefaultOptions("clicks"), 3)
	good := record(0, schema.Click{UserID: "a", ItemID: "x", EventTime: noon})
	undecodable := source.Record{Offset: 1, ArrivedAt: 7, Key: []byte("k"), Value: []byte("not json")}
	panics := source.Record{Offset: 2, Value: []byte("panic")}
	invalid := record(3, schema.Click{UserID: "a", EventTime: noon})
	ahead := record(4, schema.Click{UserID: "a", ItemID: "x", EventTime: noon.Add(11 * time.Minute)})
	ahead.ArrivedAt = schema.ArrivalTime(noon)
	oversize := source.Record{Offset: 5, Value: bytes.Repeat([]byte{'x'}, schema.MaxRecordBytes+1)}
	late := record(6, schema.Click{UserID: "a", ItemID: "x", EventTime: noon.Add(-time.Minute)})
	duplicate := record(7, schema.Click{UserID: "a", ItemID: "x", EventTime: noon})
	must(t, n.Apply(ctx, 3, batch(good, undecodable, panics, invalid, ahead, oversize, late, duplicate)))

	got := map[schema.Offset]schema.Reason{}
	for r, err := range s.Aside(0) {
		must(t, err)
		got[r.Offset] = r.Reason
		if r.Topic != "clicks" || r.Partition != 3 || r.Detail == "" {
			t.Errorf("record aside lacks its origin or its detail: %+v", r)
		}
		if r.Offset == 1 && (string(r.Value) != "not json" || string(r.Key) != "k" || r.ArrivedAt != 7) {
			t.Errorf("record aside lost its bytes: %+v", r)
		}
	}
	want := map[schema.Offset]schema.Reason{
		1: schema.ReasonUndecodable, 2: schema.ReasonUndecodable, 3: schema.ReasonInvalid, 4: schema.ReasonInvalid,
		5: schema.ReasonOversize, 6: schema.ReasonLate,
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("aside differs (-want +got):\n%s", diff)
	}
	balance(t, s, 8)
	if d := n.Totals().Counts.ByReason(schema.ReasonDuplicate); d != 1 {
		t.Errorf("%d duplicates, want 1", d)
	}
}

func TestEndIsOneEndForAllPartitions(t *testing.T) {
	ctx := context.Background()
	s := open(t, buffer.Memory())
	defer s.Close()
	n := newNode(t, s, ingest.DefaultOptions("clicks"), 0, 1, 2)
	end := func(wantEpoch schema.Epoch, wantEntries ...int) {
		t.Helper()
		must(t, n.End(ctx))
		for p, want := range wantEntries {
			m := s.Partition(schema.Partition(p))
			if m.Window.Epoch != wantEpoch || !m.Window.Ended || int(m.NextEmit) != want {
				t.Errorf("partition %d: epoch %d ended %v entries %d, want epoch %d and %d entries", p, m.Window.Epoch, m.Window.Ended, m.NextEmit, wantEpoch, want)
			}
		}
	}
	must(t, n.Apply(ctx, 1, batch(record(0, schema.Click{UserID: "a", ItemID: "x", EventTime: noon}))))
	end(1, 1, 2, 1)
	end(1, 1, 2, 1) // nothing came since
	must(t, n.Apply(ctx, 0, batch(record(0, schema.Click{UserID: "a", ItemID: "x", EventTime: noon}))))
	end(2, 3, 3, 2)
	if e := wholeLog(t, s, 0); e[1].Part.Epoch != 1 || e[1].Part.Cause != schema.CauseEnd || e[2].Kind != buffer.KindEnd || e[2].Mark.Offset != 1 {
		t.Errorf("log of partition 0: %+v", e)
	}
	n.Revoke(2)
	if err := n.Apply(ctx, 2, source.Batch{}); err == nil {
		t.Error("apply to a revoked partition went through")
	}
}

func TestIdleTimeMovesTheWatermark(t *testing.T) {
	ctx := context.Background()
	s := open(t, buffer.Memory())
	defer s.Close()
	o := ingest.DefaultOptions("clicks")
	clock := time.Unix(0, 0)
	o.Now = func() time.Time { return clock }
	n := newNode(t, s, o, 0, 1)
	must(t, n.Apply(ctx, 0, batch(record(0, schema.Click{UserID: "a", ItemID: "x", EventTime: noon}))))
	base := noon.Add(-o.Window.LatenessBound)

	pass := func(d time.Duration) {
		t.Helper()
		for range 2 { // twice: what no time passes for must not tick
			for p, next := range []schema.Offset{1, 0} {
				must(t, n.Apply(ctx, schema.Partition(p), source.Batch{Next: next, HighWatermark: next}))
			}
			clock = clock.Add(d)
			d = 0
		}
	}
	want := func(p schema.Partition, watermark schema.EventTime, entries int) {
		t.Helper()
		m := s.Partition(p)
		if m.Window.Watermark != watermark || int(m.NextEmit) != entries {
			t.Fatalf("partition %d: watermark %d with %d entries, want %d with %d", p, m.Window.Watermark, m.NextEmit, watermark, entries)
		}
	}
	pass(0)
	pass(30 * time.Second) // not longer than IdleAfter
	want(0, base, 0)
	want(1, schema.BeginningOfTime, 0)
	pass(500 * time.Millisecond) // beyond, but a tick is worth a second
	want(0, base, 0)
	want(1, base, 1) // never had a record: it goes with partition 0
	pass(14500*time.Millisecond + time.Millisecond)
	want(0, base.Add(15001*time.Millisecond), 2) // the part by age, and the tick
	want(1, base.Add(15001*time.Millisecond), 2)
	if e := wholeLog(t, s, 0); e[0].Part.Cause != schema.CauseAge || e[1].Kind != buffer.KindTick || e[1].Mark.Watermark != base.Add(15001*time.Millisecond) {
		t.Fatalf("log of partition 0: %+v", e)
	}
	pass(time.Hour)
	closed := s.Partition(0)
	if n.Stats().Partitions[0].Sessions != 0 {
		t.Fatal("the session is still open an hour later")
	}
	pass(time.Hour) // nothing is open and nothing waits: the log of a quiet topic does not grow
	want(0, closed.Window.Watermark, int(closed.NextEmit))
	balance(t, s, 1)
}

func TestAFetchBelowTheEndIsNotIdle(t *testing.T) {
	ctx := context.Background()
	s := open(t, buffer.Memory())
	defer s.Close()
	o := ingest.DefaultOptions("clicks")
	clock := time.Unix(0, 0)
	o.Now = func() time.Time { return clock }
	n := newNode(t, s, o, 0)
	must(t, n.Apply(ctx, 0, batch(record(0, schema.Click{UserID: "a", ItemID: "x", EventTime: noon}))))
	for range 3 {
		clock = clock.Add(time.Hour)
		must(t, n.Apply(ctx, 0, source.Batch{Next: 1, HighWatermark: 9}))
	}
	if e := s.Partition(0).NextEmit; e != 0 {
		t.Errorf("%d entries, want none", e)
	}
	if lag := n.Stats().Partitions[0].Lag; lag != 8 {
		t.Errorf("lag %d, want 8", lag)
	}
}

func TestAUserOnTwoPartitionsIsCountedOnce(t *testing.T) {
	ctx := context.Background()
	s := open(t, buffer.Memory())
	defer s.Close()
	var out bytes.Buffer
	o := ingest.DefaultOptions("clicks")
	o.Log = slog.New(slog.NewTextHandler(&out, nil))
	n := newNode(t, s, o, 0, 1)
	for i := range 4 {
		for _, p := range []schema.Partition{0, 1} {
			must(t, n.Apply(ctx, p, batch(
				record(2*i, schema.Click{UserID: "both", ItemID: "x", EventTime: noon + schema.EventTime(i)}),
				record(2*i+1, schema.Click{UserID: fmt.Sprint("only", p), ItemID: "x", EventTime: noon + schema.EventTime(i)}))))
		}
	}
	if split := n.Stats().SplitUsers; split != 1 {
		t.Errorf("%d split users, want 1", split)
	}
	if c := strings.Count(out.String(), "level=WARN"); c != 1 || !strings.Contains(out.String(), "Kafka key") {
		t.Errorf("%d warnings:\n%s", c, out.String())
	}
}

func TestOffsetsAndStats(t *testing.T) {
	ctx := context.Background()
	s := open(t, buffer.Memory())
	defer s.Close()
	n := newNode(t, s, ingest.DefaultOptions("clicks"), 1, 0)
	// Offset 1 and 2 were compacted away, or are control records.
	must(t, n.Apply(ctx, 1, source.Batch{Records: []source.Record{record(0, schema.Click{UserID: "a", ItemID: "x", EventTime: noon})}, Next: 3, HighWatermark: 5}))
	if diff := gocmp.Diff(map[schema.Partition]schema.Offset{0: 0, 1: 3}, n.Offsets()); diff != "" {
		t.Error(diff)
	}
	stats := n.Stats().Partitions
	want := []ingest.PartitionStats{
		{Partition: 0, Watermark: schema.BeginningOfTime},
		{Partition: 1, NextOffset: 3, Lag: 2, Watermark: noon.Add(-5 * time.Second), Sessions: 1, Pending: 1},
	}
	if diff := gocmp.Diff(want, stats); diff != "" {
		t.Error(diff)
	}
}
