package flight

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// puller copies the log of one partition, from one node at a time.
type puller struct {
	mirror    *Mirror
	partition schema.Partition
	current   *node // the node of the last stream
	retries   map[*node]retry
	gap       map[*node]uint64 // how often each node had been looked at when a gap was seen; nil when there is none

	mu      sync.Mutex      // guards what follows
	problem error           // why nothing is copied
	faults  map[*node]fault // of streams, until the next one of that node brings something
}

// fault is how a stream ended.
type fault struct {
	err error
	// until is when it no longer matters unless it has happened again. Zero: it matters until a stream has worked.
	until time.Time
}

// retry is when a node may be asked again after a fault.
type retry struct {
	at    time.Time
	pause time.Duration
}

func newPuller(m *Mirror, p schema.Partition) *puller {
	return &puller{mirror: m, partition: p, retries: map[*node]retry{}, faults: map[*node]fault{}}
}

// faulty returns what is wrong, for Health.
func (r *puller) faulty() (errs []error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.problem != nil {
		errs = append(errs, r.problem)
	}
	for _, n := range r.mirror.nodes { // in the order of the configuration
		if f, ok := r.faults[n]; ok && (f.until.IsZero() || time.Now().Before(f.until)) {
			errs = append(errs, f.err)
		}
	}
	return errs
}

// say notes the problem, and logs it where it is another than before.
func (r *puller) say(problem error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if problem != nil && (r.problem == nil || r.problem.Error() != problem.Error()) {
		r.mirror.cfg.Log.Warn("flight: a partition cannot be read on", "partition", r.partition, "problem", problem)
	}
	r.problem = problem
}

func (r *puller) run(ctx context.Context) error {
	for {
		heard := r.mirror.heard() // before looking, so that no news is missed
		p, wait := r.plan(time.Now())
		r.say(p.problem)
		if p.node == nil {
			timer := time.NewTimer(wait)
			select {
			case <-heard:
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		err := r.follow(ctx, p)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errStore) && !errors.Is(err, buffer.ErrNoRoom): // it waits for room as for a node
			return err
		case err != nil && !errors.Is(err, errElsewhere):
			r.failed(p.node, err)
		}
	}
}

// failed notes that a stream of n ended with err.
func (r *puller) failed(n *node, err error) {
	m := r.mirror
	m.faults.Add(1)
	pause := min(max(2*r.retries[n].pause, m.cfg.RetryLeast), m.cfg.RetryMost)
	again := retry{at: time.Now().Add(m.jitter(pause)), pause: pause}
	r.retries[n] = again
	f := fault{err: n.explain(fmt.Errorf("read partition %d: %w", r.partition, err))}
	if !errors.Is(err, errDisagree) && !errors.Is(err, errDamaged) && !errors.Is(err, errStore) && status.Code(err) != codes.DataLoss {
		f.until = again.at.Add(2 * m.cfg.PollEvery) // by then it has been tried again, or another node has what is wanted
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.faults[n]; !known {
		m.cfg.Log.Warn("flight: a stream has ended; going on", "partition", r.partition, "error", f.err)
	}
	r.faults[n] = f
}

// worked notes that n has brought something, and whether it was entries.
func (r *puller) worked(n *node, entries bool) {
	delete(r.retries, n)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.faults, n)
	if entries {
		r.problem = nil
	}
}

// plan is what to read next, and from where.
type plan struct {
	node    *node // nil: nothing can be read now
	state   state // what the node last said
	begin   bool  // nothing is known of what comes before: the log is new, or there is a gap
	gap     bool
	problem error // why nothing can be read
}

// plan picks the node that has the entry that is wanted and is furthest, the present one where two are as far.
func (r *puller) plan(now time.Time) (p plan, wait time.Duration) {
	m := r.mirror
	own := m.store.Partition(r.partition)
	isNew := own.NextEmit == 0
	wait = m.cfg.RetryMost
	var (
		has    bool  // a node has the wanted entry, whether or not it may be asked now
		paused bool  // a node may be asked again soon
		later  *plan // of the nodes whose logs begin behind the wanted entry, the one that begins first
	)
	for _, n := range m.nodes {
		s, ok := n.state(r.partition)
		if !ok || s.Next < own.NextEmit {
			continue
		}
		if s.First > own.NextEmit {
			if later == nil || s.First < later.state.First {
				later = &plan{node: n, state: s, begin: true}
			}
			continue
		}
		has = has || s.Next > own.NextEmit
		if again := r.retries[n].at; again.After(now) {
			paused, wait = true, min(wait, again.Sub(now))
			continue
		}
		if p.node == nil || further(s, p.state) > 0 || further(s, p.state) == 0 && n == r.current {
			p = plan{node: n, state: s, begin: isNew && m.cfg.Keep > 0}
		}
	}
	silent := m.silent()
	switch {
	case has || later == nil:
		r.gap = nil
		if p.node == nil && !paused {
			p.problem = fmt.Errorf("partition %d: no node that answers has come as far as entry %d: start the node that had it%s",
				r.partition, own.NextEmit, aside(silent))
		}
	case isNew && len(silent) > 0:
		p.problem = fmt.Errorf("partition %d: the log begins at entry %d, and what was before may be on %s: start it, or take it out of --feed to begin there",
			r.partition, later.state.First, list(silent))
	case !isNew && (len(silent) > 0 || !m.cfg.AcceptGaps):
		p.problem = fmt.Errorf("partition %d: entries %d to %d are on no node: start the node that had them%s; or, to go on without them, let --feed name only nodes that answer and set flight.accept_gaps",
			r.partition, own.NextEmit, later.state.First-1, aside(silent))
	case r.isSure():
		// A new reader begins where the logs do: what was before is on no node any more.
		later.gap = !isNew
		return *later, 0
	default:
		wait = m.cfg.PollEvery
	}
	return p, wait // where there is a node, the entries may yet come from it
}

// isSure reports whether all nodes have been looked at twice since the gap was first seen: looks are not at one moment, and
// an entry may have come between them.
func (r *puller) isSure() bool {
	if r.gap == nil {
		r.gap = map[*node]uint64{}
		for _, n := range r.mirror.nodes {
			r.gap[n] = n.looks()
		}
	}
	for n, at := range r.gap {
		if n.looks() < at+2 {
			return false
		}
	}
	return true
}

func aside(silent []string) string {
	if len(silent) == 0 {
		return ""
	}
	return " (" + list(silent) + " does not answer)"
}

// further compares how far two nodes have come with a partition.
func further(a, b state) int {
	return cmp.Or(cmp.Compare(a.Next, b.Next), cmp.Compare(a.NextOffset, b.NextOffset), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Watermark, b.Watermark))
}

// errElsewhere says that another node has come further.
var errElsewhere = errors.New("another node has come further")

// elsewhere reports whether another node than n, which has been silent since, has what comes next.
func (r *puller) elsewhere(n *node, since time.Time) bool {
	if time.Since(since) < r.mirror.cfg.PollEvery {
		return false
	}
	p, _ := r.plan(time.Now())
	r.say(p.problem)
	return p.node != nil && p.node != n && further(p.state, stateOf(r.mirror.store.Partition(r.partition))) > 0
}

// delivery is a record batch, read: its rows, and their clicks as they will lie in the log.
type delivery struct {
	rows   []schema.PartsRow
	clicks []packed.Clicks
	state  state
	bytes  int
}

// Bounds of what is read and not appended yet, beside gRPC's window and the batch that is being read.
const (
	queuedBatches = 2
	appendRows    = 4096 // of one append: each is a sync of the disk
)

// follow copies from p's node until the stream ends or another node has come further.
func (r *puller) follow(ctx context.Context, p plan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := newCopying(r, p)
	in, err := p.node.client.DoGet(ctx, &flight.Ticket{Ticket: c.ticket().bytes()})
	if err != nil {
		return err
	}
	r.current = p.node
	r.mirror.streams.Add(1)
	queue := make(chan delivery, queuedBatches)
	ended := make(chan error, 1)
	go func() {
		ended <- receive(ctx, in, queue)
		close(queue)
	}()
	defer func() {
		cancel()
		for range queue { // until receive has returned
		}
	}()
	progress := time.Now()
	for {
		heard := r.mirror.heard()
		if r.elsewhere(p.node, progress) {
			return errElsewhere
		}
		select {
		case d, ok := <-queue:
			if !ok {
				return <-ended
			}
			news, err := c.add(more(d, queue))
			if err != nil {
				return err
			}
			if news {
				progress = time.Now()
			}
			r.worked(p.node, len(d.rows) > 0)
		case <-heard:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// more adds to d what has arrived since, so that one append takes it all.
func more(d delivery, queue <-chan delivery) delivery {
	for len(d.rows) < appendRows {
		select {
		case next, ok := <-queue:
			if !ok {
				return d
			}
			d.rows, d.clicks = append(d.rows, next.rows...), append(d.clicks, next.clicks...)
			d.state, d.bytes = next.state, d.bytes+next.bytes
		default:
			return d
		}
	}
	return d
}

// receive reads batches into queue until the stream ends.
func receive(ctx context.Context, in flight.FlightService_DoGetClient, queue chan<- delivery) error {
	var reader schema.PartsReader
	for first := true; ; first = false {
		data, err := in.Recv()
		if err != nil {
			return err
		}
		if first { // the schema, of which the reader has its own
			continue
		}
		d := delivery{bytes: len(data.DataHeader) + len(data.DataBody)}
		if d.state, err = parseState(data.AppMetadata); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		batch, err := reader.Read(data.DataHeader, data.DataBody)
		if err == nil {
			err = d.pack(batch)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		select {
		case queue <- d:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pack takes the rows of b, and packs their clicks.
func (d *delivery) pack(b *schema.PartsBatch) (err error) {
	d.rows, d.clicks = make([]schema.PartsRow, b.Len()), make([]packed.Clicks, b.Len())
	all := make([]byte, 0, d.bytes) // about: the clicks' columns and their packed form are of one size
	var c schema.Click
	for i := range d.rows {
		if d.rows[i], err = b.Row(i); err != nil {
			return err
		}
		from, to := b.Clicks(i)
		if d.rows[i].Kind != schema.RowPart || from == to {
			continue
		}
		begin, at := len(all), schema.BeginningOfTime
		for j := from; j < to; j++ {
			b.Click(j, &c)
			if c.EventTime < at {
				return fmt.Errorf("entry %d of partition %d: its clicks are out of order", d.rows[i].Part.Emit, d.rows[i].Part.Partition)
			}
			at = c.EventTime
			all = packed.Append(all, &c)
		}
		d.clicks[i] = packed.Clicks{N: to - from, Bytes: all[begin:len(all):len(all)]}
	}
	return nil
}

// errStore marks a fault of the mirror's own store.
var errStore = errors.New("the mirror's own store")

// copying is one stream on its way into the store.
type copying struct {
	puller   *puller
	plan     plan
	own      buffer.Meta
	overlap  bool // the first row is the last one that the store has
	sequence sequence
}

func newCopying(r *puller, p plan) *copying {
	own := r.mirror.store.Partition(r.partition)
	c := &copying{puller: r, plan: p, own: own}
	c.sequence = sequence{partition: r.partition, next: own.NextEmit, epoch: own.Window.Epoch, due: own.Window.Watermark}
	switch {
	case p.begin && p.state.First > own.NextEmit:
		c.sequence.next = p.state.First
	case p.begin:
		c.sequence.any = true // as far back as is kept
	case own.FirstEmit < own.NextEmit && p.state.First < own.NextEmit:
		// Where two nodes have different logs, the last entry tells: a difference shifts all that follow.
		c.overlap = true
	}
	return c
}

func (c *copying) ticket() ticket {
	t := ticket{Partition: &c.sequence.partition, Follow: true, Marks: true, MaxBytes: c.puller.mirror.cfg.BatchBytes}
	from := c.sequence.next
	switch keep := c.puller.mirror.cfg.Keep; {
	case c.sequence.any:
		since := schema.EventTime(c.plan.state.Watermark).Add(-keep)
		t.Since = &since
		return t
	case c.overlap:
		from--
	}
	t.From = &from
	return t
}

// add checks d and appends it. It reports whether the node had anything new.
func (c *copying) add(d delivery) (news bool, err error) {
	if d.state.Partition != c.sequence.partition {
		return false, fmt.Errorf("%w: the state is of partition %d, not %d", errDamaged, d.state.Partition, c.sequence.partition)
	}
	rows, clicks := d.rows, d.clicks
	if c.overlap && len(rows) > 0 {
		if err := c.compare(&rows[0], clicks[0]); err != nil {
			return false, err
		}
		rows, clicks, c.overlap = rows[1:], clicks[1:], false
	}
	entries := make([]buffer.Entry, len(rows))
	for i := range rows {
		if err := c.sequence.take(&rows[i]); err != nil {
			return false, err
		}
		entries[i] = entryOf(&rows[i])
		entries[i].Packed = clicks[i]
	}
	if c.plan.gap && len(entries) > 0 {
		if err := c.fill(entries[0].Emit); err != nil {
			return false, err
		}
		c.plan.gap = false
	}
	m, news := c.meta(entries, d.state)
	if !news {
		return false, nil
	}
	if err := c.append(m, entries); err != nil {
		return false, err
	}
	c.puller.mirror.entries.Add(uint64(len(entries)))
	c.puller.mirror.bytes.Add(uint64(d.bytes))
	return true, nil
}

func (c *copying) append(m buffer.Meta, entries []buffer.Entry) error {
	if err := c.puller.mirror.store.Append(c.sequence.partition, m, entries); err != nil {
		return fmt.Errorf("%w: %w", errStore, err)
	}
	c.own = c.puller.mirror.store.Partition(c.sequence.partition)
	return nil
}

// fill puts a mark in the place of each entry up to end that no node has, so that the log has no hole, and says for ever
// what it lacks.
func (c *copying) fill(end schema.Emit) error {
	mirror, from := c.puller.mirror, c.own.NextEmit
	mirror.cfg.Log.Warn("flight: going on without entries that no node has", "partition", c.sequence.partition, "from", from, "entries", end-from)
	for c.own.NextEmit < end {
		m := c.own
		mark := buffer.Mark{Epoch: m.Window.Epoch, Watermark: m.Window.Watermark, Offset: m.NextOffset}
		entries := make([]buffer.Entry, 0, appendRows)
		for m.NextEmit < end && len(entries) < appendRows {
			entries = append(entries, buffer.Entry{Kind: buffer.KindGap, Emit: m.NextEmit, Mark: mark})
			m.NextEmit++
		}
		if err := c.append(m, entries); err != nil {
			return err
		}
		mirror.gaps.Add(uint64(len(entries)))
	}
	return nil
}

// compare checks that the last entry that the store has is also the node's.
func (c *copying) compare(r *schema.PartsRow, clicks packed.Clicks) error {
	last := c.own.NextEmit - 1
	mine, err := c.puller.mirror.store.LogPacked(c.sequence.partition, last, 1)
	if err != nil || len(mine) == 0 {
		if c.puller.mirror.store.Partition(c.sequence.partition).FirstEmit > last {
			return nil // retention was quicker
		}
		return fmt.Errorf("%w: read entry %d of partition %d: %w", errStore, last, c.sequence.partition, err)
	}
	if mine[0].Kind == buffer.KindGap {
		return nil // it took the place of an entry that was not known
	}
	if row := rowOf(c.sequence.partition, &mine[0]); !sameRow(&row, r) || mine[0].Packed.N != clicks.N || !bytes.Equal(mine[0].Packed.Bytes, clicks.Bytes) {
		return fmt.Errorf("%w: entry %d of partition %d is another on this node than the one that was mirrored: one of the two logs is not of this topic, or was made with other window settings; take that node out of --feed, or begin with an empty data directory",
			errDisagree, last, c.sequence.partition)
	}
	return nil
}

// meta returns the partition's meta once entries are appended, and whether it or they are new.
//
// The node's state counts once its last entry is there. Until then a reader may be promised only what the entries
// themselves say: nothing that follows is due before the last of them.
func (c *copying) meta(entries []buffer.Entry, s state) (buffer.Meta, bool) {
	m := c.own
	if c.sequence.next == s.Next && !c.sequence.any {
		now := s.meta()
		ahead := cmp.Or(cmp.Compare(now.Window.Epoch, m.Window.Epoch), cmp.Compare(now.Window.Watermark, m.Window.Watermark)) >= 0 && now.NextOffset >= m.NextOffset
		if ahead && (len(entries) > 0 || now.NextOffset > m.NextOffset || now.Window != m.Window) {
			return now, true
		}
	}
	if len(entries) == 0 {
		return m, false
	}
	m.NextEmit = c.sequence.next
	w := &m.Window
	w.Epoch, w.Watermark, w.Ended = c.sequence.epoch, c.sequence.due, false
	for i := range entries {
		e := &entries[i]
		switch e.Kind {
		case buffer.KindPart:
			w.Counts.Emitted += uint64(e.Packed.N)
			for j, cause := range window.Causes {
				if cause == e.Part.Cause {
					w.Counts.Parts[j]++
				}
			}
		case buffer.KindTick:
			m.Ticks++
		}
	}
	w.Counts.Taken = max(w.Counts.Taken, w.Counts.Emitted)
	return m, true
}
