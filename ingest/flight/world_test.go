package flight

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/feed"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// What the tests share: logs as a topic would give them, nodes that have stretches of them, mirrors.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openStore(t testing.TB, fs buffer.FS) *buffer.Store {
	t.Helper()
	s, err := buffer.Open("store", buffer.Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	must(t, err)
	return s
}

// topic is the logs of all partitions as they grow, and the truth that mirrors are compared with.
type topic struct {
	store *buffer.Store
	rand  *rand.Rand
	metas [][]buffer.Meta // per partition: after each commit
}

func newTopic(t testing.TB, r *rand.Rand, partitions int) *topic {
	o := &topic{store: openStore(t, buffer.Memory()), rand: r, metas: make([][]buffer.Meta, partitions)}
	t.Cleanup(func() { must(t, o.store.Close()) })
	o.mark(t, 0, buffer.Entry{Kind: buffer.KindGrow, Mark: buffer.Mark{Watermark: schema.BeginningOfTime, Partitions: partitions}})
	return o
}

func (o *topic) partitions() int { return len(o.metas) }

func (o *topic) commit(t testing.TB, commits ...buffer.Commit) {
	t.Helper()
	must(t, o.store.Commit(commits...))
	for _, c := range commits {
		o.metas[c.Partition] = append(o.metas[c.Partition], o.store.Partition(c.Partition))
	}
}

func (o *topic) mark(t testing.TB, p schema.Partition, e buffer.Entry) {
	m := o.store.Partition(p)
	o.commit(t, buffer.Commit{Partition: p, NextOffset: m.NextOffset, Window: m.Window, Entries: []buffer.Entry{e}})
}

const noon = schema.EventTime(1_700_000_000_000)

// grow commits what some records of p might have given: parts, a watermark that has moved, now and then a tick.
func (o *topic) grow(t testing.TB, p schema.Partition) {
	t.Helper()
	m := o.store.Partition(p)
	w := m.Window
	if w.Watermark == schema.BeginningOfTime {
		w.Watermark = noon
	}
	var entries []buffer.Entry
	due := w.Watermark
	for range o.rand.IntN(5) {
		due += schema.EventTime(o.rand.IntN(3))
		part := o.part(p, w.Epoch, due)
		entries = append(entries, buffer.Entry{Kind: buffer.KindPart, Part: part})
		w.Counts.Taken += uint64(len(part.Clicks))
		w.Counts.Emitted += uint64(len(part.Clicks))
		for i, cause := range window.Causes {
			if cause == part.Cause {
				w.Counts.Parts[i]++
			}
		}
	}
	w.Watermark, w.Ended = due+1+schema.EventTime(o.rand.IntN(3)), false
	w.MaxSeen = w.Watermark
	if o.rand.IntN(4) == 0 {
		entries = append(entries, buffer.Entry{Kind: buffer.KindTick, Mark: buffer.Mark{Epoch: w.Epoch, Watermark: w.Watermark, Offset: m.NextOffset}})
	}
	o.commit(t, buffer.Commit{Partition: p, NextOffset: m.NextOffset + 1 + schema.Offset(o.rand.IntN(9)), Window: w, Entries: entries})
}

func (o *topic) part(p schema.Partition, epoch schema.Epoch, due schema.EventTime) schema.Part {
	part := schema.Part{
		Epoch: epoch, Due: due, UserID: fmt.Sprint("user-", p, "-", o.rand.IntN(5)), SessionStart: due - 100, Number: int32(o.rand.IntN(4)),
		Final: o.rand.IntN(3) == 0, Cause: window.Causes[o.rand.IntN(len(window.Causes))],
	}
	for i := range o.rand.IntN(4) {
		c := schema.Click{UserID: part.UserID, ItemID: fmt.Sprint("item-", o.rand.IntN(50)), EventTime: due - 90 + schema.EventTime(i), Action: "click",
			ArrivedAt: schema.ArrivalTime(due)}
		if o.rand.IntN(2) == 0 {
			c.EventID, c.Scene, c.Item, c.Context = fmt.Sprint(o.rand.IntN(1000)), "home", schema.ItemInfo{Category: "c", Price: 1.5}, []byte(`{"a":1}`)
		}
		part.Clicks = append(part.Clicks, c)
	}
	return part
}

// widen adds a partition to the topic.
func (o *topic) widen(t testing.TB) {
	t.Helper()
	w := o.store.Partition(0).Window
	o.metas = append(o.metas, nil)
	o.mark(t, 0, buffer.Entry{Kind: buffer.KindGrow, Mark: buffer.Mark{Epoch: w.Epoch, Watermark: w.Watermark, Partitions: o.partitions()}})
	o.grow(t, schema.Partition(o.partitions()-1))
}

// end ends the input on all partitions.
func (o *topic) end(t testing.TB) {
	t.Helper()
	var commits []buffer.Commit
	epoch := schema.Epoch(0)
	for p := range o.partitions() {
		epoch = max(epoch, o.store.Partition(schema.Partition(p)).Window.Epoch+1)
	}
	for p := range o.partitions() {
		m := o.store.Partition(schema.Partition(p))
		w := m.Window
		w.Epoch, w.Ended, w.Watermark = epoch, true, max(w.Watermark, noon)+1
		commits = append(commits, buffer.Commit{Partition: schema.Partition(p), NextOffset: m.NextOffset, Window: w,
			Entries: []buffer.Entry{{Kind: buffer.KindEnd, Mark: buffer.Mark{Epoch: w.Epoch, Watermark: w.Watermark, Offset: m.NextOffset}}}})
	}
	o.commit(t, commits...)
}

// entries returns a stretch of p's log.
func entries(t testing.TB, s *buffer.Store, p schema.Partition, from, to schema.Emit) (all []buffer.Entry) {
	t.Helper()
	for from < to {
		some, err := s.Log(p, from, int(to-from))
		must(t, err)
		if len(some) == 0 {
			t.Fatalf("the log of partition %d ends before %d", p, from)
		}
		all = append(all, some...)
		from += schema.Emit(len(some))
	}
	return all
}

// bring brings the node's log of p to where the topic was after commit n: from where it is, or, where it has nothing, from
// the commit before.
func (o *topic) bring(t testing.TB, to *buffer.Store, p schema.Partition, n int) {
	t.Helper()
	m, from := o.metas[p][n], schema.Emit(0)
	if have := to.Partition(p); have.Mirror {
		from = have.NextEmit
	} else if n > 0 {
		from = o.metas[p][n-1].NextEmit
		m.FirstEmit = from
	}
	if from > m.NextEmit {
		return // it is further
	}
	must(t, to.Append(p, m, entries(t, o.store, p, from, m.NextEmit)))
}

// from0 makes that the node has p's log from its beginning.
func (o *topic) from0(t testing.TB, to *buffer.Store, p schema.Partition) {
	t.Helper()
	if !to.Partition(p).Mirror {
		m := o.metas[p][0]
		must(t, to.Append(p, m, entries(t, o.store, p, 0, m.NextEmit)))
	}
}

// machine is a node that can be killed and started again at the same address.
type machine struct {
	t       testing.TB
	store   *buffer.Store
	log     Log // nil: the store
	config  ServerConfig
	address string
	server  *Server
	stop    func()
}

func newMachine(t testing.TB, store *buffer.Store, c ServerConfig) *machine {
	t.Helper()
	if store == nil {
		store = openStore(t, buffer.Memory())
		t.Cleanup(func() { must(t, store.Close()) })
	}
	m := &machine{t: t, store: store, config: c, address: "127.0.0.1:0"}
	m.start()
	t.Cleanup(m.kill) // before the store closes
	return m
}

func (m *machine) start() {
	m.t.Helper()
	if m.stop != nil {
		return
	}
	l, err := net.Listen("tcp", m.address)
	must(m.t, err)
	m.address = l.Addr().String()
	m.config.StopWithin = 100 * time.Millisecond
	var log Log = m.store
	if m.log != nil {
		log = m.log
	}
	m.server = NewServer(log, m.config)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.server.Run(ctx, l) }()
	m.stop = func() {
		cancel()
		must(m.t, <-done)
	}
}

func (m *machine) kill() {
	if m.stop != nil {
		m.stop()
		m.stop = nil
	}
}

func (m *machine) url() string { return "grpc://" + m.address }

// mirroring is a mirror that runs.
type mirroring struct {
	*Mirror
	t      testing.TB
	store  *buffer.Store
	cancel context.CancelFunc
	done   chan error
}

// quickMirror does in milliseconds what else takes seconds.
func quickMirror(machines ...*machine) MirrorConfig {
	c := MirrorConfig{PollEvery: 5 * time.Millisecond, RetryLeast: time.Millisecond, RetryMost: 10 * time.Millisecond}
	for _, m := range machines {
		c.Nodes = append(c.Nodes, m.url())
	}
	return c
}

// startMirror starts a mirror with its store in fs. Stopping it closes both.
func startMirror(t testing.TB, fs buffer.FS, c MirrorConfig) *mirroring {
	t.Helper()
	store := openStore(t, fs)
	m, err := NewMirror(store, c)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &mirroring{Mirror: m, t: t, store: store, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- m.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

func (r *mirroring) stop() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	if err := <-r.done; !errors.Is(err, context.Canceled) {
		r.t.Errorf("mirror: %v", err)
	}
	if err := errors.Join(r.Close(), r.store.Close()); err != nil {
		r.t.Error(err)
	}
}

// patience bounds waits; it is never the measure of anything.
const patience = time.Minute

// until waits for what, looking again at each change of the store and at least every few milliseconds.
func until(t testing.TB, s *buffer.Store, says string, what func() error) {
	t.Helper()
	deadline := time.After(patience)
	for {
		changed := s.Changed()
		err := what()
		if err == nil {
			return
		}
		select {
		case <-changed:
		case <-time.After(2 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%s: not within %v: %v", says, patience, err)
		}
	}
}

// reaches waits until the mirror has what the topic has.
func (r *mirroring) reaches(o *topic) {
	r.t.Helper()
	until(r.t, r.store, "the mirror is as far as the topic", func() error {
		for p := range o.partitions() {
			want, got := o.store.Partition(schema.Partition(p)), r.store.Partition(schema.Partition(p))
			if got.NextEmit != want.NextEmit || got.Window != want.Window {
				return fmt.Errorf("partition %d: entry %d of %d, %+v; health: %w", p, got.NextEmit, want.NextEmit, got.Window, r.Health())
			}
		}
		return nil
	})
}

// equalLogs compares the mirror's logs with the topic's, entry by entry, from where the mirror's begin.
func equalLogs(t testing.TB, o *topic, s *buffer.Store) {
	t.Helper()
	for i := range o.partitions() {
		p := schema.Partition(i)
		m := s.Partition(p)
		if diff := cmp.Diff(entries(t, o.store, p, m.FirstEmit, m.NextEmit), entries(t, s, p, m.FirstEmit, m.NextEmit)); diff != "" {
			t.Fatalf("the log of partition %d differs (-topic +mirror):\n%.2000s", p, diff)
		}
	}
}

// seeded returns randomness that a failing test can be given again.
func seeded(t testing.TB, round int) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if env := testSeed(t); env != 0 {
		seed = env
	}
	t.Logf("round %d: TEST_SEED=%d", round, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func errOf(format string, args ...any) error { return fmt.Errorf(format, args...) }

// reading is a trainer's reading of a store: what a feed has given so far, and where one would begin again.
type reading struct {
	t        testing.TB
	feed     *feed.Feed
	parts    []schema.Part
	progress schema.Progress
}

func (r *reading) begin(s *buffer.Store) {
	r.t.Helper()
	position := schema.Position{}
	if r.feed != nil {
		position = r.feed.Position()
	}
	f, err := feed.New(s, position)
	must(r.t, err)
	r.feed, r.progress = f, schema.Progress{Through: schema.BeginningOfTime}
}

// read takes what there is now.
func (r *reading) read() {
	r.t.Helper()
	done, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		parts, progress, err := r.feed.Next(done, 7)
		if errors.Is(err, context.Canceled) {
			return
		}
		must(r.t, err)
		if progress.Epoch < r.progress.Epoch || progress.Epoch == r.progress.Epoch && progress.Through < r.progress.Through {
			r.t.Fatalf("progress fell from %+v to %+v", r.progress, progress)
		}
		for _, p := range parts {
			if p.Epoch < r.progress.Epoch || p.Epoch == r.progress.Epoch && p.Due < r.progress.Through {
				r.t.Fatalf("entry %d of partition %d is due at %d in epoch %d, and came after progress %+v", p.Emit, p.Partition, p.Due, p.Epoch, r.progress)
			}
		}
		r.parts, r.progress = append(r.parts, parts...), progress
	}
}
