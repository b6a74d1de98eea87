package snapshots_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/objects"
	"github.com/freshet-ml/freshet/publisher/snapshots"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

// A snapshot that a fenced owner was writing when it was fenced is not entered, whatever its place.
func TestFencedWhileSaving(t *testing.T) {
	s := natstest.Start(t, t.TempDir(), 0)
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

// The last two snapshots stay, and the marks that a reader of the older one needs.
func TestWhatIsKept(t *testing.T) {
	s := natstest.Start(t, t.TempDir(), 0)
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
	s := natstest.Start(t, t.TempDir(), 0)
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

// There is a bound on marks, an entry of as many goes through, and snapshots make room again.
func TestMarksAreBounded(t *testing.T) {
	s := natstest.Start(t, t.TempDir(), 0)
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
