package buffer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

var addGolden = flag.Bool("add-golden", false, "write golden files that do not exist yet")

func drawTime(t *rapid.T, name string) schema.EventTime {
	return schema.EventTime(rapid.Int64Range(-1<<61, 1<<61).Draw(t, name))
}

func drawClicks(t *rapid.T, user string) []schema.Click {
	text := rapid.OneOf(rapid.Just(""), rapid.StringN(0, 12, 40))
	var clicks []schema.Click
	for range rapid.IntRange(0, 5).Draw(t, "clicks") {
		c := schema.Click{
			UserID: user, ItemID: text.Draw(t, "item"), EventTime: drawTime(t, "time"),
			Action:  rapid.OneOf(rapid.SampledFrom(actionCodes), rapid.Just(schema.Action("share"))).Draw(t, "action"),
			EventID: text.Draw(t, "event"), SessionID: text.Draw(t, "session"), Scene: text.Draw(t, "scene"),
			Item:      schema.ItemInfo{Category: text.Draw(t, "category"), Seller: text.Draw(t, "seller"), Price: rapid.Float64().Draw(t, "price")},
			ArrivedAt: schema.ArrivalTime(drawTime(t, "arrived")),
		}
		if context := text.Draw(t, "context"); context != "" {
			c.Context = []byte(context)
		}
		clicks = append(clicks, c)
	}
	return clicks
}

func TestValuesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		user := rapid.StringN(0, 20, 60).Draw(t, "user")
		part := Entry{Kind: KindPart, Emit: 5, Part: schema.Part{
			Partition: 3, Emit: 5, Epoch: schema.Epoch(rapid.Uint32().Draw(t, "epoch")), Due: drawTime(t, "due"), UserID: user,
			SessionStart: drawTime(t, "start"), Number: rapid.Int32Range(0, 1<<31-1).Draw(t, "number"), Final: rapid.Bool().Draw(t, "final"),
			Cause: rapid.SampledFrom(window.Causes).Draw(t, "cause"), Clicks: drawClicks(t, user),
		}}
		end := Entry{Kind: KindEnd, Emit: 6, Mark: Mark{Epoch: 1, Watermark: schema.BeginningOfTime, Offset: 9}}
		for _, want := range []Entry{part, end} {
			got, err := decodeEntry(appendEntry(nil, &want), 3, want.Emit)
			if diff := gocmp.Diff(want, got); err != nil || diff != "" {
				t.Fatalf("%v\n%s", err, diff)
			}
		}
		session := window.Session{
			UserID: user, Start: part.Part.SessionStart, Last: part.Part.SessionStart + schema.EventTime(rapid.Int32Range(0, 1<<30).Draw(t, "length")),
			Number: 2, Emitted: 7, EventIDs: rapid.SliceOfN(rapid.Uint64(), 1, 4).Draw(t, "ids"), Pending: part.Part.Clicks,
		}
		key := sessionKey(nil, 3, window.Key{UserID: user, Start: session.Start})
		k, ok := splitSession(key)
		gotSession, err := decodeSession(appendSession(nil, &session), k)
		if diff := gocmp.Diff(session, gotSession); err != nil || !ok || diff != "" {
			t.Fatalf("%v %v\n%s", ok, err, diff)
		}
		meta := Meta{Partition: 3, NextOffset: 1, NextEmit: 2, Ticks: 3, Aside: 4, AsideBytes: 5, Window: window.Meta{
			Watermark: drawTime(t, "watermark"), MaxSeen: schema.BeginningOfTime, Epoch: 6, Ended: rapid.Bool().Draw(t, "ended"),
			Counts: window.Counts{Taken: 9, Emitted: 8, Rejected: [6]uint64{1, 2, 3, 4, 5, 6}, Parts: [5]uint64{1, 2, 3, 4, 5}},
		}}
		gotMeta, err := decodeMeta(appendMeta(nil, &meta), 3)
		if diff := gocmp.Diff(meta, gotMeta); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
		aside := schema.Rejected{Topic: "c", Partition: 3, Offset: 4, ArrivedAt: schema.ArrivalTime(part.Part.Due), Reason: schema.ReasonLate, Detail: "d", Key: []byte("k"), Value: []byte(user)}
		gotAside, err := decodeAside(asideKey(nil, aside.ArrivedAt, 3, 4), appendAside(nil, &aside))
		if diff := gocmp.Diff(aside, gotAside, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}

func TestKeysSortAsTheirNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTime(t, "a"), drawTime(t, "b")
		if got := bytes.Compare(appendTime(nil, a), appendTime(nil, b)); (a < b) != (got < 0) || splitTime(appendTime(nil, a)) != a {
			t.Fatalf("%d and %d compare as %d", a, b, got)
		}
		// The keys of a user are those between the bounds, also where one user's id begins another's.
		user := rapid.StringN(0, 3, 9).Draw(t, "user")
		for _, other := range []string{user + "\x00", user + "a", "", "\xff\xff"} {
			key := userKey(nil, 1, other, 7)
			inside := bytes.Compare(key, userKey(nil, 1, user, 0)) >= 0 && bytes.Compare(key, userKey(nil, 1, user, 1<<63)) < 0
			if inside != (other == user) {
				t.Fatalf("key of %q among those of %q", other, user)
			}
		}
	})
}

// goldenEntries are values of format 1. Their bytes in testdata are only ever added to.
func goldenValues() map[string][]byte {
	clicks := []schema.Click{
		{UserID: "u1", ItemID: "i9", EventTime: 1_700_000_000_000, Action: schema.ActionClick, ArrivedAt: 1_700_000_000_250},
		{
			UserID: "u1", ItemID: "i10", EventTime: 1_700_000_001_000, Action: "share", EventID: "e1", SessionID: "s1", Scene: "home",
			Item: schema.ItemInfo{Category: "c1", Seller: "s7", Price: 12.5}, Context: []byte(`{"device":"ios"}`), ArrivedAt: 1_700_000_001_100,
		},
	}
	part := Entry{Kind: KindPart, Part: schema.Part{
		Epoch: 1, Due: 1_700_000_010_000, UserID: "u1", SessionStart: 1_700_000_000_000, Number: 2, Final: true, Cause: schema.CauseGap, Clicks: clicks,
	}}
	tick := Entry{Kind: KindTick, Mark: Mark{Epoch: 1, Watermark: 1_700_000_010_001, Offset: 300}}
	session := window.Session{UserID: "u1", Start: 1_700_000_000_000, Last: 1_700_000_001_000, Number: 1, Emitted: 3, EventIDs: []uint64{1, 1 << 63}, Pending: clicks}
	meta := Meta{NextOffset: 300, NextEmit: 7, Ticks: 1, Aside: 2, AsideBytes: 500, Window: window.Meta{
		Watermark: 1_700_000_010_001, MaxSeen: 1_700_000_001_000, Epoch: 1, Ended: true,
		Counts: window.Counts{Taken: 298, Emitted: 290, Rejected: [6]uint64{1, 0, 1}, Parts: [5]uint64{0, 1, 2, 3, 4}},
	}}
	aside := schema.Rejected{Topic: "clicks", Reason: schema.ReasonLate, Detail: "late", Key: []byte("u1"), Value: []byte("{}")}
	return map[string][]byte{
		"part": appendEntry(nil, &part), "tick": appendEntry(nil, &tick), "session": appendSession(nil, &session),
		"meta": appendMeta(nil, &meta), "aside": appendAside(nil, &aside),
		"key-session": sessionKey(nil, 3, window.Key{UserID: "u1", Start: -1}), "key-log": logKey(nil, 3, 258),
		"key-user": userKey(nil, 3, "u1", 258), "key-aside": asideKey(nil, 1, 3, 258), "key-meta": metaKey(nil, 3),
	}
}

func TestBytesAreThoseOfFormat1(t *testing.T) {
	for name, value := range goldenValues() {
		path := filepath.Join("testdata", fmt.Sprintf("format%d-%s.hex", formatVersion, name))
		golden, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && *addGolden {
			golden = []byte(hex.EncodeToString(value) + "\n")
			err = os.WriteFile(path, golden, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(value); got != strings.TrimSpace(string(golden)) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, golden)
		}
	}
}

// FuzzDecode gives every decoder the bytes. None may panic, a fault is an ErrCorrupt, and what decodes is a fixed point.
func FuzzDecode(f *testing.F) {
	for _, value := range goldenValues() {
		f.Add(value)
		f.Add(value[:len(value)/2])
	}
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(err error, again func() bool) {
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("fault is not an ErrCorrupt: %v", err)
			}
			if err == nil && !again() {
				t.Error("encoding and decoding again gives another value")
			}
		}
		e, err := decodeEntry(b, 1, 2)
		if got := len(e.Part.Clicks); got > len(b)/leastClickLen {
			t.Errorf("%d clicks from %d bytes", got, len(b))
		}
		check(err, func() bool {
			once := appendEntry(nil, &e)
			e2, err := decodeEntry(once, 1, 2)
			return err == nil && bytes.Equal(once, appendEntry(nil, &e2))
		})
		s, err := decodeSession(b, window.Key{UserID: "u"})
		check(err, func() bool {
			once := appendSession(nil, &s)
			s2, err := decodeSession(once, window.Key{UserID: "u"})
			return err == nil && bytes.Equal(once, appendSession(nil, &s2))
		})
		m, err := decodeMeta(b, 1)
		check(err, func() bool { m2, err := decodeMeta(appendMeta(nil, &m), 1); return err == nil && m == m2 })
		_, err = decodeAside(asideKey(nil, 1, 2, 3), b)
		check(err, func() bool { return true })
		_ = nameOf(b)
	})
}
