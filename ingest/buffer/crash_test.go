package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/vfs"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// life is what a process does with a store from its start to the end of the input: it commits, snapshots, holds positions,
// forwards and, with a retention, forgets. It may be stopped anywhere, and begins again where the store is.
type life struct {
	inputs  []input
	options Options
	step    schema.Emit // of retention
}

func (l *life) open(fs FS) (*Store, error) {
	o := l.options
	o.FS, o.CacheBytes, o.MemTableBytes = fs, 1<<20, 1<<20
	s, err := Open("store", o)
	if err == nil && l.step > 0 {
		s.retainStep = l.step
	}
	if err == nil {
		s.tailParts = 30
	}
	return s, err
}

func (l *life) run(fs FS) error {
	s, err := l.open(fs)
	if err != nil {
		return err
	}
	defer s.Close()
	return l.live(s)
}

func (l *life) live(s *Store) error {
	o, err := newOwner(s, smallConfig())
	if err != nil {
		return err
	}
	if s.Partition(0).Partitions == 0 {
		mark := Mark{Watermark: schema.BeginningOfTime, Partitions: 2}
		if err := s.Commit(Commit{Window: o.windows[0].Meta(), Entries: []Entry{{Kind: KindGrow, Mark: mark}}}); err != nil {
			return err
		}
	}
	for i, in := range l.inputs {
		p := in.partition
		if o.next[p] >= in.first+schema.Offset(len(in.clicks)) {
			continue
		}
		if err := o.commit(o.take(in)); err != nil {
			return err
		}
		if i%3 == 0 {
			if err := s.Snapshot(p, o.windows[p]); err != nil {
				return err
			}
		}
		if i%2 == 0 {
			held := schema.Position{0: s.Partition(0).NextEmit, 1: s.Partition(1).NextEmit}
			err = errors.Join(s.Hold("reader", held), s.SetForwarded(p, o.next[p]))
			if err != nil {
				return err
			}
		}
	}
	if s.Partition(0).Window.Ended {
		return nil
	}
	return o.end(1)
}

// contents is all that a store holds, but for what the time of a crash may change: which of what may go has gone.
type contents struct {
	Logs    [2][]Entry
	Windows [2][]string // the open sessions
	Metas   [2]Meta
	Aside   []schema.Rejected
	Kept    uint64 // aside, with what was trimmed
}

// same demands that want and got are equal after crash n.
func same(t fataler, want, got any, where string, n int64) {
	t.Helper()
	if !reflect.DeepEqual(want, got) { // much faster than the other one
		t.Fatal(fmt.Sprintf("after %s %d (-want +got):\n%s", where, n, gocmp.Diff(want, got)))
	}
}

func (l *life) read(t *testing.T, fs FS) contents {
	t.Helper()
	s, err := l.open(fs)
	must(t, err)
	defer s.Close()
	var c contents
	for i := range c.Logs {
		p := schema.Partition(i)
		c.Logs[i], c.Metas[i] = wholeLog(t, s, p), s.Partition(p)
		w, err := s.Load(p, smallConfig())
		must(t, err)
		c.Windows[i] = sessionsOf(t, w)
		checkIndex(t, s, p)
		c.Metas[i].FirstEmit, c.Metas[i].LogBytes = 0, 0
	}
	for r, err := range s.Aside(0) {
		must(t, err)
		c.Aside = append(c.Aside, r)
	}
	totals := s.Totals()
	c.Kept = totals.AsideKept + totals.AsideTrimmed
	if totals.AsideKept != uint64(len(c.Aside)) {
		t.Fatalf("%d records are aside, but the counts say %d", len(c.Aside), totals.AsideKept)
	}
	return c
}

// sessionsOf returns the open sessions of w as bytes, in order.
func sessionsOf(t fataler, w *window.Windower) []string {
	t.Helper()
	var sessions []string
	must(t, w.Pages(1, func(page []byte) error {
		sessions = append(sessions, string(page))
		return nil
	}))
	slices.Sort(sessions)
	return sessions
}

// checkIndex demands that the user index of p finds the parts with clicks that are in the log, and no others, and that the
// bytes of the log are counted.
func checkIndex(t fataler, s *Store, p schema.Partition) {
	t.Helper()
	m := s.Partition(p)
	want := map[string][]schema.Emit{}
	for _, e := range wholeLog(t, s, p) {
		if e.clicks() > 0 {
			want[e.Part.UserID] = append(want[e.Part.UserID], e.Emit)
		}
	}
	for _, user := range []string{"", "u", "u1", "u01"} { // some may have nothing
		want[user] = append([]schema.Emit(nil), want[user]...)
	}
	for user, emits := range want {
		found, err := s.find(p, user, m.FirstEmit, m.NextEmit, 1<<30)
		must(t, err)
		var got []schema.Emit
		for i := range found {
			got = append(got, found[len(found)-1-i].emit)
		}
		if !slices.Equal(emits, got) {
			t.Fatal(fmt.Sprintf("the log of partition %d has parts of %q at %v, the index at %v", p, user, emits, got))
		}
	}
	must(t, s.scan(spaceOf(nil, spaceUser, p), func(key, list []byte) error {
		last, _ := lastNumber(key)
		return eachOfList(schema.Emit(last), list, func(at located) bool {
			if user := string(key[7 : len(key)-8]); at.emit >= m.FirstEmit && !slices.Contains(want[user], at.emit) {
				t.Fatal(fmt.Sprintf("the index of partition %d has a part of %q at %d", p, user, at.emit))
			}
			return true
		})
	}))
	bytes := uint64(0)
	must(t, s.scan(spaceOf(nil, spaceLog, p), func(_, value []byte) error {
		bytes += uint64(len(value))
		return nil
	}))
	if m.LogBytes != bytes {
		t.Fatal(fmt.Sprintf("the log of partition %d has %d bytes, but its meta says %d", p, bytes, m.LogBytes))
	}
}

// prefixes returns the windows after each commit of the life of one partition, by its next offset.
func (l *life) prefixes(t *testing.T) [2]map[schema.Offset][]string {
	t.Helper()
	var at [2]map[schema.Offset][]string
	for p := range at {
		w, err := window.New(smallConfig())
		must(t, err)
		o := &owner{}
		o.windows[p] = w
		at[p] = map[schema.Offset][]string{0: nil}
		for _, in := range l.inputs {
			if int(in.partition) == p {
				o.take(in)
				w.Committed()
				at[p][o.next[p]] = sessionsOf(t, w)
			}
		}
	}
	return at
}

// TestACrashLosesAndDoublesNothing crashes at every sync and between writes. What is loaded then must be the windows of a
// prefix of the records, and a store that goes on must come to hold what it holds without a crash.
func TestACrashLosesAndDoublesNothing(t *testing.T) {
	l := &life{inputs: newInputs(8, 60), options: Options{AsideRecords: 8}}
	calm := vfs.NewMem()
	must(t, l.run(calm))
	want := l.read(t, calm)
	if len(want.Logs[0]) < 50 || want.Kept < 15 || len(want.Aside) >= int(want.Kept) || len(want.Windows[0]) > 0 {
		t.Fatalf("the life is too tame: %d entries, %d aside, %d of them kept", len(want.Logs[0]), want.Kept, len(want.Aside))
	}
	prefixes := l.prefixes(t)
	power, kills := crashes(t, 1, vfs.NewStrictMem, l.run, func(disk FS, where string, n int64) {
		s, err := l.open(disk)
		must(t, err)
		for p := range prefixes {
			m := s.Partition(schema.Partition(p))
			w, err := s.Load(schema.Partition(p), smallConfig())
			must(t, err)
			if !m.Window.Ended && !slices.Equal(sessionsOf(t, w), prefixes[p][m.NextOffset]) {
				t.Fatalf("after %s %d the windows of partition %d are not those of the %d records before", where, n, p, m.NextOffset)
			}
		}
		must(t, s.Close())
		if err := l.run(disk); err != nil {
			t.Fatalf("after %s %d: %v", where, n, err)
		}
		got := l.read(t, disk)
		if kept := len(got.Aside); kept > 8 {
			t.Fatalf("after %s %d there are %d records aside", where, n, kept)
		}
		got.Aside = want.Aside // a crash may undo a trim, and the next one comes at another record
		same(t, want, got, where, n)
	})
	if power < len(l.inputs)+4 || kills < 20 {
		t.Fatalf("only %d power failures and %d kills", power, kills)
	}
	t.Logf("%d power failures, %d kills", power, kills)
}

// TestACrashDuringRetention: what a held reader needs is there after any crash, and the log and its index agree.
func TestACrashDuringRetention(t *testing.T) {
	l := &life{inputs: newInputs(10, 50), options: Options{LogAge: 400 * time.Millisecond}, step: 8}
	whole := &life{inputs: l.inputs}
	calm := vfs.NewMem()
	must(t, whole.run(calm))
	want := whole.read(t, calm)
	check := func(disk FS, where string, n int64) {
		s, err := l.open(disk)
		must(t, err)
		for p, h := range s.Holds()["reader"] {
			first := s.Partition(p).FirstEmit
			if at := want.Logs[p][max(first, 1)-1]; first > 0 && (h < first || at.time() >= want.Logs[p][min(h, schema.Emit(len(want.Logs[p])-1))].time().Add(-l.options.LogAge)) {
				t.Fatalf("after %s %d partition %d begins at %d behind %d, and a reader holds %d at %d", where, n, p, first, at.time(), h, want.Logs[p][h].time())
			}
		}
		must(t, s.Close())
		must(t, l.run(disk))
		got := l.read(t, disk)
		for p := range want.Logs {
			gone := len(want.Logs[p]) - len(got.Logs[p])
			if gone == 0 {
				t.Fatalf("after %s %d: retention has removed nothing of partition %d", where, n, p)
			}
			same(t, want.Logs[p][gone:], got.Logs[p], where, n)
		}
		got.Logs = want.Logs
		same(t, want, got, where, n)
	}
	power, kills := crashes(t, 3, vfs.NewStrictMem, l.run, check)
	t.Logf("%d power failures, %d kills", power, kills)
}

// TestACrashDuringAnImport leaves the old state or the new one, and the import can be made again.
func TestACrashDuringAnImport(t *testing.T) {
	inputs := newInputs(12, 40)
	// The partitions live on one node up to the sixth batch, then on another one up to the tenth, and come back.
	first := vfs.NewMem()
	before := &life{inputs: inputs[:6]}
	s, err := before.open(first)
	must(t, err)
	must(t, feedInputs(s, inputs[:6]))
	away := openMemory(t, Memory())
	moveBoth(t, s, away)
	must(t, s.Close())
	must(t, feedInputs(away, inputs[:10]))
	var streams [2]bytes.Buffer
	for p := range streams {
		_, err := away.Export(schema.Partition(p), &streams[p])
		must(t, err)
	}
	want := [2]Meta{away.Partition(0), away.Partition(1)}
	must(t, away.Close())

	run := func(fs FS) error {
		s, err := before.open(fs)
		if err != nil {
			return err
		}
		defer s.Close()
		for p := range streams {
			if _, err := s.Import(schema.Partition(p), bytes.NewReader(streams[p].Bytes())); err != nil {
				return err
			}
		}
		return nil
	}
	prefixes := (&life{inputs: inputs}).prefixes(t)
	prepare := func() *vfs.MemFS {
		return syncedCopy(t, first)
	}
	old, imported := 0, 0
	power, kills := crashes(t, 1, prepare, run, func(disk FS, where string, n int64) {
		for range 2 { // as the crash left it, and once the import is made again
			s, err := before.open(disk)
			must(t, err)
			for p := range streams {
				m := s.Partition(schema.Partition(p))
				switch m.NextOffset {
				case want[p].NextOffset:
					imported++
					if m.NextEmit != want[p].NextEmit || m.FirstEmit != m.NextEmit {
						t.Fatalf("after %s %d the log goes from %d to %d", where, n, m.FirstEmit, m.NextEmit)
					}
				default:
					old++
					if m.FirstEmit != 0 || len(wholeLog(t, s, m.Partition)) != int(m.NextEmit) {
						t.Fatalf("after %s %d the old log begins at %d", where, n, m.FirstEmit)
					}
				}
				w, err := s.Load(m.Partition, smallConfig())
				must(t, err)
				if !slices.Equal(sessionsOf(t, w), prefixes[p][m.NextOffset]) {
					t.Fatalf("after %s %d the windows of partition %d are not those of the %d records before", where, n, p, m.NextOffset)
				}
				checkIndex(t, s, m.Partition)
				checkTidy(t, s)
			}
			must(t, s.Close())
			must(t, run(disk))
		}
	})
	if old < 5 || imported < 5 {
		t.Fatalf("the old state %d times, the new one %d times", old, imported)
	}
	t.Logf("%d power failures, %d kills", power, kills)
}

// feedInputs gives the store what it has not had of inputs.
func feedInputs(s *Store, inputs []input) error {
	o, err := newOwner(s, smallConfig())
	if err != nil {
		return err
	}
	for _, in := range inputs {
		if err := o.commit(o.take(in)); err != nil {
			return err
		}
	}
	return nil
}

func moveBoth(t fataler, from, to *Store) {
	t.Helper()
	for p := range schema.Partition(2) {
		var stream bytes.Buffer
		_, err := from.Export(p, &stream)
		must(t, err)
		_, err = to.Import(p, &stream)
		must(t, err)
	}
}

// checkTidy demands that a store that was just opened has no pages and no journal but those that count.
func checkTidy(t fataler, s *Store) {
	t.Helper()
	must(t, s.scan([]byte{spacePage}, func(key, _ []byte) error {
		p, generation, _ := splitPage(key)
		if h, ok := s.header(p); !ok || h.generation != generation {
			return fmt.Errorf("%s is left over", nameOf(key))
		}
		return nil
	}))
	must(t, s.scan([]byte{spaceJournal}, func(key, _ []byte) error {
		p, _, _ := splitPartition(key)
		n, _ := lastNumber(key)
		if h, ok := s.header(p); !ok || n < h.journal || n >= s.state(p).journal {
			return fmt.Errorf("%s is left over", nameOf(key))
		}
		return nil
	}))
}
