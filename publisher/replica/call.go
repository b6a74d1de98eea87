package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// clock is what a Client knows of time and chance.
type clock struct {
	now   func() time.Time
	after func(time.Duration) <-chan time.Time
	rand  func() float64 // in [0, 1)
}

// The waits before a retry: the first, and the longest, each taken at random between nothing and itself.
const (
	firstWait = 25 * time.Millisecond
	mostWait  = time.Second
)

// outcome is how an attempt ended.
type outcome struct {
	at   *server
	body []byte
	err  error
}

// call posts body until a replica answers it, or there is no sense in going on.
func (c *Client) call(ctx context.Context, path string, body []byte) ([]byte, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	ctx, cancel := context.WithCancel(ctx) // ends the attempts that have lost
	defer cancel()
	hedgeAfter, err := c.begin()
	if err != nil {
		return nil, err
	}
	left := max(0, c.Retries)
	if c.Retries == 0 {
		left = 2
	}
	var (
		ended   = make(chan outcome, left+2) // each attempt can leave its outcome, and go
		tried   = map[*server]bool{}
		open    int
		last    error
		retry   <-chan time.Time
		hedge   <-chan time.Time
		attempt = func() {
			at := c.pick(tried)
			tried[at] = true
			open++
			go func() {
				began := c.clock.now()
				b, err := c.attempt(ctx, at.base, path, body)
				c.note(at, c.clock.now().Sub(began), err, ctx.Err() != nil)
				ended <- outcome{at, b, err}
			}()
		}
	)
	attempt()
	if hedgeAfter > 0 {
		hedge = c.clock.after(hedgeAfter)
	}
	for tries := 0; ; {
		select {
		case o := <-ended:
			open--
			if o.err == nil || !worthRetrying(o.err) {
				return o.body, o.err
			}
			last = o.err
			if left > 0 && retry == nil {
				if wait, ok := c.backOff(ctx, tries, tried); ok {
					left, tries = left-1, tries+1
					retry = c.clock.after(wait)
				}
			}
			if open == 0 && retry == nil {
				return nil, last
			}
		case <-retry:
			retry = nil
			attempt()
		case <-hedge:
			hedge = nil
			if open == 1 && retry == nil && c.mayHedge(tried) {
				attempt()
			}
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("no replica answered in time: %w", ctx.Err()), last)
		}
	}
}

// begin makes the client ready, counts a call, and returns when to hedge it; 0 = never.
func (c *Client) begin() (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.servers == nil {
		for _, base := range c.bases() {
			c.servers = append(c.servers, &server{base: base})
		}
		c.retries, c.hedges = newAllowance(retryShare), newAllowance(hedgeShare)
		if c.clock.now == nil {
			c.clock = clock{time.Now, time.After, rand.Float64}
		}
	}
	if len(c.servers) == 0 {
		return 0, errors.New("there is no replica to ask: set BaseURL")
	}
	c.retries.earn()
	c.hedges.earn()
	switch {
	case len(c.servers) < 2 || c.HedgeAfter < 0:
		return 0, nil
	case c.HedgeAfter > 0:
		return c.HedgeAfter, nil
	}
	return c.recent.p95(), nil
}

// backOff returns how long to wait before the next attempt, or false where that may not be, or would be too late.
func (c *Client) backOff(ctx context.Context, tries int, tried map[*server]bool) (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.now()
	wait := time.Duration(c.clock.rand() * float64(min(mostWait, firstWait<<min(tries, 10))))
	wait = max(wait, c.best(tried, now).resting(now))
	if deadline, bounded := ctx.Deadline(); bounded && now.Add(wait).After(deadline) {
		return 0, false
	}
	return wait, c.retries.spend()
}

// mayHedge reports whether there is a healthy replica that has not been asked yet, and an allowance for it.
func (c *Client) mayHedge(tried map[*server]bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock.now()
	next := c.best(tried, now)
	return !tried[next] && next.resting(now) == 0 && c.hedges.spend()
}
