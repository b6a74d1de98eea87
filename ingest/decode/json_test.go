package decode_test

import (
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
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
		got, err := decodeJSON(in)
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
		_, err := decodeJSON(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: error %v, want it to say %q", in, err, want)
		}
	}
}

func TestFields(t *testing.T) {
	for name, c := range map[string]struct {
		fields map[string]string
		in     string
		want   schema.Click
	}{
		"exchanged": {map[string]string{"user_id": "visitorid", "item_id": "user_id"},
			`{"visitorid":7,"user_id":"shoe","item_id":"ignored","timestamp":1}`, schema.Click{UserID: "7", ItemID: "shoe"}},
		"inside of objects": {map[string]string{"user_id": "user.id", "item_id": "event.product.sku", "timestamp": "event.at", "price": "event.product.price"},
			`{"event":{"product":{"price":2,"sku":"s1","item_id":"no"},"at":1},"user":{"name":"Ann","id":7},"item":{"price":9,"seller":"s"}}`,
			schema.Click{UserID: "7", ItemID: "s1", Item: schema.ItemInfo{Price: 2, Seller: "s"}}},
		"names with dots": {map[string]string{"user_id": "user.id"},
			`{"user.id":7,"item_id":1,"timestamp":1}`, schema.Click{UserID: "7", ItemID: "1"}},
		"an item that is no object": {map[string]string{"item_id": "item"},
			`{"item":"s1","user_id":7,"timestamp":1}`, schema.Click{UserID: "7", ItemID: "s1"}},
		"inside of the context": {map[string]string{"session_id": "context.session"},
			`{"user_id":7,"item_id":1,"timestamp":1,"context":{"session":"s9","os":"ios"}}`,
			schema.Click{UserID: "7", ItemID: "1", SessionID: "s9", Context: []byte(`{"session":"s9","os":"ios"}`)}},
		"left out": {map[string]string{"scene": "-", "context": "-"},
			`{"user_id":7,"item_id":1,"timestamp":1,"context":[],"scene":{}}`, schema.Click{UserID: "7", ItemID: "1"}},
	} {
		d, err := decode.New(decode.Config{Fields: c.fields})
		if err != nil {
			t.Fatal(err)
		}
		c.want.EventTime, c.want.Action = 1, schema.ActionClick
		var got schema.Click
		if err := d.Decode([]byte(c.in), &got); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMappedFieldsSayWhatIsWrong(t *testing.T) {
	d, err := decode.New(decode.Config{Fields: map[string]string{"user_id": "user.id", "timestamp": "at", "session_id": "context.session"}})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		`{"user":{"id":1.5},"at":1}`:                      "user_id (user.id): 1.5 is not an integer",
		`{"user":{"id":1},"user.id":2,"at":1}`:            "user_id (user.id) comes twice",
		`{"user":{"id":1},"user":{"id":1},"at":1}`:        "user comes twice",
		`{"user":7,"at":1}`:                               "user: it is a JSON number, want an object",
		`{"user":{"id":1}}`:                               "timestamp (at) is missing",
		`{"user":{"id":1`:                                 "user: not valid JSON",
		`{"context":{"session":true},"at":1}`:             "session_id (context.session): it is a JSON bool",
		`{"user":null,"context":null,"at":1,"user":null}`: "user comes twice",
	} {
		var c schema.Click
		if err := d.Decode([]byte(in), &c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to say %q", in, err, want)
		}
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	for want, c := range map[string]decode.Config{
		`"user" is no field of a click: the fields are user_id, item_id, timestamp, action`: {Fields: map[string]string{"user": "visitorid"}},
		`"item_id" is read from a field without a name`:                                     {Fields: map[string]string{"user": "visitorid", "item_id": ""}},
		`"scene" is read from a field without a name`:                                       {Fields: map[string]string{"scene": "a..b"}},
		`two fields are read from "action"`:                                                 {Fields: map[string]string{"user": "visitorid", "scene": "action"}},
		`scene is read from "page.name", which is in the value of action`:                   {Fields: map[string]string{"action": "page", "scene": "page.name"}},
		`"scene" is read from a.b.c.d.e.f, which is more than 5 steps`:                      {Fields: map[string]string{"scene": "a.b.c.d.e.f"}},
		`"user_id" must be read from somewhere`:                                             {Fields: map[string]string{"user_id": "-"}},
		`actions: "view" means ""`:                                                          {Actions: map[string]string{"view": ""}},
	} {
		if _, err := decode.New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want it to say %s", err, want)
		}
	}
}

func TestActions(t *testing.T) {
	d, err := decode.New(decode.Config{Actions: map[string]string{"addtocart": "cart", "click": "exposure"}})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]schema.Action{
		`{"timestamp":1,"action":"addtocart"}`: schema.ActionCart, `{"timestamp":1,"action":"purchase"}`: schema.ActionPurchase,
		`{"timestamp":1}`: schema.ActionExposure, `{"timestamp":1,"action":"fav"}`: "fav",
	} {
		var c schema.Click
		if err := d.Decode([]byte(in), &c); err != nil || c.Action != want {
			t.Errorf("%s: action %q, %v, want %q", in, c.Action, err, want)
		}
	}
}

func FuzzDecodeJSON(t *testing.F) {
	f := fuzz.Of(t)
	f.Add([]byte(fullClick))
	f.Add([]byte(`{"user_id":1,"item_id":null,"timestamp":"2023-11-14T22:13:20Z"}`))
	f.Add([]byte(`{"timestamp":1,"item":{"price":-0},"context":{}}`))
	nested, err := decode.New(decode.Config{Fields: map[string]string{"scene": "a.b.c", "session_id": "context.session", "event_id": "a.id"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"timestamp":1,"a":{"b":{"c":"home"},"id":3},"context":{"session":"s","a":{}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, d := range []*decode.Decoder{decode.JSON(), nested} {
			var c, again schema.Click
			if err := d.Decode(b, &c); err != nil {
				continue
			}
			if err := decode.JSON().Decode(source.EncodeJSON(nil, &c), &again); err != nil {
				t.Fatalf("%q decodes, and encoded again it does not: %v", b, err)
			}
			if diff := cmp.Diff(c, again); diff != "" {
				t.Fatalf("decode(encode(c)) differs (-want +got):\n%s", diff)
			}
		}
	})
}

func BenchmarkJSON(b *testing.B) {
	for name, in := range map[string]string{
		"plain": `{"user_id":"59","item_id":"234853","timestamp":1506826800026,"action":"click","session_id":"1506826329267796"}`,
		"full":  fullClick,
	} {
		b.Run(name, func(b *testing.B) {
			d, value := decode.JSON(), []byte(in)
			var c schema.Click
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Decode(value, &c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// decodeJSON decodes under the names of a click.
func decodeJSON(value string) (c schema.Click, err error) {
	err = decode.JSON().Decode([]byte(value), &c)
	return c, err
}
