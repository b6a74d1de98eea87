package replica

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// What tests of the package from outside need to see.

// Server is the one that Serve runs.
func (r *Replica) Server() *http.Server { return r.httpServer().server() }

// Limits of requests and answers.
const (
	MaxHeldBytes = maxHeldBytes
	MaxBodyBytes = maxBodyBytes
	MaxCallers   = maxCallers
	ReloadEvery  = reloadEvery
)

// HeldBytes is what the bodies and answers of open requests hold beyond the free bytes of each.
func (r *Replica) HeldBytes() int64 { return r.api.budget.held.Load() }

// Waiting is how many requests wait for their turn.
func (r *Replica) Waiting() int {
	r.api.line.mu.Lock()
	defer r.api.line.mu.Unlock()
	return r.api.line.waiting.Len()
}

// Callers is how many callers are told apart.
func (r *Replica) Callers() int { return r.api.rates.callers.Len() }

// ServeUntil is Serve with the clock of a test.
func (r *Replica) ServeUntil(ctx context.Context, l net.Listener, after func(time.Duration) <-chan time.Time) error {
	return r.serve(ctx, l, after)
}

// SetClock gives a client the time and the chance of a test.
func (c *Client) SetClock(now func() time.Time, after func(time.Duration) <-chan time.Time, random func() float64) {
	c.clock = clock{now, after, random}
}

// Took adds a latency to those that a client remembers.
func (c *Client) Took(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent.add(d)
}

// StatusOf is the HTTP status of each code of the API's errors.
func StatusOf() map[string]int {
	out := map[string]int{}
	for c, status := range statusOf {
		out[string(c)] = status
	}
	return out
}

// Paths lists the methods of each path.
func (r *Replica) Paths() map[string][]string {
	out := map[string][]string{}
	for _, to := range r.routes() {
		out[to.path] = to.methods
	}
	return out
}

// Numbers are the limits that callers are told.
var Numbers = map[string]int{"k": maxK, "default k": defaultK, "clicks": maxClicks, "exclude": maxExclude, "allow": maxAllow, "category": maxCategories, "interests": maxInterests,
	"batch": maxBatch, "id": schema.MaxIDBytes, "request id": maxRequestID}
