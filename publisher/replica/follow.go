package replica

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
)

// told is what the store said last, as it is stored; nil = nothing yet.
type told struct{ head, order []byte }

// follow sends what the store says to news, which holds only the newest. It opens the store, and the watches, again and
// again, for as long as it takes.
func (r *Replica) follow(ctx context.Context, js jetstream.JetStream, news chan told) error {
	var now told
	newest := func() {
		select {
		case <-news: // an older one that nobody has taken
		default:
		}
		news <- now // this goroutine alone sends, so there is room
	}
	for failed := 0; ; {
		began := time.Now()
		store, err := publisher.OpenStore(ctx, js)
		if err == nil {
			if r.store.Swap(store) == nil {
				r.say(r.whyRefused()) // the first report
			}
			err = r.followStore(ctx, store, &now, newest)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if failed++; time.Since(began) > time.Minute {
			failed = 1
		}
		if errors.Is(err, publisher.ErrNoStore) {
			r.cfg.Log.Debug("replica waits for a publisher", "err", err)
		} else {
			_, serving := r.Current()
			r.cfg.Log.Warn("replica cannot see the head and its orders and tries again", "serving", serving, "err", err)
		}
		if err := r.cfg.Backoff.Wait(ctx, failed); err != nil {
			return err
		}
	}
}

// followStore watches the head and the order, and asks for both every PollEvery besides, because a watch can go silent: it
// returns when anything fails. No head is told before the order was asked for: else a replica that starts would serve the
// head for a moment, though it is pinned.
func (r *Replica) followStore(ctx context.Context, store *publisher.Store, now *told, newest func()) error {
	ask := func() error {
		stored, _, err := store.OrderBytes(ctx, r.cfg.Model)
		if err != nil && !errors.Is(err, publisher.ErrNoOrder) {
			return err
		}
		if err == nil {
			now.order = stored
			newest()
		}
		return nil
	}
	if err := ask(); err != nil {
		return err
	}
	heads, orders := make(chan []byte), make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return store.FollowHead(ctx, r.cfg.Model, func(stored []byte) {
			select {
			case heads <- stored:
			case <-ctx.Done():
			}
		})
	})
	g.Go(func() error { return r.followOrders(ctx, store, orders) })
	g.Go(func() error {
		poll := time.NewTicker(r.cfg.PollEvery)
		defer poll.Stop()
		for {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case now.head = <-heads:
				newest()
			case <-orders: // the order itself is asked for, so that a late word of the watch cannot bring an older one back
				if err := ask(); err != nil {
					return err
				}
			case <-poll.C:
				stored, err := store.HeadBytes(ctx, r.cfg.Model)
				if err == nil {
					now.head = stored
					newest()
				} else if !errors.Is(err, publisher.ErrNoHead) {
					return err
				}
				if err := ask(); err != nil {
					return err
				}
			}
		}
	})
	return g.Wait()
}

// followOrders sends a word whenever there is an order. While there is no bucket of orders it looks for it every PollEvery.
func (r *Replica) followOrders(ctx context.Context, store *publisher.Store, orders chan<- struct{}) error {
	for {
		err := store.FollowOrders(ctx, r.cfg.Model, func([]byte) {
			select {
			case orders <- struct{}{}:
			case <-ctx.Done():
			}
		})
		if !errors.Is(err, publisher.ErrNoOrder) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(r.cfg.PollEvery):
		}
	}
}

// obey brings what is served to what it is told. After a refusal that a second look may heal it tries the same again,
// waiting longer each time up to a bound. An order that the disk did not take is written again every PollEvery, whether NATS answers or not.
func (r *Replica) obey(ctx context.Context, news <-chan told) error {
	var last told
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	defer retry.Stop()
	keep := time.NewTicker(r.cfg.PollEvery)
	defer keep.Stop()
	for failed := 0; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-keep.C:
			if r.unsaved != nil && r.keepOrder() == nil {
				r.cfg.Log.Info("replica keeps the order on disk now", "dir", r.cfg.Dir, "serial", r.inForce().Serial)
			}
			continue
		case t := <-news:
			ordered := r.takeOrder(t.order)
			same := !r.inForce().FollowsHead() || bytes.Equal(t.head, last.head)
			last = t
			if failed > 0 && same && !ordered {
				continue // nothing that was refused is different; it was final, or the retry timer is running
			}
			failed = 0
		case <-retry.C:
		}
		retry.Stop()
		faults := r.settle(ctx, r.store.Load(), last.head)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if len(faults) == 0 {
			failed = 0
			r.say("")
			continue
		}
		failed++
		if r.refuse(faults, failed) {
			retry.Reset(r.cfg.Backoff.Delay(failed))
		}
	}
}

// refuse counts and says what could not be adopted, and whether to try it again.
func (r *Replica) refuse(faults map[Lane]error, attempt int) (again bool) {
	var all []string
	for _, lane := range []Lane{LaneStable, LaneCandidate} {
		err, refused := faults[lane]
		if !refused {
			continue
		}
		reason := reasonOf(err)
		r.metrics.rejected.WithLabelValues(string(reason)).Inc()
		r.cfg.Log.Warn("replica refuses an update and goes on serving", "lane", lane, "reason", reason, "err", err, "attempt", attempt, "again", !reason.final())
		text := string(reason) + ": " + err.Error()
		if lane == LaneCandidate {
			text = "candidate: " + text
		}
		all = append(all, text)
		again = again || !reason.final()
	}
	r.say(strings.Join(all, "; "))
	return again
}
