package replica

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/nats-io/nats.go/jetstream"
)

// follow sends the stored bytes of each head to heads, which holds only the newest. It opens the store, and the watch, again
// and again, for as long as it takes.
func (r *Replica) follow(ctx context.Context, js jetstream.JetStream, heads chan []byte) error {
	newest := func(stored []byte) {
		select {
		case <-heads: // an older one that nobody has taken
		default:
		}
		heads <- stored // this goroutine alone sends, so there is room
	}
	for failed := 0; ; {
		began := time.Now()
		store, err := publisher.OpenStore(ctx, js)
		if err == nil {
			if r.store.Swap(store) == nil {
				r.say(r.whyRefused()) // the first report
			}
			err = r.followStore(ctx, store, newest)
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
			r.cfg.Log.Warn("replica cannot see the head and tries again", "serving", serving, "err", err)
		}
		if err := r.cfg.Backoff.Wait(ctx, failed); err != nil {
			return err
		}
	}
}

// followStore watches the head, and asks for it every PollEvery besides, because a watch can go silent: it returns when
// either fails.
func (r *Replica) followStore(ctx context.Context, store *publisher.Store, newest func([]byte)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan []byte)
	done := make(chan error, 1)
	go func() {
		done <- store.FollowHead(ctx, r.cfg.Model, func(stored []byte) {
			select {
			case watched <- stored:
			case <-ctx.Done():
			}
		})
	}()
	poll := time.NewTicker(r.cfg.PollEvery)
	defer poll.Stop()
	for {
		select {
		case err := <-done:
			return err
		case stored := <-watched:
			newest(stored)
		case <-poll.C:
			stored, err := store.HeadBytes(ctx, r.cfg.Model)
			switch {
			case err == nil:
				newest(stored)
			case !errors.Is(err, publisher.ErrNoHead):
				stop()
				<-done
				return err
			}
		}
	}
}

// adoptHeads adopts each head that comes. After a refusal that a second look may heal it tries the same head again, waiting
// longer each time up to a bound.
func (r *Replica) adoptHeads(ctx context.Context, heads <-chan []byte) error {
	var head, refused []byte
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	defer retry.Stop()
	for failed := 0; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case stored := <-heads:
			if bytes.Equal(stored, refused) {
				continue // the poll has brought it again; it was final, or the retry timer is running
			}
			head, refused, failed = stored, nil, 0
		case <-retry.C:
		}
		retry.Stop()
		err := r.adopt(ctx, r.store.Load(), head)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		reason := reasonOf(err)
		refused = head
		failed++
		r.metrics.rejected.WithLabelValues(string(reason)).Inc()
		r.cfg.Log.Warn("replica refuses an update and goes on serving", "reason", reason, "err", err, "attempt", failed, "again", !reason.final())
		r.say(string(reason) + ": " + err.Error())
		if !reason.final() {
			retry.Reset(r.cfg.Backoff.Delay(failed))
		}
	}
}
