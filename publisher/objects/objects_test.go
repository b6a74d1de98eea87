package objects_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/objects"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const bucketName = "b"

// start runs a NATS server and opens a bucket on it.
func start(t *testing.T) (*objects.Bucket, jetstream.JetStream) {
	t.Helper()
	s := natstest.Start(t, t.TempDir(), 0)
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	natstest.CloseAtEnd(t, nc)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	b, err := objects.Create(t.Context(), js, jetstream.ObjectStoreConfig{Bucket: bucketName})
	if err != nil {
		t.Fatal(err)
	}
	return b, js
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func read(t *testing.T, b *objects.Bucket, name string) ([]byte, error) {
	t.Helper()
	r, err := b.Open(t.Context(), name)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(r)
	sum := sha256.Sum256(got)
	if want := (objects.Stored{Bytes: int64(len(got)), SHA256: hex.EncodeToString(sum[:])}); err == nil && r.Stored() != want {
		t.Fatalf("%s is %+v, and says %+v", name, want, r.Stored())
	}
	return got, err
}

// What is written comes back, however the writes are cut, to this reader and to the client's own.
func TestWhatIsWrittenIsRead(t *testing.T) {
	b, js := start(t)
	theirs, err := js.ObjectStore(t.Context(), bucketName)
	if err != nil {
		t.Fatal(err)
	}
	const c = objects.ChunkBytes
	for i, n := range []int{0, 1, c - 1, c, c + 1, 3*c + 7} {
		data, r := noise(uint64(i), n), rand.New(rand.NewPCG(7, uint64(i)))
		name := fmt.Sprintf("table %d/x.arrow", i)
		w, err := b.Writer(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for rest := data; len(rest) > 0; {
			cut := min(len(rest), 1+r.IntN(c+c/2))
			if _, err := w.Write(rest[:cut]); err != nil {
				t.Fatal(err)
			}
			rest = rest[cut:]
		}
		if _, err := b.Open(t.Context(), name); !errors.Is(err, objects.ErrMissing) {
			t.Fatalf("before its commit %s is there: %v", name, err)
		}
		stored, err := w.Commit()
		if err != nil {
			t.Fatal(err)
		}
		r2, err := b.Open(t.Context(), name)
		if err != nil || r2.Stored() != stored {
			t.Fatalf("the writer says %+v, the reader %+v, %v", stored, r2.Stored(), err)
		}
		if _, err := w.Write([]byte("more")); err == nil {
			t.Fatal("a write after the commit is taken")
		}
		if got, err := read(t, b, name); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes: got %d, %v", n, len(got), err)
		}
		if got, err := theirs.GetBytes(t.Context(), name); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, to the client's own reader: got %d, %v", n, len(got), err)
		}
	}
}

// A put over an object, or over what is left of one, replaces it.
func TestPutAgain(t *testing.T) {
	b, js := start(t)
	for i := range 3 {
		data := noise(uint64(i), objects.ChunkBytes+100*i)
		cut, err := b.Writer(t.Context(), "1.a.1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cut.Write(noise(99, objects.ChunkBytes*(3-i))); err != nil {
			t.Fatal(err)
		}
		if err := b.Put(t.Context(), "1.a.1", data); err != nil {
			t.Fatal(err)
		}
		if got, err := read(t, b, "1.a.1"); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("put %d: got %d bytes, %v", i, len(got), err)
		}
	}
	stream, err := js.Stream(t.Context(), "OBJ_"+bucketName)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 3 {
		t.Fatalf("the bucket holds %d messages, of an object of two chunks", n)
	}
}

// Of two that write one name at a time, the slower one fails.
func TestTwoWriters(t *testing.T) {
	b, _ := start(t)
	slow, err := b.Writer(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "x", noise(1, 2*objects.ChunkBytes)); err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Write(noise(2, objects.ChunkBytes)); err == nil {
		t.Fatal("the chunk of an overtaken writer is taken")
	}
	if _, err := slow.Commit(); err == nil {
		t.Fatal("an overtaken writer commits")
	}
	if got, err := read(t, b, "x"); err != nil || !bytes.Equal(got, noise(1, 2*objects.ChunkBytes)) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
}

func TestListAndRemove(t *testing.T) {
	b, _ := start(t)
	for _, name := range []string{"1.a.1", "1.a.2", "1.b.1", "11.a.1", "1/not a subject"} {
		if err := b.Put(t.Context(), name, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.Writer(t.Context(), "1.c.1") // never committed
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(noise(1, objects.ChunkBytes)); err != nil {
		t.Fatal(err)
	}
	list := func(prefix string) []string {
		t.Helper()
		names, err := b.List(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		return names
	}
	if got, want := list("1"), []string{"1.a.1", "1.a.2", "1.b.1", "1.c.1"}; !slices.Equal(got, want) {
		t.Fatalf("list 1: %v, want %v", got, want)
	}
	if got := list("2"); len(got) != 0 {
		t.Fatalf("list 2: %v", got)
	}
	for _, name := range []string{"1.a.1", "1.c.1", "never was"} {
		if err := b.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := list("1"), []string{"1.a.2", "1.b.1"}; !slices.Equal(got, want) {
		t.Fatalf("list 1: %v, want %v", got, want)
	}
	if _, err := read(t, b, "1.a.1"); !errors.Is(err, objects.ErrMissing) {
		t.Fatal(err)
	}
}

// Damage shows as ErrDamaged and never as other bytes.
func TestDamage(t *testing.T) {
	b, js := start(t)
	stream, err := js.Stream(t.Context(), "OBJ_"+bucketName)
	if err != nil {
		t.Fatal(err)
	}
	chunks := "$O." + bucketName + ".C." + objects.ID("x")
	for what, damage := range map[string]func() error{
		"the last chunk is gone": func() error {
			m, err := stream.GetLastMsgForSubject(t.Context(), chunks)
			if err != nil {
				return err
			}
			return stream.DeleteMsg(t.Context(), m.Sequence)
		},
		"all chunks are gone": func() error { return stream.Purge(t.Context(), jetstream.WithPurgeSubject(chunks)) },
		"the last chunk is another": func() error {
			m, err := stream.GetLastMsgForSubject(t.Context(), chunks)
			if err != nil {
				return err
			}
			if err := stream.DeleteMsg(t.Context(), m.Sequence); err != nil {
				return err
			}
			m.Data[0]++
			_, err = js.Publish(t.Context(), chunks, m.Data)
			return err
		},
		"the last chunk is longer": func() error {
			m, err := stream.GetLastMsgForSubject(t.Context(), chunks)
			if err != nil {
				return err
			}
			if err := stream.DeleteMsg(t.Context(), m.Sequence); err != nil {
				return err
			}
			_, err = js.Publish(t.Context(), chunks, append(m.Data, 0))
			return err
		},
		"its entry is not one": func() error {
			m := nats.NewMsg("$O." + bucketName + ".M.eA==")
			m.Data = []byte("{")
			m.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
			_, err := js.PublishMsg(t.Context(), m)
			return err
		},
	} {
		data := noise(3, 2*objects.ChunkBytes+5)
		if err := b.Put(t.Context(), "x", data); err != nil {
			t.Fatal(err)
		}
		if err := damage(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got, err := read(t, b, "x"); !errors.Is(err, objects.ErrDamaged) || !bytes.HasPrefix(data, got[:min(len(got), 2*objects.ChunkBytes)]) {
			t.Errorf("%s: got %d bytes, %v", what, len(got), err)
		}
	}
}

func TestNoBucket(t *testing.T) {
	_, js := start(t)
	if _, err := objects.Open(t.Context(), js, "other"); !errors.Is(err, objects.ErrNoBucket) {
		t.Fatal(err)
	}
}

// The end of the context ends a read, and the reader says so for good.
func TestContextEnds(t *testing.T) {
	b, _ := start(t)
	if err := b.Put(t.Context(), "x", noise(1, 3*objects.ChunkBytes)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := b.Open(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	for range 2 {
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if _, err := b.Writer(ctx, "y"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// The id of a name is a subject's end that no other name has.
func TestIDIsOneToken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOf(rapid.RuneFrom([]rune("ab.*> /\x00é"))).Draw(t, "name")
		id := objects.ID(name)
		if id == "" || bytes.ContainsAny([]byte(id), " *>\x00/") || id[0] == '.' || id[len(id)-1] == '.' || bytes.Contains([]byte(id), []byte("..")) {
			t.Fatalf("id of %q is %q", name, id)
		}
		if other := rapid.StringOf(rapid.RuneFrom([]rune("ab.*>"))).Draw(t, "other"); other != name && objects.ID(other) == id {
			t.Fatalf("%q and %q have one id", name, other)
		}
	})
}
