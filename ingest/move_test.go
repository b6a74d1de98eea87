package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// group is a topic, its group of nodes, and what they leave for one another. Its clock is the same for all.
type group struct {
	t       *rapid.T
	now     time.Time
	opts    ingest.Options
	moves   *memoryMoves
	topic   []*topicPartition
	nodes   []*member
	owner   map[schema.Partition]int // whom the group has given it to
	union   []map[schema.Emit]buffer.Entry
	log     bytes.Buffer
	retired ingest.MoveStats
}

type topicPartition struct {
	records []source.Record
	high    schema.Offset // behind the last
}

// member is a node with its disk, and what its source would know.
type member struct {
	fs     buffer.FS
	store  *buffer.Store
	node   *ingest.Node
	next   map[schema.Partition]schema.Offset // of assigned partitions, also those that the group has given to others since
	zombie map[schema.Partition]time.Time     // since when
	read   map[schema.Partition]schema.Emit   // of its log
	kicked schema.Partition                   // while the group throws it out of one: its waits end
}

const none schema.Partition = -1

func newGroup(t *rapid.T, partitions, nodes int) *group {
	w := &group{t: t, now: time.UnixMilli(int64(noon)), moves: newMemoryMoves(), owner: map[schema.Partition]int{}}
	w.opts = ingest.DefaultOptions("clicks")
	w.opts.Window.PartClicks, w.opts.Window.MaxSessionClicks = 3, 20
	w.opts.IdleAfter = 20 * time.Second
	w.opts.Moves = w.moves
	w.opts.Now = func() time.Time { return w.now }
	w.opts.Log = slog.New(slog.NewTextHandler(&w.log, nil))
	w.opts.Move.Earliest = func(context.Context, schema.Partition) (schema.Offset, error) { return 0, nil }
	for range partitions {
		w.grow()
	}
	for range nodes {
		m := &member{kicked: none}
		w.nodes = append(w.nodes, m)
		w.start(m, true)
	}
	return w
}

func (w *group) grow() {
	w.topic = append(w.topic, &topicPartition{})
	w.union = append(w.union, map[schema.Emit]buffer.Entry{})
}

// start starts a node that has crashed or never ran. A new disk has nothing on it.
func (w *group) start(m *member, newDisk bool) {
	if newDisk {
		m.fs, m.read = buffer.Memory(), map[schema.Partition]schema.Emit{}
	}
	m.store = open(w.t, m.fs)
	m.next, m.zombie = map[schema.Partition]schema.Offset{}, map[schema.Partition]time.Time{}
	o := w.opts
	o.Wait = func(context.Context, time.Duration) error {
		w.now = w.now.Add(2 * time.Second) // and not the jittered time, which differs from run to run
		if m.kicked != none {
			return errors.New("the group has given it to another")
		}
		if w.moves.away && rapid.Bool().Draw(w.t, "back") {
			w.moves.away = false
		}
		return nil
	}
	m.node = newNode(w.t, m.store, o)
	must(w.t, m.node.Topology(context.Background(), len(w.topic)))
}

func (w *group) close() {
	for _, m := range w.nodes {
		must(w.t, m.store.Close())
	}
}

// produce appends records to p: clicks of a few users, with holes between the offsets.
func (w *group) produce(p schema.Partition) {
	part := w.topic[p]
	for range rapid.IntRange(1, 8).Draw(w.t, "produced") {
		offset := part.high
		if rapid.IntRange(0, 5).Draw(w.t, "hole") == 0 {
			offset += 2
		}
		at := schema.EventTime(w.now.UnixMilli()) - schema.EventTime(rapid.IntRange(0, 20_000).Draw(w.t, "delay"))
		r := record(int(offset), schema.Click{UserID: rapid.SampledFrom([]string{"u", "v", "w"}).Draw(w.t, "user"),
			ItemID: fmt.Sprint("i", offset), EventTime: at})
		if rapid.IntRange(0, 19).Draw(w.t, "bad") == 0 {
			r.Value = []byte("{")
		}
		r.Partition = p
		part.records = append(part.records, r)
		part.high = offset + 1
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(w.t, "pause")) * time.Millisecond)
	}
	if rapid.IntRange(0, 5).Draw(w.t, "marker") == 0 {
		part.high++ // a control record
	}
}

// assign gives p to node i, which goes on from where it finds it.
func (w *group) assign(i int, p schema.Partition) {
	m := w.nodes[i]
	w.owner[p] = i
	delete(m.zombie, p)
	next, err := m.node.Assign(context.Background(), p)
	if err != nil {
		w.t.Fatalf("node %d, partition %d: %v\n%s", i, p, err, w.log.String())
	}
	m.next[p] = next
	w.observe()
}

// revoke takes p from node i.
func (w *group) revoke(i int, p schema.Partition) {
	m := w.nodes[i]
	m.node.Revoke(p)
	delete(m.next, p)
	delete(m.zombie, p)
	w.observe()
}

// step lets node i read some of p, as its source would.
func (w *group) step(i int, p schema.Partition, most int) {
	m := w.nodes[i]
	from := m.next[p]
	b := source.Batch{Next: from, HighWatermark: w.topic[p].high}
	for _, r := range w.topic[p].records {
		if r.Offset >= from && len(b.Records) < most {
			b.Records = append(b.Records, r)
			b.Next = r.Offset + 1
		}
	}
	if len(b.Records) == 0 {
		b.Next = b.HighWatermark
	}
	_, zombie := m.zombie[p]
	if zombie {
		m.kicked = p
	}
	err := m.node.Apply(context.Background(), p, b)
	m.kicked = none
	w.observe()
	switch {
	case err == nil:
		m.next[p] = b.Next
	case zombie:
		w.revoke(i, p)
	default:
		w.t.Fatalf("node %d, partition %d: %v\n%s", i, p, err, w.log.String())
	}
}

// observe reads what is new in every log. No two nodes may have different entries at one place.
func (w *group) observe() {
	for i, m := range w.nodes {
		for p := range w.union {
			p := schema.Partition(p)
			meta := m.store.Partition(p)
			at := min(max(m.read[p], meta.FirstEmit), meta.NextEmit)
			for at < meta.NextEmit {
				entries, err := m.store.Log(p, at, 100)
				must(w.t, err)
				for _, e := range entries {
					if had, ok := w.union[p][e.Emit]; !ok {
						w.union[p][e.Emit] = e
					} else if diff := gocmp.Diff(had, e); diff != "" {
						w.t.Fatalf("node %d, partition %d: entry %d is another than was read before:\n%s\n%s", i, p, e.Emit, diff, w.log.String())
					}
					at = e.Emit + 1
				}
			}
			m.read[p] = at
		}
	}
}

// expel throws zombies out that have been ones for long: their group has told them.
func (w *group) expel(all bool) {
	for i, m := range w.nodes {
		for _, p := range slices.Sorted(maps.Keys(m.zombie)) {
			if all || w.now.Sub(m.zombie[p]) > 8*time.Second {
				w.revoke(i, p)
			}
		}
	}
}

// pass lets time pass, at most so much that zombies are not older than they get.
func (w *group) pass(d time.Duration) {
	if d > 5*time.Second {
		w.expel(true)
	}
	w.now = w.now.Add(d)
	w.expel(false)
}

// alone is the log of p as one node makes it that keeps the partition: window by window, from the records and the marks.
func (w *group) alone(p schema.Partition) []buffer.Entry {
	var marks []buffer.Entry
	for _, e := range slices.SortedFunc(maps.Values(w.union[p]), func(a, b buffer.Entry) int { return int(a.Emit) - int(b.Emit) }) {
		if e.Kind != buffer.KindPart {
			marks = append(marks, e)
		}
	}
	windows, err := window.New(w.opts.Window)
	must(w.t, err)
	var log []buffer.Entry
	emit := func(parts []window.Part) {
		for _, part := range parts {
			e := buffer.Entry{Kind: buffer.KindPart, Emit: schema.Emit(len(log)), Part: part.Part}
			e.Part.Partition, e.Part.Emit = p, e.Emit
			if e.Part.Clicks, err = part.Packed.Decode(part.UserID); err != nil {
				w.t.Fatal(err)
			}
			log = append(log, e)
		}
	}
	upTo := func(offset schema.Offset) {
		for ; len(marks) > 0 && marks[0].Mark.Offset <= offset; marks = marks[1:] {
			m := marks[0]
			switch m.Kind {
			case buffer.KindTick:
				emit(windows.Tick(m.Mark.Watermark))
			case buffer.KindEnd:
				emit(windows.End(m.Mark.Epoch))
			}
			log = append(log, buffer.Entry{Kind: m.Kind, Emit: schema.Emit(len(log)), Mark: m.Mark})
		}
	}
	for _, r := range w.topic[p].records {
		upTo(r.Offset)
		var c schema.Click
		if decode(r, &c) != nil {
			windows.Reject(schema.ReasonUndecodable)
			continue
		}
		c.ArrivedAt = r.ArrivedAt
		parts, _ := windows.Add(&c)
		emit(parts)
	}
	upTo(w.topic[p].high)
	return log
}

// check compares what anybody has read with the log of one node that keeps the partition.
func (w *group) check() {
	for p := range w.union {
		want := w.alone(schema.Partition(p))
		if len(want) != len(w.union[p]) {
			w.t.Fatalf("partition %d: %d entries were read, alone it has %d\n%s", p, len(w.union[p]), len(want), w.log.String())
		}
		for _, e := range want {
			if diff := gocmp.Diff(e, w.union[p][e.Emit]); diff != "" {
				w.t.Fatalf("partition %d, entry %d (alone -, moved +):\n%s\n%s", p, e.Emit, diff, w.log.String())
			}
		}
	}
}

// Partitions move, nodes crash with and without their disks, snapshots are damaged, answers are lost, owners do not know that
// they are none any more: what all of them together put out is what one node would have.
func TestMovesProperty(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		w := newGroup(rt, rapid.IntRange(1, 2).Draw(rt, "partitions"), 3)
		defer w.close()
		if rapid.Bool().Draw(rt, "imports only") {
			w.opts.Move.Earliest = nil
			for _, m := range w.nodes {
				must(rt, m.store.Close())
				w.start(m, true)
			}
		}
		for p := range w.topic {
			w.assign(rapid.IntRange(0, 2).Draw(rt, "first owner"), schema.Partition(p))
		}
		for range rapid.IntRange(1, 150).Draw(rt, "steps") {
			p := schema.Partition(rapid.IntRange(0, len(w.topic)-1).Draw(rt, "p"))
			i := rapid.IntRange(0, 2).Draw(rt, "node")
			owner, m := w.owner[p], w.nodes[i]
			_, has := m.next[p]
			op := rapid.SampledFrom(ops).Draw(rt, "op")
			fmt.Fprintf(&w.log, "%v: %s: partition %d of node %d, node %d\n", w.now.Sub(time.UnixMilli(int64(noon))), op, p, owner, i)
			switch op {
			case "produce":
				w.produce(p)
			case "read":
				w.step(owner, p, rapid.IntRange(1, 6).Draw(rt, "most"))
			case "zombie reads":
				if has && i != owner {
					seen[op]++
					w.step(i, p, 3)
				}
			case "idle":
				w.pass(time.Duration(rapid.IntRange(1, 40).Draw(rt, "idle")) * time.Second)
				w.step(owner, p, 1000)
				w.step(owner, p, 1000)
			case "save":
				err := w.nodes[owner].node.SaveNow(context.Background(), p)
				if err != nil && !errors.Is(err, errAway) && !errors.Is(err, ingest.ErrFenced) {
					rt.Fatal(err)
				}
			case "move":
				if i != owner {
					w.revoke(owner, p)
					w.assign(i, p)
				}
			case "steal":
				if i != owner {
					w.nodes[owner].zombie[p] = w.now
					w.assign(i, p)
				}
			case "claim late":
				if i != owner && !w.moves.away { // a member that the group has passed by; it finds out soon
					seen[op]++
					w.assign(i, p)
					w.owner[p] = owner
					m.zombie[p] = w.now
				}
			case "crash", "lose disk":
				w.crash(i, op == "lose disk")
			case "damage":
				if s := w.moves.newest(p); len(s) == 2 && !w.moves.damaged[s[1].Object] {
					seen[op]++
					w.moves.damage(s[0], rapid.Bool().Draw(rt, "lose it"))
				}
			case "damage all":
				if s := w.moves.newest(p); w.moves.marksFrom(p) == 0 && len(s) > 0 && !w.moves.away { // all of its marks are still known
					seen[op]++
					for _, s := range s {
						w.moves.damage(s, false)
					}
					w.crash(owner, true)
				}
			case "away":
				w.moves.away = !w.moves.away
			case "doubt":
				lost, recorded := true, rapid.Bool().Draw(rt, "recorded")
				w.moves.doubt = func() (bool, bool) {
					defer func() { lost, recorded = false, true }()
					return lost, recorded
				}
			case "end":
				if len(m.zombie) == 0 {
					if m.node.End(context.Background()) == nil {
						seen[op]++
					}
					w.observe()
				}
			case "topology":
				if len(w.topic) < 4 {
					w.grow()
					w.assign(i, schema.Partition(len(w.topic)-1))
					for _, m := range w.nodes {
						must(rt, m.node.Topology(context.Background(), len(w.topic)))
					}
					w.observe()
				}
			}
		}
		w.moves.away = false
		w.expel(true)
		w.pass(time.Minute)
		for p := range w.topic {
			for range 3 {
				w.step(w.owner[schema.Partition(p)], schema.Partition(p), 1000)
			}
		}
		w.check()
		for what, is := range map[string]bool{"restored": w.total().Restored > 0, "fenced": w.total().Fenced > 0, "damaged found": w.total().Damaged > 0,
			"marks": w.total().Marks > 0, "refused": w.total().Refused > 0} {
			if is {
				seen[what]++
			}
		}
		if s := w.total(); s.Fallbacks > 0 || s.Diverged > 0 || strings.Contains(w.log.String(), "start with an empty") {
			rt.Fatalf("%+v\n%s", s, w.log.String())
		}
	})
	for _, what := range []string{"zombie reads", "claim late", "damage", "damage all", "restored", "fenced", "damaged found", "marks", "refused", "end"} {
		if seen[what] == 0 {
			t.Errorf("%q never happened", what)
		}
	}
}

var ops = []string{"produce", "produce", "produce", "read", "read", "read", "zombie reads", "zombie reads", "idle", "idle", "save", "save", "move", "steal",
	"claim late", "crash", "lose disk", "damage", "damage all", "away", "doubt", "topology", "end"}

// crash ends node i without a word; the group gives its partitions to others, or to itself when it is back.
func (w *group) crash(i int, loseDisk bool) {
	m := w.nodes[i]
	s := m.node.Stats().Moves
	w.retired.Restored, w.retired.Fenced, w.retired.Damaged = w.retired.Restored+s.Restored, w.retired.Fenced+s.Fenced, w.retired.Damaged+s.Damaged
	w.retired.Marks, w.retired.Refused = w.retired.Marks+s.Marks, w.retired.Refused+s.Refused
	w.retired.Fallbacks, w.retired.Diverged = w.retired.Fallbacks+s.Fallbacks, w.retired.Diverged+s.Diverged
	had := m.next
	must(w.t, m.store.Close())
	w.start(m, loseDisk)
	for _, p := range slices.Sorted(maps.Keys(had)) {
		if w.owner[p] == i {
			w.assign(rapid.IntRange(0, len(w.nodes)-1).Draw(w.t, "heir"), p)
		}
	}
}

func (w *group) total() ingest.MoveStats {
	sum := w.retired
	for _, m := range w.nodes {
		s := m.node.Stats().Moves
		sum.Restored, sum.Fenced, sum.Damaged = sum.Restored+s.Restored, sum.Fenced+s.Fenced, sum.Damaged+s.Damaged
		sum.Marks, sum.Refused = sum.Marks+s.Marks, sum.Refused+s.Refused
		sum.Fallbacks, sum.Diverged = sum.Fallbacks+s.Fallbacks, sum.Diverged+s.Diverged
	}
	return sum
}
