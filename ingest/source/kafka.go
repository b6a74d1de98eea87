package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
)

// KafkaConfig says what is read, and in which pieces.
type KafkaConfig struct {
	// Brokers are the addresses (host:port) at which the cluster is found.
	Brokers []string
	// Security is how they are reached. Default: in plain text, without a name.
	Security Security
	// Topic is the click topic.
	Topic string
	// Group is the consumer group that shares the partitions among its members. Empty means no group: all partitions are
	// read, nothing is committed, and a restart need not wait for a dead member.
	Group string
	// Partitions, where it is not all, are those that this process reads: it joins no group, and whoever runs it sees to it
	// that each partition is read by one process. Offsets are still committed where a Group is named, for lag displays.
	Partitions PartitionSet
	// OnExpired is what is done when retention has removed records before they were read. Default ExpiredEarliest.
	OnExpired OnExpired
	// WatchEvery is how often the topic is looked at for new partitions. Default 5 s.
	WatchEvery time.Duration
	// MaxWait is how long the broker holds an empty fetch. Default 250 ms: it is also how soon an idle partition is known.
	MaxWait time.Duration
	// MaxRecords is the most records in a batch. Default 5000.
	MaxRecords int
	// MaxBytes is the most bytes of keys and values in a batch, and of a fetch. Default 8 MiB; at least twice
	// schema.MaxRecordBytes, because a record that is too large has to reach the handler to be put aside. A single record
	// goes through whatever its size.
	MaxBytes int
	// MaxBuffered is the most bytes of fetches of all partitions together, of which each has one that the handler takes and
	// one that is under way: with many partitions, a fetch asks for less than MaxBytes. Default 256 MiB.
	MaxBuffered int
	// CommitEvery is how often the group's offsets are committed. They are for lag displays: where to go on is the
	// handler's to know. Default 5 s, negative never.
	CommitEvery time.Duration
	// SessionTimeout is how long the group waits for a member that does not answer before its partitions go to others.
	// Default 10 s; brokers refuse less than 6 s.
	SessionTimeout time.Duration
	// ConnectTimeout bounds the wait for a broker to answer at the start. Default 10 s. Later outages are waited out.
	ConnectTimeout time.Duration
	// Seed makes the jitter of retries; it has no other effect.
	Seed uint64
	// Log is told of outages, rebalances and lost offsets. Default: nothing is logged.
	Log *slog.Logger

	fetchBytes int // of one fetch; a test sets it
}

// OnExpired is what is done about records that retention removed before they were read.
type OnExpired string

// The choices of OnExpired.
const (
	// ExpiredEarliest goes on with the earliest record there is. What is lost is logged and counted.
	ExpiredEarliest OnExpired = "earliest"
	// ExpiredStop ends Run with an ErrExpired.
	ExpiredStop OnExpired = "stop"
)

// Validate reports every fault of c at once, or nil.
func (c KafkaConfig) Validate() error {
	c = c.withDefaults()
	faults := validateTopic(c.Brokers, c.Security, c.Topic)
	if c.MaxWait < 0 || c.MaxWait > requestTimeout {
		faults = append(faults, fmt.Errorf("max wait %v: must be between 0 and %v", c.MaxWait, requestTimeout))
	}
	if c.MaxRecords < 1 {
		faults = append(faults, fmt.Errorf("max records %d: must be at least 1", c.MaxRecords))
	}
	if c.MaxBytes < 2*schema.MaxRecordBytes || c.MaxBytes > 1<<30 {
		faults = append(faults, fmt.Errorf("max bytes %d: must be between %d and %d", c.MaxBytes, 2*schema.MaxRecordBytes, 1<<30))
	}
	if c.MaxBuffered < 1 {
		faults = append(faults, fmt.Errorf("max buffered %d: must be at least 1", c.MaxBuffered))
	}
	if c.OnExpired != ExpiredEarliest && c.OnExpired != ExpiredStop {
		faults = append(faults, fmt.Errorf("on expired %q: must be %s or %s", c.OnExpired, ExpiredEarliest, ExpiredStop))
	}
	if c.WatchEvery < time.Millisecond || c.WatchEvery > time.Hour {
		faults = append(faults, fmt.Errorf("watch every %v: must be between 1ms and 1h", c.WatchEvery))
	}
	if c.SessionTimeout < time.Second {
		faults = append(faults, fmt.Errorf("session timeout %v: must be at least 1s", c.SessionTimeout))
	}
	if c.ConnectTimeout < 0 {
		faults = append(faults, fmt.Errorf("connect timeout %v: must not be negative", c.ConnectTimeout))
	}
	return errors.Join(faults...)
}

func (c KafkaConfig) withDefaults() KafkaConfig {
	c.MaxWait = cmp.Or(c.MaxWait, 250*time.Millisecond)
	c.MaxRecords = cmp.Or(c.MaxRecords, 5000)
	c.MaxBytes = cmp.Or(c.MaxBytes, 8<<20)
	c.MaxBuffered = cmp.Or(c.MaxBuffered, 256<<20)
	c.OnExpired = cmp.Or(c.OnExpired, ExpiredEarliest)
	c.WatchEvery = cmp.Or(c.WatchEvery, 5*time.Second)
	c.CommitEvery = cmp.Or(c.CommitEvery, 5*time.Second)
	c.SessionTimeout = cmp.Or(c.SessionTimeout, 10*time.Second)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 10*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Kafka reads the click topic.
type Kafka struct {
	config   KafkaConfig
	broker   *broker
	topology topology
	stats    counters
	outages  *outages

	mu      sync.Mutex
	reading map[schema.Partition]*progress // guarded by mu; the partitions that are read now
}

// NewKafka returns a Kafka that is not connected yet.
func NewKafka(c KafkaConfig) (*Kafka, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	c = c.withDefaults()
	c.Security.warn(c.Log)
	return &Kafka{
		config:  c,
		broker:  &broker{brokers: c.Brokers, topic: c.Topic, security: c.Security, connectTimeout: c.ConnectTimeout},
		outages: newOutages("kafka", c.Topic, c.Log),
		reading: make(map[schema.Partition]*progress),
	}, nil
}

// Partitions returns the number of partitions of the topic, or an ErrUnknownTopic.
func (k *Kafka) Partitions(ctx context.Context) (int, error) { return k.broker.partitions(ctx) }

// Ends returns the high watermark of each partition: the offset that its next record will have.
func (k *Kafka) Ends(ctx context.Context) ([]schema.Offset, error) { return k.broker.ends(ctx) }

// Health returns an *Outage that says what is wrong with the connection at the moment, or nil.
func (k *Kafka) Health() error { return k.outages.health() }

// Close releases the connections. It may be called more than once, but not before Run has returned.
func (k *Kafka) Close() error {
	k.broker.close()
	return nil
}

// Run hands the records of the partitions that this process reads to h until ctx ends; then it returns nil. It returns an
// error if no broker answers at the start, if the topic does not exist or lacks an assigned partition, if the handler fails,
// and where going on would pass over records in silence: ErrTruncated, ErrRecreated, ErrExpired.
func (k *Kafka) Run(ctx context.Context, h Handler) error {
	err := k.run(ctx, h)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// firstLook finds the topic. A broker that has answered before, when the partitions were asked for, and is away now, is waited
// for: only where none ever answered is that most likely a wrong address.
func (k *Kafka) firstLook(ctx context.Context) (topicInfo, error) {
	random := rand.New(rand.NewPCG(k.config.Seed, uint64(0)))
	for attempt := 0; ; attempt++ {
		topic, err := k.broker.describe(ctx)
		var refused kafka.Error
		switch {
		case err == nil:
			k.outages.works(theTopic)
			return topic, nil
		case ctx.Err() != nil, !k.broker.connected(), errors.Is(err, ErrUnknownTopic), errors.As(err, &refused) && !refused.Temporary():
			return topic, err
		}
		k.outages.failed(theTopic, err)
		if err := wait(ctx, backoff(attempt, random)); err != nil {
			return topic, err
		}
	}
}

func (k *Kafka) run(ctx context.Context, h Handler) error {
	topic, err := k.firstLook(ctx)
	if err != nil {
		return err
	}
	if err := k.learn(ctx, h, topic); err != nil {
		return err
	}
	if k.config.Group == "" || !k.config.Partitions.All() {
		return k.runSet(ctx, h, topic.partitions)
	}
	return k.runGroup(ctx, h)
}
