package flight

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
	"golang.org/x/sync/errgroup"
)

// Store is where a Mirror keeps what it copies: *buffer.Store all of it, *buffer.Histories the latest of each user.
type Store interface {
	Partition(p schema.Partition) buffer.Meta
	LogPacked(p schema.Partition, from schema.Emit, limit int) ([]buffer.Entry, error)
	Append(p schema.Partition, m buffer.Meta, entries []buffer.Entry) error
}

var (
	_ Store = (*buffer.Store)(nil)
	_ Store = (*buffer.Histories)(nil)
)

// MirrorConfig says what a Mirror copies. Fields left zero take their default.
type MirrorConfig struct {
	Nodes []string // addresses, grpc://host:port or grpc+tls://host:port; at least one
	Token string   // sent with each call; "" sends none
	TLS   *tls.Config

	// Keep lets a mirror without entries begin so far behind the watermark; 0 begins with the first entry there is.
	Keep time.Duration
	// AcceptGaps goes on behind entries that no node has. All nodes must answer before it does.
	AcceptGaps bool

	BatchBytes int           // of a record batch; default 1 MiB
	PollEvery  time.Duration // a look at what each node has; default 1 s: what a move of a partition costs at most
	RetryLeast time.Duration // pause after a fault; default 100 ms, and doubles up to
	RetryMost  time.Duration // default 10 s

	Rand func() float64 // in [0, 1), for jitter; default math/rand/v2
	Log  *slog.Logger   // default: nothing is logged
}

func (c MirrorConfig) withDefaults() MirrorConfig {
	set := func(v *time.Duration, to time.Duration) {
		if *v == 0 {
			*v = to
		}
	}
	set(&c.PollEvery, time.Second)
	set(&c.RetryLeast, 100*time.Millisecond)
	set(&c.RetryMost, 10*time.Second)
	if c.BatchBytes == 0 {
		c.BatchBytes = defaultMaxBytes
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports every fault of c at once, or nil.
func (c MirrorConfig) Validate() error {
	c = c.withDefaults()
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(len(c.Nodes) == 0, "no nodes: give the address of one that serves its log, such as grpc://host:9091")
	for i, address := range c.Nodes {
		if err := CheckNode(address); err != nil {
			faults = append(faults, err)
		}
		fault(slices.Contains(c.Nodes[:i], address), "node %s is named twice", address)
	}
	fault(c.Keep < 0, "keep %v: must not be negative", c.Keep)
	fault(c.BatchBytes < leastMaxBytes || c.BatchBytes > mostMaxBytes, "batch_bytes %d: must be from %d to %d", c.BatchBytes, leastMaxBytes, mostMaxBytes)
	fault(c.PollEvery < 0, "poll_every %v: must be positive", c.PollEvery)
	fault(c.RetryLeast < 0 || c.RetryMost < c.RetryLeast, "retry_least %v, retry_most %v: must be positive, and rise", c.RetryLeast, c.RetryMost)
	return errors.Join(faults...)
}

// MirrorStats says what a Mirror has done since its start, and how far it is behind.
type MirrorStats struct {
	Entries  uint64 // appended
	Bytes    uint64 // of Arrow messages that were read
	Streams  uint64 // that were begun: one for each partition, and one for each fault and each move
	Faults   uint64 // streams that ended with an error
	Gaps     uint64 // entries that no node had and that were passed over
	Live     uint64 // clicks that were heard before they were in any part (Listen)
	Behind   uint64 // entries that nodes have and the mirror has not, as of the last look
	Nodes    int
	Answered int // nodes that answered at the last look
}

// Mirror copies the logs of its nodes into a store, of which it must be the only writer.
type Mirror struct {
	cfg   MirrorConfig
	store Store
	nodes []*node

	entries, bytes, streams, faults, gaps, live atomic.Uint64

	mu      sync.Mutex // guards what follows
	pullers map[schema.Partition]*puller
	news    chan struct{} // closed when a node has said something
}

// NewMirror returns a Mirror of c's nodes into store. It calls them once Run is called.
func NewMirror(store Store, c MirrorConfig) (*Mirror, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("flight: mirror: %w", err)
	}
	m := &Mirror{cfg: c.withDefaults(), store: store, pullers: map[schema.Partition]*puller{}, news: make(chan struct{})}
	for _, address := range c.Nodes {
		n, err := dial(address, c.Token, c.TLS)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("flight: mirror: %w", err), m.Close())
		}
		m.nodes = append(m.nodes, n)
	}
	return m, nil
}

// Close ends the connections. It comes after Run, and may be called again.
func (m *Mirror) Close() error {
	var errs []error
	for _, n := range m.nodes {
		errs = append(errs, n.conn.Close())
	}
	m.nodes = nil
	return errors.Join(errs...)
}

// Run copies until ctx ends, or the store fails. What the nodes do wrong does not end it: Health says it.
func (m *Mirror) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range m.nodes {
		g.Go(func() error { return m.watch(ctx, g, n) })
	}
	return g.Wait()
}

// watch looks at n again and again, and starts a puller for each partition that it is the first to have.
func (m *Mirror) watch(ctx context.Context, g *errgroup.Group, n *node) error {
	failing, pause := false, m.cfg.RetryLeast
	for {
		err := n.list(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case err != nil && !failing:
			m.cfg.Log.Warn("flight: a node does not answer; trying again", "error", err)
		case err == nil && failing:
			m.cfg.Log.Info("flight: the node answers again", "node", n.address)
		}
		if failing = err != nil; failing {
			pause = min(2*pause, m.cfg.RetryMost)
		} else {
			pause = m.cfg.RetryLeast
			m.pull(ctx, g, n)
		}
		m.tell()
		wait := m.cfg.PollEvery
		if failing {
			wait = m.jitter(pause)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// pull starts pullers for partitions of n that have none.
func (m *Mirror) pull(ctx context.Context, g *errgroup.Group, n *node) {
	n.mu.Lock()
	partitions := slices.Sorted(maps.Keys(n.states))
	n.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range partitions {
		if m.pullers[p] == nil {
			r := newPuller(m, p)
			m.pullers[p] = r
			g.Go(func() error { return r.run(ctx) })
		}
	}
}

// tell wakes all pullers.
func (m *Mirror) tell() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.news)
	m.news = make(chan struct{})
}

// heard returns a channel that is closed when a node says something next.
func (m *Mirror) heard() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.news
}

// jitter spreads d over its upper half, so that mirrors that lost the same node do not come back together.
func (m *Mirror) jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(m.cfg.Rand()*float64(d/2))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// silent returns the nodes that do not answer, or have not answered yet.
func (m *Mirror) silent() (addresses []string) {
	for _, n := range m.nodes {
		if err, ever := n.said(); err != nil || !ever {
			addresses = append(addresses, n.address)
		}
	}
	return addresses
}

// maxProblems bounds what Health lists.
const maxProblems = 8

// Health says what keeps the mirror from being whole, and what to do, or nil.
func (m *Mirror) Health() error {
	var problems []error
	for _, n := range m.nodes {
		if err, ever := n.said(); err != nil {
			problems = append(problems, err)
		} else if !ever {
			problems = append(problems, fmt.Errorf("node %s has not answered yet", n.address))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range slices.Sorted(maps.Keys(m.pullers)) {
		problems = append(problems, m.pullers[p].faulty()...)
	}
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems], fmt.Errorf("and %d more", more))
	}
	return errors.Join(problems...)
}

// Stats returns the figures of now. It may be called from any goroutine.
func (m *Mirror) Stats() MirrorStats {
	s := MirrorStats{
		Entries: m.entries.Load(), Bytes: m.bytes.Load(), Streams: m.streams.Load(), Faults: m.faults.Load(), Gaps: m.gaps.Load(), Live: m.live.Load(), Nodes: len(m.nodes),
	}
	ends := map[schema.Partition]schema.Emit{}
	for _, n := range m.nodes {
		if err, ever := n.said(); err == nil && ever {
			s.Answered++
		}
		n.mu.Lock()
		for p, st := range n.states {
			ends[p] = max(ends[p], st.Next)
		}
		n.mu.Unlock()
	}
	for p, end := range ends {
		if have := m.store.Partition(p).NextEmit; end > have {
			s.Behind += uint64(end - have)
		}
	}
	return s
}

func list(addresses []string) string { return strings.Join(addresses, ", ") }
