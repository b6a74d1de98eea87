package source_test

import (
	"math"
	"testing"
	"unicode/utf8"

	"github.com/freshet-ml/freshet/ingest/decode"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

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
		var got schema.Click
		err := decode.JSON().Decode(b, &got)
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
	var got schema.Click
	if err := decode.JSON().Decode(source.EncodeJSON(nil, &c), &got); err != nil || got.Item.Price != 0 {
		t.Errorf("got price %v, %v, want an absent price", got.Item.Price, err)
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
