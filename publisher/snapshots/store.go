package snapshots

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/objects"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config says whose partitions a Store keeps. Fields left zero take their default.
type Config struct {
	Topic string // required; with Group it names the buckets
	Group string // required
	// TopicID tells the topic from another of its name: one that is made anew, or in another Kafka. Empty is not known.
	TopicID string
	Owner   string // names this node to the operator, e.g. host and process; required

	Copies  int           // NATS servers that keep each bucket; default 1
	Timeout time.Duration // of each small call; default 2 s
	Backoff publisher.Backoff
	Now     func() time.Time // default time.Now
}

// Validate reports every fault of c at once, or nil.
func (c Config) Validate() error {
	var faults []error
	for name, text := range map[string]string{"topic": c.Topic, "group": c.Group, "owner": c.Owner} {
		if text == "" || len(text) > 512 {
			faults = append(faults, fmt.Errorf("snapshots: %s %q: must have 1 to 512 bytes", name, text))
		}
	}
	if c.Copies < 0 || c.Copies > 5 {
		faults = append(faults, fmt.Errorf("snapshots: copies %d: must be 1 to 5", c.Copies))
	}
	if c.Timeout < 0 {
		faults = append(faults, fmt.Errorf("snapshots: timeout %v: must be positive", c.Timeout))
	}
	return errors.Join(faults...)
}

// Store is the partitions of one topic and group, in one NATS. Its methods may be called from several goroutines.
type Store struct {
	cfg Config
	js  jetstream.JetStream

	mu      sync.Mutex // guards what follows
	entries jetstream.KeyValue
	bucket  *objects.Bucket

	away atomic.Int64 // Unix nanoseconds until which NATS is not asked before a mark
}

// New returns a Store, which asks nothing of NATS yet. js should be of a connection that does not buffer while it is away
// (nats.ReconnectBufSize(-1)).
func New(js jetstream.JetStream, c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Copies == 0 {
		c.Copies = 1
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Store{cfg: c, js: js}, nil
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_-]`)

// Buckets returns the names of the KV bucket and of the object store of a topic and a group.
func Buckets(topic, group string) (entries, objects string) {
	sum := sha256.Sum256([]byte(topic + "\x00" + group))
	readable := notInName.ReplaceAllString(topic[:min(len(topic), 64)]+"_"+group[:min(len(group), 64)], "_")
	name := strings.Join([]string{readable, hex.EncodeToString(sum[:4])}, "_")
	return "freshet_partitions_" + name, "freshet_snapshots_" + name
}

// open returns the buckets, and makes them where they are missing.
func (s *Store) open(ctx context.Context) (jetstream.KeyValue, *objects.Bucket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries != nil {
		return s.entries, s.bucket, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*s.cfg.Timeout)
	defer cancel()
	entriesName, objectsName := Buckets(s.cfg.Topic, s.cfg.Group)
	of := fmt.Sprintf("of the partitions of topic %s, group %s", s.cfg.Topic, s.cfg.Group)
	bucket, err := objects.Create(ctx, s.js, jetstream.ObjectStoreConfig{
		Bucket: objectsName, Description: "freshet: snapshots " + of, Replicas: s.cfg.Copies, Compression: true})
	if err != nil {
		return nil, nil, err
	}
	entries, err := s.js.KeyValue(ctx, entriesName)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		entries, err = s.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: entriesName, Description: "freshet: owners, snapshots and marks " + of, History: 1, Replicas: s.cfg.Copies})
		if errors.Is(err, jetstream.ErrBucketExists) {
			entries, err = s.js.KeyValue(ctx, entriesName)
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("bucket %s: %w", entriesName, err)
	}
	s.entries, s.bucket = entries, bucket
	return entries, bucket, nil
}

// forget reports whether err says that NATS is there and a bucket is not: it came back without. The next call makes it again.
func (s *Store) forget(err error) bool {
	gone := errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrBucketNotFound) ||
		errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, objects.ErrNoBucket)
	if gone {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.entries, s.bucket = nil, nil
	}
	return gone
}
