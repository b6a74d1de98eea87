package publisher

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is a bounded, jittered waiting time between attempts.
type Backoff struct {
	First time.Duration  // before the second attempt; default 100 ms
	Most  time.Duration  // never longer than this; default 5 s
	Rand  func() float64 // in [0, 1); default math/rand/v2. Jitter keeps many replicas from knocking at the same moment
}

// Delay returns how long to wait after failed attempts in a row: between half and all of First·2^(failed-1), at most Most.
func (b Backoff) Delay(failed int) time.Duration {
	first, most, random := b.First, b.Most, b.Rand
	if first <= 0 {
		first = 100 * time.Millisecond
	}
	if most <= 0 {
		most = 5 * time.Second
	}
	if random == nil {
		random = rand.Float64
	}
	d := most
	if shift := max(failed-1, 0); shift < 32 && first <= most>>shift {
		d = first << shift
	}
	return d/2 + time.Duration(random()*float64(d/2))
}

// Wait sleeps for Delay, or until ctx is done and returns its error.
func (b Backoff) Wait(ctx context.Context, failed int) error {
	t := time.NewTimer(b.Delay(failed))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// attempts runs f up to n times, each with its own deadline, because calls to an object store can hang (nats.net#1013).
// It stops early when f says that trying again is of no use.
func attempts(ctx context.Context, b Backoff, n int, timeout time.Duration, f func(ctx context.Context) (again bool, err error)) error {
	for failed := 1; ; failed++ {
		bounded, cancel := context.WithTimeout(ctx, timeout)
		again, err := f(bounded)
		cancel()
		if err == nil || !again || failed >= n || ctx.Err() != nil {
			return err
		}
		if b.Wait(ctx, failed) != nil {
			return err
		}
	}
}
