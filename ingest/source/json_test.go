package source_test

import (
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const fullClick = `{"user_id":"u1","item_id":"i9","timestamp":1700000000000,"action":"cart","event_id":"e1","session_id":"s1",` +
	`"scene":"home","item":{"category":"c1","seller":"s7","price":12.5},"context":{"device":"ios"}}`

func TestDecodeJSON(t *testing.T) {
	full := schema.Click{UserID: "u1", ItemID: "i9", EventTime: 1700000000000, Action: "cart", EventID: "e1", SessionID: "s1",
		Scene: "home", Item: schema.ItemInfo{Category: "c1", Seller: "s7", Price: 12.5}, Context: []byte(`{"device":"ios"}`)}
	plain := schema.Click{UserID: "u1", ItemID: "i9", EventTime: 1700000000000, Action: schema.ActionClick}
	numbers := plain
	numbers.UserID, numbers.ItemID, numbers.SessionID = "12345678901234567890123", "-7", "0"
	empty := plain
	empty.UserID = ""
	for in, want := range map[string]schema.Click{
		fullClick: full,
		`{"user_id":"u1","item_id":"i9","timestamp":1700000000000}`:                                          plain,
		" {\n\"user_id\" : \"u1\" ,\"item_id\": \"i9\",\"timestamp\" : 1700000000000 } \n":                   plain,
		`{"user_id":"u1","item_id":"i9","timestamp":"2023-11-14T22:13:20Z"}`:                                 plain,
		`{"user_id":"u1","item_id":"i9","timestamp":"2023-11-15T00:13:20.000+02:00"}`:                        plain,
		`{"user_id": 12345678901234567890123,"item_id":-7,"session_id":0,"timestamp":1700000000000}`:         numbers,
		`{"user_id":"\u0075\u0031","item_id":"i9","timestamp":1700000000000,"extra":[{"user_id":"no"}]}`:     plain,
		`{"user_id":"u1","item_id":"i9","timestamp":1700000000000,"action":null,"item":null,"context":null}`: plain,
		`{"item_id":"i9","timestamp":1700000000000}`:                                                         empty,
		`{"user_id":"u1","item_id":"i9","timestamp":1700000000000,"item":{"x":1,"price":null},"context": {}}`: func() schema.Click {
			c := plain
			c.Context = []byte("{}")
			return c
		}(),
	} {
		got, err := source.DecodeJSON(source.Record{Value: []byte(in), ArrivedAt: 5})
		want.ArrivedAt = 5
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", in, diff)
		}
	}
}

func TestDecodeJSONSaysWhatIsWrong(t *testing.T) {
	for in, want := range map[string]string{
		``:                                "not a JSON object",
		`x`:                               "not a JSON object",
		`[1]`:                             "a JSON array",
		`{"user_id":"u`:                   "user_id: not valid JSON",
		`{"user_id":"u1","item_id":"i9"}`: "timestamp is missing",
		`{"user_id":"u1","item_id":"i9","timestamp":1}{}`:       "more after the JSON object",
		`{"user_id":"u1","item_id":"i9","timestamp":1} x`:       "more after the JSON object",
		`{"user_id":"u1","user_id":"u2","timestamp":1}`:         "user_id comes twice",
		`{"timestamp":1,"timestamp":1}`:                         "timestamp comes twice",
		`{"user_id":["u1"],"item_id":"i9","timestamp":1}`:       "user_id: it is a JSON array",
		`{"user_id":1.5,"timestamp":1}`:                         "user_id: 1.5 is not an integer",
		`{"user_id":1e3,"timestamp":1}`:                         "user_id: 1e3 is not an integer",
		`{"timestamp":1.5}`:                                     "timestamp: not an integer",
		`{"timestamp":99999999999999999999}`:                    "timestamp: not an integer",
		`{"timestamp":"yesterday"}`:                             `timestamp: "yesterday" is not a time`,
		`{"timestamp":true}`:                                    "timestamp: it is a JSON bool",
		`{"timestamp":1,"action":7}`:                            "action: it is a JSON number",
		`{"timestamp":1,"item":[]}`:                             "item: it is a JSON array",
		`{"timestamp":1,"item":{"price":"12"}}`:                 "item: price: it is a JSON string",
		`{"timestamp":1,"item":{"price":1e999}}`:                "item: price: ",
		`{"timestamp":1,"context":[1]}`:                         "context: it is a JSON array",
		"{\"user_id\":\"\xff\",\"timestamp\":1}":                "user_id: it is not valid UTF-8",
		`{"timestamp":1,"deep":` + strings.Repeat("[", 20000):   "not valid JSON",
		`{"timestamp":1,` + `"context":{"a":` + `}` + `}`:       "context: not valid JSON",
		`{"timestamp":1 "user_id":"u"}`:                         "not valid JSON",
		`{"timestamp":1,"context":` + strings.Repeat("{", 2000): "context: not valid JSON",
	} {
		_, err := source.DecodeJSON(source.Record{Value: []byte(in)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: error %v, want it to say %q", in, err, want)
		}
	}
}

func TestDecoderFields(t *testing.T) {
	d, err := source.NewDecoder(map[string]string{"user_id": "visitorid", "item_id": "user_id"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Decode(source.Record{Value: []byte(`{"visitorid":7,"user_id":"shoe","item_id":"ignored","timestamp":1}`)})
	if err != nil || c.UserID != "7" || c.ItemID != "shoe" {
		t.Errorf("got %+v, %v", c, err)
	}
	_, err = source.NewDecoder(map[string]string{"user": "visitorid", "item_id": "", "scene": "action"})
	for _, want := range []string{`"user" is no field`, `"item_id" is read from a field without a name`, `two fields are read from "action"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say %s", err, want)
		}
	}
}

func TestEncodeJSONIsTheOtherHalf(t *testing.T) {
	text := rapid.String().Filter(utf8.ValidString)
	rapid.Check(t, func(t *rapid.T) {
		want := schema.Click{
			UserID: text.Draw(t, "user"), ItemID: text.Draw(t, "item"),
			EventTime: schema.EventTime(rapid.Int64().Draw(t, "time")),
			Action:    schema.Action(rapid.OneOf(rapid.SampledFrom([]string{"click", "purchase", "fav"}), rapid.StringN(1, -1, -1)).Draw(t, "action")),
			EventID:   text.Draw(t, "event"), SessionID: text.Draw(t, "session"), Scene: text.Draw(t, "scene"),
			Item: schema.ItemInfo{Category: text.Draw(t, "category"), Seller: text.Draw(t, "seller"), Price: rapid.Float64().Draw(t, "price")},
		}
		if rapid.Bool().Draw(t, "context") {
			want.Context = []byte(`{"a":[1, {"b":null}]}`)
		}
		b := source.EncodeJSON(nil, &want)
		got, err := source.DecodeJSON(source.Record{Value: b})
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("decode(encode(c)) differs (-want +got):\n%s", diff)
		}
	})
}

func TestEncodeJSONWithoutAFinitePrice(t *testing.T) {
	c := schema.Click{UserID: "u", ItemID: "i", Action: "click", Item: schema.ItemInfo{Price: math.NaN()}}
	if got, err := source.DecodeJSON(source.Record{Value: source.EncodeJSON(nil, &c)}); err != nil || got.Item.Price != 0 {
		t.Errorf("got price %v, %v, want an absent price", got.Item.Price, err)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(fullClick))
	f.Add([]byte(`{"user_id":1,"item_id":null,"timestamp":"2023-11-14T22:13:20Z"}`))
	f.Add([]byte(`{"timestamp":1,"item":{"price":-0},"context":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := source.DecodeJSON(source.Record{Value: b})
		if err != nil {
			return
		}
		again, err := source.DecodeJSON(source.Record{Value: source.EncodeJSON(nil, &c)})
		if err != nil {
			t.Fatalf("%q decodes, and encoded again it does not: %v", b, err)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Fatalf("decode(encode(c)) differs (-want +got):\n%s", diff)
		}
	})
}

func BenchmarkDecodeJSON(b *testing.B) {
	for name, in := range map[string]string{
		"csv":  `{"user_id":"59","item_id":"234853","timestamp":1506826800026,"action":"click","session_id":"1506826329267796"}`,
		"full": fullClick,
	} {
		b.Run(name, func(b *testing.B) {
			r := source.Record{Value: []byte(in)}
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := source.DecodeJSON(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodeJSON(b *testing.B) {
	c := schema.Click{UserID: "59", ItemID: "234853", EventTime: 1506826800026, Action: "click", SessionID: "1506826329267796"}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = source.EncodeJSON(buf[:0], &c)
	}
}
