package flight

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
)

func testSeed(t testing.TB) uint64 {
	v := os.Getenv("TEST_SEED")
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, 64)
	must(t, err)
	return n
}

// TestMirrorIsTheLog lets partitions grow and move between nodes, kills nodes and mirrors at any moment, and compares the
// logs, and what is read from them.
func TestMirrorIsTheLog(t *testing.T) {
	for round := range 8 {
		r := seeded(t, round)
		o := newTopic(t, r, 1+r.IntN(4))
		machines := make([]*machine, 1+r.IntN(3))
		for i := range machines {
			machines[i] = newMachine(t, nil, ServerConfig{})
		}
		fs := buffer.Memory()
		config := quickMirror(machines...)
		config.BatchBytes = leastMaxBytes + r.IntN(3)*leastMaxBytes
		mirror := startMirror(t, fs, config)
		reader := &reading{t: t}
		reader.begin(mirror.store)
		owner := make([]*machine, o.partitions())
		for p := range owner {
			owner[p] = machines[r.IntN(len(machines))]
			if len(o.metas[p]) == 0 {
				o.grow(t, schema.Partition(p))
			}
			o.from0(t, owner[p].store, schema.Partition(p)) // somebody has the beginning
		}
		for range 60 {
			p := schema.Partition(r.IntN(o.partitions()))
			switch r.IntN(20) {
			case 0:
				owner[p] = machines[r.IntN(len(machines))] // it may have nothing of p yet, or an old stretch
			case 1:
				machines[r.IntN(len(machines))].kill()
			case 2, 3:
				machines[r.IntN(len(machines))].start()
			case 4:
				mirror.stop()
				mirror = startMirror(t, fs, config)
				reader.begin(mirror.store)
			case 5:
				o.end(t)
				for p := range owner {
					o.bring(t, owner[p].store, schema.Partition(p), len(o.metas[p])-1)
				}
			case 6:
				if o.partitions() > 5 {
					continue
				}
				o.widen(t)
				o.bring(t, owner[0].store, 0, len(o.metas[0])-1)
				added := machines[r.IntN(len(machines))]
				o.from0(t, added.store, schema.Partition(len(owner)))
				owner = append(owner, added)
			default:
				o.grow(t, p)
				o.bring(t, owner[p].store, p, len(o.metas[p])-1)
			}
			reader.read()
		}
		for _, m := range machines {
			m.start()
		}
		for p := range owner {
			o.bring(t, owner[p].store, schema.Partition(p), len(o.metas[p])-1)
		}
		mirror.reaches(o)
		equalLogs(t, o, mirror.store)
		for p := range o.partitions() {
			want, got := o.store.Partition(schema.Partition(p)), mirror.store.Partition(schema.Partition(p))
			if got.NextOffset != want.NextOffset || got.Ticks != want.Ticks || got.FirstEmit != 0 {
				t.Fatalf("partition %d: %+v, want %+v", p, got, want)
			}
		}
		reader.read()
		truth := &reading{t: t}
		truth.begin(o.store)
		truth.read()
		if diff := cmp.Diff(truth.parts, reader.parts); diff != "" {
			t.Fatalf("the feed of the mirror differs (-topic +mirror):\n%.2000s", diff)
		}
		if truth.progress != reader.progress {
			t.Fatalf("progress is %+v, want %+v", reader.progress, truth.progress)
		}
		until(t, mirror.store, "all is well", mirror.Health)
		mirror.stop()
		for _, m := range machines {
			m.kill()
		}
	}
}

// TestGap: what no node has is waited for, said, and passed over only when that was asked for.
func TestGap(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 1)
	first, second := newMachine(t, nil, ServerConfig{}), newMachine(t, nil, ServerConfig{})
	for range 5 {
		o.grow(t, 0)
	}
	grown := len(o.metas[0]) - 1
	o.from0(t, first.store, 0)
	o.bring(t, first.store, 0, grown)
	fs := buffer.Memory()
	config := quickMirror(first, second)
	mirror := startMirror(t, fs, config)
	mirror.reaches(o)

	// The second node has what comes after some entries that only the topic had.
	have := o.metas[0][grown].NextEmit
	last := grown
	for o.metas[0][last].NextEmit < have+20 || o.metas[0][last].NextEmit == o.metas[0][last-1].NextEmit {
		o.grow(t, 0)
		last++
	}
	o.bring(t, second.store, 0, last)
	begins := second.store.Partition(0).FirstEmit
	says := func(mirror *mirroring, words ...string) {
		t.Helper()
		until(t, mirror.store, "health says "+strings.Join(words, ", "), func() error {
			err := mirror.Health()
			for _, w := range words {
				if err == nil || !strings.Contains(err.Error(), w) {
					return errOf("it says %v", err)
				}
			}
			return nil
		})
		if got := mirror.store.Partition(0).NextEmit; got != have {
			t.Fatalf("it has gone on to %d", got)
		}
	}
	says(mirror, "are on no node", "flight.accept_gaps")

	config.AcceptGaps = true
	first.kill()
	mirror.stop()
	mirror = startMirror(t, fs, config)
	says(mirror, "are on no node", first.url()+" does not answer") // it may have them
	first.start()
	until(t, mirror.store, "it goes on", func() error {
		if got := mirror.store.Partition(0); got.NextEmit != o.metas[0][last].NextEmit {
			return errOf("entry %d: %w", got.NextEmit, mirror.Health())
		}
		return nil
	})
	if got := mirror.Stats().Gaps; got != uint64(begins-have) {
		t.Errorf("%d entries were passed over, want %d", got, begins-have)
	}
	for i, e := range entries(t, mirror.store, 0, have, o.metas[0][last].NextEmit) {
		if at := have + schema.Emit(i); (e.Kind == buffer.KindGap) != (at < begins) {
			t.Errorf("entry %d has kind %d", at, e.Kind)
		}
	}
	until(t, mirror.store, "all is well", mirror.Health)
}

// TestDisagreement: a node with another log is not read from, and named.
func TestDisagreement(t *testing.T) {
	o, other := newTopic(t, seeded(t, 0), 1), newTopic(t, seeded(t, 1), 1)
	right, wrong := newMachine(t, nil, ServerConfig{}), newMachine(t, nil, ServerConfig{})
	for range 6 {
		o.grow(t, 0)
		other.grow(t, 0)
	}
	for len(other.metas[0]) < 40 {
		other.grow(t, 0)
	}
	o.from0(t, right.store, 0)
	o.bring(t, right.store, 0, len(o.metas[0])-1)
	mirror := startMirror(t, buffer.Memory(), quickMirror(right, wrong))
	mirror.reaches(o)
	other.from0(t, wrong.store, 0)
	other.bring(t, wrong.store, 0, len(other.metas[0])-1)
	until(t, mirror.store, "health names the node", func() error {
		if err := mirror.Health(); err == nil || !strings.Contains(err.Error(), errDisagree.Error()) || !strings.Contains(err.Error(), wrong.url()) {
			return errOf("it says %v", err)
		}
		return nil
	})
	o.grow(t, 0)
	o.bring(t, right.store, 0, len(o.metas[0])-1)
	mirror.reaches(o) // the right one is read on
	equalLogs(t, o, mirror.store)
}

// TestANewMirrorBeginsWhereTheLogsDo, once it knows that nobody has what was before.
func TestANewMirrorBeginsWhereTheLogsDo(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 1)
	late, away := newMachine(t, nil, ServerConfig{}), newMachine(t, nil, ServerConfig{})
	for o.store.Partition(0).NextEmit < 20 {
		o.grow(t, 0)
	}
	o.bring(t, late.store, 0, len(o.metas[0])-1)
	away.kill()
	mirror := startMirror(t, buffer.Memory(), quickMirror(late, away))
	until(t, mirror.store, "it waits for the other node", func() error {
		if err := mirror.Health(); err == nil || !strings.Contains(err.Error(), "what was before may be on "+away.url()) {
			return errOf("it says %v", err)
		}
		return nil
	})
	if got := mirror.store.Partition(0).NextEmit; got != 0 {
		t.Fatalf("it has begun, at %d", got)
	}
	away.start()
	until(t, mirror.store, "it begins", func() error {
		if got := mirror.store.Partition(0); got.NextEmit != o.store.Partition(0).NextEmit {
			return errOf("entry %d", got.NextEmit)
		}
		return nil
	})
	if got, want := mirror.store.Partition(0).FirstEmit, late.store.Partition(0).FirstEmit; got != want {
		t.Errorf("it begins at %d, want %d", got, want)
	}
	equalLogs(t, o, mirror.store)
}

// TestKeep: a mirror for histories begins near the end of a long log.
func TestKeep(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 1)
	m := newMachine(t, o.store, ServerConfig{})
	for o.store.Partition(0).NextEmit < 200 {
		o.grow(t, 0)
	}
	config := quickMirror(m)
	config.Keep = 20 * time.Millisecond
	mirror := startMirror(t, buffer.Memory(), config)
	mirror.reaches(o)
	begins := mirror.store.Partition(0).FirstEmit
	since := o.store.Partition(0).Window.Watermark - 20
	before, after := entries(t, o.store, 0, begins-1, begins)[0], entries(t, o.store, 0, begins, begins+1)[0]
	if row := rowOf(0, &before); row.Part.Due >= since {
		t.Errorf("entry %d is due at %d, and was left out; wanted since %d", begins-1, row.Part.Due, since)
	}
	if row := rowOf(0, &after); row.Part.Due < since {
		t.Errorf("entry %d is due at %d, and was copied; wanted since %d", begins, row.Part.Due, since)
	}
	equalLogs(t, o, mirror.store)
}

// TestKeepOfAPartitionThatMoved: where the log begins on a node that had nothing but a mark, which is as old as can be, before
// the partition moved to another, a mirror for histories begins with the mark, and goes on at the other.
func TestKeepOfAPartitionThatMoved(t *testing.T) {
	o := newTopic(t, seeded(t, 0), 1)
	w := o.store.Partition(0).Window
	w.Watermark, w.MaxSeen = noon, noon
	o.commit(t, buffer.Commit{Partition: 0, NextOffset: 1, Window: w}) // clicks that all wait
	first, then := newMachine(t, nil, ServerConfig{}), newMachine(t, nil, ServerConfig{})
	o.from0(t, first.store, 0)
	o.bring(t, first.store, 0, 1)
	for len(o.metas[0]) < 20 {
		o.grow(t, 0)
	}
	for n := 2; n < len(o.metas[0]); n++ {
		o.bring(t, then.store, 0, n)
	}
	config := quickMirror(first, then)
	config.Keep = time.Second
	mirror := startMirror(t, buffer.Memory(), config)
	mirror.reaches(o)
	equalLogs(t, o, mirror.store)
}
