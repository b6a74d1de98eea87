package buffer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
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

// drawMeta draws a state as a store keeps it.
func drawState(t *rapid.T) state {
	s := newState(3)
	s.NextOffset, s.NextEmit, s.Ticks, s.Aside, s.AsideBytes = 1, 2, 3, 4, 5
	s.Window = window.Meta{
		Watermark: drawTime(t, "watermark"), MaxSeen: schema.BeginningOfTime, Epoch: 6, Ended: rapid.Bool().Draw(t, "ended"),
		Counts: window.Counts{Taken: 9, Emitted: 8, Rejected: [6]uint64{1, 2, 3, 4, 5, 6}, Parts: [6]uint64{1, 2, 3, 4, 5, 6}},
	}
	s.journal, s.journalBytes, s.appended, s.Reached = 7, rapid.Uint64().Draw(t, "journal bytes"), 9, 10
	s.Mirror = rapid.Bool().Draw(t, "mirror")
	for i := range rapid.IntRange(0, 3).Draw(t, "grows") {
		s.Partitions = 4 * (i + 1)
		s.Grows = append(s.Grows, Grow{Partitions: s.Partitions, Epoch: schema.Epoch(i), Watermark: drawTime(t, "grow"), Emit: schema.Emit(rapid.Uint64().Draw(t, "emit"))})
	}
	return s
}

func drawConfig(t *rapid.T) window.Config {
	c := window.DefaultConfig()
	c.Gap = time.Duration(rapid.Int64Range(1, maxMillis).Draw(t, "gap")) * time.Millisecond
	c.MaxOpenSessions = rapid.IntRange(0, 1<<40).Draw(t, "open sessions")
	return c
}

var unexported = gocmp.AllowUnexported(state{}, header{})

func TestValuesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		user := rapid.StringN(0, 20, 60).Draw(t, "user")
		part := Entry{Kind: KindPart, Emit: 5, Part: schema.Part{
			Partition: 3, Emit: 5, Epoch: schema.Epoch(rapid.Uint32().Draw(t, "epoch")), Due: drawTime(t, "due"), UserID: user,
			SessionStart: drawTime(t, "start"), Number: rapid.Int32Range(0, 1<<31-1).Draw(t, "number"), Final: rapid.Bool().Draw(t, "final"),
			Cause: rapid.SampledFrom(window.Causes).Draw(t, "cause"), Clicks: drawClicks(t, user),
		}}
		end := Entry{Kind: KindEnd, Emit: 6, Mark: Mark{Epoch: 1, Watermark: schema.BeginningOfTime, Offset: 9}}
		grow := Entry{Kind: KindGrow, Emit: 6, Mark: Mark{Watermark: 5, Offset: 9, Partitions: 300}}
		for _, want := range []Entry{part, end, grow} {
			got, err := decodeEntry(appendEntry(nil, &want), 3, want.Emit)
			if diff := gocmp.Diff(want, got); err != nil || diff != "" {
				t.Fatalf("%v\n%s", err, diff)
			}
			if want.Kind == KindGrow {
				continue
			}
			if got, err = decodeEntry1(appendEntry1(nil, &want), 3, want.Emit); err != nil || gocmp.Diff(want, got) != "" {
				t.Fatalf("format 1: %v\n%s", err, gocmp.Diff(want, got))
			}
		}
		packedPart := part
		packedPart.Packed.N = len(part.Part.Clicks)
		for i := range part.Part.Clicks {
			packedPart.Packed.Bytes = packed.Append(packedPart.Packed.Bytes, &part.Part.Clicks[i])
		}
		packedPart.Part.Clicks = nil
		if !bytes.Equal(appendEntry(nil, &packedPart), appendEntry(nil, &part)) {
			t.Fatal("packed clicks are written in another way")
		}
		session := window.Session{
			UserID: user, Start: part.Part.SessionStart, Last: part.Part.SessionStart + schema.EventTime(rapid.Int32Range(0, 1<<30).Draw(t, "length")),
			Number: 2, Emitted: 7, EventIDs: rapid.SliceOfN(rapid.Uint64(), 1, 4).Draw(t, "ids"), Pending: part.Part.Clicks,
		}
		gotSession, err := decodeSession1(sessionKey1(nil, 3, user, session.Start), appendSession1(nil, &session))
		if diff := gocmp.Diff(session, gotSession); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
		meta := drawState(t)
		gotMeta, err := decodeMeta(appendMeta(nil, &meta), 3)
		if diff := gocmp.Diff(meta, gotMeta, unexported); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
		old := newState(3)
		old.NextOffset, old.NextEmit, old.Ticks, old.Aside, old.AsideBytes, old.Window = meta.NextOffset, meta.NextEmit, 3, 4, 5, meta.Window
		old.Window.Counts.Parts[5] = 0
		if got, err := decodeMeta(appendMeta1(nil, &old.Meta), 3); err != nil || gocmp.Diff(old, got, unexported) != "" {
			t.Fatalf("format 1: %v\n%s", err, gocmp.Diff(old, got, unexported))
		}
		h := header{generation: rapid.Uint64().Draw(t, "generation"), pages: 3, bytes: 4, journal: 5, window: meta.Window}
		if h.hasConfig = rapid.Bool().Draw(t, "config"); h.hasConfig {
			h.config = drawConfig(t)
		}
		if got, err := decodeHeader(appendHeader(nil, &h)); err != nil || got != h {
			t.Fatalf("%v\n%s", err, gocmp.Diff(h, got, unexported))
		}
		position := schema.Position(rapid.MapOfN(rapid.Map(rapid.IntRange(0, 9), func(p int) schema.Partition { return schema.Partition(p) }),
			rapid.Map(rapid.Uint64(), func(e uint64) schema.Emit { return schema.Emit(e) }), 0, 3).Draw(t, "position"))
		if got, err := decodePosition(appendPosition(nil, position)); err != nil || !maps.Equal(got, position) {
			t.Fatalf("%v, %v", got, err)
		}
		aside := schema.Rejected{Topic: "c", Partition: 3, Offset: 4, ArrivedAt: schema.ArrivalTime(part.Part.Due), Reason: schema.ReasonLate, Detail: "d", Key: []byte("k"), Value: []byte(user)}
		gotAside, err := decodeAside(asideKey(nil, 3, 4), appendAside(nil, &aside))
		if diff := gocmp.Diff(aside, gotAside, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
		gotAside, err = decodeAside1(asideKey1(nil, aside.ArrivedAt, 3, 4), appendAside1(nil, &aside))
		if diff := gocmp.Diff(aside, gotAside, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("format 1: %v\n%s", err, diff)
		}
	})
}

// TestABlockHasItsEntries puts entries into blocks and finds each of them, alone and with the ones behind it.
func TestABlockHasItsEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w blockWriter
		var want []Entry
		for i := range rapid.IntRange(1, 5).Draw(t, "entries") {
			e := partOf(rapid.SampledFrom([]string{"u", "", "another"}).Draw(t, "user"), schema.EventTime(i), rapid.IntRange(0, 2).Draw(t, "clicks"))
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				e = Entry{Kind: KindTick, Mark: Mark{Watermark: schema.EventTime(i)}}
			}
			if e.Emit = 70 + schema.Emit(i); e.Kind == KindPart {
				e.Part.Partition, e.Part.Emit = 3, e.Emit
			}
			if place := w.add(&e); place != i {
				t.Fatalf("entry %d is at place %d", i, place)
			}
			want = append(want, e)
		}
		first, value := w.finish()
		b, err := openBlock(value, 3, first)
		must(t, err)
		if first != 70 || b.n != len(want) || !w.empty() {
			t.Fatalf("block of %d entries from %d", b.n, first)
		}
		var users []string
		must(t, b.users(func(at located, user string) { users = append(users, fmt.Sprint(at.emit, at.place, user)) }))
		for i := range want {
			got, err := b.entry(i)
			must(t, err)
			at, err := b.time(i)
			must(t, err)
			if diff := gocmp.Diff(want[i], got); diff != "" || at != schema.EventTime(i) {
				t.Fatalf("entry %d at time %d:\n%s", i, at, diff)
			}
			var rest []Entry
			must(t, b.all(i, func(e *Entry) bool { rest = append(rest, *e); return true }))
			if diff := gocmp.Diff(want[i:], rest); diff != "" {
				t.Fatalf("from %d on:\n%s", i, diff)
			}
			if isPart := len(want[i].Part.Clicks) > 0; isPart != slices.Contains(users, fmt.Sprint(want[i].Emit, i, want[i].Part.UserID)) {
				t.Fatalf("users %v of %+v", users, want)
			}
		}
	})
}

func TestKeysSortAsTheirNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// The keys of a user are those between the bounds, also where one user's id begins another's.
		user := rapid.StringN(0, 3, 9).Draw(t, "user")
		for _, other := range []string{user + "\x00", user + "a", "", "\xff\xff"} {
			key := userKey(nil, 1, other, 7)
			inside := bytes.Compare(key, userKey(nil, 1, user, 0)) >= 0 && bytes.Compare(key, userKey(nil, 1, user, 1<<63)) < 0
			if inside != (other == user) {
				t.Fatalf("key of %q among those of %q", other, user)
			}
		}
		a, b := rapid.Uint64().Draw(t, "a"), rapid.Uint64().Draw(t, "b")
		for _, key := range []func(uint64) []byte{
			func(n uint64) []byte { return logKey(nil, 2, schema.Emit(n)) },
			func(n uint64) []byte { return journalKey(nil, 2, n) },
			func(n uint64) []byte { return pageKey(nil, 2, n, 7) },
			func(n uint64) []byte { return asideKey(nil, 2, schema.Offset(n>>1)) },
		} {
			if got := bytes.Compare(key(a), key(b)); a < b && got > 0 || a > b && got < 0 {
				t.Fatalf("keys of %d and %d compare as %d", a, b, got)
			}
		}
	})
}

// goldenEntries are the values of the golden bytes.
func goldenEntries() (part, tick Entry, session window.Session, meta Meta, aside schema.Rejected) {
	clicks := []schema.Click{
		{UserID: "u1", ItemID: "i9", EventTime: 1_700_000_000_000, Action: schema.ActionClick, ArrivedAt: 1_700_000_000_250},
		{
			UserID: "u1", ItemID: "i10", EventTime: 1_700_000_001_000, Action: "share", EventID: "e1", SessionID: "s1", Scene: "home",
			Item: schema.ItemInfo{Category: "c1", Seller: "s7", Price: 12.5}, Context: []byte(`{"device":"ios"}`), ArrivedAt: 1_700_000_001_100,
		},
	}
	part = Entry{Kind: KindPart, Part: schema.Part{
		Epoch: 1, Due: 1_700_000_010_000, UserID: "u1", SessionStart: 1_700_000_000_000, Number: 2, Final: true, Cause: schema.CauseGap, Clicks: clicks,
	}}
	tick = Entry{Kind: KindTick, Mark: Mark{Epoch: 1, Watermark: 1_700_000_010_001, Offset: 300}}
	session = window.Session{UserID: "u1", Start: 1_700_000_000_000, Last: 1_700_000_001_000, Number: 1, Emitted: 3, EventIDs: []uint64{1, 1 << 63}, Pending: clicks}
	meta = Meta{NextOffset: 300, NextEmit: 7, Ticks: 1, Aside: 2, AsideBytes: 500, Window: window.Meta{
		Watermark: 1_700_000_010_001, MaxSeen: 1_700_000_001_000, Epoch: 1, Ended: true,
		Counts: window.Counts{Taken: 298, Emitted: 290, Rejected: [6]uint64{1, 0, 1}, Parts: [6]uint64{0, 1, 2, 3, 4}},
	}}
	aside = schema.Rejected{Topic: "clicks", Reason: schema.ReasonLate, Detail: "late", Key: []byte("u1"), Value: []byte("{}")}
	return part, tick, session, meta, aside
}

// goldenValues are values and keys of each format. Their bytes in testdata are only ever added to.
func goldenValues() map[string][]byte {
	part, tick, session, meta, aside := goldenEntries()
	grow := Entry{Kind: KindGrow, Mark: Mark{Epoch: 1, Watermark: 1_700_000_010_001, Offset: 300, Partitions: 16}}
	state := state{Meta: meta, journal: 12, journalBytes: 70_000, appended: 90_000}
	state.Partitions, state.Reached, state.Window.Counts.Parts[5] = 16, 9, 5
	state.Grows = []Grow{{Partitions: 4, Watermark: schema.BeginningOfTime}, {Partitions: 16, Epoch: 1, Watermark: 1_700_000_010_001, Emit: 6}}
	aside.ArrivedAt = 1_700_000_000_250
	h := header{generation: 3, pages: 2, bytes: 300_000, journal: 11, window: meta.Window, config: window.DefaultConfig(), hasConfig: true}
	var w blockWriter
	for i, e := range []Entry{part, tick} {
		e.Emit = 258 + schema.Emit(i)
		w.add(&e)
	}
	_, block := w.finish()
	return map[string][]byte{
		"format1-part": appendEntry1(nil, &part), "format1-tick": appendEntry1(nil, &tick), "format1-session": appendSession1(nil, &session),
		"format1-meta": appendMeta1(nil, &meta), "format1-aside": appendAside1(nil, &aside),
		"format1-key-session": sessionKey1(nil, 3, "u1", -1), "format1-key-log": logKey(nil, 3, 258),
		"format1-key-user": userKey(nil, 3, "u1", 258), "format1-key-aside": asideKey1(nil, 1, 3, 258), "format1-key-meta": metaKey(nil, 3),

		"format2-block": block, "format2-part": appendEntry(nil, &part), "format2-tick": appendEntry(nil, &tick), "format2-grow": appendEntry(nil, &grow),
		"format2-meta": appendMeta(nil, &state), "format2-header": appendHeader(nil, &h), "format2-aside": appendAside(nil, &aside),
		"format2-begin": appendBegin(nil, begin{first: 300, trimmed: 70_000}), "format2-list": appendList(nil, []located{{300, 3}, {258, 200}, {7, 0}}), "format2-position": appendPosition(nil, schema.Position{0: 300, 7: 1}),
		"format2-key-meta": metaKey(nil, 3), "format2-key-header": headerKey(nil, 3), "format2-key-page": pageKey(nil, 3, 258, 7),
		"format2-key-journal": journalKey(nil, 3, 258), "format2-key-log": logKey(nil, 3, 258), "format2-key-user": userKey(nil, 3, "u1", 258),
		"format2-key-indexed": indexedKey(nil, 3), "format2-key-begin": beginKey(nil, 3), "format2-key-hold": holdKey(nil, "trainer"), "format2-key-aside": asideKey(nil, 3, 258),
		"format2-key-forward": forwardKey(nil, 3),
	}
}

func TestBytesAreThoseOfTheirFormat(t *testing.T) {
	for name, value := range goldenValues() {
		path := filepath.Join("testdata", name+".hex")
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
func FuzzDecode(t *testing.F) {
	f := fuzz.Of(t)
	for _, value := range goldenValues() {
		f.Add(value)
		f.Add(value[:len(value)/2])
	}
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(err error, again func() bool) {
			t.Helper()
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("fault is not an ErrCorrupt: %v", err)
			}
			if err == nil && !again() {
				t.Error("encoding and decoding again gives another value")
			}
		}
		for _, decode := range []func([]byte, schema.Partition, schema.Emit) (Entry, error){decodeEntry, decodeEntry1} {
			e, err := decode(b, 1, 2)
			if got := len(e.Part.Clicks); got > len(b)/leastClickLen {
				t.Errorf("%d clicks from %d bytes", got, len(b))
			}
			check(err, func() bool {
				once := appendEntry(nil, &e)
				e2, err := decodeEntry(once, 1, 2)
				return err == nil && bytes.Equal(once, appendEntry(nil, &e2))
			})
		}
		block, err := openBlock(b, 1, 2)
		check(err, func() bool {
			if block.n > max(len(b), 1) {
				t.Errorf("%d entries from %d bytes", block.n, len(b))
			}
			n := 0
			all := block.all(0, func(*Entry) bool { n++; return true })
			one := error(nil)
			for i := range block.n {
				_, err := block.entry(i)
				one = errors.Join(one, err)
			}
			return (all == nil) == (one == nil) && (all != nil || n == block.n)
		})
		if err == nil {
			check(block.users(func(located, string) {}), func() bool { return true })
		}
		_, err = decodeSession1(sessionKey1(nil, 1, "u", 7), b)
		check(err, func() bool { return true })
		m, err := decodeMeta(b, 1)
		check(err, func() bool {
			m2, err := decodeMeta(appendMeta(nil, &m), 1)
			return err == nil && gocmp.Equal(m, m2, unexported)
		})
		h, err := decodeHeader(b)
		check(err, func() bool { h2, err := decodeHeader(appendHeader(nil, &h)); return err == nil && h == h2 })
		position, err := decodePosition(b)
		check(err, func() bool { return bytes.Equal(appendPosition(nil, position), b) })
		n := 0
		check(eachOfList(1<<40, b, func(located) bool { n++; return true }), func() bool { return n <= len(b)/2+1 })
		_, err = decodeAside(asideKey(nil, 2, 3), b)
		check(err, func() bool { return true })
		_, err = decodeAside1(asideKey1(nil, 1, 2, 3), b)
		check(err, func() bool { return true })
		_ = nameOf(b)
	})
}
