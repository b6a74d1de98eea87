package publisher

import (
	"context"
	"time"
)

// What NATS may hand over.
var (
	ParseReport = parseReport
	ParseLease  = parseLease
)

// HoldEvery is Hold with another pause between refreshes.
func (p *Publisher) HoldEvery(ctx context.Context, every time.Duration) error {
	return p.hold(ctx, every)
}
