package decode_test

import (
	"encoding/hex"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
	"github.com/hamba/avro/v2"
)

// schemaFile writes a schema to a file and returns a decoder for it.
func schemaFile(t testing.TB, name, text string, c decode.Config) (*decode.Decoder, error) {
	t.Helper()
	c.SchemaFile = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(c.SchemaFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return decode.New(c)
}

func avroDecoder(t testing.TB, text string, c decode.Config) *decode.Decoder {
	t.Helper()
	d, err := schemaFile(t, "click.avsc", text, c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func marshal(t testing.TB, text string, v any) []byte {
	t.Helper()
	b, err := avro.Marshal(avro.MustParse(text), v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// clickAvro is what a shop would write: everything but the ids and the time may be absent.
const clickAvro = `{"type":"record","name":"Click","namespace":"shop","fields":[
	{"name":"user_id","type":"string"},
	{"name":"item_id","type":"string"},
	{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"action","type":["null",{"type":"enum","name":"Action","symbols":["EXPOSURE","CLICK","CART","PURCHASE"]}],"default":null},
	{"name":"event_id","type":["null","string"],"default":null},
	{"name":"session_id","type":["null","string"],"default":null},
	{"name":"scene","type":["null","string"],"default":null},
	{"name":"item","type":["null",{"type":"record","name":"Item","fields":[
		{"name":"category","type":["null","string"],"default":null},
		{"name":"seller","type":["null","string"],"default":null},
		{"name":"price","type":["null","double"],"default":null}]}],"default":null},
	{"name":"context","type":["null",{"type":"map","values":"string"}],"default":null}]}`

var fullOfAvro = map[string]any{
	"user_id": "u1", "item_id": "i9", "timestamp": time.UnixMilli(1700000000000), "action": map[string]any{"shop.Action": "CART"},
	"event_id": "e1", "session_id": "s1", "scene": "home",
	"item": map[string]any{"shop.Item": map[string]any{
		"category": map[string]any{"string": "c1"}, "seller": map[string]any{"string": "s7"}, "price": map[string]any{"double": 12.5}}},
	"context": map[string]any{"map": map[string]any{"device": "ios"}},
}

var fullClickWant = schema.Click{UserID: "u1", ItemID: "i9", EventTime: 1700000000000, Action: "cart", EventID: "e1", SessionID: "s1",
	Scene: "home", Item: schema.ItemInfo{Category: "c1", Seller: "s7", Price: 12.5}, Context: []byte(`{"device":"ios"}`)}

func TestAvro(t *testing.T) {
	at := time.UnixMilli(1700000000000)
	plain := schema.Click{UserID: "u1", ItemID: "i9", EventTime: 1700000000000, Action: schema.ActionClick}
	with := func(change func(*schema.Click)) schema.Click {
		c := plain
		change(&c)
		return c
	}
	record := func(fields string) string { return `{"type":"record","name":"Click","fields":[` + fields + `]}` }
	const ids = `{"name":"user_id","type":"string"},{"name":"item_id","type":"string"}`
	for name, c := range map[string]struct {
		schema string
		fields map[string]string
		value  any
		want   schema.Click
	}{
		"all fields": {clickAvro, nil, fullOfAvro, fullClickWant},
		"only what must be": {clickAvro, nil, map[string]any{"user_id": "u1", "item_id": "i9", "timestamp": at,
			"action": nil, "event_id": nil, "session_id": nil, "scene": nil, "item": nil, "context": nil}, plain},
		"fields that a later version of the schema has": {
			record(`{"name":"new","type":{"type":"array","items":{"type":"map","values":["null","int","float","boolean","bytes"]}}},` + ids +
				`,{"name":"hash","type":{"type":"fixed","name":"Hash","size":4}},{"name":"timestamp","type":"long"},{"name":"more","type":["null","Click"]}`),
			nil, map[string]any{"new": []any{map[string]any{"a": map[string]any{"int": 7}, "b": map[string]any{"bytes": []byte("x")}}, map[string]any{}},
				"user_id": "u1", "item_id": "i9", "hash": [4]byte{1, 2, 3, 4}, "timestamp": int64(1700000000000),
				"more": map[string]any{"Click": map[string]any{"new": []any{}, "user_id": "u2", "item_id": "i2", "hash": [4]byte{}, "timestamp": int64(1), "more": nil}}}, plain},
		"as Java's tools write it": {record(`{"name":"user_id","type":{"type":"string","avro.java.string":"String"},"doc":"who","aliases":["visitor"]},{"name":"item_id","type":["null",{"type":"string","avro.java.string":"String"}]},` +
			`{"name":"timestamp","type":["null",{"type":"long","connect.version":1,"connect.name":"org.apache.kafka.connect.data.Timestamp","logicalType":"timestamp-millis"}],"default":null}`), nil,
			map[string]any{"user_id": "u1", "item_id": "i9", "timestamp": at}, plain},
		"microseconds": {record(ids + `,{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-micros"}}`), nil,
			map[string]any{"user_id": "u1", "item_id": "i9", "timestamp": at.Add(999 * time.Microsecond)}, plain},
		"nanoseconds": {record(ids + `,{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-nanos"}}`), nil,
			map[string]any{"user_id": "u1", "item_id": "i9", "timestamp": at.UnixNano() + 999_999}, plain},
		"before 1970": {record(ids + `,{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-micros"}}`), nil,
			map[string]any{"user_id": "u1", "item_id": "i9", "timestamp": time.UnixMicro(-1)}, with(func(c *schema.Click) { c.EventTime = -1 })},
		"a time as text": {record(ids + `,{"name":"timestamp","type":["long","string"]}`), nil,
			map[string]any{"user_id": "u1", "item_id": "i9", "timestamp": "2023-11-15T00:13:20+02:00"}, plain},
		"ids of every type": {
			record(`{"name":"user_id","type":"long"},{"name":"item_id","type":"int"},{"name":"timestamp","type":"long"},{"name":"event_id","type":"bytes"},` +
				`{"name":"session_id","type":["null","int","string"]},{"name":"scene","type":{"type":"enum","name":"Scene","symbols":["Home","Search"]}}`),
			nil, map[string]any{"user_id": int64(-9007199254740993), "item_id": 42, "timestamp": int64(1700000000000), "event_id": []byte("e1"), "session_id": 7, "scene": "Search"},
			with(func(c *schema.Click) {
				c.UserID, c.ItemID, c.EventID, c.SessionID, c.Scene = "-9007199254740993", "42", "e1", "7", "Search"
			})},
		"a decimal price": {record(ids + `,{"name":"timestamp","type":"long"},{"name":"item","type":{"type":"record","name":"Item","fields":[` +
			`{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}}]}}`), nil,
			map[string]any{"user_id": "u1", "item_id": "i9", "timestamp": int64(1700000000000), "item": map[string]any{"price": big.NewRat(-1999, 100)}},
			with(func(c *schema.Click) { c.Item.Price = -19.99 })},
		"a whole price": {record(ids + `,{"name":"timestamp","type":"long"},{"name":"cost","type":"int"}`), map[string]string{"price": "cost"},
			map[string]any{"user_id": "u1", "item_id": "i9", "timestamp": int64(1700000000000), "cost": 5}, with(func(c *schema.Click) { c.Item.Price = 5 })},
		"mapped, nested, through a union and a map": {
			record(`{"name":"visitor","type":["null",{"type":"record","name":"Visitor","fields":[{"name":"id","type":["int","string"]}]}]},` +
				`{"name":"at","type":"long"},{"name":"props","type":{"type":"map","values":["string","long"]}}`),
			map[string]string{"user_id": "visitor.id", "timestamp": "at", "item_id": "props.sku", "scene": "props.page"},
			map[string]any{"visitor": map[string]any{"Visitor": map[string]any{"id": map[string]any{"string": "u1"}}}, "at": int64(1700000000000),
				"props": map[string]any{"sku": map[string]any{"string": "i9"}, "page": map[string]any{"long": int64(3)}, "other": map[string]any{"long": int64(9)}}},
			with(func(c *schema.Click) { c.Scene = "3" })},
		"a context of any shape, and a field in it": {
			record(ids + `,{"name":"timestamp","type":"long"},{"name":"context","type":{"type":"record","name":"Context","fields":[` +
				`{"name":"session","type":"string"},{"name":"tags","type":{"type":"array","items":"string"}},{"name":"none","type":{"type":"array","items":"int"}},` +
				`{"name":"raw","type":"bytes"},{"name":"x","type":["null","float"]},{"name":"n","type":"null"},{"name":"ok","type":"boolean"},` +
				`{"name":"os","type":{"type":"enum","name":"OS","symbols":["IOS"]}},{"name":"sub","type":{"type":"record","name":"Sub","fields":[]}}]}}`),
			map[string]string{"session_id": "context.session"},
			map[string]any{"user_id": "u1", "item_id": "i9", "timestamp": int64(1700000000000), "context": map[string]any{"session": "s1", "tags": []any{"a", "b\""},
				"none": []any{}, "raw": []byte{0xff}, "x": map[string]any{"float": float32(1.5)}, "n": nil, "ok": true, "os": "IOS", "sub": map[string]any{}}},
			with(func(c *schema.Click) {
				c.SessionID = "s1"
				c.Context = []byte(`{"session":"s1","tags":["a","b\""],"none":[],"raw":"/w==","x":1.5,"n":null,"ok":true,"os":"IOS","sub":{}}`)
			})},
		"a context in JSON, and a field in it": {record(ids + `,{"name":"timestamp","type":"long"},{"name":"context","type":"string"}`),
			map[string]string{"session_id": "context.session"},
			map[string]any{"user_id": "u1", "item_id": "i9", "timestamp": int64(1700000000000), "context": `{"session": 5}`},
			with(func(c *schema.Click) { c.SessionID, c.Context = "5", []byte(`{"session": 5}`) })},
		"an event that is one of several": {
			`[{"type":"record","name":"Search","fields":[{"name":"text","type":"string"}]},` + record(ids+`,{"name":"timestamp","type":"long"}`) + `]`, nil,
			map[string]any{"Click": map[string]any{"user_id": "u1", "item_id": "i9", "timestamp": int64(1700000000000)}}, plain},
	} {
		var got schema.Click
		if err := avroDecoder(t, c.schema, decode.Config{Fields: c.fields}).Decode(marshal(t, c.schema, c.value), &got); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAvroSaysWhatIsWrong(t *testing.T) {
	d := avroDecoder(t, clickAvro, decode.Config{})
	good := marshal(t, clickAvro, fullOfAvro)
	for end := range good {
		var c schema.Click
		if err := d.Decode(good[:end], &c); err == nil {
			t.Fatalf("%d of %d bytes were taken as a whole record", end, len(good))
		}
	}
	mixed := `[` + clickAvro + `,{"type":"record","name":"Odd","fields":[{"name":"user_id","type":"boolean"}]}]`
	var c schema.Click
	if err := avroDecoder(t, mixed, decode.Config{}).Decode([]byte{2, 0}, &c); err == nil || !strings.Contains(err.Error(), "user_id: it is a boolean") {
		t.Errorf("a branch that cannot be read: %v", err)
	}
	for in, want := range map[string]string{
		hex.EncodeToString(good) + "00":     "1 bytes more than its schema says",
		"0475310469390008":                  "it is damaged",                  // branch 4 of two
		"0475310469390002ff01":              "action: it is damaged",          // symbol -64
		"04ff310469390000":                  "user_id: it is not valid UTF-8", //
		"01":                                "user_id: it is damaged",         // a string of -1 bytes
		"ffffffffffffffffffffff":            "user_id: it is damaged",         // more than 64 bits
		"feffffffffffffffff01":              "user_id: it breaks off",         // a string of 2^62 bytes
		"047531046939000000000000" + "02":   "context: it breaks off",         // a map that does not come
		"04753104693900000000000002" + "01": "context: it breaks off",         // a block of which the size does not come
	} {
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		var c schema.Click
		if err := d.Decode(b, &c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to say %q", in, err, want)
		}
	}
}

func TestAvroSchemaSaysWhatIsWrong(t *testing.T) {
	record := func(fields string) string { return `{"type":"record","name":"Click","fields":[` + fields + `]}` }
	const ids = `{"name":"user_id","type":"string"},{"name":"item_id","type":"string"},{"name":"timestamp","type":"long"}`
	for in, want := range map[string]string{
		`{`:               "schema file",
		`{"type":"what"}`: "unknown type",
		`"string"`:        "schema string: it is no record",
		record(`{"name":"visitorid","type":"string"},{"name":"item_id","type":"string"},{"name":"timestamp","type":"long"}`): "it has no user_id: say in source.fields how it is called: its fields are visitorid, item_id, timestamp",
		record(`{"name":"user_id","type":"double"}`):                                                    "user_id: it is a double, want a string or an integer",
		record(`{"name":"timestamp","type":"int"}`):                                                     "timestamp: it is a int, want a timestamp",
		record(`{"name":"timestamp","type":{"type":"int","logicalType":"date"}}`):                       "timestamp: it is a int (date)",
		record(ids + `,{"name":"action","type":["null","int"]}`):                                        "action: it is a int, want a string or an enum",
		record(ids + `,{"name":"item","type":"string"}`):                                                "item: it is a string, want a record",
		record(ids + `,{"name":"context","type":{"type":"array","items":"int"}}`):                       "context: it is a array, want an object",
		record(ids + `,{"name":"item","type":{"type":"map","values":"string"}}`):                        "item: price: it is a string, want a number",
		record(ids + `,{"name":"scene","type":{"type":"bytes","logicalType":"decimal","precision":3}}`): "scene: it is a bytes (decimal)",
	} {
		if _, err := schemaFile(t, "click.avsc", in, decode.Config{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to say %q", in, err, want)
		}
	}
	if _, err := decode.New(decode.Config{SchemaFile: filepath.Join(t.TempDir(), "none.avsc")}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a schema file that is not there: %v", err)
	}
}

// A schema can describe values that have no bytes, and any number of them. They must cost neither time nor memory.
func TestAvroOfNothing(t *testing.T) {
	const text = `{"type":"record","name":"Click","fields":[{"name":"user_id","type":"string"},{"name":"item_id","type":"string"},{"name":"timestamp","type":"long"},
		{"name":"nulls","type":{"type":"array","items":"null"}},
		{"name":"empty","type":{"type":"array","items":{"type":"record","name":"A","fields":[{"name":"x","type":{"type":"record","name":"B","fields":[{"name":"n","type":"null"}]}},{"name":"y","type":"B"}]}}},
		{"name":"deep","type":{"type":"record","name":"Deep","fields":[{"name":"in","type":["null","Deep"]}]}},
		{"name":"context","type":{"type":"record","name":"C","fields":[{"name":"nulls","type":{"type":"array","items":"null"}}]}}]}`
	d := avroDecoder(t, text, decode.Config{})
	head := "0475310469390a"
	many := "feffffffffffffffff01" // 2^62 and a bit
	var c schema.Click
	for in, want := range map[string]string{
		head + many + "00" + many + "00" + "00" + "00":       "",
		head + "00" + "00" + strings.Repeat("02", 200):       "it is damaged",
		head + "00" + "00" + "00" + many:                     "context: it is larger than a record may be",
		head + "00" + "00" + "00" + "01ffffffffffffffffff01": "context: it is damaged",
	} {
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Decode(b, &c); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", in, err, want)
		}
	}
}

func FuzzAvro(t *testing.F) {
	f := fuzz.Of(t)
	d := avroDecoder(f, clickAvro, decode.Config{})
	f.Add(marshal(f, clickAvro, fullOfAvro))
	const odd = `{"type":"record","name":"Click","fields":[{"name":"a","type":{"type":"array","items":["null","Click",{"type":"map","values":"bytes"}]}},
		{"name":"user_id","type":"long"},{"name":"item_id","type":["int","string"]},{"name":"timestamp","type":"long"},
		{"name":"context","type":{"type":"map","values":["null","string","double",{"type":"array","items":"null"},{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"]}]}]}},
		{"name":"item","type":{"type":"record","name":"I","fields":[{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":50,"scale":3}}]}}]}`
	other := avroDecoder(f, odd, decode.Config{Fields: map[string]string{"scene": "context.scene"}})
	f.Add([]byte("\x00\x02\x00\x04\x06\x00\x00\x02\x01"))
	parsed := avro.MustParse(clickAvro)
	f.Fuzz(func(t *testing.T, b []byte) {
		var c schema.Click
		if err := other.Decode(b, &c); err == nil && len(c.Context) > schema.MaxRecordBytes+4096 {
			t.Fatalf("a context of %d bytes out of %d", len(c.Context), len(b))
		}
		if err := d.Decode(b, &c); err != nil {
			return
		}
		// What is read is what the library reads.
		var want struct {
			UserID    string    `avro:"user_id"`
			ItemID    string    `avro:"item_id"`
			Timestamp time.Time `avro:"timestamp"`
			Action    *string   `avro:"action"`
			EventID   *string   `avro:"event_id"`
			SessionID *string   `avro:"session_id"`
			Scene     *string   `avro:"scene"`
			Item      *struct {
				Category *string  `avro:"category"`
				Seller   *string  `avro:"seller"`
				Price    *float64 `avro:"price"`
			} `avro:"item"`
			Context map[string]string `avro:"context"`
		}
		if err := avro.Unmarshal(parsed, b, &want); err != nil {
			return // it bounds some sizes more tightly
		}
		text := func(s *string) string {
			if s == nil {
				return ""
			}
			return *s
		}
		if c.UserID != want.UserID || c.ItemID != want.ItemID || int64(c.EventTime) != want.Timestamp.UnixMilli() || c.EventID != text(want.EventID) ||
			c.SessionID != text(want.SessionID) || c.Scene != text(want.Scene) {
			t.Fatalf("%x: got %+v, the library has %+v", b, c, want)
		}
		if want.Item != nil && (c.Item.Category != text(want.Item.Category) || c.Item.Seller != text(want.Item.Seller)) {
			t.Fatalf("%x: got %+v, the library has %+v", b, c.Item, *want.Item)
		}
	})
}

func BenchmarkAvro(b *testing.B) {
	const plainAvro = `{"type":"record","name":"Click","fields":[{"name":"user_id","type":"string"},{"name":"item_id","type":"string"},
		{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"action","type":"string"},{"name":"session_id","type":"string"}]}`
	const numbersAvro = `{"type":"record","name":"Click","fields":[{"name":"user_id","type":"long"},{"name":"item_id","type":"long"},
		{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"}},{"name":"action","type":"string"},{"name":"session_id","type":"long"}]}`
	at := time.UnixMilli(1506826800026)
	for name, c := range map[string]struct {
		schema string
		value  any
	}{
		"plain":   {plainAvro, map[string]any{"user_id": "59", "item_id": "234853", "timestamp": at, "action": "click", "session_id": "1506826329267796"}},
		"numbers": {numbersAvro, map[string]any{"user_id": 59, "item_id": 234853, "timestamp": at, "action": "click", "session_id": 1506826329267796}},
		"full":    {clickAvro, fullOfAvro},
	} {
		value := marshal(b, c.schema, c.value)
		benchmark(b, name, avroDecoder(b, c.schema, decode.Config{}), value)
		b.Run(name+"-library", func(b *testing.B) { // what it is compared with: the library into a map
			parsed := avro.MustParse(c.schema)
			b.ReportAllocs()
			for b.Loop() {
				var v map[string]any
				if err := avro.Unmarshal(parsed, value, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchmark decodes value.
func benchmark(b *testing.B, name string, d *decode.Decoder, value []byte) {
	b.Run(name, func(b *testing.B) {
		var c schema.Click
		b.SetBytes(int64(len(value)))
		b.ReportAllocs()
		for b.Loop() {
			if err := d.Decode(value, &c); err != nil {
				b.Fatal(err)
			}
		}
	})
}
