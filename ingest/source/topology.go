package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/freshet-ml/freshet/schema"
)

// TopologyHandler is a Handler that is told how many partitions the topic has.
type TopologyHandler interface {
	// Topology says that the topic has so many partitions. It is called at the start, before any partition is assigned, and
	// when the number has grown, before any record of the new partitions is applied: by each process that reads the topic,
	// whichever partitions it has. Calls come one after another, and the number only grows.
	Topology(ctx context.Context, partitions int) error
}

// ErrRecreated says that the topic was deleted and made again while it was read.
var ErrRecreated = errors.New("the topic was deleted and made anew")

// topology is what is known of the topic. Its lock is held while the handler is told, so that who asks for a number of
// partitions goes on only when the handler has it.
type topology struct {
	mu    sync.Mutex
	known topicInfo // guarded by mu
}

// continues returns an ErrRecreated if now describes another topic than before.
func (before topicInfo) continues(now topicInfo, topic string) error {
	sameID := before.id == now.id || before.id == (topicID{}) || now.id == (topicID{})
	if sameID && now.partitions >= before.partitions {
		return nil
	}
	return fmt.Errorf("kafka: topic %q: %w (it had %d partitions and has %d): its offsets begin again, so it does not continue what was read: "+
		"start with an empty --data-dir, or bring the old topic back", topic, ErrRecreated, before.partitions, now.partitions)
}

// recreated asks a broker whether the topic is still the one that was read. It returns an ErrRecreated, or nil also where
// that cannot be known.
func (k *Kafka) recreated(ctx context.Context) error {
	now, err := k.broker.describe(ctx)
	if err != nil {
		return nil //nolint:nilerr // who asks has an error of its own, and says that one
	}
	k.topology.mu.Lock()
	defer k.topology.mu.Unlock()
	return k.topology.known.continues(now, k.config.Topic)
}

// learn takes in what a broker says of the topic now, and tells the handler what is new.
func (k *Kafka) learn(ctx context.Context, h Handler, now topicInfo) error {
	t := &k.topology
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.known
	if err := before.continues(now, k.config.Topic); err != nil {
		return err
	}
	if now.partitions == before.partitions {
		return nil
	}
	if before.partitions > 0 {
		k.config.Log.Info("kafka: the topic has grown", "topic", k.config.Topic, "before", before.partitions, "partitions", now.partitions)
	}
	if told, ok := h.(TopologyHandler); ok {
		if err := told.Topology(ctx, now.partitions); err != nil {
			return handlerError{fmt.Errorf("tell that topic %q has %d partitions: %w", k.config.Topic, now.partitions, err)}
		}
	}
	t.known = now
	k.stats.topicPartitions.Store(int64(now.partitions))
	return nil
}

// reach returns when the handler knows of at least n partitions. A group may assign a partition before this process has
// seen that the topic has grown.
func (k *Kafka) reach(ctx context.Context, h Handler, n int) error {
	random := rand.New(rand.NewPCG(k.config.Seed, uint64(n)))
	for attempt := 0; ; attempt++ {
		if k.stats.topicPartitions.Load() >= int64(n) {
			return nil
		}
		now, err := k.broker.describe(ctx)
		if err == nil {
			if err := k.learn(ctx, h, now); err != nil {
				return err
			}
			if now.partitions >= n {
				return nil
			}
			err = fmt.Errorf("kafka: partition %d of topic %q is assigned, and the broker lists %d", n-1, k.config.Topic, now.partitions)
		}
		k.outages.failed(theTopic, err)
		if err := wait(ctx, backoff(attempt, random)); err != nil {
			return err
		}
	}
}

// watch looks at the topic now and then until ctx ends, and calls grown when it has more partitions than at the last look.
func (k *Kafka) watch(ctx context.Context, h Handler, grown func(from, to schema.Partition)) error {
	have := int(k.stats.topicPartitions.Load())
	for wait(ctx, k.config.WatchEvery) == nil {
		now, err := k.broker.describe(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			k.outages.failed(theTopic, err)
			continue
		}
		if err := k.learn(ctx, h, now); err != nil {
			return err
		}
		k.outages.works(theTopic)
		if now.partitions > have {
			grown(schema.Partition(have), schema.Partition(now.partitions))
			have = now.partitions
		}
	}
	return nil
}
