package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

// KafkaConfig says what is read, and in which pieces.
type KafkaConfig struct {
	// Brokers are the addresses (host:port) at which the cluster is found.
	Brokers []string
	// Topic is the click topic.
	Topic string
	// Group is the consumer group that shares the partitions among its members. Empty means no group: all partitions that
	// the topic has at the start are read, nothing is committed, and a restart need not wait for a dead member.
	Group string
	// MaxWait is how long the broker holds an empty fetch. Default 250 ms: it is also how soon an idle partition is known.
	MaxWait time.Duration
	// MaxRecords is the most records in a batch. Default 5000.
	MaxRecords int
	// MaxBytes is the most bytes of keys and values in a batch, and of a fetch. Default 8 MiB; at least twice
	// schema.MaxRecordBytes, because a record that is too large has to reach the handler to be put aside. A single record
	// goes through whatever its size.
	MaxBytes int
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

// Validate reports every fault of c at once, or nil.
func (c KafkaConfig) Validate() error {
	c = c.withDefaults()
	faults := validateTopic(c.Brokers, c.Topic)
	if c.MaxWait < 0 || c.MaxWait > requestTimeout {
		faults = append(faults, fmt.Errorf("max wait %v: must be between 0 and %v", c.MaxWait, requestTimeout))
	}
	if c.MaxRecords < 1 {
		faults = append(faults, fmt.Errorf("max records %d: must be at least 1", c.MaxRecords))
	}
	if c.MaxBytes < 2*schema.MaxRecordBytes || c.MaxBytes > 1<<30 {
		faults = append(faults, fmt.Errorf("max bytes %d: must be between %d and %d", c.MaxBytes, 2*schema.MaxRecordBytes, 1<<30))
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
	c.CommitEvery = cmp.Or(c.CommitEvery, 5*time.Second)
	c.SessionTimeout = cmp.Or(c.SessionTimeout, 10*time.Second)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 10*time.Second)
	c.fetchBytes = cmp.Or(c.fetchBytes, c.MaxBytes)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Kafka reads the click topic.
type Kafka struct {
	config KafkaConfig
	broker *broker
	stats  struct{ records, control, aborted, expired, faults atomic.Uint64 }

	mu   sync.Mutex
	down map[schema.Partition]error // guarded by mu: what each partition, or the group (-1), fails with at the moment
}

// KafkaStats counts since the Kafka was made.
type KafkaStats struct {
	Records uint64 // handed to the handler
	Control uint64 // transaction markers that were passed over
	Aborted uint64 // records of aborted transactions that were left out
	Expired uint64 // offsets that retention had removed before they were read
	Faults  uint64 // failed requests, each of which was tried again
}

// NewKafka returns a Kafka that is not connected yet.
func NewKafka(c KafkaConfig) (*Kafka, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	c = c.withDefaults()
	return &Kafka{
		config: c,
		broker: &broker{brokers: c.Brokers, topic: c.Topic, connectTimeout: c.ConnectTimeout},
		down:   make(map[schema.Partition]error),
	}, nil
}

// Partitions returns the number of partitions of the topic, or an ErrUnknownTopic.
func (k *Kafka) Partitions(ctx context.Context) (int, error) { return k.broker.partitions(ctx) }

// Ends returns the high watermark of each partition: the offset that its next record will have.
func (k *Kafka) Ends(ctx context.Context) ([]schema.Offset, error) { return k.broker.ends(ctx) }

// Close releases the connections. It may be called more than once, but not before Run has returned.
func (k *Kafka) Close() error {
	k.broker.close()
	return nil
}

// Stats returns the counters.
func (k *Kafka) Stats() KafkaStats {
	return KafkaStats{Records: k.stats.records.Load(), Control: k.stats.control.Load(), Aborted: k.stats.aborted.Load(),
		Expired: k.stats.expired.Load(), Faults: k.stats.faults.Load()}
}

// Health returns what is wrong with the connection at the moment, or nil. Nothing is lost meanwhile: reading goes on where
// it stopped as soon as the brokers answer.
func (k *Kafka) Health() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var faults []error
	for _, err := range k.down {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

const theGroup schema.Partition = -1 // stands for the group in Kafka.down

func (k *Kafka) failed(p schema.Partition, err error) {
	k.stats.faults.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.down[p] == nil {
		k.config.Log.Warn("kafka: waiting for the brokers", "topic", k.config.Topic, "partition", p, "error", err)
	}
	k.down[p] = err
}

func (k *Kafka) works(p schema.Partition) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.down[p] != nil {
		k.config.Log.Info("kafka: the brokers answer again", "topic", k.config.Topic, "partition", p)
		delete(k.down, p)
	}
}

// Run hands the records of the partitions that this member is given to h until ctx ends; then it returns nil. It returns
// an error if no broker answers at the start, if the topic does not exist, or if the handler fails.
func (k *Kafka) Run(ctx context.Context, h Handler) error {
	partitions, err := k.broker.partitions(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if k.config.Group == "" {
		err = k.runAll(ctx, h, partitions)
	} else {
		err = k.runGroup(ctx, h)
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func (k *Kafka) runAll(ctx context.Context, h Handler, partitions int) error {
	g, ctx := errgroup.WithContext(ctx)
	for p := range partitions {
		g.Go(func() error { return k.runPartition(ctx, h, schema.Partition(p), new(atomic.Int64)) })
	}
	return g.Wait()
}

func (k *Kafka) runGroup(ctx context.Context, h Handler) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	random := rand.New(rand.NewPCG(k.config.Seed, uint64(0)))
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                    k.config.Group,
		Brokers:               k.config.Brokers,
		Topics:                []string{k.config.Topic},
		SessionTimeout:        k.config.SessionTimeout,
		RebalanceTimeout:      k.config.SessionTimeout,
		HeartbeatInterval:     k.config.SessionTimeout / 5,
		JoinGroupBackoff:      time.Second + backoff(0, random),
		WatchPartitionChanges: true,
		StartOffset:           kafka.FirstOffset,
		Dialer:                &kafka.Dialer{Timeout: dialTimeout, DualStack: true, ClientID: "freshet"},
	})
	if err != nil {
		return fmt.Errorf("kafka: group %q: %w", k.config.Group, err)
	}
	for {
		// Next waits until every goroutine of the generation before has returned, so that a partition is revoked before it
		// is assigned again.
		generation, err := group.Next(ctx)
		if ctx.Err() != nil {
			closed := group.Close() // leaves the group, so that others need not wait for the session timeout
			return errors.Join(context.Cause(ctx), closed)
		}
		if err != nil {
			k.failed(theGroup, fmt.Errorf("join group %q: %w", k.config.Group, err))
			continue // the group itself waits before it tries again
		}
		k.works(theGroup)
		k.runGeneration(ctx, generation, h, fail)
	}
}

// runGeneration starts the partitions of a generation. They end with it.
func (k *Kafka) runGeneration(ctx context.Context, generation *kafka.Generation, h Handler, fail func(error)) {
	assigned := generation.Assignments[k.config.Topic]
	k.config.Log.Info("kafka: partitions assigned", "topic", k.config.Topic, "generation", generation.ID, "partitions", len(assigned))
	applied := make(map[int]*atomic.Int64, len(assigned)) // next offset of each partition, to be committed
	var running sync.WaitGroup
	for _, a := range assigned {
		next := new(atomic.Int64)
		next.Store(-1)
		applied[a.ID] = next
		running.Add(1)
		generation.Start(func(ended context.Context) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(ended, cancel)()
			err := k.runPartition(ctx, h, schema.Partition(a.ID), next)
			running.Done()
			if err != nil && ctx.Err() == nil {
				fail(err)
			}
			// A generation whose function returns is over, and kafka-go would join the next one. At the end of Run the
			// member is to leave instead, which closing the group does.
			<-ended.Done()
		})
	}
	if k.config.CommitEvery < 0 || len(assigned) == 0 {
		return
	}
	generation.Start(func(ended context.Context) { k.commit(ended, generation, applied, &running) })
}

// commit writes the offsets to the group now and then, and once more when the partitions have ended.
func (k *Kafka) commit(ended context.Context, generation *kafka.Generation, applied map[int]*atomic.Int64, running *sync.WaitGroup) {
	committed := make(map[int]int64, len(applied))
	write := func() {
		offsets := make(map[int]int64)
		for p, next := range applied {
			if n := next.Load(); n >= 0 && n != committed[p] {
				offsets[p] = n
			}
		}
		if len(offsets) == 0 {
			return
		}
		if err := generation.CommitOffsets(map[string]map[int]int64{k.config.Topic: offsets}); err != nil {
			k.config.Log.Warn("kafka: lag displays are behind: the offsets were not committed", "group", k.config.Group, "error", err)
			return
		}
		for p, n := range offsets {
			committed[p] = n
		}
	}
	for wait(ended, k.config.CommitEvery) == nil {
		write()
	}
	running.Wait()
	write()
}
