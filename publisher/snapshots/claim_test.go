package snapshots_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher/objects"
	"github.com/freshet-ml/freshet/publisher/snapshots"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

func claim(t testing.TB, s *snapshots.Store, p schema.Partition) *snapshots.Claim {
	t.Helper()
	c, err := s.Claim(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func record(t testing.TB, c *snapshots.Claim, m snapshots.Mark) {
	t.Helper()
	if err := c.Record(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func tick(offset schema.Offset, emit schema.Emit) snapshots.Mark {
	return snapshots.Mark{Kind: "tick", At: snapshots.At{Offset: offset, Emit: emit}, Watermark: schema.EventTime(1000 * emit)}
}

func save(c *snapshots.Claim, at snapshots.At, b []byte) (snapshots.Snapshot, error) {
	return c.Save(context.Background(), func(w io.Writer) (snapshots.At, error) {
		_, err := w.Write(b)
		return at, err
	})
}

func mustSave(t testing.TB, c *snapshots.Claim, at snapshots.At, b []byte) snapshots.Snapshot {
	t.Helper()
	s, err := save(c, at, b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func content(t testing.TB, c *snapshots.Claim, s snapshots.Snapshot) ([]byte, error) {
	t.Helper()
	r, err := c.Open(t.Context(), s)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// A claim shows what the one before has written, and ends all writing of it.
func TestClaimFences(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	a, b := open(t, s.ClientURL(), "a"), open(t, s.ClientURL(), "b")
	old := claim(t, a, 3)
	if at, ok := old.Left(); !ok || at != (snapshots.At{}) {
		t.Error("the first claim of a partition does not begin it")
	}
	record(t, old, tick(10, 4))
	first := mustSave(t, old, snapshots.At{Offset: 10, Emit: 5}, noise(10))
	record(t, old, tick(12, 7))

	now := claim(t, b, 3)
	if _, ok := now.Left(); ok {
		t.Error("an owner that was fenced has let go")
	}
	want := snapshots.State{Snapshots: []snapshots.Snapshot{first}, Marks: []snapshots.Mark{tick(10, 4), tick(12, 7)}}
	if diff := cmp.Diff(want, now.State()); diff != "" {
		t.Error(diff)
	}
	for what, err := range map[string]error{
		"check":   old.Check(t.Context()),
		"record":  old.Record(t.Context(), tick(13, 9)),
		"release": old.Release(t.Context(), snapshots.At{}),
		"save":    func() error { _, err := save(old, snapshots.At{Offset: 99, Emit: 99}, noise(5)); return err }(),
	} {
		if !errors.Is(err, snapshots.ErrFenced) || !strings.Contains(err.Error(), "b did") {
			t.Errorf("%s of a fenced owner: %v", what, err)
		}
	}
	if err := now.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, now.State()); diff != "" {
		t.Error(diff)
	}
	if other := claim(t, a, 4); len(other.State().Marks) != 0 {
		t.Error("partitions share an entry")
	}
}

// A snapshot that a fenced owner was writing when it was fenced is not entered, whatever its place.
func TestFencedWhileSaving(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	a, b := open(t, s.ClientURL(), "a"), open(t, s.ClientURL(), "b")
	old := claim(t, a, 0)
	var now *snapshots.Claim
	_, err := old.Save(t.Context(), func(w io.Writer) (snapshots.At, error) {
		now = claim(t, b, 0)
		_, err := w.Write(noise(objects.ChunkBytes + 1))
		return snapshots.At{Offset: 50, Emit: 50}, err
	})
	if !errors.Is(err, snapshots.ErrFenced) {
		t.Fatal(err)
	}
	mustSave(t, now, snapshots.At{Offset: 2, Emit: 1}, noise(7))
	if names := stored(t, s.ClientURL()); len(names) != 1 {
		t.Fatalf("what is left: %v", names)
	}
}

// stored lists the objects of partition 0, of which there may be parts only.
func stored(t testing.TB, url string) []string {
	t.Helper()
	_, name := snapshots.Buckets("clicks", "freshet")
	b, err := objects.Open(t.Context(), dial(t, url), name)
	if err != nil {
		t.Fatal(err)
	}
	names, err := b.List(t.Context(), "0")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestRelease(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	a, b := open(t, s.ClientURL(), "a"), open(t, s.ClientURL(), "b")
	c := claim(t, a, 0)
	place := snapshots.At{Offset: 7, Emit: 3}
	if err := c.Release(t.Context(), place); err != nil {
		t.Fatal(err)
	}
	if err := c.Record(t.Context(), tick(1, 1)); err == nil {
		t.Error("a released claim records a mark")
	}
	if at, ok := claim(t, b, 0).Left(); !ok || at != place {
		t.Errorf("the partition was left at %+v, %v", at, ok)
	}
	if _, ok := claim(t, a, 0).Left(); ok {
		t.Error("the release has outlived its claim")
	}
}

// The last two snapshots stay, and the marks that a reader of the older one needs.
func TestWhatIsKept(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	c := claim(t, open(t, s.ClientURL(), "a"), 0)
	var all []snapshots.Snapshot
	for i := range 5 {
		at := snapshots.At{Offset: schema.Offset(10 * i), Emit: schema.Emit(3 * i)}
		record(t, c, tick(at.Offset, at.Emit))
		at.Emit++ // the tick's entry
		all = append(all, mustSave(t, c, at, noise(i)))
		state := c.State()
		wantSnapshots := slices.Clone(all[max(0, i-1):])
		slices.Reverse(wantSnapshots)
		if diff := cmp.Diff(wantSnapshots, state.Snapshots); diff != "" {
			t.Fatal(diff)
		}
		if len(state.Marks) != i+1 || state.MarksFrom != 0 {
			t.Fatalf("after %d snapshots: %d marks from %d", i+1, len(state.Marks), state.MarksFrom)
		}
	}
	if names := stored(t, s.ClientURL()); len(names) != 2 {
		t.Fatalf("stored: %v", names)
	}
	for _, at := range []snapshots.At{{Offset: 40, Emit: 13}, {Offset: 39, Emit: 99}} {
		if _, err := save(c, at, noise(9)); !errors.Is(err, snapshots.ErrOlder) {
			t.Fatalf("save at %+v: %v", at, err)
		}
	}
	if names := stored(t, s.ClientURL()); len(names) != 2 {
		t.Fatalf("stored: %v", names)
	}
}

// A damaged snapshot says so, and the one before is as it was.
func TestDamagedSnapshot(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	js := dial(t, s.ClientURL())
	_, name := snapshots.Buckets("clicks", "freshet")
	for what, damage := range map[string]func(*objects.Bucket, snapshots.Snapshot) error{
		"it is gone": func(b *objects.Bucket, n snapshots.Snapshot) error { return b.Remove(t.Context(), n.Object) },
		"it is another": func(b *objects.Bucket, n snapshots.Snapshot) error {
			return b.Put(t.Context(), n.Object, noise(int(n.Bytes) + 1)[1:])
		},
		"it is cut": func(b *objects.Bucket, n snapshots.Snapshot) error {
			stream, err := js.Stream(t.Context(), "OBJ_"+name)
			if err != nil {
				return err
			}
			return stream.Purge(t.Context(), jetstream.WithPurgeSubject("$O."+name+".C."+n.Object))
		},
	} {
		c := claim(t, open(t, s.ClientURL(), "a"), 0)
		at := snapshots.At{}
		if have := c.State().Snapshots; len(have) > 0 {
			at = have[0].At
		}
		record(t, c, tick(at.Offset, at.Emit+1))
		before := mustSave(t, c, snapshots.At{Offset: at.Offset + 1, Emit: at.Emit + 2}, noise(100_000))
		record(t, c, tick(at.Offset+1, at.Emit+2))
		newest := mustSave(t, c, snapshots.At{Offset: at.Offset + 2, Emit: at.Emit + 3}, noise(700_000))
		bucket, err := objects.Open(t.Context(), js, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := damage(bucket, newest); err != nil {
			t.Fatal(err)
		}
		next := claim(t, open(t, s.ClientURL(), "b"), 0)
		if _, err := content(t, next, next.State().Snapshots[0]); !errors.Is(err, snapshots.ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
		if got, err := content(t, next, next.State().Snapshots[1]); err != nil || !bytes.Equal(got, noise(100_000)) {
			t.Errorf("%s: the one before: %d bytes, %v", what, len(got), err)
		}
		// The next snapshot takes the damaged one's place, not the good one's.
		next.Discard(newest)
		after := mustSave(t, next, snapshots.At{Offset: at.Offset + 2, Emit: at.Emit + 4}, noise(5))
		if diff := cmp.Diff([]snapshots.Snapshot{after, before}, next.State().Snapshots); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
		if m := next.State().Marks; m[len(m)-1].Emit != before.Emit {
			t.Errorf("%s: marks %+v", what, m)
		}
	}
}

// Where NATS is away nothing is recorded, and it does not take long to find out; where it is back, everything goes on.
func TestNATSIsAway(t *testing.T) {
	dir := t.TempDir()
	s := startNATS(t, dir, 0)
	js := dial(t, s.ClientURL())
	store, err := snapshots.New(js, snapshots.Config{Topic: "clicks", Group: "freshet", Owner: "a", Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	c := claim(t, store, 0)
	record(t, c, tick(1, 1))
	mustSave(t, c, snapshots.At{Offset: 1, Emit: 2}, noise(10))
	back := port(s)
	stopNATS(s)
	if err := c.Record(t.Context(), tick(2, 2)); err == nil || errors.Is(err, snapshots.ErrFenced) || errors.Is(err, snapshots.ErrDoubt) {
		t.Fatal(err)
	}
	if _, err := save(c, snapshots.At{Offset: 2, Emit: 3}, noise(10)); err == nil || errors.Is(err, snapshots.ErrFenced) {
		t.Fatal(err)
	}
	if _, err := store.Claim(t.Context(), 0); err == nil {
		t.Fatal("a partition is claimed without NATS")
	}
	startNATS(t, dir, back)
	until(t, func() bool { return js.Conn().IsConnected() })
	until(t, func() bool { return c.Check(t.Context()) == nil })
	record(t, c, tick(3, 3)) // not refused as a moment ago: NATS was known to be away
	mustSave(t, c, snapshots.At{Offset: 3, Emit: 4}, noise(11))
	if m := claim(t, store, 0).State().Marks; !slices.Equal(m, []snapshots.Mark{tick(1, 1), tick(3, 3)}) {
		t.Fatalf("marks %+v", m)
	}
}

// until waits for f, which comes true in another goroutine.
func until(t testing.TB, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come true")
		}
	}
}

// NATS came back without what it held: the owner's next write brings the entry back.
func TestNATSLosesTheEntry(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	js := dial(t, s.ClientURL())
	entries, snapshotsName := snapshots.Buckets("clicks", "freshet")
	for what, lose := range map[string]func() error{
		"entry": func() error {
			kv, err := js.KeyValue(t.Context(), entries)
			if err != nil {
				return err
			}
			return kv.Purge(t.Context(), "0")
		},
		"bucket": func() error { return js.DeleteKeyValue(t.Context(), entries) },
		"both": func() error {
			return errors.Join(js.DeleteKeyValue(t.Context(), entries), js.DeleteObjectStore(t.Context(), snapshotsName))
		},
	} {
		c := claim(t, open(t, s.ClientURL(), "a"), 0)
		at := snapshots.At{Offset: 100, Emit: 100}
		if m := c.State().Marks; len(m) > 0 {
			at = m[len(m)-1].At
		}
		record(t, c, tick(at.Offset+1, at.Emit+1))
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		var err error
		for range 3 { // the first may only find out that the bucket is gone
			if err = c.Record(t.Context(), tick(at.Offset+2, at.Emit+2)); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		want := c.State()
		if got := claim(t, open(t, s.ClientURL(), "b"), 0).State(); !cmp.Equal(got, want) {
			t.Fatalf("%s: %s", what, cmp.Diff(want, got))
		}
		if len(want.Marks) < 2 {
			t.Fatalf("%s: %+v", what, want)
		}
	}
}

// The answer to a mark's write is lost. Record does not return before it is known that the mark is there: nothing passes the
// place meanwhile.
func TestDoubt(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	w := newWire(t, s.Addr().String())
	store := open(t, w.url(), "a")
	c := claim(t, store, 0)
	record(t, c, tick(1, 1))
	other := open(t, s.ClientURL(), "b") // by another wire

	lost := make(chan struct{})
	w.lose(func(answer []byte) bool {
		if bytes.Contains(answer, []byte(`"stream":"KV_`)) && bytes.Contains(answer, []byte(`"seq"`)) { // an acknowledgement
			close(lost)
			return true
		}
		return false
	})
	result := make(chan error, 1)
	go func() { result <- c.Record(t.Context(), tick(2, 2)) }()
	<-lost
	select {
	case err := <-result:
		t.Fatalf("it returns %v, and cannot know", err)
	default:
	}
	w.heal()
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if m := claim(t, other, 0).State().Marks; !slices.Equal(m, []snapshots.Mark{tick(1, 1), tick(2, 2)}) {
		t.Fatalf("marks %+v", m)
	}
}

// The context ends in doubt.
func TestDoubtRemains(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	w := newWire(t, s.Addr().String())
	c := claim(t, open(t, w.url(), "a"), 0)
	ctx, cancel := context.WithCancel(t.Context())
	w.lose(func(answer []byte) bool {
		if bytes.Contains(answer, []byte(`"stream":"KV_`)) && bytes.Contains(answer, []byte(`"seq"`)) {
			cancel()
			return true
		}
		return false
	})
	if err := c.Record(ctx, tick(2, 2)); !errors.Is(err, snapshots.ErrDoubt) {
		t.Fatal(err)
	}
	if m := claim(t, open(t, s.ClientURL(), "b"), 0).State().Marks; len(m) != 1 {
		t.Fatalf("the next owner does not know the mark that may have been made: %+v", m)
	}
}

// There is a bound on marks, an entry of as many goes through, and snapshots make room again.
func TestMarksAreBounded(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	entries, _ := snapshots.Buckets("clicks", "freshet")
	claim(t, open(t, s.ClientURL(), "a"), 0)
	kv, err := dial(t, s.ClientURL()).KeyValue(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	const emit = 1 << 63
	mark := func(n schema.Emit) snapshots.Mark {
		return snapshots.Mark{Kind: "tick", At: snapshots.At{Offset: 1 << 62, Emit: emit + n}, Epoch: 1 << 31, Watermark: 1 << 62, Partitions: 1 << 20}
	}
	var marks []snapshots.Mark
	for n := range schema.Emit(snapshots.MaxMarks - 1) {
		marks = append(marks, mark(n))
	}
	b, err := json.Marshal(map[string]any{"format": 1, "partition": 0, "claim": 1, "token": "x", "marks": marks})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "0", b); err != nil {
		t.Fatal(err)
	}
	c := claim(t, open(t, s.ClientURL(), "a"), 0)
	record(t, c, mark(snapshots.MaxMarks))
	if err := c.Record(t.Context(), mark(snapshots.MaxMarks+1)); !errors.Is(err, snapshots.ErrFull) {
		t.Fatal(err)
	}
	for i := range schema.Emit(2) {
		mustSave(t, c, snapshots.At{Offset: 1 << 62, Emit: emit + snapshots.MaxMarks + 1 + i}, nil)
	}
	record(t, c, mark(snapshots.MaxMarks+9))
	if n := len(c.State().Marks); n != 256+1 {
		t.Fatalf("%d marks are left", n)
	}
}

// Any number of owners, of whom each may believe that it still is the one: a mark that was recorded is seen by every later
// owner until two snapshots cover it, no fenced owner writes anything, and what is in the bucket is bounded.
func TestOwnersProperty(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	stores := []*snapshots.Store{open(t, s.ClientURL(), "a"), open(t, s.ClientURL(), "b"), open(t, s.ClientURL(), "c")}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	var model snapshots.State // what the entry must hold
	bodies := map[string][]byte{}
	claims := make([]*snapshots.Claim, len(stores))
	owner, at := -1, snapshots.At{}
	for step := range 400 {
		i := r.IntN(len(stores))
		if claims[i] == nil || r.IntN(10) == 0 {
			claims[i] = claim(t, stores[i], 0)
			owner = i
			if diff := cmp.Diff(model, claims[i].State()); diff != "" {
				t.Fatalf("step %d: %s", step, diff)
			}
			continue
		}
		at.Offset += schema.Offset(r.IntN(3))
		at.Emit += schema.Emit(1 + r.IntN(3))
		var err error
		switch c := claims[i]; r.IntN(4) {
		case 0, 1:
			m := tick(at.Offset, at.Emit)
			if i != owner { // its own view of the marks may be of an earlier place
				m.At = snapshots.At{Offset: 1 << 40, Emit: 1 << 40}
			}
			if err = c.Record(t.Context(), m); err == nil {
				model.Marks = append(model.Marks, m)
			}
		case 2:
			body := noise(r.IntN(5000))
			n, saveErr := save(c, at, body)
			if err = saveErr; err == nil {
				bodies[n.Object] = body
				model.Snapshots = append([]snapshots.Snapshot{n}, model.Snapshots[:min(1, len(model.Snapshots))]...)
				drop := 0 // of those before the older one all but the last 256
				for i, m := range model.Marks {
					if len(model.Snapshots) == 2 && m.Emit < model.Snapshots[1].Emit && i >= 256 {
						drop++
					}
				}
				if drop > 0 {
					model.MarksFrom, model.Marks = model.Marks[drop-1].Emit+1, model.Marks[drop:]
				}
			}
		case 3:
			err = c.Check(t.Context())
		}
		if (err == nil) != (i == owner) || err != nil && !errors.Is(err, snapshots.ErrFenced) {
			t.Fatalf("step %d: owner %d, %d gets %v", step, owner, i, err)
		}
	}
	last := claim(t, stores[0], 0)
	for _, n := range last.State().Snapshots {
		if got, err := content(t, last, n); err != nil || !bytes.Equal(got, bodies[n.Object]) {
			t.Fatalf("%s: %d bytes, %v", n.Object, len(got), err)
		}
	}
	if names := stored(t, s.ClientURL()); len(names) > 3 {
		t.Fatalf("the bucket holds %v", names)
	}
}

// A topic that was made anew under its name is another one. Brokers that tell no id are believed.
func TestAnotherTopic(t *testing.T) {
	s := startNATS(t, t.TempDir(), 0)
	store := func(id string) *snapshots.Store {
		st, err := snapshots.New(dial(t, s.ClientURL()), snapshots.Config{Topic: "clicks", Group: "freshet", Owner: "a", TopicID: id})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	claim(t, store(""), 0)
	claim(t, store("one"), 0)
	claim(t, store(""), 0)
	if _, err := store("two").Claim(t.Context(), 0); !errors.Is(err, snapshots.ErrTopic) || !strings.Contains(err.Error(), "freshet_partitions_clicks_freshet_") {
		t.Fatal(err)
	}
	claim(t, store("one"), 0)
}

func TestBucketsDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, of := range [][2]string{{"clicks", "freshet"}, {"clicks_freshet", ""}, {"clicks", "freshet2"}, {"cli.cks", "freshet"}, {"cli_cks", "freshet"},
		{strings.Repeat("x", 249), "g"}, {strings.Repeat("x", 248), "g"}} {
		entries, objects := snapshots.Buckets(of[0], of[1])
		if other, is := seen[entries]; is || entries == objects {
			t.Errorf("%v and %s share %s", of, other, entries)
		}
		seen[entries] = fmt.Sprint(of)
		if strings.ContainsAny(entries+objects, ". *>/") || len(entries) > 200 {
			t.Errorf("%v: bucket %q", of, entries)
		}
	}
	if a, b := snapshots.Buckets("clicks", "freshet"); a != "freshet_partitions_clicks_freshet_beb1d1cc" || b != "freshet_snapshots_clicks_freshet_beb1d1cc" {
		t.Errorf("the names have changed: %s, %s: nodes of two versions would not find each other's state", a, b)
	}
}
