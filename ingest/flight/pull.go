package flight

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow/flight"
	"github.com/freshet-ml/freshet/ingest/buffer"
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
