package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/snapshots"
	"github.com/freshet-ml/freshet/schema"
)

// moving is three nodes that share the partitions of a topic through a real NATS, which goes away and comes back. What they do
// to one another is in ingest's own test; here it is what they say to NATS.
type moving struct {
	t      *testing.T
	r      *rand.Rand
	now    time.Time
	window config.Window
	dir    string
	nats   *embed.NATS
	port   int
	topic  []movingPartition
	nodes  []*movingNode
	owner  []int
	union  []map[schema.Emit]buffer.Entry
}

type movingPartition struct {
	records []source.Record
	high    schema.Offset
}

type movingNode struct {
	moves  ingest.Moves
	fs     buffer.FS
	store  *buffer.Store
	node   *ingest.Node
	next   map[schema.Partition]schema.Offset
	read   map[schema.Partition]schema.Emit
	kicked bool // the group throws it out: its waits end
}

func newMoving(t *testing.T, seed uint64, partitions int) *moving {
	c := config.Default().Window
	c.PartClicks, c.PartAge, c.IdleAfter = 3, 5*time.Second, 20*time.Second
	m := &moving{t: t, r: rand.New(rand.NewPCG(seed, 0)), now: time.UnixMilli(1_700_000_000_000), window: c, dir: t.TempDir()}
	m.topic, m.owner = make([]movingPartition, partitions), make([]int, partitions)
	m.startNATS()
	for range partitions {
		m.union = append(m.union, map[schema.Emit]buffer.Entry{})
	}
	for i := range 3 {
		nc, js, err := publisher.Connect(m.nats.URL(), fmt.Sprint("node ", i), nats.ReconnectBufSize(-1), nats.ReconnectWait(5*time.Millisecond), nats.ReconnectJitter(0, 0))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		store, err := snapshots.New(js, snapshots.Config{Topic: "clicks", Group: "freshet", Owner: fmt.Sprint("node ", i), Timeout: time.Second,
			Backoff: publisher.Backoff{First: time.Millisecond, Most: 10 * time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		n := &movingNode{moves: moves{store}}
		m.nodes = append(m.nodes, n)
		m.start(n, true)
	}
	return m
}

func (m *moving) startNATS() {
	server, err := embed.StartNATS(embed.NATSConfig{Port: m.port, StoreDir: m.dir, NoSync: true})
	if err != nil {
		m.t.Fatal(err)
	}
	m.nats = server
	m.t.Cleanup(func() { server.Close() })
	u, err := url.Parse(server.URL())
	if err != nil {
		m.t.Fatal(err)
	}
	if m.port, err = strconv.Atoi(u.Port()); err != nil {
		m.t.Fatal(err)
	}
}

// start starts a node, with a disk that has what it had, or with a new one.
func (m *moving) start(n *movingNode, newDisk bool) {
	if newDisk {
		n.fs, n.read = buffer.Memory(), map[schema.Partition]schema.Emit{}
	}
	var err error
	if n.store, err = buffer.Open("store", buffer.Options{FS: n.fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20}); err != nil {
		m.t.Fatal(err)
	}
	o := ingest.DefaultOptions("clicks")
	o.Window, o.IdleAfter, o.Moves = windowConfig(m.window), m.window.IdleAfter, n.moves
	o.Now = func() time.Time { return m.now }
	o.Wait = func(context.Context, time.Duration) error {
		if n.kicked {
			return errors.New("the group has given it to another")
		}
		if m.nats == nil {
			m.startNATS()
		}
		time.Sleep(time.Millisecond)
		return nil
	}
	decoder := func(r source.Record, c *schema.Click) error {
		at, err := strconv.ParseInt(string(r.Value), 10, 64)
		*c = schema.Click{UserID: string(r.Key), ItemID: fmt.Sprint(r.Offset), Action: schema.ActionClick, EventTime: schema.EventTime(at)}
		return err
	}
	if n.node, err = ingest.New(n.store, decoder, o); err != nil {
		m.t.Fatal(err)
	}
	if err := n.node.Topology(m.t.Context(), len(m.topic)); err != nil {
		m.t.Fatal(err)
	}
	n.next = map[schema.Partition]schema.Offset{}
}

func (m *moving) assign(i int, p schema.Partition) {
	m.owner[p] = i
	next, err := m.nodes[i].node.Assign(m.t.Context(), p)
	if err != nil {
		m.t.Fatal(err)
	}
	m.nodes[i].next[p] = next
	m.observe()
}

func (m *moving) revoke(i int, p schema.Partition) {
	m.nodes[i].node.Revoke(p)
	delete(m.nodes[i].next, p)
	m.observe()
}

// read lets node i read on in p; a zombie may find out that it is one.
func (m *moving) read(i int, p schema.Partition, most int) {
	n := m.nodes[i]
	b := source.Batch{Next: n.next[p], HighWatermark: m.topic[p].high}
	for _, r := range m.topic[p].records {
		if r.Offset >= n.next[p] && len(b.Records) < most {
			b.Records = append(b.Records, r)
			b.Next = r.Offset + 1
		}
	}
	n.kicked = m.owner[p] != i
	err := n.node.Apply(m.t.Context(), p, b)
	zombie := n.kicked
	n.kicked = false
	m.observe()
	switch {
	case err == nil:
		n.next[p] = b.Next
	case zombie:
		m.revoke(i, p)
	default:
		m.t.Fatal(err)
	}
}

func (m *moving) produce(p schema.Partition) {
	t := &m.topic[p]
	for range 1 + m.r.IntN(10) {
		at := m.now.UnixMilli() - m.r.Int64N(8000)
		t.records = append(t.records, source.Record{Partition: p, Offset: t.high, ArrivedAt: schema.ArrivalTime(m.now.UnixMilli()),
			Key: []byte{byte('a' + m.r.IntN(4))}, Value: strconv.AppendInt(nil, at, 10)})
		t.high++
		m.now = m.now.Add(time.Duration(m.r.IntN(2000)) * time.Millisecond)
	}
}

// observe demands that no two nodes have different entries at one place.
func (m *moving) observe() {
	m.t.Helper()
	for i, n := range m.nodes {
		for p := range m.union {
			p := schema.Partition(p)
			meta := n.store.Partition(p)
			at := min(max(n.read[p], meta.FirstEmit), meta.NextEmit)
			for at < meta.NextEmit {
				entries, err := n.store.Log(p, at, 1000)
				if err != nil {
					m.t.Fatal(err)
				}
				for _, e := range entries {
					if had, ok := m.union[p][e.Emit]; !ok {
						m.union[p][e.Emit] = e
					} else if !sameEntry(had, e) {
						m.t.Fatalf("partition %d emit %d: node %d has\n%+v\nand there was\n%+v", p, e.Emit, i, e, had)
					}
					at = e.Emit + 1
				}
			}
			n.read[p] = at
		}
	}
}

// check compares the union of the logs with what the records and the marks make.
func (m *moving) check() {
	m.t.Helper()
	for p := range m.union {
		var marks, want []buffer.Entry
		for _, emit := range slices.Sorted(maps.Keys(m.union[p])) {
			if e := m.union[p][emit]; e.Kind != buffer.KindPart {
				marks = append(marks, e)
			}
		}
		replay, err := newReplayer(m.window, func(e buffer.Entry) { want = append(want, e) })
		if err != nil {
			m.t.Fatal(err)
		}
		upTo := func(offset schema.Offset) {
			for ; len(marks) > 0 && marks[0].Mark.Offset <= offset; marks = marks[1:] {
				replay.mark(marks[0])
				want[len(want)-1].Mark.Partitions = marks[0].Mark.Partitions
			}
		}
		for _, r := range m.topic[p].records {
			upTo(r.Offset)
			at, err := strconv.ParseInt(string(r.Value), 10, 64)
			if err != nil {
				m.t.Fatal(err)
			}
			replay.click(&schema.Click{UserID: string(r.Key), ItemID: fmt.Sprint(r.Offset), Action: schema.ActionClick, EventTime: schema.EventTime(at), ArrivedAt: r.ArrivedAt})
		}
		upTo(m.topic[p].high)
		if len(want) != len(m.union[p]) {
			m.t.Fatalf("partition %d: %d entries were read, the records make %d", p, len(m.union[p]), len(want))
		}
		for emit, e := range want {
			if e.Emit = schema.Emit(emit); e.Kind == buffer.KindPart {
				e.Part.Partition, e.Part.Emit = schema.Partition(p), e.Emit
			}
			if got := m.union[p][e.Emit]; !sameEntry(e, got) {
				m.t.Fatalf("partition %d emit %d: the records make\n%+v\nand was read\n%+v", p, emit, e, got)
			}
		}
	}
}

func TestPartitionsMoveThroughNATS(t *testing.T) {
	seed := fromEnvironment(t, seedVariable, uint64(time.Now().UnixNano()))
	t.Logf("%s=%d", seedVariable, seed)
	m := newMoving(t, seed, 2)
	for p := range m.topic {
		m.assign(p, schema.Partition(p))
	}
	var sum ingest.MoveStats
	tally := func(n *movingNode) {
		s := n.node.Stats().Moves
		sum.Restored, sum.Marks, sum.Fenced, sum.Fallbacks, sum.Diverged = sum.Restored+s.Restored, sum.Marks+s.Marks, sum.Fenced+s.Fenced, sum.Fallbacks+s.Fallbacks, sum.Diverged+s.Diverged
	}
	for range 400 {
		p, i := schema.Partition(m.r.IntN(len(m.topic))), m.r.IntN(3)
		owner, n := m.owner[p], m.nodes[i]
		switch op := m.r.IntN(20); op {
		case 0, 1, 2, 3, 4:
			m.produce(p)
		case 5, 6, 7, 8, 9:
			m.read(owner, p, 1+m.r.IntN(8))
		case 10, 11: // idle, for so long that no zombie is left
			for j, z := range m.nodes {
				for _, p := range slices.Sorted(maps.Keys(z.next)) {
					if m.owner[p] != j {
						m.revoke(j, p)
					}
				}
			}
			m.now = m.now.Add(time.Duration(20+m.r.IntN(30)) * time.Second)
			m.read(owner, p, 1000)
			m.read(owner, p, 1000)
		case 12, 13: // in order
			if i != owner {
				m.revoke(owner, p)
				m.assign(i, p)
			}
		case 14: // the owner does not know
			if i != owner && n.next[p] == 0 {
				m.assign(i, p)
				m.now = m.now.Add(6 * time.Second)
				m.read(owner, p, 5)
				m.revoke(owner, p)
			}
		case 15, 16:
			had := n.next
			tally(n)
			if err := n.store.Close(); err != nil {
				t.Fatal(err)
			}
			m.start(n, op == 15)
			for _, p := range slices.Sorted(maps.Keys(had)) {
				m.assign(m.r.IntN(3), p)
			}
		case 17:
			if m.nats != nil {
				if err := m.nats.Close(); err != nil {
					t.Fatal(err)
				}
				m.nats = nil
			} else {
				m.startNATS()
			}
		case 18, 19:
			m.revoke(owner, p)
			m.assign(owner, p) // a rebalance that changes nothing: it saves, and goes on from what it has
		}
	}
	if m.nats == nil {
		m.startNATS()
	}
	m.now = m.now.Add(time.Minute)
	for range 3 {
		for p := range m.topic {
			m.read(m.owner[p], schema.Partition(p), 1000)
		}
	}
	m.check()
	for _, n := range m.nodes {
		tally(n)
		if err := n.store.Close(); err != nil {
			t.Error(err)
		}
	}
	if sum.Restored == 0 || sum.Marks == 0 || sum.Fenced == 0 || sum.Fallbacks != 0 || sum.Diverged != 0 {
		t.Errorf("%+v", sum)
	}
	t.Logf("%+v", sum)
}

// What a node says comes back from NATS as it was said.
func TestMovesSpeakToNATS(t *testing.T) {
	server, err := embed.StartNATS(embed.NATSConfig{StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	nc, js, err := publisher.Connect(server.URL(), "test", nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	store := func(id string) moves {
		s, err := snapshots.New(js, snapshots.Config{Topic: "clicks", Group: "g", Owner: "test", TopicID: id})
		if err != nil {
			t.Fatal(err)
		}
		return moves{s}
	}
	ctx := t.Context()
	c, err := store("one").Claim(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := c.Left(); !ok || at != (ingest.Place{}) {
		t.Errorf("a partition without an owner was left at %+v, %v", at, ok)
	}
	want := ingest.Moved{}
	for i, kind := range []buffer.Kind{buffer.KindGrow, buffer.KindTick, buffer.KindEnd} {
		r := ingest.Recorded{Kind: kind, Emit: schema.Emit(10 * i), Mark: buffer.Mark{Epoch: schema.Epoch(i), Watermark: schema.EventTime(1000 * i), Offset: schema.Offset(i), Partitions: i}}
		if err := c.Record(ctx, r); err != nil {
			t.Fatal(err)
		}
		want.Marks = append(want.Marks, r)
	}
	saved, err := c.Save(ctx, func(w io.Writer) (ingest.Place, error) {
		_, err := w.Write([]byte("state"))
		return ingest.Place{Offset: 7, Emit: 33}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	want.Snapshots = []ingest.Snapshot{saved}
	if err := c.Release(ctx, ingest.Place{Offset: 8, Emit: 34}); err != nil {
		t.Fatal(err)
	}
	next, err := store("one").Claim(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, next.State()); diff != "" || saved.Bytes != 5 || saved.Place != (ingest.Place{Offset: 7, Emit: 33}) {
		t.Errorf("%+v\n%s", saved, diff)
	}
	if at, ok := next.Left(); !ok || at != (ingest.Place{Offset: 8, Emit: 34}) {
		t.Errorf("left at %+v, %v", at, ok)
	}
	r, err := next.Open(ctx, saved)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "state" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := store("one").Claim(ctx, 2); err != nil {
		t.Fatal(err)
	}
	if err := next.Check(ctx); !errors.Is(err, ingest.ErrFenced) {
		t.Errorf("check: %v", err)
	}
	if err := next.Record(ctx, want.Marks[0]); !errors.Is(err, ingest.ErrFenced) {
		t.Errorf("record: %v", err)
	}
	if _, err := store("two").Claim(ctx, 2); !errors.Is(err, ingest.ErrRefused) {
		t.Errorf("another topic: %v", err)
	}
	_, bucket := snapshots.Buckets("clicks", "g")
	stream, err := js.Stream(ctx, "OBJ_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject("$O."+bucket+".C.>")); err != nil {
		t.Fatal(err)
	}
	if r, err = next.Open(ctx, saved); err == nil {
		_, err = io.ReadAll(r)
	}
	if !errors.Is(err, ingest.ErrDamaged) {
		t.Errorf("a snapshot without its chunks: %v", err)
	}
}

// SharesPartitions is what turns it on.
func TestWhoSharesPartitions(t *testing.T) {
	c := config.Default()
	if c.SharesPartitions() {
		t.Error("without a NATS of others there is nobody to share with")
	}
	c.NATS.URL = "nats://localhost:4222"
	if !c.SharesPartitions() {
		t.Error("with a NATS partitions move")
	}
	c.Ingest.Snapshots = config.SnapshotsOff
	if c.SharesPartitions() {
		t.Error("off is off")
	}
}
