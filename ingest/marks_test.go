package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

func TestTheOwnerOfPartitionZeroWritesTheTopology(t *testing.T) {
	ctx := context.Background()
	s := open(t, buffer.Memory())
	defer s.Close()
	n := newNode(t, s, ingest.DefaultOptions("clicks"), 1)
	want := func(partitions ...int) {
		t.Helper()
		var got []int
		for _, e := range wholeLog(t, s, 0) {
			if e.Kind == buffer.KindGrow {
				got = append(got, e.Mark.Partitions)
			}
		}
		if diff := gocmp.Diff(partitions, got); diff != "" {
			t.Fatalf("marks differ (-want +got):\n%s", diff)
		}
	}
	must(t, n.Topology(ctx, 2)) // it does not own partition 0
	want()
	if _, err := n.Assign(ctx, 0); err != nil {
		t.Fatal(err)
	}
	want(2)
	must(t, n.Topology(ctx, 2))
	must(t, n.Apply(ctx, 0, batch(record(0, schema.Click{UserID: "a", ItemID: "x", EventTime: noon}))))
	must(t, n.Topology(ctx, 5))
	want(2, 5)
	if e := wholeLog(t, s, 0); e[1].Mark.Watermark != noon.Add(-5*time.Second) || e[1].Mark.Offset != 1 {
		t.Errorf("the mark is at %+v", e[1].Mark)
	}
	for _, fewer := range []int{4, 0} {
		if err := n.Topology(ctx, fewer); err == nil {
			t.Errorf("a topic of %d partitions after 5 went through", fewer)
		}
	}
	if _, err := n.Assign(ctx, 0); err == nil { // the last that was said is 4
		t.Error("a topic that has lost partitions went through at the assignment")
	}
	if _, ok := n.Offsets()[0]; ok {
		t.Error("the partition is owned all the same")
	}
	must(t, n.Topology(ctx, 5))
	if _, err := n.Assign(ctx, 0); err != nil {
		t.Fatal(err)
	}
	want(2, 5)
}

// TestAMarkIsRecordedBeforeItIsMade refuses each kind of mark once: nothing happens then, and the same is asked for again.
func TestAMarkIsRecordedBeforeItIsMade(t *testing.T) {
	ctx := context.Background()
	moves := newMemoryMoves()
	clock := time.Unix(0, 0)
	n, s, _ := movingNode(t, moves, buffer.Memory(), func(o *ingest.Options) {
		o.Now = func() time.Time { return clock }
		o.Window = ingest.DefaultOptions("").Window
	})
	defer s.Close()
	assign(t, n, 0)
	moves.recorded = func() {
		if int(s.Partition(0).NextEmit) != len(wholeLog(t, s, 0)) {
			t.Error("the mark was made before it was recorded")
		}
	}
	idle := func(next schema.Offset) { apply(t, n, source.Batch{Next: next, HighWatermark: next}) }
	marks := func() (marks []ingest.Recorded) {
		parts := schema.Emit(0)
		for _, e := range wholeLog(t, s, 0) {
			if e.Kind == buffer.KindPart {
				parts++
				continue
			}
			marks = append(marks, ingest.Recorded{Kind: e.Kind, Emit: e.Emit - parts, Mark: e.Mark})
			parts = 0
		}
		return marks
	}

	moves.away = true
	must(t, n.Topology(ctx, 1)) // the mark comes with a later batch
	if got := marks(); len(got) != 0 {
		t.Errorf("marks %+v that were not recorded", got)
	}
	moves.away = false
	idle(0)

	apply(t, n, batch(record(0, schema.Click{UserID: "a", ItemID: "x", EventTime: noon})))
	idle(1)
	clock = clock.Add(time.Hour)
	moves.away = true
	idle(1) // a tick that is left out is no error: it comes later
	if got := s.Partition(0).Window.Watermark; got != noon.Add(-5*time.Second) {
		t.Errorf("the watermark went to %d without a mark", got)
	}
	moves.away = false
	idle(1)

	apply(t, n, batch(record(1, schema.Click{UserID: "a", ItemID: "x", EventTime: noon.Add(2 * time.Hour)})))
	moves.away = true
	if err := n.End(ctx); !errors.Is(err, errAway) || s.Partition(0).Window.Ended || n.Stats().Partitions[0].Sessions != 1 {
		t.Errorf("end: %v, then %+v", err, s.Partition(0).Window)
	}
	moves.away = false
	must(t, n.End(ctx))

	if diff := gocmp.Diff(marks(), moves.entries[0].state.Marks); diff != "" || len(marks()) != 3 {
		t.Errorf("marks differ (-made +recorded):\n%s", diff)
	}
	balance(t, s, 2)
}

// TestALongJournalBecomesASnapshot fills the journal, and finds everything when the store is opened again.
func TestALongJournalBecomesASnapshot(t *testing.T) {
	ctx := context.Background()
	fs := buffer.Memory()
	s := open(t, fs)
	o := ingest.DefaultOptions("clicks")
	o.Window.PartAge, o.Window.PartClicks = 0, 0
	n := newNode(t, s, o, 0)
	context := []byte(strings.Repeat(" ", 400_000))
	const records = 50 // 20 MB, more than a snapshot waits for
	var longest bool
	for i := range records {
		c := schema.Click{UserID: fmt.Sprint(i % 3), ItemID: fmt.Sprint(i), EventTime: noon + schema.EventTime(i), Context: context}
		must(t, n.Apply(ctx, 0, batch(record(i, c))))
		longest = longest || s.SnapshotDue(0)
	}
	if longest {
		t.Error("a snapshot is due after a commit")
	}
	must(t, s.Close())
	s = open(t, fs)
	defer s.Close()
	n = newNode(t, s, o, 0)
	if got := n.Stats().Partitions[0]; got.Sessions != 3 || got.Pending != records {
		t.Errorf("after the restart: %+v", got)
	}
	must(t, n.End(ctx))
	balance(t, s, records)
}
