package live

import (
	"bytes"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

// FuzzClicks reads clicks of any bytes. What was read before a fault is what is read when it is told again.
func FuzzClicks(t *testing.F) {
	f := fuzz.Of(t)
	whole := told(click("u1", 1), click("u2", 2), click("", 3))
	f.Add(whole.bytes)
	f.Add(whole.bytes[:len(whole.bytes)-1])
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var first, second Clicks
		fault := Clicks{bytes: b}.Each(func(c *schema.Click) error { first.Add(c); return nil })
		if first.Len() > len(b) || fault == nil && len(b) > 0 && first.Len() == 0 {
			t.Fatalf("%d clicks of %d bytes, and %v", first.Len(), len(b), fault)
		}
		if err := first.Each(func(c *schema.Click) error { second.Add(c); return nil }); err != nil || second.Len() != first.Len() || !bytes.Equal(first.bytes, second.bytes) {
			t.Fatalf("%d clicks became %d: %v", first.Len(), second.Len(), err)
		}
	})
}
