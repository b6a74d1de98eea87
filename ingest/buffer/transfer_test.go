package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
)

// TestAPartitionThatMovesMakesTheSameLog moves partitions between two nodes at drawn moments, some of which mirror the
// other's log. Whoever has the partition at the end must have the windows, and each entry that it has, of a store that
// always had it.
func TestAPartitionThatMovesMakesTheSameLog(t *testing.T) {
	inputs := newInputs(8, 30)
	stay := openMemory(t, Memory())
	defer stay.Close()
	must(t, feedInputs(stay, inputs))
	want, err := newOwner(stay, smallConfig())
	must(t, err)
	rapid.Check(t, func(t *rapid.T) {
		nodes := [2]*Store{openMemory(t, Memory()), openMemory(t, Memory())}
		nodes[0].tailParts, nodes[1].tailParts = rapid.IntRange(1, 300).Draw(t, "tail"), rapid.IntRange(1, 300).Draw(t, "other tail")
		defer nodes[0].Close()
		defer nodes[1].Close()
		here, fed, mirrors := 0, 0, rapid.Bool().Draw(t, "mirrors")
		for fed < len(inputs) {
			fed += rapid.IntRange(0, 4).Draw(t, "batches")
			fed = min(fed, len(inputs))
			must(t, feedInputs(nodes[here], inputs[:fed]))
			if rapid.Bool().Draw(t, "snapshot") {
				o, err := newOwner(nodes[here], smallConfig())
				must(t, err)
				must(t, nodes[here].Snapshot(1, o.windows[1]))
			}
			there := 1 - here
			if rapid.Bool().Draw(t, "moves") {
				for p := range schema.Partition(2) {
					if nodes[there].Partition(p).Mirror {
						mirror(t, nodes[here], nodes[there], p)
					}
				}
				moveBoth(t, nodes[here], nodes[there])
				if mirrors {
					must(t, errors.Join(nodes[here].Leave(0), nodes[here].Leave(1)))
				}
				here = there
			}
		}
		o, err := newOwner(nodes[here], smallConfig())
		must(t, err)
		for p := range schema.Partition(2) {
			if !slices.Equal(sessionsOf(t, o.windows[p]), sessionsOf(t, want.windows[p])) {
				t.Fatalf("the windows of partition %d are others", p)
			}
			got, whole := wholeLog(t, nodes[here], p), wholeLog(t, stay, p)
			first := nodes[here].Partition(p).FirstEmit
			if diff := gocmp.Diff(whole[first:], got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("the log of partition %d from %d on (-stayed +moved):\n%s", p, first, diff)
			}
			if mirrors && first > 0 && nodes[here].Partition(p).NextEmit > 0 && here == 0 {
				t.Fatalf("the log of partition %d begins at %d, though the node mirrored it", p, first)
			}
			checkIndex(t, nodes[here], p)
		}
	})
}

// mirror appends what to has not of from's log.
func mirror(t fataler, from, to *Store, p schema.Partition) {
	t.Helper()
	for {
		entries, err := from.Log(p, to.Partition(p).NextEmit, 7)
		must(t, err)
		must(t, to.Append(p, from.Partition(p), entries))
		if len(entries) == 0 {
			return
		}
	}
}

func TestAMirrorIsTheLog(t *testing.T) {
	disk := Memory()
	from, to := openMemory(t, Memory()), openMemory(t, disk)
	defer from.Close()
	must(t, from.Commit(Commit{Window: window.NewMeta(), Entries: []Entry{{Kind: KindGrow, Mark: Mark{Watermark: schema.BeginningOfTime, Partitions: 2}}}}))
	must(t, feedInputs(from, newInputs(6, 40)))
	for p := range schema.Partition(2) {
		half, err := from.Log(p, 0, 20)
		must(t, err)
		must(t, to.Append(p, from.Partition(p), half))
		if m := to.Partition(p); m.NextEmit != 20 || m.Window.Watermark != schema.BeginningOfTime || !m.Mirror {
			t.Fatalf("half a mirror promises more than it has: %+v", m)
		}
		must(t, to.Append(p, from.Partition(p), half)) // again
		mirror(t, from, to, p)
		want, got := from.Partition(p), to.Partition(p)
		got.Mirror, got.LogBytes, got.Aside, got.AsideBytes = false, want.LogBytes, want.Aside, want.AsideBytes
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("the meta differs (-log +mirror):\n%s", diff)
		}
		if diff := gocmp.Diff(wholeLog(t, from, p), wholeLog(t, to, p)); diff != "" {
			t.Fatalf("the mirror differs (-log +mirror):\n%s", diff)
		}
		a, err := from.History(p, fmt.Sprint("u", p, 1), 1<<40, 5)
		must(t, err)
		b, err := to.History(p, fmt.Sprint("u", p, 1), 1<<40, 5)
		must(t, err)
		if diff := gocmp.Diff(a, b); diff != "" || len(a) == 0 {
			t.Fatalf("a history differs (-log +mirror):\n%s", diff)
		}
		checkIndex(t, to, p)
	}
	fails := func(err error, words string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("error %v does not say %q", err, words)
		}
	}
	end := to.Partition(1).NextEmit
	gap := partOf("u", 1, 1)
	gap.Emit = end + 2
	fails(to.Append(1, from.Partition(1), []Entry{gap}), fmt.Sprintf("entries %d to %d are missing", end, end+1))
	fails(from.Append(1, from.Partition(1), nil), "let go of it first")
	fails(to.Commit(Commit{Partition: 1}), "mirror of another node's log")
	_, err := to.Load(1, smallConfig())
	fails(err, "import its state first")
	_, err = to.Export(1, new(bytes.Buffer))
	fails(err, "export it there")
	must(t, to.Close())
	to = openMemory(t, disk)
	defer to.Close()
	if m := to.Partition(1); m.NextEmit != end || !m.Mirror {
		t.Fatalf("after a restart: %+v", m)
	}

	// A mirror may begin in the middle of a log.
	late, err := from.Log(1, 30, 5)
	must(t, err)
	other := openMemory(t, Memory())
	defer other.Close()
	must(t, other.Append(1, from.Partition(1), late))
	if m := other.Partition(1); m.FirstEmit != 30 || m.NextEmit != 35 {
		t.Fatalf("%+v", m)
	}
	checkIndex(t, other, 1)
}

// TestAMirrorThatIsFurtherIsCut imports a state that is older than the mirror. The same entries come again.
func TestAMirrorThatIsFurtherIsCut(t *testing.T) {
	inputs := newInputs(10, 40)
	old := openMemory(t, Memory())
	defer old.Close()
	must(t, feedInputs(old, inputs[:4]))
	var stream bytes.Buffer
	exported, err := old.Export(1, &stream)
	must(t, err)
	must(t, feedInputs(old, inputs[:8]))
	node := openMemory(t, Memory())
	defer node.Close()
	node.tailParts = 25
	mirror(t, old, node, 1)
	reached := node.Partition(1).NextEmit
	m, err := node.Import(1, &stream)
	must(t, err)
	if m.NextEmit != exported.NextEmit || m.FirstEmit != 0 || m.Reached != reached || m.Mirror {
		t.Fatalf("%+v", m)
	}
	checkIndex(t, node, 1)
	must(t, feedInputs(node, inputs))
	must(t, feedInputs(old, inputs))
	if diff := gocmp.Diff(wholeLog(t, old, 1), wholeLog(t, node, 1)); diff != "" {
		t.Fatalf("the log differs (-stayed +moved):\n%s", diff)
	}
	checkIndex(t, node, 1)
}

func TestImportRefusesWhatIsNotWhole(t *testing.T) {
	from := openMemory(t, Memory())
	defer from.Close()
	must(t, feedInputs(from, newInputs(6, 40)))
	o, err := newOwner(from, smallConfig())
	must(t, err)
	must(t, from.Snapshot(1, o.windows[1]))
	must(t, feedInputs(from, newInputs(8, 40)))
	var stream bytes.Buffer
	want, err := from.Export(1, &stream)
	must(t, err)
	whole := stream.Bytes()
	to := openMemory(t, Memory())
	defer to.Close()
	fails := func(p schema.Partition, b []byte, is error, words string) {
		t.Helper()
		before := to.Partition(p)
		_, err := to.Import(p, bytes.NewReader(b))
		if err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), words) {
			t.Fatalf("error %v, want %v with %q", err, is, words)
		}
		if diff := gocmp.Diff(before, to.Partition(p)); diff != "" {
			t.Fatalf("it changed the partition:\n%s", diff)
		}
	}
	for n := 0; n < len(whole); n += 1 + n/50 {
		fails(1, whole[:n], ErrCorrupt, "")
		damaged := slices.Clone(whole)
		damaged[n] ^= 0x10
		fails(1, damaged, nil, "")
	}
	newer := slices.Clone(whole)
	newer[len(transferMagic)]++
	fails(1, newer, nil, "newer format (3 > 2): run a newer freshet")
	fails(0, whole, nil, "it is the state of partition 1")
	if _, err := to.Import(1, bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	w, err := to.Load(1, smallConfig())
	must(t, err)
	if got := to.Partition(1); w.Meta() != want.Window || got.NextOffset != want.NextOffset || got.FirstEmit != want.NextEmit {
		t.Fatalf("%+v", got)
	}
	must(t, feedInputs(to, newInputs(10, 40)))
	fails(1, whole, ErrOlder, "take a newer export")

	// A partition that has had nothing moves too.
	stream.Reset()
	_, err = from.Export(9, &stream)
	must(t, err)
	if m, err := to.Import(9, &stream); err != nil || m.NextEmit != 0 || m.Mirror {
		t.Fatalf("%+v, %v", m, err)
	}
}

func FuzzImport(t *testing.F) {
	f := fuzz.Of(t)
	from := openMemory(f, Memory())
	must(f, feedInputs(from, newInputs(4, 20)))
	var stream bytes.Buffer
	_, err := from.Export(1, &stream)
	must(f, err)
	must(f, from.Close())
	f.Add(stream.Bytes())
	f.Add([]byte(transferMagic + "\x02p\x03"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := openMemory(t, Memory())
		defer s.Close()
		if _, err := s.Import(1, bytes.NewReader(b)); err == nil && !bytes.Equal(b[:stream.Len()], stream.Bytes()) {
			t.Error("something else was imported")
		}
	})
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	inputs := newInputs(8, 40)
	// damage changes a store that has a snapshot and a journal, and Load must say the words.
	damage := func(change func(s *Store, h header), words ...string) {
		t.Helper()
		disk := Memory()
		s := openMemory(t, disk)
		must(t, feedInputs(s, inputs[:4]))
		o, err := newOwner(s, smallConfig())
		must(t, err)
		must(t, s.Snapshot(1, o.windows[1]))
		must(t, feedInputs(s, inputs))
		h, _ := s.header(1)
		change(s, h)
		must(t, s.Close())
		s = openMemory(t, disk)
		defer s.Close()
		_, err = s.Load(1, smallConfig())
		for _, w := range append(words, "partition 1", ErrCorrupt.Error()) {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("error %v does not say %q", err, w)
			}
		}
		if _, err := s.Load(0, smallConfig()); err != nil {
			t.Errorf("the other partition: %v", err)
		}
	}
	damage(func(s *Store, h header) {
		must(t, s.db.Delete(journalKey(nil, 1, h.journal), pebble.Sync))
	}, "journal", "it is missing")
	damage(func(s *Store, h header) {
		must(t, s.db.Delete(journalKey(nil, 1, s.state(1).journal-1), pebble.Sync))
	}, "journal", "it is missing")
	damage(func(s *Store, h header) {
		must(t, s.db.Set(journalKey(nil, 1, h.journal), []byte{1, 99}, pebble.Sync))
	}, "an unknown operation")
	damage(func(s *Store, h header) {
		must(t, s.db.Delete(pageKey(nil, 1, h.generation, 0), pebble.Sync))
	}, "0 pages of 0 bytes")
	damage(func(s *Store, h header) {
		st := s.state(1)
		st.Window.Counts.Rejected[0]++
		must(t, s.db.Set(metaKey(nil, 1), appendMeta(nil, &st), pebble.Sync))
	}, "but the last commit says")
	damage(func(s *Store, h header) {
		must(t, s.db.Delete(headerKey(nil, 1), pebble.Sync))
	}, "it has no snapshot")
}

// TestAnotherConfigGoesOn loads windows under another config: what was committed under the old one is replayed under it.
func TestAnotherConfigGoesOn(t *testing.T) {
	var said strings.Builder
	disk := Memory()
	open := func() *Store {
		s, err := Open("store", Options{FS: disk, MemTableBytes: 1 << 20, Log: slog.New(slog.NewTextHandler(&said, nil))})
		must(t, err)
		return s
	}
	s := open()
	must(t, feedInputs(s, newInputs(6, 40)))
	before, err := s.Load(1, smallConfig())
	must(t, err)
	must(t, s.Close())
	s = open()
	other := smallConfig()
	other.Gap *= 2
	w, err := s.Load(1, other)
	must(t, err)
	if said.Len() == 0 || !strings.Contains(said.String(), "Gap:60ms") || !strings.Contains(said.String(), "Gap:120ms") {
		t.Fatalf("the log does not have both configs: %s", said.String())
	}
	if w.Meta() != before.Meta() || !slices.Equal(sessionsOf(t, w), sessionsOf(t, before)) {
		t.Fatal("the windows are others")
	}
	click := &schema.Click{UserID: "u", ItemID: "i", Action: schema.ActionClick, EventTime: w.Meta().MaxSeen + 70}
	c := Commit{Partition: 1, NextOffset: s.Partition(1).NextOffset + 1}
	for range 2 {
		parts, reason := w.Add(click)
		if reason != "" {
			t.Fatal(reason)
		}
		c.add(parts)
		click.EventTime += 100 // within the new gap
	}
	c.Window, c.Journal = w.Meta(), w.Journal()
	must(t, s.Commit(c))
	w.Committed()
	must(t, s.Close())
	said.Reset()
	s = open()
	defer s.Close()
	again, err := s.Load(1, other)
	must(t, err)
	if said.Len() > 0 || !slices.Equal(sessionsOf(t, again), sessionsOf(t, w)) {
		t.Fatalf("after a restart under the new config the windows are others, or it was said again: %s", said.String())
	}
	if _, err := s.Load(0, smallConfig()); err != nil || said.Len() > 0 {
		t.Fatalf("the other partition: %v, %s", err, said.String())
	}
}

func TestSnapshotWhenTheJournalIsLong(t *testing.T) {
	s := openMemory(t, Memory())
	defer s.Close()
	o, err := newOwner(s, smallConfig())
	must(t, err)
	for i, in := range newInputs(6, 30) {
		must(t, o.commit(o.take(in)))
		st := s.state(in.partition)
		for _, c := range []struct {
			journal uint64
			pages   uint64
			due     bool
		}{{snapshotBytes - 1, 0, false}, {snapshotBytes, 0, true}, {snapshotBytes, snapshotBytes + 1, false}, {snapshotBytes + 1, snapshotBytes + 1, true}} {
			h := s.headers[in.partition]
			h.bytes, st.journalBytes = c.pages, c.journal
			s.headers[in.partition], s.states[in.partition] = h, st
			if got := s.SnapshotDue(in.partition); got != c.due {
				t.Fatalf("%d bytes of journal after a snapshot of %d: due %v", c.journal, c.pages, got)
			}
		}
		must(t, s.Snapshot(in.partition, o.windows[in.partition]))
		checkTidy(t, s)
		if s.SnapshotDue(in.partition) || s.state(in.partition).journalBytes != 0 {
			t.Fatalf("after snapshot %d the journal counts %d bytes", i, s.state(in.partition).journalBytes)
		}
	}
	o.windows[0].Tick(1 << 50)
	if err := s.Snapshot(0, o.windows[0]); err == nil || !strings.Contains(err.Error(), "not those of its last commit") {
		t.Errorf("windows that are ahead: %v", err)
	}
	if err := s.Snapshot(5, o.windows[1]); err == nil || !strings.Contains(err.Error(), "was not loaded") {
		t.Errorf("a partition that was not loaded: %v", err)
	}
	if err := s.Commit(Commit{Partition: 5, Journal: []byte{1}}); err == nil || !strings.Contains(err.Error(), "were not loaded") {
		t.Errorf("a journal of windows that were not loaded: %v", err)
	}
}
