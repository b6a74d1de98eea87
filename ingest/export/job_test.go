package export_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/export"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// row is a session as a table has it.
type row struct {
	User       string
	Start, End int64
	Items      []string
}

// sessionsIn reads the rows of a sessions table back.
func sessionsIn(t fataler, f export.Format, b []byte) (rows []row) {
	t.Helper()
	_, batches := read(t, f, b)
	for _, batch := range batches {
		items := batch.Column(4).(*array.List)
		ids := items.ListValues().(*array.String)
		for i := range int(batch.NumRows()) {
			r := row{User: batch.Column(0).(*array.String).Value(i), Start: batch.Column(1).(*array.Int64).Value(i), End: batch.Column(2).(*array.Int64).Value(i)}
			from, to := items.ValueOffsets(i)
			for k := from; k < to; k++ {
				r.Items = append(r.Items, ids.Value(int(k)))
			}
			if n := batch.Column(3).(*array.Int32).Value(i); int(n) != len(r.Items) {
				t.Fatalf("user %s: clicks %d, %d items", r.User, n, len(r.Items))
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// cut is what the window's definition says of clicks that all came on time: a user's clicks, sorted by time, fall apart where
// more than the gap lies between two. Clicks of one time keep the order in which they came.
func cut(clicks []schema.Click, gap time.Duration) (rows []row) {
	users := map[string][]schema.Click{}
	for _, c := range clicks {
		users[c.UserID] = append(users[c.UserID], c)
	}
	for user, of := range users {
		slices.SortStableFunc(of, func(a, b schema.Click) int { return cmp.Compare(a.EventTime, b.EventTime) })
		for i, c := range of {
			if i == 0 || c.EventTime-of[i-1].EventTime > schema.EventTime(gap.Milliseconds()) {
				rows = append(rows, row{User: user, Start: int64(c.EventTime)})
			}
			last := &rows[len(rows)-1]
			last.End, last.Items = int64(c.EventTime), append(last.Items, c.ItemID)
		}
	}
	return rows
}

func sorted(rows []row) []row {
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Start, b.Start)) })
	return rows
}

// TestSessionsAreThoseOfAnOfflineCut: whatever the parts were, however many partitions, and whether there was room to hold
// sessions or not, the sessions exported are the sessions of the clicks; and the rows are the same every time.
func TestSessionsAreThoseOfAnOfflineCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.IntRange(1, 4).Draw(t, "partitions")
		c := window.DefaultConfig()
		c.Gap, c.LatenessBound = time.Minute, 10*time.Second
		c.PartAge = time.Duration(rapid.IntRange(0, 90).Draw(t, "part age")) * time.Second
		c.PartClicks = rapid.IntRange(0, 4).Draw(t, "part clicks")
		h := newHouse(t, partitions, c)
		defer h.close()
		clicks := make([][]schema.Click, partitions)
		at := make([]int64, partitions)
		for n := rapid.IntRange(0, 120).Draw(t, "clicks"); n > 0; n-- {
			user := rapid.IntRange(0, 7).Draw(t, "user")
			p := user % partitions
			at[p] += rapid.Int64Range(0, 40_000).Draw(t, "step")
			early := rapid.Int64Range(0, min(at[p], 10_000)).Draw(t, "early") // as late as the bound allows
			k := len(clicks[p])
			clicks[p] = append(clicks[p], schema.Click{UserID: fmt.Sprint("u", user), ItemID: fmt.Sprint("i", p, ".", k), EventTime: schema.EventTime(1704103200000 + at[p] - early)})
		}
		var all []schema.Click
		for p := range clicks {
			var values []string
			for _, c := range clicks[p] {
				text, err := json.Marshal(map[string]any{"user_id": c.UserID, "item_id": c.ItemID, "timestamp": int64(c.EventTime)})
				if err != nil {
					t.Fatalf("%v", err)
				}
				values = append(values, string(text))
			}
			if len(values) > 0 {
				h.take(schema.Partition(p), values...)
			}
			all = append(all, clicks[p]...)
		}
		h.end()
		format := rapid.SampledFrom([]export.Format{export.Arrow, export.Parquet}).Draw(t, "format")
		b, sum, err := h.export(format, export.Options{What: export.Sessions})
		if err != nil {
			t.Fatalf("%v", err)
		}
		got := sessionsIn(t, format, b)
		if diff := gocmp.Diff(sorted(cut(all, c.Gap)), sorted(got)); diff != "" {
			t.Fatalf("the sessions are others (-cut offline +exported):\n%s", diff)
		}
		if sum.Rows != int64(len(got)) || sum.OpenSessions != 0 || sum.CutSessions != 0 {
			t.Fatalf("%d rows, and the summary says %+v", len(got), sum)
		}
		little := rapid.Int64Range(1, 2000).Draw(t, "held bytes")
		tight, _, err := h.export(format, export.Options{What: export.Sessions, HeldBytes: little})
		if err != nil {
			t.Fatalf("%v", err)
		}
		if diff := gocmp.Diff(got, sessionsIn(t, format, tight)); diff != "" {
			t.Fatalf("with %d bytes for held sessions the rows are others (-all held +these):\n%s", little, diff)
		}
		// Bounds cut the same rows out of the log whether it is read from the beginning or not.
		o := export.Options{What: export.Sessions, Slack: c.LatenessBound, HeldBytes: little}
		o.Since = 1704103200000 + rapid.Int64Range(0, 3_000_000).Draw(t, "since")
		o.Until = o.Since + rapid.Int64Range(1, 3_000_000).Draw(t, "until")
		b2, sum2, err := h.export(format, o)
		if err != nil {
			t.Fatalf("%v", err)
		}
		var within []row
		for _, r := range got {
			if r.End >= o.Since && r.End < o.Until {
				within = append(within, r)
			}
		}
		if diff := gocmp.Diff(within, sessionsIn(t, format, b2)); diff != "" || sum2.OpenSessions != 0 || sum2.CutSessions != 0 {
			t.Fatalf("within %d and %d, with slack %v, %+v (-filtered +these):\n%s", o.Since, o.Until, o.Slack, sum2, diff)
		}
		// Also where it is not read to its end: a session is due when its gap ends at the latest, a click when its part is as old.
		short := o
		short.Span = c.Gap
		b4, sum4, err := h.export(format, short)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if diff := gocmp.Diff(within, sessionsIn(t, format, b4)); diff != "" || sum4.OpenSessions != 0 || sum4.CutSessions != 0 {
			t.Fatalf("before %d, read up to a gap behind it, %+v (-filtered +these):\n%s", o.Until, sum4, diff)
		}
		o.What = export.Clicks
		if c.PartAge > 0 {
			o.Span = c.PartAge
		}
		_, sum3, err := h.export(format, o)
		if err != nil {
			t.Fatalf("%v", err)
		}
		inBounds := int64(0)
		for _, c := range all {
			if at := int64(c.EventTime); at >= o.Since && at < o.Until {
				inBounds++
			}
		}
		if sum3.Rows != inBounds {
			t.Fatalf("%d clicks are within %d and %d, exported %d", inBounds, o.Since, o.Until, sum3.Rows)
		}
		if again, _, _ := h.export(format, export.Options{What: export.Sessions}); !bytes.Equal(b, again) {
			t.Fatalf("the same log gave other bytes")
		}
	})
}

// TestOpenSessionsAreAllOfThem: closed and open sessions together are all clicks that were emitted.
func TestOpenSessionsAreAllOfThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := window.DefaultConfig()
		c.Gap, c.LatenessBound, c.PartAge, c.PartClicks = time.Minute, 0, time.Second, 2
		h := newHouse(t, 1, c)
		defer h.close()
		var values []string
		at := int64(1704103200000)
		for n := rapid.IntRange(1, 60).Draw(t, "clicks"); n > 0; n-- {
			at += rapid.Int64Range(1, 30_000).Draw(t, "step")
			values = append(values, fmt.Sprintf(`{"user_id":"u%d","item_id":"i","timestamp":%d}`, rapid.IntRange(0, 5).Draw(t, "user"), at))
		}
		h.take(0, values...)
		clicks := func(open bool) (n int, sum export.Summary) {
			b, sum, err := h.export(export.Arrow, export.Options{What: export.Sessions, Open: open})
			if err != nil {
				t.Fatalf("%v", err)
			}
			rows := sessionsIn(t, export.Arrow, b)
			for _, r := range rows {
				n += len(r.Items)
			}
			if int64(len(rows)) != sum.Rows {
				t.Fatalf("%d rows, and the summary says %d", len(rows), sum.Rows)
			}
			return n, sum
		}
		_, closed := clicks(false)
		emitted, all := clicks(true)
		if all.Rows != closed.Rows+closed.OpenSessions || all.OpenSessions != closed.OpenSessions {
			t.Fatalf("%d rows with the open ones, %d without, %d open", all.Rows, closed.Rows, closed.OpenSessions)
		}
		_, rows, err := h.export(export.Arrow, export.Options{What: export.Clicks})
		if err != nil || rows.Rows != int64(emitted) {
			t.Fatalf("%d clicks in sessions, %d rows of clicks, %v", emitted, rows.Rows, err)
		}
	})
}

// TestCutSessions: what retention has begun to remove cannot be exported, and is counted.
func TestCutSessions(t *testing.T) {
	c := window.DefaultConfig()
	c.LatenessBound, c.PartAge, c.PartClicks = 0, time.Second, 0
	h := newHouseOf(t, 1, c, buffer.Options{LogBytes: 1})
	defer h.close()
	const users = 9000
	var values []string
	for round := range 3 { // a session of each user in three parts; the second and the third follow those of all others
		for u := range users {
			values = append(values, fmt.Sprintf(`{"user_id":"u%d","item_id":"i%d","timestamp":%d}`, u, round, 1704103200000+round*600_000+u*100))
		}
	}
	h.take(0, values...)
	h.end()
	metas, err := h.store.Partitions()
	if err != nil || metas[0].FirstEmit == 0 {
		t.Fatalf("nothing was removed: %+v, %v", metas[0], err)
	}
	var first schema.Part // the first of the log
	entries, err := h.store.Log(0, metas[0].FirstEmit, 1)
	if err != nil {
		t.Fatal(err)
	}
	first = entries[0].Part
	b, sum, err := h.export(export.Arrow, export.Options{What: export.Sessions})
	if err != nil {
		t.Fatal(err)
	}
	rows := sessionsIn(t, export.Arrow, b)
	if len(rows) == 0 || sum.CutSessions == 0 || sum.Rows+sum.CutSessions != users || sum.OpenSessions != 0 {
		t.Errorf("the log begins with part %d of %s: %+v", first.Number, first.UserID, sum)
	}
	for _, r := range rows {
		if len(r.Items) != 3 {
			t.Fatalf("a session of which something is missing: %+v", r)
		}
	}
	// None of those that were cut end here, so none is missed.
	last := slices.MaxFunc(rows, func(a, b row) int { return cmp.Compare(a.End, b.End) })
	_, sum, err = h.export(export.Arrow, export.Options{What: export.Sessions, Since: last.End})
	if err != nil || sum.Rows != 1 || sum.CutSessions != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// TestUntilReadsNoFurther: what is due so much later that no click of it can be before the bound is not read.
func TestUntilReadsNoFurther(t *testing.T) {
	h := newHouse(t, 1, window.DefaultConfig())
	defer h.close()
	var values []string
	const minutes, visits = 10 * 60_000, 50
	for i := range visits {
		values = append(values, fmt.Sprintf(`{"user_id":"u%d","item_id":"i","timestamp":%d}`, i, 1704103200000+i*minutes))
	}
	h.take(0, values...)
	run := func(what export.What, o export.Options) (read, total int64, sum export.Summary) {
		o.What = what
		job, err := export.New(h.store, o)
		if err != nil {
			t.Fatal(err)
		}
		sink, err := export.NewSink(what, export.CSV, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if sum, err = job.Run(t.Context(), sink); err != nil {
			t.Fatal(err)
		}
		read, total, _ = job.Progress()
		return read, total, sum
	}
	until := int64(1704103200000 + 10*minutes)
	_, whole, all := run(export.Sessions, export.Options{Until: until})
	for _, what := range []export.What{export.Sessions, export.Clicks} {
		read, total, sum := run(what, export.Options{Until: until, Span: time.Hour})
		if read != total || read >= whole/2 || sum.Rows != 10 || sum.OpenSessions != 0 {
			t.Errorf("%s: %d entries read of %d, of a log of %d: %+v", what, read, total, whole, sum)
		}
	}
	if all.Rows != 10 || all.OpenSessions == 0 {
		t.Errorf("read to the end: %+v", all)
	}
	if read, _, sum := run(export.Sessions, export.Options{Until: until, Span: time.Hour, Open: true}); read != whole || sum.Rows != 10 || sum.OpenSessions != all.OpenSessions {
		t.Errorf("with the open ones %d entries are read of %d: %+v", read, whole, sum)
	}
}

// TestBatches: a batch ends with its rows, or with its bytes.
func TestBatches(t *testing.T) {
	const rows = 140_000
	r := schema.Rejected{Topic: "clicks", Reason: schema.ReasonOversize, Value: bytes.Repeat([]byte("x"), 1<<20)}
	for _, tc := range []struct {
		name    string
		rows    int
		value   []byte
		batches []int64
	}{
		{"short rows", rows, nil, []int64{128 << 10, rows - 128<<10}},
		{"long rows", 100, r.Value, []int64{64, 36}},
	} {
		r.Value = tc.value
		job, err := export.NewAside(func(yield func(schema.Rejected, error) bool) {
			for range tc.rows {
				if !yield(r, nil) {
					return
				}
			}
		}, int64(tc.rows), export.Options{What: export.Aside})
		if err != nil {
			t.Fatal(err)
		}
		var sink batches
		if _, err := job.Run(t.Context(), &sink); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(sink, tc.batches) {
			t.Errorf("%s: batches of %v rows, want %v", tc.name, sink, tc.batches)
		}
		if done, total, n := job.Progress(); done != int64(tc.rows) || total != int64(tc.rows) || n != int64(tc.rows) {
			t.Errorf("%s: progress %d of %d, %d rows", tc.name, done, total, n)
		}
	}
}

// batches is a sink that keeps the number of rows of each batch.
type batches []int64

func (b *batches) Write(r arrow.Record) error { *b = append(*b, r.NumRows()); return nil }
func (b *batches) Close() error               { return nil }

// TestTextIsRepaired: the formats demand UTF-8, Kafka does not.
func TestTextIsRepaired(t *testing.T) {
	job, err := export.NewAside(func(yield func(schema.Rejected, error) bool) {
		yield(schema.Rejected{Topic: "cli\xffcks", Detail: "fine"}, nil)
	}, 1, export.Options{What: export.Aside})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	sink, err := export.NewSink(export.Aside, export.CSV, &b)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := job.Run(t.Context(), sink)
	if err != nil || sum.Repaired != 1 || !strings.Contains(b.String(), "cli\uFFFDcks") {
		t.Errorf("%v %+v: %q", err, sum, b.String())
	}
}

// TestInterrupted: a job ends with its context, and with the error of the log.
func TestInterrupted(t *testing.T) {
	h := newStory(t)
	defer h.close()
	h.take(0, `{"user_id":"ann","item_id":"a","timestamp":1704103200000}`, "nonsense")
	h.end()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, what := range []export.What{export.Sessions, export.Clicks, export.Aside} {
		o := export.Options{What: what}
		job, err := export.New(h.store, o)
		if what == export.Aside {
			job, err = export.NewAside(h.aside(), 1, o)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := job.Run(ctx, new(batches)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	broken := errors.New("the disk is gone")
	job, err := export.NewAside(func(yield func(schema.Rejected, error) bool) { yield(schema.Rejected{}, broken) }, 1, export.Options{What: export.Aside})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := job.Run(t.Context(), new(batches)); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestOptionsNameEveryFault(t *testing.T) {
	err := export.Options{What: "parts", Since: 2, Until: 1, Open: true, HeldBytes: -1}.Validate()
	for _, want := range []string{"parts", "since 2", "open", "held_bytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %q: %v", want, err)
		}
	}
}
