package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// settled is how buckets differ from what the client makes of them. change says whether there was anything to change.
var settled = []struct {
	bucket string
	change func(c *jetstream.StreamConfig) bool
}{
	{HeadsBucket, tellsNews(HeadsBucket)},
	{OrdersBucket, tellsNews(OrdersBucket)},
	// A message with the header Nats-Rollup removes others: with it, a replica that may write its own report could remove
	// all the others'.
	{ReplicasBucket, func(c *jetstream.StreamConfig) bool {
		was := c.AllowRollup
		c.AllowRollup = false
		return was
	}},
}

func tellsNews(bucket string) func(c *jetstream.StreamConfig) bool {
	return func(c *jetstream.StreamConfig) bool {
		was := c.RePublish
		c.RePublish = newsOf(bucket)
		return was == nil || *was != *c.RePublish
	}
}

// settle brings the buckets, also those that an earlier freshet has made, to what settled says. All else about them stays.
func settle(ctx context.Context, js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, s := range settled {
		stream, err := js.Stream(ctx, "KV_"+s.bucket)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue // that of orders is not always there
		}
		if err != nil {
			return fmt.Errorf("bucket %s: %w", s.bucket, err)
		}
		c := stream.CachedInfo().Config
		if !s.change(&c) {
			continue
		}
		if _, err := js.UpdateStream(ctx, c); err != nil {
			return fmt.Errorf("settle bucket %s: %w", s.bucket, err)
		}
	}
	return nil
}
