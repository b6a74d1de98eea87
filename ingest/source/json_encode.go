package source

import (
	"github.com/freshet-ml/freshet/schema"
	"github.com/go-faster/jx"
)

// EncodeJSON appends c as a JSON object and returns the extended slice. The order of the fields is fixed, so that the same
// click gives the same bytes. ArrivedAt is not written: it is the record's own timestamp. Ids must be valid UTF-8 and
// Context, if any, a JSON object; a price that is not finite is written as null.
func EncodeJSON(dst []byte, c *schema.Click) []byte {
	w := jx.Writer{Buf: dst}
	w.RawStr(`{"user_id":`)
	w.Str(c.UserID)
	w.RawStr(`,"item_id":`)
	w.Str(c.ItemID)
	w.RawStr(`,"timestamp":`)
	w.Int64(int64(c.EventTime))
	optional := func(name, value string) {
		if value != "" {
			w.RawStr(name)
			w.Str(value)
		}
	}
	optional(`,"action":`, string(c.Action))
	optional(`,"event_id":`, c.EventID)
	optional(`,"session_id":`, c.SessionID)
	optional(`,"scene":`, c.Scene)
	if c.Item != (schema.ItemInfo{}) {
		w.RawStr(`,"item":`)
		first := byte('{')
		next := func(name string) {
			w.Buf = append(w.Buf, first)
			w.RawStr(name)
			first = ','
		}
		if c.Item.Category != "" {
			next(`"category":`)
			w.Str(c.Item.Category)
		}
		if c.Item.Seller != "" {
			next(`"seller":`)
			w.Str(c.Item.Seller)
		}
		if c.Item.Price != 0 {
			next(`"price":`)
			w.Float64(c.Item.Price)
		}
		w.RawStr("}")
	}
	if len(c.Context) > 0 {
		w.RawStr(`,"context":`)
		w.Raw(c.Context)
	}
	w.RawStr("}")
	return w.Buf
}
