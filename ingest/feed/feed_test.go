package feed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/feed"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

type fataler interface {
	Helper()
	Fatal(...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t fataler) *buffer.Store {
	t.Helper()
	s, err := buffer.Open("store", buffer.Options{FS: buffer.Memory(), CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	must(t, err)
	return s
}

// growing is a partition that a real windower fills, one commit after another.
type growing struct {
	id     schema.Partition
	w      *window.Windower
	offset schema.Offset
}

func newGrowing(t fataler, id schema.Partition, c window.Config) *growing {
	w, err := window.New(c)
	must(t, err)
	return &growing{id: id, w: w}
}

func (g *growing) commit(parts []window.Part, mark buffer.Kind) buffer.Commit {
	g.offset++
	c := buffer.Commit{Partition: g.id, NextOffset: g.offset, Window: g.w.Meta()}
	for _, p := range parts {
		c.Entries = append(c.Entries, buffer.Entry{Kind: buffer.KindPart, Part: p.Part, Packed: p.Packed})
	}
	g.w.Committed()
	if mark != 0 {
		m := g.w.Meta()
		c.Entries = append(c.Entries, buffer.Entry{Kind: mark, Mark: buffer.Mark{Epoch: m.Epoch, Watermark: m.Watermark, Offset: g.offset}})
	}
	return c
}

// begin writes the mark that says how many partitions there are.
func begin(t fataler, s *buffer.Store, partitions int) {
	t.Helper()
	must(t, s.Commit(buffer.Commit{Window: window.NewMeta(), Entries: []buffer.Entry{{
		Kind: buffer.KindGrow, Mark: buffer.Mark{Watermark: schema.BeginningOfTime, Partitions: partitions},
	}}}))
}

// drawLogs draws what partitions commit: per epoch each partition's commits, in its order, and one end of all. The topic
// begins with some of the partitions, and has all of them by the last end.
func drawLogs(t *rapid.T) (partitions int, epochs [][][]buffer.Commit, ends [][]buffer.Commit) {
	ms := func(name string, from, to int) time.Duration {
		return time.Duration(rapid.IntRange(from, to).Draw(t, name)) * time.Millisecond
	}
	c := window.Config{
		Gap: ms("gap", 1, 9), LatenessBound: ms("late", 0, 9), PartAge: ms("age", 0, 9), PartClicks: rapid.IntRange(0, 3).Draw(t, "clicks"),
		MaxSessionAge: 50 * time.Millisecond, MaxSessionClicks: 10,
	}
	partitions = rapid.IntRange(1, 4).Draw(t, "partitions")
	all := make([]*growing, partitions)
	for i := range all {
		all[i] = newGrowing(t, schema.Partition(i), c)
	}
	topic := 0 // partitions by the last Grow mark
	grow := func(to int) buffer.Commit {
		topic = to
		c := all[0].commit(nil, buffer.KindGrow)
		c.Entries[0].Mark.Partitions = to
		return c
	}
	last := rapid.IntRange(0, 2).Draw(t, "epochs")
	for e := range last + 1 {
		var epoch [][]buffer.Commit
		var end []buffer.Commit
		for i, g := range all {
			var commits []buffer.Commit
			if i == 0 && e == 0 {
				commits = append(commits, grow(rapid.IntRange(1, partitions).Draw(t, "begins with")))
			}
			now := max(1000, g.w.Meta().Watermark)
			for range rapid.IntRange(0, 25).Draw(t, "steps") {
				now += schema.EventTime(rapid.IntRange(-4, 8).Draw(t, "step"))
				switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
				case kind == 0:
					commits = append(commits, g.commit(g.w.Tick(g.w.Meta().Watermark+3), buffer.KindTick))
					continue
				case kind == 1 && i == 0 && topic < partitions:
					commits = append(commits, grow(rapid.IntRange(topic+1, partitions).Draw(t, "grows to")))
					continue
				}
				parts, _ := g.w.Add(&schema.Click{UserID: fmt.Sprint(g.id, rapid.IntRange(0, 2).Draw(t, "user")), ItemID: "x", Action: "click", EventTime: now})
				commits = append(commits, g.commit(parts, 0))
			}
			if i == 0 && e == last && topic < partitions {
				commits = append(commits, grow(partitions))
			}
			epoch = append(epoch, commits)
			end = append(end, g.commit(g.w.End(schema.Epoch(e+1)), buffer.KindEnd))
		}
		epochs, ends = append(epochs, epoch), append(ends, end)
	}
	return partitions, epochs, ends
}

// sorted returns the parts of s in the order that doc.go promises, made in the plainest way.
func sorted(t fataler, s *buffer.Store, partitions int) []schema.Part {
	t.Helper()
	var want []schema.Part
	grows := s.Partition(0).Grows
	for i := range partitions {
		p := schema.Partition(i)
		at := slices.IndexFunc(grows, func(g buffer.Grow) bool { return i < g.Partitions })
		entries, err := s.Log(p, s.Partition(p).FirstEmit, 1<<20)
		must(t, err)
		for _, e := range entries {
			if e.Kind != buffer.KindPart {
				continue
			}
			if g := grows[at]; e.Part.Epoch < g.Epoch || e.Part.Epoch == g.Epoch && e.Part.Due < g.Watermark {
				e.Part.Epoch, e.Part.Due = g.Epoch, g.Watermark
			}
			want = append(want, e.Part)
		}
	}
	slices.SortFunc(want, buffer.Order)
	return want
}

// TestTheOrderIsAFunctionOfTheLogs draws logs, how they grow, how much is asked for, and where the reader begins again.
func TestTheOrderIsAFunctionOfTheLogs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partitions, epochs, ends := drawLogs(t)
		s := open(t)
		defer s.Close()
		position := schema.Position{}
		reader, err := feed.New(s, position)
		must(t, err)
		var got []schema.Part
		var progress schema.Progress
		progress.Through = schema.BeginningOfTime

		// read takes what there is now, or some of it: Next without anything to return would wait, so its context is done.
		done, cancel := context.WithCancel(context.Background())
		cancel()
		read := func(calls int) {
			for range calls {
				parts, now, err := reader.Next(done, rapid.IntRange(1, 5).Draw(t, "limit"))
				if errors.Is(err, context.Canceled) {
					return
				}
				must(t, err)
				if now.Epoch < progress.Epoch || now.Epoch == progress.Epoch && now.Through < progress.Through {
					t.Fatalf("progress fell from %+v to %+v", progress, now)
				}
				for _, p := range parts {
					if p.Epoch < progress.Epoch || p.Epoch == progress.Epoch && p.Due < progress.Through {
						t.Fatalf("part due %d in epoch %d came after progress %+v", p.Due, p.Epoch, progress)
					}
					position[p.Partition] = p.Emit + 1
				}
				got, progress = append(got, parts...), now
			}
		}
		restart := func() {
			reader, err = feed.New(s, position.Clone())
			must(t, err)
			progress = schema.Progress{Through: schema.BeginningOfTime}
		}
		step := func() {
			switch rapid.IntRange(0, 4).Draw(t, "reader") {
			case 0:
				read(rapid.IntRange(1, 4).Draw(t, "calls"))
			case 1:
				restart()
			}
		}
		for e, epoch := range epochs {
			for left := partitions; left > 0; {
				i := rapid.IntRange(0, partitions-1).Draw(t, "grows")
				if len(epoch[i]) == 0 {
					left = 0
					for _, commits := range epoch {
						left += len(commits)
					}
					if left > 0 { // the drawn one is done: the next that is not
						for len(epoch[i]) == 0 {
							i = (i + 1) % partitions
						}
					} else {
						break
					}
				}
				n := rapid.IntRange(1, len(epoch[i])).Draw(t, "commits")
				for _, c := range epoch[i][:n] {
					must(t, s.Commit(c))
				}
				epoch[i] = epoch[i][n:]
				step()
			}
			must(t, s.Commit(ends[e]...))
			step()
		}
		read(1 << 20)
		if !progress.Ended || progress.Epoch != schema.Epoch(len(epochs)) {
			t.Fatalf("all is read, but progress is %+v", progress)
		}

		if diff := gocmp.Diff(sorted(t, s, partitions), got); diff != "" {
			t.Fatalf("sequence differs (-sorted +read):\n%s", diff)
		}
	})
}

// TestNextWaits shows that a reader is woken by the commit that brings it something, and by no other.
func TestNextWaits(t *testing.T) {
	s := open(t)
	defer s.Close()
	c := window.DefaultConfig()
	c.LatenessBound, c.PartAge = 0, time.Second
	zero, one := newGrowing(t, 0, c), newGrowing(t, 1, c)
	add := func(g *growing, at schema.EventTime) {
		parts, _ := g.w.Add(&schema.Click{UserID: "u", ItemID: "x", Action: "click", EventTime: at})
		must(t, s.Commit(g.commit(parts, 0)))
	}
	begin(t, s, 2)
	reader, err := feed.New(s, nil)
	must(t, err)
	type answer struct {
		parts    []schema.Part
		progress schema.Progress
		err      error
	}
	answers := make(chan answer)
	next := func() {
		go func() {
			parts, progress, err := reader.Next(context.Background(), 10)
			answers <- answer{parts, progress, err}
		}()
	}
	next()
	add(zero, 10_000)
	add(zero, 20_000) // a part is due, but partition 1 has not been heard of
	add(one, 5_000)
	a := <-answers
	if a.err != nil || len(a.parts) != 0 || a.progress.Through != 5_000 {
		t.Fatalf("got %+v, want progress to 5000", a)
	}
	next()
	add(one, 10_999) // it makes partition 1's own part due, and not yet partition 0's at 11000
	a = <-answers
	if len(a.parts) != 1 || a.parts[0].Partition != 1 || a.parts[0].Due != 6_000 || a.progress.Through != 10_999 {
		t.Fatalf("got %+v", a)
	}
	next()
	add(one, 11_000) // what may still come on partition 1 is due at 11000 at the earliest, and is behind partition 0's
	if a = <-answers; len(a.parts) != 1 || a.parts[0].Partition != 0 || a.parts[0].Due != 11_000 {
		t.Fatalf("got %+v", a)
	}
	if history, err := reader.History(0, "u", 2, 5); err != nil || len(history) != 1 || history[0].Emit != 1 {
		t.Fatalf("history: %v, %v", history, err)
	}
	next()
	must(t, s.Close())
	if a = <-answers; !errors.Is(a.err, buffer.ErrClosed) {
		t.Fatalf("after close: %v", a.err)
	}
}

// TestEqualDuesGoByPartition: at equal dues the lower partition goes first, so it alone may go on at the other's watermark.
func TestEqualDuesGoByPartition(t *testing.T) {
	for _, first := range []schema.Partition{0, 1} {
		s := open(t)
		part := schema.Part{Due: 7, UserID: "u", SessionStart: 1, Cause: schema.CauseGap, Final: true}
		must(t, s.Commit(
			buffer.Commit{Partition: first, Window: window.Meta{Watermark: 9}, Entries: []buffer.Entry{{Kind: buffer.KindPart, Part: part}}},
			buffer.Commit{Partition: 1 - first, Window: window.Meta{Watermark: 7}, Entries: []buffer.Entry{{Kind: buffer.KindTick}}}))
		reader, err := feed.New(s, nil) // without a Grow mark: those that have a log
		must(t, err)
		parts, progress, err := reader.Next(context.Background(), 5)
		must(t, err)
		if want := 1 - int(first); len(parts) != want || progress.Through != 7 {
			t.Errorf("part on partition %d, the other at its due: %d parts, progress %+v; want %d parts", first, len(parts), progress, want)
		}
		must(t, s.Close())
	}
}

func TestNewAndNextNameWhatIsWrong(t *testing.T) {
	s, err := buffer.Open("store", buffer.Options{FS: buffer.Memory(), MemTableBytes: 1 << 20, LogAge: time.Second})
	must(t, err)
	defer s.Close()
	done, cancel := context.WithCancel(context.Background())
	cancel()
	fails := func(from schema.Position, limit int, want ...string) error {
		t.Helper()
		reader, err := feed.New(s, from)
		if err == nil {
			_, _, err = reader.Next(done, limit)
		}
		if err == nil {
			t.Fatalf("a reader from %v went on", from)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q does not say %q", err, w)
			}
		}
		return err
	}
	fails(schema.Position{-1: 1}, 1, "partition -1")
	fails(schema.Position{0: 9}, 1, "which is empty")
	fails(nil, 0, "limit 0")
	begin(t, s, 1)
	fails(schema.Position{0: 9}, 1, "beyond the end 1", "restore both from one backup")

	// Retention removes what nobody holds. A reader of it is told so; one without a position begins at what is there.
	c := buffer.Commit{Window: window.Meta{Watermark: 1 << 40}}
	for i := range 10_000 {
		c.Entries = append(c.Entries, buffer.Entry{Kind: buffer.KindPart, Part: schema.Part{Due: schema.EventTime(i), UserID: "u", Cause: schema.CauseGap}})
	}
	must(t, s.Commit(c))
	first := s.Partition(0).FirstEmit
	if first == 0 {
		t.Fatal("nothing was removed")
	}
	if err := fails(schema.Position{0: first - 1}, 1, "no longer in the log", "let the reader begin anew"); !errors.Is(err, buffer.ErrGone) {
		t.Errorf("%v is no ErrGone", err)
	}
	reader, err := feed.New(s, schema.Position{})
	must(t, err)
	parts, _, err := reader.Next(done, 5)
	if err != nil || len(parts) != 5 || parts[0].Emit != first {
		t.Errorf("from the first entry that is there: %v, %v", parts, err)
	}
}

// TestAReaderWaitsForWhatComesAgain lets a reader of a mirror be further than the state that is then imported: it waits
// until the entries that it has had have been emitted again, and goes on behind them.
func TestAReaderWaitsForWhatComesAgain(t *testing.T) {
	old, node := open(t), open(t)
	defer old.Close()
	defer node.Close()
	c := window.DefaultConfig()
	c.LatenessBound, c.PartAge = 0, time.Second
	w, err := old.Load(0, c)
	must(t, err)
	offset := schema.Offset(0)
	add := func(s *buffer.Store, w *window.Windower, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			parts, _ := w.Add(&schema.Click{UserID: "u", ItemID: fmt.Sprint(i), Action: "click", EventTime: schema.EventTime(1000 * i)})
			offset = schema.Offset(i + 1)
			commit := buffer.Commit{NextOffset: offset, Window: w.Meta(), Journal: w.Journal()}
			for _, p := range parts {
				commit.Entries = append(commit.Entries, buffer.Entry{Kind: buffer.KindPart, Part: p.Part, Packed: p.Packed})
			}
			must(t, s.Commit(commit))
			w.Committed()
		}
	}
	add(old, w, 1, 10)
	var stream bytes.Buffer
	_, err = old.Export(0, &stream)
	must(t, err)
	add(old, w, 10, 20)
	entries, err := old.Log(0, 0, 100)
	must(t, err)
	must(t, node.Append(0, old.Partition(0), entries))

	reader, err := feed.New(node, nil)
	must(t, err)
	parts, before, err := reader.Next(context.Background(), 100)
	if err != nil || len(parts) != len(entries) {
		t.Fatalf("%d parts of the mirror, %v", len(parts), err)
	}
	_, err = node.Import(0, &stream)
	must(t, err)
	done, cancel := context.WithCancel(context.Background())
	cancel()
	again, err := feed.New(node, reader.Position()) // begins while the partition is behind its position
	must(t, err)
	if _, progress, err := reader.Next(done, 100); !errors.Is(err, context.Canceled) || progress != before {
		t.Fatalf("the reader went from %+v to %+v: %v", before, progress, err)
	}
	if parts, _, err := again.Next(done, 100); len(parts) > 0 || err != nil && !errors.Is(err, context.Canceled) {
		t.Fatalf("a new reader got %v, %v", parts, err)
	}
	if w, err = node.Load(0, c); err != nil {
		t.Fatal(err)
	}
	add(node, w, 10, 30)
	want, err := node.Log(0, schema.Emit(len(entries)), 100)
	must(t, err)
	for _, r := range []*feed.Feed{reader, again} {
		parts, _, err := r.Next(done, 100)
		must(t, err)
		if len(parts) != len(want) || len(want) == 0 || parts[0].Emit != want[0].Emit {
			t.Fatalf("%d parts follow, want %d", len(parts), len(want))
		}
	}
}
