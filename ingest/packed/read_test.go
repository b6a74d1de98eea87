package packed_test

import (
	"errors"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

// TestReadIsDecode: one click at a time, the same clicks.
func TestReadIsDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clicks := rapid.SliceOfN(rapid.Custom(drawClick), 0, 5).Draw(t, "clicks")
		var b []byte
		for i := range clicks {
			b = packed.Append(b, &clicks[i])
		}
		for i, rest := 0, b; len(rest) > 0; i++ {
			var got schema.Click
			before := rest
			var err error
			if rest, err = packed.Read(rest, &got); err != nil {
				t.Fatal(err)
			}
			got.UserID = "u"
			if diff := gocmp.Diff(clicks[i], got, cmpopts.EquateEmpty(), cmpopts.EquateNaNs()); diff != "" {
				t.Fatalf("click %d differs (-in +out):\n%s", i, diff)
			}
			cut := rapid.IntRange(0, len(before)-len(rest)-1).Draw(t, "cut")
			if _, err := packed.Read(before[:cut], &got); !errors.Is(err, packed.ErrCorrupt) {
				t.Fatalf("%d bytes of %d: %v", cut, len(before)-len(rest), err)
			}
		}
	})
}

func FuzzRead(t *testing.F) {
	f := fuzz.Of(t)
	b := packed.Append(nil, &schema.Click{ItemID: "i", Action: "wish", EventID: "e", Scene: "home", Item: schema.ItemInfo{Price: 1}, Context: []byte("{}")})
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		var c schema.Click
		rest, err := packed.Read(b, &c)
		if err == nil {
			err = packed.Clicks{N: 1, Bytes: b[:len(b)-len(rest)]}.Check()
		} else if errors.Is(err, packed.ErrCorrupt) {
			err = nil
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}
