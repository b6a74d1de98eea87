package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
)

// clicks returns n clicks of one user, a second apart, from offset from on.
func clicks(from, n int) source.Batch {
	var records []source.Record
	for o := from; o < from+n; o++ {
		records = append(records, record(o, schema.Click{UserID: "u", ItemID: fmt.Sprint("i", o), EventTime: noon + schema.EventTime(1000*o)}))
	}
	return batch(records...)
}

// safeBuffer is a log that may be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func movingNode(t fataler, m ingest.Moves, fs buffer.FS, change func(*ingest.Options)) (*ingest.Node, *buffer.Store, *safeBuffer) {
	t.Helper()
	log := &safeBuffer{}
	o := ingest.DefaultOptions("clicks")
	o.Window.PartClicks = 2
	o.Moves, o.Log = m, slog.New(slog.NewTextHandler(log, nil))
	if change != nil {
		change(&o)
	}
	s := open(t, fs)
	return newNode(t, s, o), s, log
}

func assign(t fataler, n *ingest.Node, want schema.Offset) {
	t.Helper()
	next, err := n.Assign(context.Background(), 0)
	if err != nil || next != want {
		t.Fatal(fmt.Sprintf("assigned at %d, want %d: %v", next, want, err))
	}
}

func apply(t fataler, n *ingest.Node, b source.Batch) {
	t.Helper()
	must(t, n.Apply(context.Background(), 0, b))
}

// Without the claims nobody knows how far another node has come: Assign waits for them, and Health says so.
func TestTakeOverWaits(t *testing.T) {
	moves := newMemoryMoves()
	moves.away = true
	waited := 0
	var n *ingest.Node
	n, s, log := movingNode(t, moves, buffer.Memory(), func(o *ingest.Options) {
		o.Wait = func(ctx context.Context, d time.Duration) error {
			if d <= 0 || d > 10*time.Second {
				t.Errorf("it waits %v", d)
			}
			if err := n.Health(); err == nil || !errors.Is(err, errAway) {
				t.Errorf("health: %v", err)
			}
			if waited++; waited == 3 {
				moves.away = false
			}
			return ctx.Err()
		}
	})
	defer s.Close()
	assign(t, n, 0)
	if err := n.Health(); err != nil || waited != 3 || strings.Count(log.String(), "waits for the store of snapshots") != 1 {
		t.Fatalf("waited %d times; health %v\n%s", waited, err, log)
	}
	n.Revoke(0)
	moves.away = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Assign(ctx, 0); !errors.Is(err, context.Canceled) || !errors.Is(err, errAway) {
		t.Fatal(err)
	}
	if err := n.Health(); err != nil {
		t.Fatalf("it is not waiting any more: %v", err)
	}
}

// A node goes on without the claims, and makes no ticks; it says so once, and again when they are back.
func TestClaimsGoAway(t *testing.T) {
	moves, now := newMemoryMoves(), time.UnixMilli(int64(noon))
	n, s, log := movingNode(t, moves, buffer.Memory(), func(o *ingest.Options) { o.Now = func() time.Time { return now } })
	defer s.Close()
	assign(t, n, 0)
	apply(t, n, clicks(0, 1))
	moves.away = true
	for range 5 {
		now = now.Add(time.Minute)
		apply(t, n, source.Batch{Next: 1, HighWatermark: 1})
	}
	apply(t, n, clicks(1, 1))
	if m := s.Partition(0); m.NextOffset != 2 || m.Ticks != 0 {
		t.Fatalf("%+v", m)
	}
	if got := strings.Count(log.String(), "cannot be stored"); got != 1 || n.Health() != nil || n.Stats().Moves.Refused == 0 {
		t.Fatalf("said %d times; health %v; %+v\n%s", got, n.Health(), n.Stats().Moves, log)
	}
	moves.away = false
	for range 2 {
		now = now.Add(time.Minute)
		apply(t, n, source.Batch{Next: 2, HighWatermark: 2})
	}
	if m := s.Partition(0); m.Ticks != 1 || strings.Count(log.String(), "can be stored again") != 1 {
		t.Fatalf("%+v\n%s", m, log)
	}
}

// ticked runs a node through records and ticks, saves, and lets go, so that marks are known from later than the beginning.
func ticked(t *testing.T, moves *memoryMoves) ingest.Place {
	t.Helper()
	now := time.UnixMilli(int64(noon))
	n, s, _ := movingNode(t, moves, buffer.Memory(), func(o *ingest.Options) { o.Now = func() time.Time { return now } })
	defer s.Close()
	assign(t, n, 0)
	for i := range 4 {
		apply(t, n, clicks(100*i, 10))
		for range 2 {
			now = now.Add(40 * time.Second)
			apply(t, n, source.Batch{Next: schema.Offset(100*i + 10), HighWatermark: schema.Offset(100*i + 10)})
		}
		must(t, n.SaveNow(t.Context(), 0))
	}
	n.Revoke(0)
	m := s.Partition(0)
	if m.Ticks == 0 || moves.marksFrom(0) == 0 {
		t.Fatalf("%d ticks, marks are known from %d", m.Ticks, moves.marksFrom(0))
	}
	return ingest.Place{Offset: m.NextOffset, Emit: m.NextEmit}
}

// All snapshots are lost, and with them the marks that they covered: the partition begins anew, and says what that means.
func TestFallback(t *testing.T) {
	moves := newMemoryMoves()
	ticked(t, moves)
	for i, s := range moves.newest(0) {
		moves.damage(s, i == 0)
	}
	n, s, log := movingNode(t, moves, buffer.Memory(), nil)
	defer s.Close()
	assign(t, n, 0)
	if got := n.Stats().Moves; got.Fallbacks != 1 || got.Damaged != 2 || got.Restored != 0 || !strings.Contains(log.String(), "numbered otherwise") {
		t.Fatalf("%+v\n%s", got, log)
	}
	apply(t, n, clicks(0, 10))
	if m := s.Partition(0); m.NextOffset != 10 {
		t.Fatalf("%+v", m)
	}
}

// The newest snapshot is damaged: the one before is good, and nothing is missing.
func TestOlderSnapshot(t *testing.T) {
	moves := newMemoryMoves()
	place := ticked(t, moves)
	moves.damage(moves.newest(0)[0], false)
	older := moves.newest(0)[1]
	n, s, _ := movingNode(t, moves, buffer.Memory(), nil)
	defer s.Close()
	assign(t, n, older.Offset)
	apply(t, n, clicks(300, 10))
	apply(t, n, source.Batch{Next: 310, HighWatermark: 310})
	m := s.Partition(0)
	if got := n.Stats().Moves; got.Fallbacks != 0 || got.Damaged != 1 || got.Restored != 1 || got.Diverged != 0 || (ingest.Place{Offset: m.NextOffset, Emit: m.NextEmit}) != place {
		t.Fatalf("%+v, %+v, want %+v", got, m, place)
	}
}

// A node that went on after another had made a mark there has another log. It takes the other's, if there is a snapshot of it.
func TestDiverged(t *testing.T) {
	for _, snapshots := range []bool{true, false} {
		moves := newMemoryMoves()
		fs := buffer.Memory()
		n, s, _ := movingNode(t, moves, fs, nil)
		assign(t, n, 0)
		apply(t, n, clicks(0, 10))

		// Another claims the partition from its beginning, makes a mark at offset 4, and goes on to offset 6.
		other, theirs, _ := movingNode(t, moves, buffer.Memory(), nil)
		assign(t, other, 0)
		apply(t, other, clicks(0, 4))
		tick := ingest.Recorded{Kind: buffer.KindTick, Emit: theirs.Partition(0).NextEmit, Mark: buffer.Mark{Watermark: noon + 3_600_000, Offset: 4}}
		must(t, moves.entries[0].owner.Record(t.Context(), tick))
		other.Revoke(0)
		assign(t, other, 4)
		apply(t, other, clicks(4, 2))
		if snapshots {
			must(t, other.SaveNow(t.Context(), 0))
		} else {
			moves.entries[0].state.Snapshots = nil
		}
		must(t, s.Close())

		again, s, log := movingNode(t, moves, fs, nil)
		next, err := again.Assign(t.Context(), 0)
		if !snapshots {
			if err == nil || !strings.Contains(err.Error(), "two logs") {
				t.Errorf("assigned at %d, %v", next, err)
			}
		} else if got, want := s.Partition(0), theirs.Partition(0); err != nil || next != 6 || got.NextEmit != want.NextEmit || again.Stats().Moves.Diverged != 1 {
			t.Errorf("assigned at %d, %v: %+v, want %+v\n%s", next, err, got, want, log)
		}
		must(t, s.Close())
		must(t, theirs.Close())
	}
}

// The log of a node that had the partition not long ago stays whole where Kafka has its records; else the import begins it
// anew.
func TestReadAgainOrImport(t *testing.T) {
	for _, tc := range []struct {
		earliest  func(context.Context, schema.Partition) (schema.Offset, error)
		want      schema.Offset
		firstEmit bool // whether the log begins anew
	}{
		{nil, 20, true},
		{func(context.Context, schema.Partition) (schema.Offset, error) { return 10, nil }, 10, false},
		{func(context.Context, schema.Partition) (schema.Offset, error) { return 11, nil }, 20, true},
		{func(context.Context, schema.Partition) (schema.Offset, error) { return 0, errors.New("no broker") }, 20, true},
	} {
		moves := newMemoryMoves()
		n, s, _ := movingNode(t, moves, buffer.Memory(), func(o *ingest.Options) { o.Move.Earliest = tc.earliest })
		assign(t, n, 0)
		apply(t, n, clicks(0, 10))
		n.Revoke(0)
		other, theirs, _ := movingNode(t, moves, buffer.Memory(), nil)
		assign(t, other, 10)
		apply(t, other, clicks(10, 10))
		other.Revoke(0)
		assign(t, n, tc.want)
		if m := s.Partition(0); (m.FirstEmit > 0) != tc.firstEmit {
			t.Errorf("%+v: the log begins with %d", tc, m.FirstEmit)
		}
		apply(t, n, clicks(int(tc.want), 25-int(tc.want)))
		if got, want := s.Partition(0).NextEmit, schema.Emit(9); got != want {
			t.Errorf("%+v: %d entries, want %d", tc, got, want)
		}
		must(t, s.Close())
		must(t, theirs.Close())
	}
}

// A node that mirrors a log cannot go on with it without a snapshot.
func TestMirrorNeedsASnapshot(t *testing.T) {
	moves := newMemoryMoves()
	n, s, _ := movingNode(t, moves, buffer.Memory(), nil)
	defer s.Close()
	must(t, s.Append(0, buffer.Meta{NextEmit: 1}, []buffer.Entry{{Kind: buffer.KindTick, Mark: buffer.Mark{Watermark: noon}}}))
	if _, err := n.Assign(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "no snapshot to go on from") {
		t.Fatal(err)
	}
}

// RunSnapshots saves what has moved on, and tries again what has failed.
func TestRunSnapshots(t *testing.T) {
	moves := newMemoryMoves()
	n, s, _ := movingNode(t, moves, buffer.Memory(), func(o *ingest.Options) { o.Move.SnapshotEvery = 20 * time.Millisecond })
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.RunSnapshots(ctx) }()
	saved := func(offset schema.Offset) func() bool {
		return func() bool { s := moves.newest(0); return len(s) > 0 && s[0].Offset == offset }
	}
	assign(t, n, 0)
	apply(t, n, clicks(0, 5))
	until(t, saved(5))
	apply(t, n, clicks(5, 5))
	until(t, saved(10))
	if got := n.Stats().Moves; got.Snapshots != 2 || got.Bytes == 0 || got.Failures != 0 {
		t.Fatalf("%+v", got)
	}
	moves.mu.Lock()
	moves.away = true
	moves.mu.Unlock()
	apply(t, n, clicks(10, 5))
	until(t, func() bool { return n.Stats().Moves.Failures > 0 })
	moves.mu.Lock()
	moves.away = false
	moves.mu.Unlock()
	until(t, saved(15))
	n.Revoke(0)
	cancel()
	must(t, <-ended)
	if at, ok := moves.entries[0].left, moves.entries[0].left != nil; !ok || at.Offset != 15 {
		t.Fatalf("left at %+v", at)
	}
	if got := n.Stats().Moves; got.Age != 0 {
		t.Fatalf("the age of snapshots of no partition is %v", got.Age)
	}
}

func until(t testing.TB, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come true")
		}
	}
}

// slowMoves never finishes a snapshot.
type slowMoves struct {
	*memoryMoves
	began chan struct{} // holds a value for each snapshot that was begun
}

type slowClaim struct {
	ingest.Claim
	began chan struct{}
}

func (s slowMoves) Claim(ctx context.Context, p schema.Partition) (ingest.Claim, error) {
	c, err := s.memoryMoves.Claim(ctx, p)
	return slowClaim{c, s.began}, err
}

func (s slowClaim) Save(ctx context.Context, _ func(io.Writer) (ingest.Place, error)) (ingest.Snapshot, error) {
	s.began <- struct{}{}
	<-ctx.Done()
	return ingest.Snapshot{}, ctx.Err()
}

// Revoke does not wait for a snapshot for longer than it may, also where one is under way.
func TestRevokeIsBounded(t *testing.T) {
	moves := slowMoves{newMemoryMoves(), make(chan struct{}, 2)}
	n, s, log := movingNode(t, moves, buffer.Memory(), func(o *ingest.Options) { o.Move.ReleaseWithin = 20 * time.Millisecond })
	defer s.Close()
	assign(t, n, 0)
	apply(t, n, clicks(0, 5))
	saving := make(chan error, 1)
	go func() { saving <- n.SaveNow(t.Context(), 0) }()
	<-moves.began
	n.Revoke(0)
	if err := <-saving; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "without a last snapshot") || n.Stats().Moves.Failures != 0 || moves.entries[0].left == nil {
		t.Fatalf("%+v\n%s", n.Stats().Moves, log)
	}
}

func TestMoveOptions(t *testing.T) {
	for want, m := range map[string]ingest.MoveOptions{
		"":               {},
		"snapshot_every": {SnapshotEvery: -1},
		"settle_for":     {SettleFor: 5 * time.Second},
		"retry_most":     {RetryMost: -1},
	} {
		err := m.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", m, err)
		}
	}
}
