package snapshots_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/snapshots"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
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
	s := natstest.Start(t, t.TempDir(), 0)
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

func TestRelease(t *testing.T) {
	s := natstest.Start(t, t.TempDir(), 0)
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

// Any number of owners, of whom each may believe that it still is the one: a mark that was recorded is seen by every later
// owner until two snapshots cover it, no fenced owner writes anything, and what is in the bucket is bounded.
func TestOwnersProperty(t *testing.T) {
	s := natstest.Start(t, t.TempDir(), 0)
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
	s := natstest.Start(t, t.TempDir(), 0)
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
