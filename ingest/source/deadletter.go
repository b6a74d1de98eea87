package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// Rejects is where rejected records are kept, and how far they have been forwarded.
type Rejects interface {
	// Partitions lists the partitions that may have rejected records.
	Partitions() []schema.Partition
	// AsideFrom returns at most n rejected records of partition p, from offset on, in the order of their offsets.
	AsideFrom(p schema.Partition, from schema.Offset, n int) ([]schema.Rejected, error)
	// Forwarded returns the offset of p up to which rejected records have been forwarded.
	Forwarded(p schema.Partition) (schema.Offset, error)
	// SetForwarded keeps it. Where it is lost, records are forwarded again.
	SetForwarded(p schema.Partition, next schema.Offset) error
}

// DeadLetterConfig says where rejected records are forwarded to.
type DeadLetterConfig struct {
	// Brokers are the addresses (host:port) at which the cluster is found.
	Brokers []string
	// Security is how they are reached. Default: in plain text, without a name.
	Security Security
	// Topic is the dead-letter topic. It is made where it is missing, and must not be the click topic.
	Topic string
	// Partitions is how many it gets where it is made. Default 1, as Kafka Connect makes it.
	Partitions int
	// Name and Task are what the headers call the connector and its task. Defaults "freshet" and 0.
	Name string
	Task int
	// PollEvery is how often new rejected records are looked for. Default 1 s.
	PollEvery time.Duration
	// ConnectTimeout bounds the wait for a broker to answer at the start. Default 10 s. Later outages are waited out.
	ConnectTimeout time.Duration
	// Seed makes the jitter of retries; it has no other effect.
	Seed uint64
	// Log is told of outages and of records that cannot be forwarded as they are. Default: nothing is logged.
	Log *slog.Logger
}

// Validate reports every fault of c at once, or nil.
func (c DeadLetterConfig) Validate() error {
	c = c.withDefaults()
	faults := validateTopic(c.Brokers, c.Security, c.Topic)
	if c.Partitions < 1 {
		faults = append(faults, fmt.Errorf("partitions %d: must be at least 1", c.Partitions))
	}
	if c.Task < 0 {
		faults = append(faults, fmt.Errorf("task %d: must not be negative", c.Task))
	}
	if c.PollEvery < 0 || c.ConnectTimeout < 0 {
		faults = append(faults, errors.New("poll every, connect timeout: must not be negative"))
	}
	return errors.Join(faults...)
}

func (c DeadLetterConfig) withDefaults() DeadLetterConfig {
	c.Partitions = cmp.Or(c.Partitions, 1)
	c.Name = cmp.Or(c.Name, "freshet")
	c.PollEvery = cmp.Or(c.PollEvery, time.Second)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 10*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// DeadLetters forwards rejected records to a topic, with the headers of Kafka Connect's dead-letter queue, so that what
// people have for those reads these too. Each record is there at least once: after a crash, those since the last
// SetForwarded are sent again, with the same topic, partition and offset in their headers.
type DeadLetters struct {
	config  DeadLetterConfig
	broker  *broker
	random  *rand.Rand
	stats   struct{ forwarded, cut, dropped atomic.Uint64 }
	outages *outages
}

// DeadLetterStats counts since the DeadLetters was made.
type DeadLetterStats struct {
	Forwarded uint64 // records that are in the topic, the next two included
	Cut       uint64 // records that were sent without their value, or their key as well, because the topic does not take as much
	Dropped   uint64 // records that the topic does not take at all; they stay aside
	Faults    uint64 // failed requests, each of which was tried again
}

// NewDeadLetters returns a DeadLetters that is not connected yet.
func NewDeadLetters(c DeadLetterConfig) (*DeadLetters, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	c = c.withDefaults()
	c.Security.warn(c.Log)
	return &DeadLetters{
		config:  c,
		broker:  &broker{brokers: c.Brokers, topic: c.Topic, security: c.Security, connectTimeout: c.ConnectTimeout},
		random:  rand.New(rand.NewPCG(c.Seed, 1)),
		outages: newOutages("dead letters", c.Topic, c.Log),
	}, nil
}

// Stats returns the counters. It may be called from any goroutine.
func (d *DeadLetters) Stats() DeadLetterStats {
	return DeadLetterStats{Forwarded: d.stats.forwarded.Load(), Cut: d.stats.cut.Load(), Dropped: d.stats.dropped.Load(), Faults: d.outages.faults.Load()}
}

// Health returns an *Outage that says what is wrong with the connection at the moment, or nil.
func (d *DeadLetters) Health() error { return d.outages.health() }

// rejectsAtOnce is how many records are read from the store at a time. Each may have a few MiB.
const rejectsAtOnce = 64

// Forward forwards what is in from, and what comes, until ctx ends; then it returns nil. While brokers are away it waits,
// and the records stay where they are. It returns an error if the store fails, if no broker answers at the start, or if the
// dead-letter topic is the one that the records come from.
func (d *DeadLetters) Forward(ctx context.Context, from Rejects) error {
	defer d.broker.close()
	err := d.forward(ctx, from)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func (d *DeadLetters) forward(ctx context.Context, from Rejects) error {
	partitions, err := EnsureTopic(ctx, TopicConfig{Brokers: d.config.Brokers, Security: d.config.Security, Topic: d.config.Topic,
		Partitions: d.config.Partitions, MaxMessageBytes: largestLetter, ConnectTimeout: d.config.ConnectTimeout})
	if err != nil {
		return err
	}
	ids := make([]int, partitions)
	for i := range ids {
		ids[i] = i
	}
	for {
		found := false
		for _, p := range slices.Sorted(slices.Values(from.Partitions())) {
			n, err := d.page(ctx, from, p, ids)
			if err != nil {
				return err
			}
			found = found || n > 0
		}
		if found {
			continue
		}
		if err := wait(ctx, d.config.PollEvery); err != nil {
			return err
		}
	}
}

// page forwards the next rejected records of p, and returns how many there were.
func (d *DeadLetters) page(ctx context.Context, from Rejects, p schema.Partition, ids []int) (int, error) {
	next, err := from.Forwarded(p)
	if err != nil {
		return 0, fmt.Errorf("dead letters: look up how far partition %d is forwarded: %w", p, err)
	}
	rejected, err := from.AsideFrom(p, next, rejectsAtOnce)
	if err != nil {
		return 0, fmt.Errorf("dead letters: read what is aside of partition %d: %w", p, err)
	}
	if len(rejected) == 0 {
		return 0, nil
	}
	for _, batch := range d.batches(rejected, ids) {
		if err := d.send(ctx, batch); err != nil {
			return 0, err
		}
	}
	if err := from.SetForwarded(p, rejected[len(rejected)-1].Offset+1); err != nil {
		return 0, fmt.Errorf("dead letters: note how far partition %d is forwarded: %w", p, err)
	}
	return len(rejected), nil
}
