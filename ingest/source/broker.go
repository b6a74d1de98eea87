package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
)

// Bounds of talking to a broker. A request that takes longer than requestTimeout is taken for lost and sent again.
const (
	dialTimeout    = 5 * time.Second // for the connection with TLS and SASL
	requestTimeout = 10 * time.Second
)

// How long it is waited where brokers do not answer, or have moved. Variables, so that tests need not wait as long.
var (
	metadataTTL  = 3 * time.Second // within which kafka-go sees that a partition has another leader
	backoffMin   = 100 * time.Millisecond
	backoffMax   = 5 * time.Second
	groupBackoff = time.Second     // before a member that could not join tries again
	leaveWithin  = 5 * time.Second // for leaving a group at the end
	heartbeatMax = 2 * time.Second // within which a member sees that the group is dealt anew
	tlsTimeout   = 3 * time.Second
)

// broker is the connection of one topic to its brokers. The zero transport is made at the first use.
type broker struct {
	brokers        []string
	topic          string
	security       Security
	connectTimeout time.Duration

	mu        sync.Mutex
	transport *kafka.Transport // nil before connect and after close
}

// connect returns a client whose brokers have answered at least once. The first call waits for that, at most for the
// connect timeout: afterwards a missing broker is an outage to be waited for, before it is most likely a wrong address.
func (b *broker) connect(ctx context.Context) (*kafka.Client, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	addr := kafka.TCP(b.brokers...)
	if b.transport != nil {
		return &kafka.Client{Addr: addr, Transport: b.transport}, nil
	}
	bounded, cancel := context.WithTimeout(ctx, b.connectTimeout)
	defer cancel()
	var cause error
	for attempt := 0; ; attempt++ {
		transport := &kafka.Transport{Dial: b.security.dial, DialTimeout: dialTimeout, MetadataTTL: metadataTTL, MetadataTopics: []string{b.topic}, ClientID: clientID}
		client := &kafka.Client{Addr: addr, Transport: transport}
		_, err := client.Metadata(bounded, &kafka.MetadataRequest{Topics: []string{b.topic}})
		if err == nil {
			b.transport = transport
			return client, nil
		}
		transport.CloseIdleConnections()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if refused := b.security.explain(bounded, b.brokers, err); refused != nil {
			return nil, refused
		}
		if cause == nil || bounded.Err() == nil {
			cause = err // the last error before the time was up says more than that it is up
		}
		if wait(bounded, backoff(attempt, nil)) != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("kafka: no broker answers at %s: start one, or give the address of one that runs (\"freshet up\" without --brokers brings its own): %w",
				strings.Join(b.brokers, ","), cause)
		}
	}
}

// connected reports whether a broker has answered since the last close.
func (b *broker) connected() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.transport != nil
}

// close ends the connections. A later connect begins anew.
func (b *broker) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.transport != nil {
		b.transport.CloseIdleConnections()
		b.transport = nil
	}
}

// bounds is the range of offsets that a partition holds: first is the earliest retained, end one past the last.
type bounds struct{ first, end int64 }

func (b *broker) bounds(ctx context.Context, partitions ...int) (map[int]bounds, error) {
	client, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var requests []kafka.OffsetRequest
	for _, p := range partitions {
		requests = append(requests, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
	}
	r, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{b.topic: requests}})
	if err != nil {
		return nil, fmt.Errorf("kafka: look up the offsets of topic %q: %w", b.topic, err)
	}
	found := make(map[int]bounds, len(partitions))
	for _, p := range r.Topics[b.topic] {
		if p.Error != nil {
			return nil, fmt.Errorf("kafka: look up the offsets of topic %q partition %d: %w", b.topic, p.Partition, p.Error)
		}
		found[p.Partition] = bounds{first: p.FirstOffset, end: p.LastOffset}
	}
	for _, p := range partitions {
		if _, ok := found[p]; !ok {
			return nil, fmt.Errorf("kafka: look up the offsets of topic %q: the broker left out partition %d", b.topic, p)
		}
	}
	return found, nil
}

// ends returns the high watermark of each partition.
func (b *broker) ends(ctx context.Context) ([]schema.Offset, error) {
	n, err := b.partitions(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]int, n)
	for p := range all {
		all[p] = p
	}
	found, err := b.bounds(ctx, all...)
	if err != nil {
		return nil, err
	}
	ends := make([]schema.Offset, n)
	for p := range ends {
		ends[p] = schema.Offset(found[p].end)
	}
	return ends, nil
}

// TopicConfig says what EnsureTopic makes.
type TopicConfig struct {
	// Brokers are the addresses (host:port) at which the cluster is found.
	Brokers []string
	// Security is how they are reached.
	Security Security
	// Topic is its name.
	Topic string
	// Partitions is how many it has.
	Partitions int
	// Replicas is on how many brokers each record lies. Default: what the brokers are set to.
	Replicas int
	// Retention is how long a record is kept. 0 leaves it to the brokers, negative keeps for ever.
	Retention time.Duration
	// RetentionBytes is how much of a partition is kept. 0 leaves it to the brokers, negative keeps everything.
	RetentionBytes int64
	// MaxMessageBytes is the most that a batch of records may have. Default twice schema.MaxRecordBytes, so that a record that
	// is too large gets as far as the ingester, which puts it aside: the default of Kafka is about MaxRecordBytes.
	MaxMessageBytes int
	// ConnectTimeout bounds the wait for a broker to answer. Default 10 s.
	ConnectTimeout time.Duration
}

// Validate reports every fault of c at once, or nil.
func (c TopicConfig) Validate() error {
	faults := validateTopic(c.Brokers, c.Security, c.Topic)
	if c.Partitions < 1 {
		faults = append(faults, fmt.Errorf("partitions %d: must be at least 1", c.Partitions))
	}
	if c.MaxMessageBytes < 0 {
		faults = append(faults, fmt.Errorf("max message bytes %d: must not be negative", c.MaxMessageBytes))
	}
	if c.Replicas < 0 {
		faults = append(faults, fmt.Errorf("replicas %d: must not be negative", c.Replicas))
	}
	return errors.Join(faults...)
}

func validateTopic(brokers []string, security Security, topic string) (faults []error) {
	if len(brokers) == 0 || slices.Contains(brokers, "") {
		faults = append(faults, errors.New("brokers: want at least one address such as 127.0.0.1:9092"))
	}
	if topic == "" {
		faults = append(faults, errors.New("topic: must not be empty"))
	}
	if err := security.Validate(); err != nil {
		faults = append(faults, err)
	}
	return faults
}

// EnsureTopic creates the topic if it is not there, and reports how many partitions it has. A topic that is there is left
// as it is, also if it has another number of partitions: adding partitions would move users between them.
func EnsureTopic(ctx context.Context, c TopicConfig) (partitions int, err error) {
	if err := c.Validate(); err != nil {
		return 0, err
	}
	b := &broker{brokers: c.Brokers, topic: c.Topic, security: c.Security, connectTimeout: orDefault(c.ConnectTimeout, 10*time.Second)}
	defer b.close()
	if partitions, err = b.partitions(ctx); !errors.Is(err, ErrUnknownTopic) {
		return partitions, err
	}
	client, err := b.connect(ctx)
	if err != nil {
		return 0, err
	}
	entries := []kafka.ConfigEntry{{ConfigName: "max.message.bytes", ConfigValue: strconv.Itoa(orDefault(c.MaxMessageBytes, 2*schema.MaxRecordBytes))}}
	if ms := c.Retention.Milliseconds(); ms != 0 {
		entries = append(entries, kafka.ConfigEntry{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(max(ms, -1), 10)})
	}
	if c.RetentionBytes != 0 {
		entries = append(entries, kafka.ConfigEntry{ConfigName: "retention.bytes", ConfigValue: strconv.FormatInt(max(c.RetentionBytes, -1), 10)})
	}
	replicas := c.Replicas
	if replicas == 0 {
		replicas = -1
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{
		{Topic: c.Topic, NumPartitions: c.Partitions, ReplicationFactor: replicas, ConfigEntries: entries}}})
	if err == nil {
		err = r.Errors[c.Topic]
	}
	if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) { // another process may have been faster
		return 0, fmt.Errorf("kafka: create topic %q: %w", c.Topic, err)
	}
	for attempt := 0; ; attempt++ { // a broker need not know at once what another has created
		if partitions, err = b.partitions(ctx); !errors.Is(err, ErrUnknownTopic) || wait(ctx, backoff(attempt, nil)) != nil {
			return partitions, err
		}
	}
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// backoff returns how long to wait before the next attempt: doubling from backoffMin to backoffMax, of which a random half
// is taken off so that many do not come back at once. A nil r takes nothing off.
func backoff(attempt int, r *rand.Rand) time.Duration {
	d := backoffMin << min(attempt, 10)
	d = min(d, backoffMax)
	if r == nil {
		return d
	}
	return d/2 + time.Duration(r.Int64N(int64(d/2)))
}

// wait returns after d, or with ctx's error when ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
