package replica

import (
	"context"
	"errors"
	"slices"
	"time"
)

// server is what a Client knows of one replica; the client's lock guards it.
type server struct {
	base     string
	open     int       // attempts
	failures int       // in a row
	rests    time.Time // until then it is left alone
}

// How long a replica is left alone that failed: the first time, and at most.
const (
	firstRest = 500 * time.Millisecond
	mostRest  = 30 * time.Second
)

func (s *server) resting(now time.Time) time.Duration { return max(0, s.rests.Sub(now)) }

// best returns the replica to ask next: one that has not been asked, that need not rest, that has the fewest open attempts; among equals they take turns. Where all
// rest, it is the one that is ready first, so that there always is one.
func (c *Client) best(tried map[*server]bool, now time.Time) *server {
	var best *server
	for i := range c.servers {
		s := c.servers[(c.turn+i)%len(c.servers)]
		if best == nil || s.before(best, tried, now) {
			best = s
		}
	}
	return best
}

func (s *server) before(other *server, tried map[*server]bool, now time.Time) bool {
	if a, b := s.resting(now), other.resting(now); (a > 0) != (b > 0) || a != b && tried[s] == tried[other] {
		return a < b
	}
	if tried[s] != tried[other] {
		return !tried[s]
	}
	return s.open < other.open
}

// pick chooses a replica for an attempt, and counts that.
func (c *Client) pick(tried map[*server]bool) *server {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.best(tried, c.clock.now())
	c.turn++
	s.open++
	return s
}

// note remembers how an attempt went. One that was cancelled says nothing of its replica, but that it took at least so long.
func (c *Client) note(s *server, took time.Duration, err error, cancelled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.open--
	refusal := new(Error)
	switch {
	case err == nil, errors.As(err, &refusal) && !worthRetrying(err):
		s.failures = 0
		c.recent.add(took)
	case cancelled, errors.Is(err, context.Canceled):
		c.recent.add(took)
	default:
		rest := min(mostRest, firstRest<<min(s.failures, 10))
		s.failures++
		if refusal.RetryAfter > 0 {
			rest = refusal.RetryAfter
		}
		s.rests = c.clock.now().Add(rest)
	}
}

// allowance bounds extra attempts to a share of the calls, with some at once for when they are rare.
type allowance struct{ share, have float64 }

// The shares of calls, and how many extra attempts may be saved up.
const (
	retryShare  = 0.2
	hedgeShare  = 0.1
	mostAllowed = 10
)

func newAllowance(share float64) allowance { return allowance{share, mostAllowed} }

func (a *allowance) earn() { a.have = min(mostAllowed, a.have+a.share) }

func (a *allowance) spend() bool {
	if a.have < 1 {
		return false
	}
	a.have--
	return true
}

// latencies are the last of them, in a ring.
type latencies struct {
	last [128]time.Duration
	n    int // ever added
}

// unknownP95 stands in for what is not known yet: an answer that takes longer is late for a page.
const unknownP95 = 100 * time.Millisecond

func (l *latencies) add(d time.Duration) {
	l.last[l.n%len(l.last)] = d
	l.n++
}

// p95 returns the time within which 19 of 20 of them were, at least a millisecond.
func (l *latencies) p95() time.Duration {
	n := min(l.n, len(l.last))
	if n < 20 {
		return unknownP95
	}
	sorted := l.last
	slices.Sort(sorted[:n])
	return max(time.Millisecond, sorted[(n*95-1)/100])
}
