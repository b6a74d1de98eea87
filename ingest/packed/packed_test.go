package packed_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

// drawClick draws any click of user u, valid or not.
func drawClick(t *rapid.T) schema.Click {
	id := func(name string) string {
		n := rapid.SampledFrom([]int{0, 1, 9, 127, 128, 256}).Draw(t, name+" bytes")
		return rapid.StringN(n, n, -1).Draw(t, name)
	}
	c := schema.Click{
		UserID: "u", ItemID: id("item"), EventID: id("event"), SessionID: id("session"), Scene: id("scene"),
		Action:    rapid.SampledFrom([]schema.Action{"exposure", "click", "cart", "purchase", "", "wish", schema.Action(strings.Repeat("a", 200))}).Draw(t, "action"),
		EventTime: schema.EventTime(rapid.Int64().Draw(t, "event time")),
		ArrivedAt: schema.ArrivalTime(rapid.Int64().Draw(t, "arrived at")),
	}
	if rapid.Bool().Draw(t, "has info") {
		c.Item = schema.ItemInfo{Category: id("category"), Seller: id("seller"), Price: rapid.Float64().Draw(t, "price")}
	}
	if rapid.Bool().Draw(t, "has context") {
		c.Context = rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "context")
	}
	return c
}

func TestWhatIsPackedComesOutAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clicks := rapid.SliceOfN(rapid.Custom(drawClick), 0, 5).Draw(t, "clicks")
		var b []byte
		var begins []int
		for i := range clicks {
			begins = append(begins, len(b))
			b = packed.Append(b, &clicks[i])
		}
		p := packed.Clicks{N: len(clicks), Bytes: b}
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		got, err := p.Decode("u")
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(clicks, got, cmpopts.EquateEmpty(), cmpopts.EquateNaNs()); diff != "" {
			t.Fatalf("clicks differ (-in +out):\n%s", diff)
		}
		for i, at := range begins {
			c := &clicks[i]
			end := len(b)
			if i+1 < len(begins) {
				end = begins[i+1]
			}
			first, rest, err := packed.First(b[at:])
			if err != nil || !bytes.Equal(first, b[at:end]) || !bytes.Equal(rest, b[end:]) {
				t.Fatalf("click %d: first returns %d and %d bytes, %v", i, len(first), len(rest), err)
			}
			if packed.Time(b[at:]) != c.EventTime || packed.Len(b[at:]) != end-at || string(packed.EventID(b[at:])) != c.EventID {
				t.Fatalf("click %d: time %d, %d bytes, event id %q", i, packed.Time(b[at:]), packed.Len(b[at:]), packed.EventID(b[at:]))
			}
			for j, other := range begins {
				d := &clicks[j]
				want := c.EventID == "" && d.EventID == "" && c.ItemID == d.ItemID && c.Action == d.Action
				if packed.Same(b[at:], b[other:]) != want {
					t.Fatalf("clicks %d and %d: same is not %v", i, j, want)
				}
			}
		}
		for _, wrong := range []packed.Clicks{{N: p.N + 1, Bytes: b}, {N: p.N, Bytes: append(b[:len(b):len(b)], 0)}, {N: p.N - 1, Bytes: b}, {N: p.N, Bytes: b[:max(0, len(b)-1)]}} {
			if wrong.N == p.N && len(wrong.Bytes) == len(b) {
				continue
			}
			if _, err := wrong.Decode("u"); !errors.Is(err, packed.ErrCorrupt) {
				t.Fatalf("%d clicks in %d bytes: %v", wrong.N, len(wrong.Bytes), err)
			}
			if err := wrong.Check(); !errors.Is(err, packed.ErrCorrupt) {
				t.Fatalf("check of %d clicks in %d bytes: %v", wrong.N, len(wrong.Bytes), err)
			}
		}
	})
}

// golden are clicks with each field there and absent.
func golden() []schema.Click {
	full := schema.Click{
		UserID: "u1", ItemID: "i9", EventTime: 1_700_000_000_000, Action: schema.ActionPurchase, EventID: "e1", SessionID: "s1",
		Scene: "home", Item: schema.ItemInfo{Category: "c1", Seller: "s7", Price: 12.5}, Context: []byte(`{"device":"ios"}`),
		ArrivedAt: 1_700_000_000_250,
	}
	other := schema.Click{UserID: "u1", ItemID: "i8", EventTime: 1_700_000_060_000, Action: "wish", ArrivedAt: 1_700_000_059_000}
	long := schema.Click{UserID: "u1", ItemID: strings.Repeat("x", 130), EventTime: 1_700_000_060_001, Action: schema.ActionExposure, Item: schema.ItemInfo{Price: math.Inf(1)}}
	return []schema.Click{full, other, long, {UserID: "u1", Action: schema.ActionClick, EventTime: 1_700_000_060_001, ArrivedAt: 1_700_000_060_001}}
}

// TestGoldenBytes holds the format: its bytes are in journals and logs on disks.
func TestGoldenBytes(t *testing.T) {
	var b []byte
	var text strings.Builder
	clicks := golden()
	for i := range clicks {
		from := len(b)
		b = packed.Append(b, &clicks[i])
		fmt.Fprintf(&text, "%s\n", hex.EncodeToString(b[from:]))
	}
	want, err := os.ReadFile("testdata/clicks.hex")
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("packed clicks are\n%sand were\n%s", text.String(), want)
	}
	var old []byte
	for line := range strings.Lines(string(want)) {
		if old, err = hex.AppendDecode(old, []byte(strings.TrimSpace(line))); err != nil {
			t.Fatal(err)
		}
	}
	got, err := packed.Clicks{N: len(clicks), Bytes: old}.Decode("u1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(clicks, got); diff != "" {
		t.Errorf("golden clicks differ (-want +got):\n%s", diff)
	}
}

// FuzzDecode demands an error or clicks of any bytes, and that what came out goes in again.
func FuzzDecode(t *testing.F) {
	f := fuzz.Of(t)
	var all []byte
	for _, c := range golden() {
		f.Add(1, packed.Append(nil, &c))
		all = packed.Append(all, &c)
	}
	f.Add(len(golden()), all)
	f.Add(1<<40, all)
	f.Fuzz(func(t *testing.T, n int, b []byte) {
		p := packed.Clicks{N: n, Bytes: b}
		clicks, err := p.Decode("u")
		if checked := p.Check(); (checked == nil) != (err == nil) {
			t.Fatalf("decode says %v, check says %v", err, checked)
		}
		if err != nil {
			if !errors.Is(err, packed.ErrCorrupt) {
				t.Fatal(err)
			}
			packed.First(b)
			return
		}
		var again []byte
		for i := range clicks {
			again = packed.Append(again, &clicks[i])
		}
		back, err := packed.Clicks{N: n, Bytes: again}.Decode("u")
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(clicks, back, cmpopts.EquateNaNs()); diff != "" {
			t.Fatalf("clicks differ (-first +again):\n%s", diff)
		}
		for at := 0; at < len(b); at += packed.Len(b[at:]) {
			packed.EventID(b[at:])
			packed.Same(b[at:], b)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	c := schema.Click{ItemID: "item-1234567", EventTime: 1_700_000_000_000, Action: schema.ActionClick, EventID: "event-123456", ArrivedAt: 1_700_000_000_250}
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		buffer = packed.Append(buffer[:0], &c)
	}
}
