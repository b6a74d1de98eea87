package decode_test

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

func protoDecoder(t testing.TB, text string, c decode.Config) *decode.Decoder {
	t.Helper()
	d, err := schemaFile(t, "click.proto", text, c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// message compiles a schema and returns the descriptor of the message called name.
func message(t testing.TB, text, name string) protoreflect.MessageDescriptor {
	t.Helper()
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
		Accessor: protocompile.SourceAccessorFromMap(map[string]string{"click.proto": text})})}
	files, err := c.Compile(context.Background(), "click.proto")
	if err != nil {
		t.Fatal(err)
	}
	return files[0].FindDescriptorByName(protoreflect.FullName(name)).(protoreflect.MessageDescriptor)
}

// wire returns the message that text describes in Protobuf's text format.
func wire(t testing.TB, m protoreflect.MessageDescriptor, text string) []byte {
	t.Helper()
	v := dynamicpb.NewMessage(m)
	if err := prototext.Unmarshal([]byte(text), v); err != nil {
		t.Fatal(err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const clickProto = `syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
enum Action { ACTION_UNSPECIFIED = 0; ACTION_EXPOSURE = 1; ACTION_CLICK = 2; ACTION_CART = 3; ACTION_PURCHASE = 4; }
message Item { string category = 1; string seller = 2; optional double price = 3; }
message Click {
  string user_id = 1;
  string item_id = 2;
  google.protobuf.Timestamp timestamp = 3;
  Action action = 4;
  string event_id = 5;
  string session_id = 6;
  string scene = 7;
  Item item = 8;
  map<string, string> context = 40;
  repeated int32 more = 41;
}`

const fullOfProto = `user_id: "u1" item_id: "i9" timestamp { seconds: 1700000000 nanos: 999999 } action: ACTION_CART event_id: "e1" session_id: "s1" scene: "home"
	item { category: "c1" seller: "s7" price: 12.5 } context { key: "device" value: "ios" } more: 1 more: 2`

func TestProtobuf(t *testing.T) {
	plain := schema.Click{UserID: "u1", ItemID: "i9", EventTime: 1700000000000, Action: schema.ActionClick}
	with := func(change func(*schema.Click)) schema.Click {
		c := plain
		change(&c)
		return c
	}
	const three = "syntax = \"proto3\"; package shop;\n"
	const ids = "string user_id = 1; string item_id = 2; int64 timestamp = 3; "
	const idsText = `user_id: "u1" item_id: "i9" timestamp: 1700000000000 `
	for name, c := range map[string]struct {
		schema, message string
		fields          map[string]string
		text            string
		want            schema.Click
	}{
		"all fields":        {clickProto, "Click", nil, fullOfProto, fullClickWant},
		"only what must be": {clickProto, "shop.Click", nil, `user_id: "u1" item_id: "i9" timestamp { seconds: 1700000000 }`, plain},
		"an action by its number": {clickProto, "Click", nil, `user_id: "u1" item_id: "i9" timestamp { seconds: 1700000000 } action: 9`,
			with(func(c *schema.Click) { c.Action = "9" })},
		"before 1970": {clickProto, "Click", nil, `user_id: "u1" item_id: "i9" timestamp { seconds: -1 nanos: 999000001 }`,
			with(func(c *schema.Click) { c.EventTime = -1 })},
		"ids of every type": {three + "message M { uint64 user_id = 1; sint64 item_id = 2; fixed64 timestamp = 3; bytes event_id = 4; sfixed32 session_id = 5; " +
			"enum Scene { Home = 0; Search = 1; } Scene scene = 6; message I { int32 category = 1; uint32 seller = 2; float price = 3; } I item = 7; }", "", nil,
			`user_id: 18446744073709551615 item_id: -9223372036854775808 timestamp: 1700000000000 event_id: "e1" session_id: -7 scene: Search item { category: -1 seller: 4294967295 price: 0.5 }`,
			with(func(c *schema.Click) {
				c.UserID, c.ItemID, c.EventID, c.SessionID, c.Scene = "18446744073709551615", "-9223372036854775808", "e1", "-7", "Search"
				c.Item = schema.ItemInfo{Category: "-1", Seller: "4294967295", Price: 0.5}
			})},
		"ids of the other types": {three + "message M { int64 user_id = 1; sfixed64 item_id = 2; sint64 timestamp = 3; fixed32 event_id = 4; sint32 session_id = 5; uint64 cost = 600; }", "",
			map[string]string{"price": "cost"}, `user_id: -1 item_id: -2 timestamp: 1700000000000 event_id: 7 session_id: -8 cost: 18446744073709551615`,
			with(func(c *schema.Click) {
				c.UserID, c.ItemID, c.EventID, c.SessionID, c.Item.Price = "-1", "-2", "7", "-8", 18446744073709551615
			})},
		"a time as text": {three + "message M { string user_id = 1; string item_id = 2; string timestamp = 3; }", "", nil,
			`user_id: "u1" item_id: "i9" timestamp: "2023-11-15T00:13:20+02:00"`, plain},
		"wrappers": {three + `import "google/protobuf/wrappers.proto"; message M { google.protobuf.StringValue user_id = 1; google.protobuf.Int64Value item_id = 2;
			google.protobuf.UInt64Value timestamp = 3; message I { google.protobuf.DoubleValue price = 1; } I item = 4; }`, "", nil,
			`user_id { value: "u1" } item_id { value: 9 } timestamp { value: 1700000000000 } item { price { value: 3 } }`,
			with(func(c *schema.Click) { c.ItemID, c.Item.Price = "9", 3 })},
		"mapped, nested, through a map": {three + "message Outer { message Visitor { string id = 1; } Visitor visitor = 1; int64 at = 2; map<string, string> props = 3; map<string, Visitor> who = 4; }",
			"Outer", map[string]string{"user_id": "visitor.id", "timestamp": "at", "item_id": "props.sku", "scene": "props.page", "session_id": "who.now.id"},
			`visitor { id: "u1" } at: 1700000000000 props { key: "sku" value: "i9" } props { key: "page" value: "p" } props { key: "x" value: "y" } who { key: "now" value { id: "s" } }`,
			with(func(c *schema.Click) { c.Scene, c.SessionID = "p", "s" })},
		"a context of any shape, and a field in it": {three + `import "google/protobuf/struct.proto"; message M { ` + ids +
			`message Context { string session = 1; repeated string tags = 2; google.protobuf.Struct any = 3; int64 big_one = 4; } Context context = 4; }`, "",
			map[string]string{"session_id": "context.session"},
			idsText + `context { session: "s1" tags: "a" tags: "b" big_one: 5 any { fields { key: "k" value { bool_value: true } } } }`,
			with(func(c *schema.Click) {
				c.SessionID, c.Context = "s1", []byte(`{"session":"s1","tags":["a","b"],"any":{"k":true},"big_one":"5"}`)
			})},
		"a context in a map": {three + "message M { " + ids + "message C { string os = 1; } map<string, C> props = 4; }", "", map[string]string{"context": "props.ctx", "scene": "props.ctx.os"},
			idsText + `props { key: "x" } props { key: "ctx" value { os: "ios" } }`, with(func(c *schema.Click) { c.Scene, c.Context = "ios", []byte(`{"os":"ios"}`) })},
		"a context in JSON, and a field in it": {three + "message M { " + ids + "string context = 4; }", "", map[string]string{"session_id": "context.session"},
			idsText + `context: "{\"session\": 5}"`, with(func(c *schema.Click) { c.SessionID, c.Context = "5", []byte(`{"session": 5}`) })},
		"a context by numbers": {three + "message M { " + ids + "map<int32, bool> context = 4; }", "", nil, idsText + `context { key: 5 value: true }`,
			with(func(c *schema.Click) { c.Context = []byte(`{"5":true}`) })},
		"an empty context": {three + "message M { " + ids + "message C {} C context = 4; }", "", nil, idsText + `context {}`,
			with(func(c *schema.Click) { c.Context = []byte(`{}`) })},
		"one of several": {three + "message M { " + ids + "oneof place { string scene = 4; string page = 5; } }", "", nil, idsText + `scene: "home"`,
			with(func(c *schema.Click) { c.Scene = "home" })},
		"defaults of proto2": {`syntax = "proto2"; message M { required string user_id = 1; required string item_id = 2; optional int64 timestamp = 3;
			enum Kind { VIEW = 1; CART = 2; } optional Kind action = 4 [default = CART]; optional string scene = 5 [default = "home"];
			message I { optional float price = 1 [default = 2.5]; optional int32 seller = 2 [default = 7]; } optional I item = 6; optional group G = 7 { optional int32 x = 1; } }`,
			"M", nil, idsText + `G { x: 1 }`,
			with(func(c *schema.Click) {
				c.Action, c.Scene, c.Item = "cart", "home", schema.ItemInfo{Price: 2.5, Seller: "7"}
			})},
		"editions": {"edition = \"2023\"; message M { " + ids + "}", "", nil, idsText, plain},
		"options of one's own, and their import": {three + `import "confluent/meta.proto"; message M { option (confluent.message_meta).doc = "d";
			string user_id = 1 [(confluent.field_meta) = { doc: "who" }, json_name = "u"]; string item_id = 2 [deprecated = true]; int64 timestamp = 3; }`, "", nil, "", plain},
	} {
		d := protoDecoder(t, c.schema, decode.Config{Fields: c.fields, SchemaMessage: c.message})
		var value []byte
		if c.text == "" { // what the compiler of this test cannot compile
			value = wire(t, message(t, three+"message M { "+ids+"}", "shop.M"), idsText)
		} else {
			full := c.message
			if full == "" {
				full = "M"
			}
			if pkg := "shop."; !strings.HasPrefix(full, pkg) && strings.Contains(c.schema, "package shop") {
				full = pkg + full
			}
			value = wire(t, message(t, c.schema, full), c.text)
		}
		var got schema.Click
		if err := d.Decode(value, &got); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestProtobufContextThatIsDamaged(t *testing.T) {
	d := protoDecoder(t, clickProto, decode.Config{SchemaMessage: "Click"})
	for _, in := range []string{"c202020805", "c20203080000", "c2020412001205", "c202050a01611a00"} { // entries whose key is a number, and so on
		b, err := hex.DecodeString("1a020805" + in)
		if err != nil {
			t.Fatal(err)
		}
		var c schema.Click
		if err := d.Decode(b, &c); err != nil && !strings.Contains(err.Error(), "it is no such message") {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// What comes twice on the wire is what Protobuf says that it is.
func TestProtobufOnTheWire(t *testing.T) {
	const text = `syntax = "proto3"; message M { string user_id = 1; string item_id = 2; int64 timestamp = 3; message I { string category = 1; string seller = 2; } I item = 4;
		oneof place { string scene = 5; int32 page = 6; I where = 7; } map<string, string> props = 8; string context = 9; }`
	d := protoDecoder(t, text, decode.Config{Fields: map[string]string{"session_id": "where.category", "event_id": "props.id"}})
	m := message(t, text, "M")
	part := func(parts ...string) (b []byte) {
		for _, p := range parts {
			b = append(b, wire(t, m, p)...)
		}
		return b
	}
	const ids = `user_id: "u1" item_id: "i9" timestamp: 5`
	for name, c := range map[string]struct {
		value []byte
		want  func(c *schema.Click)
	}{
		"the last one holds":         {part(ids, `user_id: "u2"`), func(c *schema.Click) { c.UserID = "u2" }},
		"messages are merged":        {part(ids, `item { category: "c" }`, `item { seller: "s" }`), func(c *schema.Click) { c.Item = schema.ItemInfo{Category: "c", Seller: "s"} }},
		"one of several, the last":   {part(ids, `scene: "home"`, `page: 3`), func(*schema.Click) {}},
		"one of several, the first":  {part(ids, `page: 3`, `scene: "home"`), func(c *schema.Click) { c.Scene = "home" }},
		"one of several, inside":     {part(ids, `scene: "home"`, `where { category: "c" }`), func(c *schema.Click) { c.SessionID = "c" }},
		"one of several, outside":    {part(ids, `where { category: "c" }`, `scene: "home"`), func(c *schema.Click) { c.Scene = "home" }},
		"an entry replaces":          {part(ids, `props { key: "id" value: "1" }`, `props { key: "id" value: "2" }`), func(c *schema.Click) { c.EventID = "2" }},
		"an entry replaces by none":  {part(ids, `props { key: "id" value: "1" }`, `props { key: "id" }`), func(*schema.Click) {}},
		"another wire type":          {append(part(ids), 0x08, 0x07), func(*schema.Click) {}},
		"fields that are not known":  {append(part(ids), 0xa2, 0x06, 0x01, 'x'), func(*schema.Click) {}},
		"a context that comes twice": {part(ids, `context: "{}"`, `context: "{\"a\":1}"`), func(c *schema.Click) { c.Context = []byte(`{"a":1}`) }},
	} {
		want := schema.Click{UserID: "u1", ItemID: "i9", EventTime: 5, Action: schema.ActionClick}
		c.want(&want)
		var got schema.Click
		if err := d.Decode(c.value, &got); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for in, want := range map[string]string{
		"0a":                   "it is no such message",
		"0a05" + "7531":        "it is no such message",
		"0a01ff" + "1805":      "user_id: it is not valid UTF-8",
		"1805" + "2202" + "0a": "it is no such message",
		"1805" + "22010a":      "item: it is no such message",
		"1805" + "42010a":      "props: it is no such message",
		"1805" + "4a015b":      "context: it is not a JSON object",
		"00":                   "it is no such message",
		"":                     "timestamp is missing",
		"0c":                   "it is no such message",
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

func TestProtobufTimesThatAreNone(t *testing.T) {
	for text, value := range map[string]string{
		"google.protobuf.Timestamp": `timestamp { seconds: 9000000000000 }`, "uint64": `timestamp: 18446744073709551615`, "string": `timestamp: "noon"`,
	} {
		schemaText := `syntax = "proto3"; import "google/protobuf/timestamp.proto"; message M { string user_id = 1; string item_id = 2; ` + text + ` timestamp = 3; }`
		var c schema.Click
		err := protoDecoder(t, schemaText, decode.Config{}).Decode(wire(t, message(t, schemaText, "M"), value), &c)
		if err == nil || !strings.Contains(err.Error(), "timestamp: ") {
			t.Errorf("%s: %v", value, err)
		}
	}
}

func TestProtobufSchemaSaysWhatIsWrong(t *testing.T) {
	const three = "syntax = \"proto3\";\n"
	const ids = "string user_id = 1; string item_id = 2; int64 timestamp = 3; "
	for in, want := range map[string]string{
		"message":                           "click.proto:1:8: syntax error",
		three + "message A {} message B {}": "name one of its messages in source.schema_message: A, B",
		three + "message A { string who = 1; string item_id = 2; int64 timestamp = 3; }": "message A: it has no user_id: say in source.fields how it is called: its fields are who, item_id, timestamp",
		three + "message A { bool user_id = 1; }":                                        "user_id: it is a bool, want a string or an integer",
		three + "message A { repeated string user_id = 1; }":                             "user_id: it is a repeated string",
		three + "message A { int32 timestamp = 1; }":                                     "timestamp: it is a int32, want a timestamp",
		three + "message A { " + ids + "message B {} B action = 4; }":                    "action: it is a A.B, want a string or an enum",
		three + "message A { " + ids + "string item = 4; }":                              "item: it is a string",
		three + "message A { " + ids + "map<int32, string> item = 4; }":                  "item: it is a map<int32, string>",
		three + "message A { " + ids + "repeated string context = 4; }":                  "context: it is a repeated string, want an object",
		three + "import \"none.proto\"; message A { " + ids + " None none = 4; }":        `unknown type None`,
	} {
		if _, err := schemaFile(t, "click.proto", in, decode.Config{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to say %q", in, err, want)
		}
	}
}

// Imports are looked for from the folder of the file upwards.
func TestProtobufImports(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "shop", "v1")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"shop/v1/click.proto": `syntax = "proto3"; package shop.v1; import "shop/v1/ids.proto"; message Click { Ids ids = 1; int64 timestamp = 2; }`,
		"shop/v1/ids.proto":   `syntax = "proto3"; package shop.v1; message Ids { string user_id = 1; string item_id = 2; }`,
	} {
		if err := os.WriteFile(filepath.Join(root, filepath.FromSlash(name)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := decode.New(decode.Config{SchemaFile: filepath.Join(dir, "click.proto"), Fields: map[string]string{"user_id": "ids.user_id", "item_id": "ids.item_id"}})
	if err != nil {
		t.Fatal(err)
	}
	var c schema.Click
	if err := d.Decode([]byte("\x0a\x08\x0a\x02u1\x12\x02i9\x10\x05"), &c); err != nil || c.UserID != "u1" || c.ItemID != "i9" || c.EventTime != 5 {
		t.Errorf("%+v, %v", c, err)
	}
}

// FuzzProtobuf holds what is read against the library: whatever it takes is taken, as the same values.
func FuzzProtobuf(t *testing.F) {
	f := fuzz.Of(t)
	const text = `syntax = "proto3"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
		message M { string user_id = 1; sint32 item_id = 2; google.protobuf.Timestamp timestamp = 3; oneof place { string scene = 4; int32 page = 5; In in = 6; }
		message In { uint64 id = 1; In again = 2; } google.protobuf.DoubleValue cost = 7; map<string, In> props = 8; In context = 40; }`
	d := protoDecoder(f, text, decode.Config{SchemaMessage: "M",
		Fields: map[string]string{"price": "cost", "event_id": "in.id", "session_id": "props.a.again.id", "category": "context.id"}})
	m := message(f, text, "M")
	f.Add(wire(f, m, `user_id: "u" item_id: -3 timestamp { seconds: 1700000000 nanos: 5 } in { id: 7 } cost { value: 2 } props { key: "a" value { again { id: 9 } } } context { id: 1 again {} }`))
	f.Add([]byte("\x1a\x00\x22\x01x\x28\x01\x32\x02\x08\x01\x42\x05\x12\x03\x12\x01\x08"))
	full := protoDecoder(f, clickProto, decode.Config{SchemaMessage: "Click"})
	f.Add(wire(f, message(f, clickProto, "shop.Click"), fullOfProto))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c schema.Click
		_ = full.Decode(b, &c)
		err := d.Decode(b, &c)
		v := dynamicpb.NewMessage(m)
		if !takes(v, b) {
			return // also where the fault is in what is not read here
		}
		get := func(from protoreflect.Message, names ...string) protoreflect.Value {
			for _, name := range names[:len(names)-1] {
				from = from.Get(from.Descriptor().Fields().ByName(protoreflect.Name(name))).Message()
			}
			return from.Get(from.Descriptor().Fields().ByName(protoreflect.Name(names[len(names)-1])))
		}
		has := func(name string) bool { return v.Has(m.Fields().ByName(protoreflect.Name(name))) }
		seconds := get(v, "timestamp", "seconds").Int()
		if !has("timestamp") || seconds > 1<<40 || seconds < -1<<40 {
			if err == nil {
				t.Fatalf("%x: taken without a time: %+v", b, c)
			}
			return
		}
		if err != nil {
			t.Fatalf("%x: the library takes %v, and %v", b, v, err)
		}
		millis := func(n int64) int64 { // floor
			if n%1e6 < 0 {
				return n/1e6 - 1
			}
			return n / 1e6
		}
		if c.UserID != get(v, "user_id").String() || int64(c.EventTime) != seconds*1000+millis(get(v, "timestamp", "nanos").Int()) ||
			c.Scene != get(v, "scene").String() || c.Item.Price != get(v, "cost", "value").Float() && c.Item.Price == c.Item.Price {
			t.Fatalf("%x: got %+v, the library has %v", b, c, v)
		}
		number := func(got string, want protoreflect.Value) {
			t.Helper()
			if got != want.String() && !(got == "" && want.String() == "0") {
				t.Fatalf("%x: got %+v, the library has %v", b, c, v)
			}
		}
		number(c.ItemID, get(v, "item_id"))
		number(c.EventID, get(v, "in", "id"))
		number(c.Item.Category, get(v, "context", "id"))
		props := get(v, "props").Map()
		if a := props.Get(protoreflect.ValueOfString("a").MapKey()); a.IsValid() {
			number(c.SessionID, get(a.Message(), "again", "id"))
		} else if c.SessionID != "" {
			t.Fatalf("%x: got %+v, the library has %v", b, c, v)
		}
		if has("context") != (c.Context != nil) {
			t.Fatalf("%x: context %s, the library has %v", b, c.Context, v)
		}
	})
}

// takes says whether the library takes b. It panics where the key of a map's entry has another wire type than its schema
// says.
func takes(v proto.Message, b []byte) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return proto.Unmarshal(b, v) == nil
}

func BenchmarkProtobuf(b *testing.B) {
	const plain = `syntax = "proto3"; message M { string user_id = 1; string item_id = 2; int64 timestamp = 3; string action = 4; string session_id = 5; }`
	const numbers = `syntax = "proto3"; message M { int64 user_id = 1; int64 item_id = 2; int64 timestamp = 3; string action = 4; int64 session_id = 5; }`
	for _, c := range []struct{ name, schema, message, text string }{
		{"plain", plain, "M", `user_id: "59" item_id: "234853" timestamp: 1506826800026 action: "click" session_id: "1506826329267796"`},
		{"numbers", numbers, "M", `user_id: 59 item_id: 234853 timestamp: 1506826800026 action: "click" session_id: 1506826329267796`},
		{"all-but-context", clickProto, "shop.Click", strings.Replace(fullOfProto, `context { key: "device" value: "ios" }`, "", 1)},
		{"full", clickProto, "shop.Click", fullOfProto},
	} {
		m := message(b, c.schema, c.message)
		value := wire(b, m, c.text)
		benchmark(b, c.name, protoDecoder(b, c.schema, decode.Config{SchemaMessage: c.message}), value)
		b.Run(c.name+"-library", func(b *testing.B) { // what it is compared with: the library into a dynamic message
			b.ReportAllocs()
			for b.Loop() {
				if err := proto.Unmarshal(value, dynamicpb.NewMessage(m)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
