package publisher

import (
	"context"
	"time"
)

// HoldEvery is Hold with another pause between refreshes.
func (p *Publisher) HoldEvery(ctx context.Context, every time.Duration) error {
	return p.hold(ctx, every)
}
