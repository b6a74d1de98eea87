package schema_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

// drawRow draws any row that a log can have.
func drawRow(t *rapid.T) schema.PartsRow {
	when := rapid.Map(rapid.Int64Range(-1<<50, 1<<50), func(ms int64) schema.EventTime { return schema.EventTime(ms) })
	r := schema.PartsRow{Kind: rapid.SampledFrom([]schema.RowKind{schema.RowPart, schema.RowPart, schema.RowPart, schema.RowTick, schema.RowEnd, schema.RowGrow, schema.RowGap}).Draw(t, "kind")}
	p := &r.Part
	p.Partition = schema.Partition(rapid.Int32Range(0, 1<<30).Draw(t, "partition"))
	p.Emit = schema.Emit(rapid.Uint64().Draw(t, "emit"))
	p.Epoch = schema.Epoch(rapid.Uint32().Draw(t, "epoch"))
	p.Due = when.Draw(t, "due")
	if r.Kind != schema.RowPart {
		r.Offset = schema.Offset(rapid.Int64().Draw(t, "offset"))
		if rapid.Bool().Draw(t, "new") {
			p.Due = schema.BeginningOfTime
		}
		if r.Kind == schema.RowGrow {
			r.Partitions = rapid.Int32().Draw(t, "partitions")
		}
		return r
	}
	text := rapid.StringN(0, 12, -1)
	p.UserID, p.SessionStart = text.Draw(t, "user"), when.Draw(t, "start")
	p.Number, p.Final = rapid.Int32().Draw(t, "number"), rapid.Bool().Draw(t, "final")
	p.Cause = schema.Cause(rapid.SampledFrom([]string{"age", "clicks", "gap", "max", "end"}).Draw(t, "cause"))
	for range rapid.IntRange(0, 4).Draw(t, "clicks") {
		c := schema.Click{
			UserID: p.UserID, ItemID: text.Draw(t, "item"), EventTime: when.Draw(t, "at"), Action: schema.Action(text.Draw(t, "action")),
			EventID: text.Draw(t, "event"), SessionID: text.Draw(t, "session"), Scene: text.Draw(t, "scene"),
			Item:      schema.ItemInfo{Category: text.Draw(t, "category"), Seller: text.Draw(t, "seller"), Price: rapid.Float64().Draw(t, "price")},
			ArrivedAt: schema.ArrivalTime(when.Draw(t, "arrived")),
		}
		if context := text.Draw(t, "context"); context != "" {
			c.Context = []byte(context)
		}
		p.Clicks = append(p.Clicks, c)
	}
	return r
}

// TestPartsRoundTrip sends several batches through one builder and one reader, as a stream does.
func TestPartsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b schema.PartsBuilder
		var r schema.PartsReader
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			want := rapid.SliceOfN(rapid.Custom(drawRow), 0, 20).Draw(t, "rows")
			b.Reset()
			for i := range want {
				b.AddRow(&want[i])
			}
			header, body, err := b.Message()
			if err != nil {
				t.Fatal(err)
			}
			if b.Rows() != len(want) || b.Bytes() > 2*(len(body)+100) || len(body) > 2*b.Bytes()+45*64 /* padding */ {
				t.Fatalf("%d rows of about %d bytes; want %d rows, and it took %d bytes", b.Rows(), b.Bytes(), len(want), len(body))
			}
			batch, err := r.Read(header, body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := batch.Rows()
			if err != nil {
				t.Fatal(err)
			}
			clear(header) // what was read shares nothing with the message
			clear(body)
			if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
				t.Fatalf("read(write(rows)) differs (-want +got):\n%s", diff)
			}
		}
	})
}

// TestPartsAreAnArrowStream puts the messages one behind the other, as any Arrow reader takes them.
func TestPartsAreAnArrowStream(t *testing.T) {
	var b schema.PartsBuilder
	for _, r := range goldenRows() {
		b.AddRow(&r)
	}
	var stream bytes.Buffer
	w := ipc.NewWriter(&stream, ipc.WithSchema(schema.PartsSchema()))
	record := b.Record()
	if err := errors.Join(w.Write(record), w.Close()); err != nil {
		t.Fatal(err)
	}
	in, err := ipc.NewReader(&stream)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Release()
	if version, _ := in.Schema().Metadata().GetValue(schema.PartsFormatKey); version != schema.PartsFormat {
		t.Errorf("format %q", version)
	}
	if !in.Next() {
		t.Fatal(in.Err())
	}
	batch, err := schema.OpenParts(in.Record())
	if err != nil {
		t.Fatal(err)
	}
	got, err := batch.Rows()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenRows(), got); diff != "" {
		t.Error(diff)
	}
}

func goldenRows() []schema.PartsRow {
	return []schema.PartsRow{
		{Kind: schema.RowGrow, Part: schema.Part{Partition: 0, Emit: 0, Due: schema.BeginningOfTime}, Partitions: 4},
		{Kind: schema.RowPart, Part: schema.Part{
			Emit: 1, Due: 1_700_000_010_000, UserID: "u1", SessionStart: 1_700_000_000_000, Cause: "age",
			Clicks: []schema.Click{
				{UserID: "u1", ItemID: "i9", EventTime: 1_700_000_000_000, Action: "click", ArrivedAt: 1_700_000_000_250},
				{UserID: "u1", ItemID: "i9", EventTime: 1_700_000_004_000, Action: "cart", EventID: "e1", SessionID: "s1", Scene: "home",
					Item: schema.ItemInfo{Category: "c1", Seller: "s7", Price: 12.5}, Context: []byte(`{"device":"ios"}`), ArrivedAt: 1_700_000_004_100},
			}}},
		{Kind: schema.RowTick, Part: schema.Part{Emit: 2, Due: 1_700_000_030_000}, Offset: 2},
		{Kind: schema.RowPart, Part: schema.Part{Emit: 3, Due: 1_700_001_804_000, UserID: "u1", SessionStart: 1_700_000_000_000, Number: 1, Final: true, Cause: "gap"}},
		{Kind: schema.RowEnd, Part: schema.Part{Emit: 4, Epoch: 1, Due: 1_700_001_804_001}, Offset: 2},
	}
}

var update = flag.Bool("update", false, "write golden files that are missing")

// TestPartsGolden compares with bytes that were written when the format was: the message of the schema, then one batch.
func TestPartsGolden(t *testing.T) {
	var b schema.PartsBuilder
	for _, r := range goldenRows() {
		b.AddRow(&r)
	}
	header, body, err := b.Message()
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for _, part := range [][]byte{schema.PartsSchemaMessage(), header, body} {
		got.WriteString(hex.EncodeToString(part) + "\n")
	}
	const name = "testdata/parts.v1.hex"
	want, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) && *update {
		want, err = got.Bytes(), os.WriteFile(name, got.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got.Bytes()) {
		t.Errorf("the bytes of format %s have changed: raise PartsFormat and keep reading the old one", schema.PartsFormat)
	}
	lines := bytes.Split(want, []byte("\n"))
	header, body = make([]byte, len(lines[1])/2), make([]byte, len(lines[2])/2)
	hex.Decode(header, lines[1])
	hex.Decode(body, lines[2])
	var r schema.PartsReader
	batch, err := r.Read(header, body)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := batch.Rows()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(goldenRows(), rows); diff != "" {
		t.Error(diff)
	}
}

func TestPartsOfAnotherShapeAreRefused(t *testing.T) {
	var r schema.PartsReader
	if _, err := r.Read(schema.PartsSchemaMessage(), nil); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("a schema where a batch belongs: %v", err)
	}
	b, err := sample().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	file, err := ipc.NewFileReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	other, err := file.RecordAt(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schema.OpenParts(other); !errors.Is(err, schema.ErrCorrupt) {
		t.Errorf("a record with other columns: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// FuzzReadParts damages messages: an error, never a panic, and no more memory than the message warrants.
func FuzzReadParts(t *testing.F) {
	f := fuzz.Of(t)
	var b schema.PartsBuilder
	for _, r := range goldenRows() {
		b.AddRow(&r)
	}
	header, body, err := b.Message()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(header, body)
	f.Add(header, body[:len(body)/2])
	f.Add(header[:len(header)/2], body)
	f.Add(schema.PartsSchemaMessage(), []byte{})
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, header, body []byte) {
		var r schema.PartsReader
		batch, err := r.Read(header, body)
		var rows []schema.PartsRow
		if err == nil {
			rows, err = batch.Rows()
		}
		if err != nil {
			if !errors.Is(err, schema.ErrCorrupt) {
				t.Fatalf("fault is not an ErrCorrupt: %v", err)
			}
			return
		}
		var again schema.PartsBuilder
		for i := range rows {
			again.AddRow(&rows[i])
		}
		if n := again.Bytes(); n > 64<<10+8*(len(header)+len(body)) {
			t.Fatalf("%d bytes of message became %d bytes of rows", len(header)+len(body), n)
		}
		h, b, err := again.Message()
		if err != nil {
			t.Fatal(err)
		}
		var second schema.PartsReader
		got, err := second.Read(h, b)
		if err != nil {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		if diff := cmp.Diff(rows, must(got.Rows()), cmpopts.EquateNaNs()); diff != "" {
			t.Fatalf("what was read is another after writing it (-was +is):\n%s", diff)
		}
	})
}
