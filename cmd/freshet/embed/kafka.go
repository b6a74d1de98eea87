package embed

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// KafkaConfig says how an embedded broker runs.
type KafkaConfig struct {
	// Port on 127.0.0.1; 0 picks a free one.
	Port int
	// DataDir holds the broker's files; it is made where it is missing. Empty keeps everything in memory.
	DataDir string
	// Topic is made with Partitions partitions unless the directory has it already.
	Topic      string
	Partitions int
	// Retention and RetentionBytes bound how much of the topic is kept (per partition); 0 means no bound. They are fixed
	// when the topic is made. A bound of time counts from the record's own timestamp.
	Retention      time.Duration
	RetentionBytes int64
	// Sync makes every produced batch durable on the disk before it is acknowledged. Without it a batch survives the
	// process, and may not survive the loss of power, as with Kafka's own default.
	Sync bool
	// Log receives the broker's warnings and errors; nil drops them.
	Log *slog.Logger
}

// Validate reports every fault of c at once, or nil.
func (c KafkaConfig) Validate() error {
	var faults []error
	if c.Port < 0 || c.Port > 65535 {
		faults = append(faults, fmt.Errorf("port %d is not between 0 and 65535", c.Port))
	}
	if c.Topic == "" {
		faults = append(faults, errors.New("topic is missing"))
	}
	if c.Partitions < 1 || c.Partitions > 1024 {
		faults = append(faults, fmt.Errorf("partitions %d is not between 1 and 1024", c.Partitions))
	}
	if c.Retention < 0 || c.RetentionBytes < 0 {
		faults = append(faults, errors.New("retention is negative: 0 keeps everything"))
	}
	return errors.Join(faults...)
}

// Kafka is a running embedded broker.
type Kafka struct {
	cluster *kfake.Cluster
	address string
	close   sync.Once
}

// StartKafka starts a broker and returns when it accepts connections.
func StartKafka(c KafkaConfig) (*Kafka, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("embedded kafka: %w", err)
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.Ports(c.Port),
		kfake.ClusterID("freshet"),
		kfake.BrokerConfigs(map[string]string{
			// One record of the largest allowed size (1 MiB) with its framing must fit into a batch.
			"message.max.bytes": strconv.Itoa(2 << 20),
		}),
		kfake.WithLogger(kafkaLog{c.Log}),
	}
	if c.DataDir != "" {
		if err := os.MkdirAll(c.DataDir, 0o750); err != nil {
			return nil, fmt.Errorf("embedded kafka: %w: make the directory writable, or give another --data-dir", err)
		}
		opts = append(opts, kfake.DataDir(c.DataDir))
	}
	if c.Sync {
		opts = append(opts, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, startError("embedded kafka", "kafka.port", c.Port, err)
	}
	k := &Kafka{cluster: cluster, address: cluster.ListenAddrs()[0]}
	if err := k.ensureTopic(c); err != nil {
		k.Close()
		return nil, fmt.Errorf("embedded kafka: %w", err)
	}
	return k, nil
}

// ensureTopic makes the topic where the directory has none of that name. An existing topic is left as it is.
func (k *Kafka) ensureTopic(c KafkaConfig) error {
	want := map[string]string{
		"retention.ms":    strconv.FormatInt(orUnbounded(c.Retention.Milliseconds()), 10),
		"retention.bytes": strconv.FormatInt(orUnbounded(c.RetentionBytes), 10),
	}
	info := k.cluster.TopicInfo(c.Topic)
	if info == nil {
		if err := k.cluster.CreateTopic(c.Topic, int32(c.Partitions), want); err != nil {
			return fmt.Errorf("create topic %q: %w", c.Topic, err)
		}
		return nil
	}
	if have := len(k.cluster.PartitionInfos(c.Topic)); have != c.Partitions {
		return fmt.Errorf("topic %q has %d partitions in this data directory, and %d are configured: "+
			"set kafka.partitions to %d, or give another --data-dir", c.Topic, have, c.Partitions, have)
	}
	for name, value := range want {
		if have := info.Configs[name]; c.Log != nil && have != nil && *have != value {
			c.Log.Warn("embedded kafka: the topic keeps the retention that it was made with",
				"topic", c.Topic, "config", name, "kept", *have, "configured", value)
		}
	}
	return nil
}

// orUnbounded turns the zero value into Kafka's way of saying "no bound".
func orUnbounded(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// Address returns host:port of the broker.
func (k *Kafka) Address() string { return k.address }

// Close stops the broker after writing everything to the disk. It may be called more than once.
func (k *Kafka) Close() error {
	k.close.Do(k.cluster.Close)
	return nil
}

// kafkaLog hands the broker's warnings to slog. Information is left out: the broker writes a line for every request.
type kafkaLog struct{ log *slog.Logger }

func (l kafkaLog) Logf(level kfake.LogLevel, format string, args ...any) {
	if l.log == nil {
		return
	}
	switch level {
	case kfake.LogLevelError:
		l.log.Error("kafka: " + fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		l.log.Warn("kafka: " + fmt.Sprintf(format, args...))
	}
}
