package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

// Clock is the time that a Producer goes by.
type Clock interface {
	Now() time.Time
	// Sleep returns after d, or with ctx's error when ctx ends before.
	Sleep(ctx context.Context, d time.Duration) error
}

// WallClock is the time of the machine.
type WallClock struct{}

// Now returns time.Now().
func (WallClock) Now() time.Time { return time.Now() }

// Sleep sleeps.
func (WallClock) Sleep(ctx context.Context, d time.Duration) error { return wait(ctx, d) }

// ProducerConfig says where a stream is written to, and how fast.
type ProducerConfig struct {
	// Brokers are the addresses (host:port) at which the cluster is found.
	Brokers []string
	// Security is how they are reached. Default: in plain text, without a name.
	Security Security
	// Topic is the click topic. It has to be there: see EnsureTopic.
	Topic string
	// StreamID tells this stream from others in the same topic. A producer goes on behind the last record with its own id,
	// so two streams with the same id in one topic would take each other for the same. 0 is an id like any other.
	StreamID uint64
	// Speed is how many seconds of event time pass in a second: 1 as it happened, 10 ten times as fast, 0 as fast as it goes.
	Speed float64
	// BatchRecords and BatchBytes are the most that one request carries. Defaults 5000 and 512 KiB: half of what brokers
	// take by default. A larger record goes alone.
	BatchRecords int
	BatchBytes   int
	// Linger is how long a record waits for others to go with it. Default 5 ms.
	Linger time.Duration
	// ConnectTimeout bounds the wait for a broker to answer at the start. Default 10 s. Later outages are waited out.
	ConnectTimeout time.Duration
	// Clock stamps the records and paces them. Default: WallClock.
	Clock Clock
	// Seed makes the jitter of retries; it has no other effect.
	Seed uint64
	// Log is told of outages and of where the stream goes on. Default: nothing is logged.
	Log *slog.Logger
}

// Validate reports every fault of c at once, or nil.
func (c ProducerConfig) Validate() error {
	c = c.withDefaults()
	faults := validateTopic(c.Brokers, c.Security, c.Topic)
	if !(c.Speed >= 0) {
		faults = append(faults, fmt.Errorf("speed %v: must be 0 (as fast as it goes) or more", c.Speed))
	}
	if c.BatchRecords < 1 {
		faults = append(faults, fmt.Errorf("batch records %d: must be at least 1", c.BatchRecords))
	}
	if c.BatchBytes < 1 {
		faults = append(faults, fmt.Errorf("batch bytes %d: must be at least 1", c.BatchBytes))
	}
	if c.Linger < 0 {
		faults = append(faults, fmt.Errorf("linger %v: must not be negative", c.Linger))
	}
	if c.ConnectTimeout < 0 {
		faults = append(faults, fmt.Errorf("connect timeout %v: must not be negative", c.ConnectTimeout))
	}
	return errors.Join(faults...)
}

func (c ProducerConfig) withDefaults() ProducerConfig {
	c.BatchRecords = cmp.Or(c.BatchRecords, 5000)
	c.BatchBytes = cmp.Or(c.BatchBytes, 512<<10)
	c.Linger = cmp.Or(c.Linger, 5*time.Millisecond)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 10*time.Second)
	if c.Clock == nil {
		c.Clock = WallClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Producer writes a stream to the click topic so that each record is there once, in the order of the stream within its
// partition, however often the process is killed and started again: each record carries its index in the stream, and a
// producer goes on behind the last index that it finds in each partition. A record's timestamp is when it was sent, which
// is when the click arrived.
//
// The partition of a record is the one that Java clients choose for its key, so that other producers of the same users
// keep them on the same partition. The stream keeps the number of partitions that the topic has when it begins: in a topic
// that grows, it stays in the first ones, because a user who moved would be found on two. Each record says the number.
type Producer struct {
	config     ProducerConfig
	stream     Stream
	broker     *broker
	sent       atomic.Uint64
	skipped    atomic.Uint64
	partitions atomic.Pointer[[]*outbox]
	outages    *outages
}

// ProducerStats is how far a producer is.
type ProducerStats struct {
	Sent    uint64          // records that were sent and acknowledged
	Skipped uint64          // records that were there already
	Ends    []schema.Offset // of each partition, the offset behind its last acknowledged record
}

// NewProducer returns a producer of s. The caller closes the stream.
func NewProducer(c ProducerConfig, s Stream) (*Producer, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("produce: %w", err)
	}
	c = c.withDefaults()
	c.Security.warn(c.Log)
	return &Producer{
		config:  c,
		stream:  s,
		broker:  &broker{brokers: c.Brokers, topic: c.Topic, security: c.Security, connectTimeout: c.ConnectTimeout},
		outages: newOutages("produce", c.Topic, c.Log),
	}, nil
}

// Stats returns how far the producer is. It may be called from any goroutine.
func (p *Producer) Stats() ProducerStats {
	s := ProducerStats{Sent: p.sent.Load(), Skipped: p.skipped.Load()}
	if partitions := p.partitions.Load(); partitions != nil {
		for _, o := range *partitions {
			s.Ends = append(s.Ends, schema.Offset(o.end.Load()))
		}
	}
	return s
}

// Health returns an *Outage that says what is wrong with the connection at the moment, or nil.
func (p *Producer) Health() error { return p.outages.health() }

// Run writes the stream. It returns nil when a bounded stream is at its end and every record is acknowledged, and ctx's
// error when ctx ends before. It may be called once.
func (p *Producer) Run(ctx context.Context) error {
	defer p.broker.close()
	n, err := p.broker.partitions(ctx)
	if err != nil {
		return err
	}
	outboxes := make([]*outbox, n)
	for i := range outboxes {
		outboxes[i] = newOutbox(p, i)
	}
	if err := p.resume(ctx, outboxes); err != nil {
		return err
	}
	if outboxes, err = p.spread(outboxes); err != nil {
		return err
	}
	p.partitions.Store(&outboxes)
	sending, running := errgroup.WithContext(ctx)
	for _, o := range outboxes {
		sending.Go(func() error { return o.run(running) })
	}
	sending.Go(func() error {
		if err := p.readUntil(running, outboxes); err != nil {
			return err
		}
		for _, o := range outboxes {
			o.finish()
		}
		return nil
	})
	return sending.Wait()
}

// A producer that was killed a moment ago may have left requests on their way to the brokers, which land a little later.
// So where the last record is younger than settleWithin, the partitions are looked at until they stay the same for
// settleFor.
const (
	settleWithin = 10 * time.Second
	settleFor    = 200 * time.Millisecond
)

// resume finds out how far the stream has got in each partition.
func (p *Producer) resume(ctx context.Context, outboxes []*outbox) error {
	for {
		starts, running := errgroup.WithContext(ctx)
		var moved, fresh atomic.Bool
		for _, o := range outboxes {
			starts.Go(func() error {
				before := o.end.Load()
				if err := o.resume(running); err != nil {
					return err
				}
				if o.end.Load() != before {
					moved.Store(true)
				}
				if p.config.Clock.Now().Sub(o.tail.arrived.Time()) < settleWithin {
					fresh.Store(true)
				}
				return nil
			})
		}
		if err := starts.Wait(); err != nil {
			return err
		}
		if !moved.Load() || !fresh.Load() {
			return nil
		}
		if err := p.config.Clock.Sleep(ctx, settleFor); err != nil {
			return err
		}
	}
}

// spread returns the partitions over which the stream is spread.
func (p *Producer) spread(outboxes []*outbox) ([]*outbox, error) {
	begun, known, gone := 0, false, false
	for _, o := range outboxes {
		switch t := o.tail; {
		case t.from > 0 && begun > 0 && t.partitions > 0 && t.partitions != begun:
			return nil, fmt.Errorf("produce: the stream is spread over %d partitions of topic %q and over %d: two producers of it ran at once: "+
				"write it to a new topic", begun, p.config.Topic, t.partitions)
		case t.from > 0:
			begun, known = max(begun, t.partitions), true
		case t.count > 0:
			gone = true
		}
	}
	switch {
	case begun > len(outboxes):
		return nil, fmt.Errorf("produce: the stream was begun over %d partitions, and topic %q has %d: write it to a new topic", begun, p.config.Topic, len(outboxes))
	case begun > 0 && begun < len(outboxes):
		p.config.Log.Info("produce: the topic has grown since the stream began: it stays in the first partitions", "topic", p.config.Topic,
			"stream", begun, "partitions", len(outboxes))
		outboxes = outboxes[:begun]
	case gone && !known:
		p.config.Log.Warn("produce: retention has removed what there was of the stream: how far it got is taken from the partitions' lengths, "+
			"which is right only if the topic always had as many partitions, and only this stream", "topic", p.config.Topic, "partitions", len(outboxes))
	}
	return outboxes, nil
}

// readGrace is how long the end waits for a stream that is in the middle of a record.
const readGrace = time.Second

// readUntil reads the stream to its end or until ctx ends. A stream that blocks, as standard input may for ever, is then
// left where it is.
func (p *Producer) readUntil(ctx context.Context, outboxes []*outbox) error {
	read := make(chan error, 1)
	go func() { read <- p.read(ctx, outboxes) }()
	select {
	case err := <-read:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-read:
		return err
	case <-time.After(readGrace):
		return ctx.Err()
	}
}

// read puts the records of the stream that are not there yet into the outboxes of their partitions.
func (p *Producer) read(ctx context.Context, outboxes []*outbox) error {
	ids := make([]int, len(outboxes))
	for i := range ids {
		ids[i] = i
	}
	balancer := kafka.Murmur2Balancer{Consistent: true}
	pace := pace{speed: p.config.Speed, clock: p.config.Clock}
	for index := uint64(0); ; index++ {
		if index%1024 == 0 && ctx.Err() != nil { // a stream need not block, and skipping does not
			return ctx.Err()
		}
		out, err := p.stream.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("produce: read record %d of the stream: %w", index, err)
		}
		o := outboxes[balancer.Balance(kafka.Message{Key: out.Key}, ids...)]
		if o.has(index) {
			p.skipped.Add(1)
			continue
		}
		if err := pace.wait(ctx, out.EventTime); err != nil {
			return err
		}
		if err := o.add(ctx, out, sequence{index: index, stream: p.config.StreamID, partitions: uint32(len(outboxes))}); err != nil {
			return err
		}
	}
}

// pace holds records back until their event time has come. It begins with the first record that it is asked for.
type pace struct {
	speed float64
	clock Clock
	begun bool
	start time.Time
	first schema.EventTime
}

func (p *pace) wait(ctx context.Context, at schema.EventTime) error {
	if p.speed == 0 {
		return nil
	}
	if !p.begun {
		p.begun, p.start, p.first = true, p.clock.Now(), at
		return nil
	}
	due := time.Duration(float64(at-p.first) / p.speed * float64(time.Millisecond))
	if ahead := due - p.clock.Now().Sub(p.start); ahead > 0 {
		return p.clock.Sleep(ctx, ahead)
	}
	return nil
}

// fatal says whether sending the same batch again can never help, and what can.
func fatal(err error, topic string) error {
	switch {
	case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.RecordListTooLarge):
		return fmt.Errorf("produce: a record is larger than topic %q takes: raise its max.message.bytes: %w", topic, err)
	case errors.Is(err, kafka.TopicAuthorizationFailed), errors.Is(err, kafka.ClusterAuthorizationFailed):
		return fmt.Errorf("produce: the brokers do not let this client write to topic %q: allow it, and idempotent writes: %w", topic, err)
	case errors.Is(err, kafka.InvalidRecord), errors.Is(err, kafka.PolicyViolation), errors.Is(err, kafka.InvalidTopic):
		return fmt.Errorf("produce: the brokers refuse to write to topic %q: check its settings: %w", topic, err)
	}
	return nil
}
