package source

import (
	"context"
	"encoding/hex"

	"github.com/freshet-ml/freshet/schema"
)

// TopicID returns what the brokers call the topic besides its name, which is another when the topic is made anew: hex, or
// empty where they have no such thing (before Kafka 2.8).
func (k *Kafka) TopicID(ctx context.Context) (string, error) {
	info, err := k.broker.describe(ctx)
	if err != nil || info.id == (topicID{}) {
		return "", err
	}
	return hex.EncodeToString(info.id[:]), nil
}

// Earliest returns the offset of the first record that the brokers still have of p, or will have.
func (k *Kafka) Earliest(ctx context.Context, p schema.Partition) (schema.Offset, error) {
	found, err := k.broker.bounds(ctx, int(p))
	return schema.Offset(found[int(p)].first), err
}
