package source

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// topicID tells a topic from another that was made later under its name. Brokers before Kafka 2.8 give none: all zeros.
type topicID [16]byte

// topicInfo is what a broker says about the topic at this moment.
type topicInfo struct {
	partitions int
	id         topicID
}

// Versions of Metadata that are spoken here: the oldest that lists a topic's partitions with errors of their own, and the
// first with topic ids, which is flexible.
const (
	plainMetadata = 1
	idMetadata    = 10
)

// maxMetadata bounds the answer: a thousand brokers and ten thousand partitions are about a megabyte.
const maxMetadata = 32 << 20

// metadataCall asks any broker about the topic. It first asks which versions that broker has, because kafka-go's own list
// ends before topic ids.
type metadataCall struct {
	topic string
	info  topicInfo
	code  int16 // the topic's error
}

var _ protocol.RawExchanger = (*metadataCall)(nil)

// ApiKey is part of protocol.Message.
func (c *metadataCall) ApiKey() protocol.ApiKey { return protocol.Metadata }

// Required is part of protocol.RawExchanger.
func (c *metadataCall) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange asks for the versions, and then for the topic.
func (c *metadataCall) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	fresh := func(int) []byte { return nil }
	answer, err := exchange(rw, appendRequest(nil, protocol.ApiVersions, 0, false), maxMetadata, fresh)
	if err != nil {
		return nil, err
	}
	version, err := metadataVersion(answer)
	if err != nil {
		return nil, err
	}
	if answer, err = exchange(rw, c.encode(version), maxMetadata, fresh); err != nil {
		return nil, err
	}
	return c, c.decode(answer, version)
}

// metadataVersion reads an answer to ApiVersions (version 0):
//
//	int16 error   int32 count: int16 key, int16 oldest version, int16 newest version
func metadataVersion(answer []byte) (int16, error) {
	r := wireReader{b: answer}
	if code := r.int16(); code != 0 {
		return 0, kafka.Error(code)
	}
	for range r.count(6) {
		if key, oldest, newest := protocol.ApiKey(r.int16()), r.int16(), r.int16(); key == protocol.Metadata {
			switch {
			case newest >= idMetadata && oldest <= idMetadata:
				return idMetadata, nil
			case newest >= plainMetadata && oldest <= plainMetadata:
				return plainMetadata, nil
			}
			return 0, fmt.Errorf("the broker speaks Metadata versions %d to %d, freshet %d and %d", oldest, newest, plainMetadata, idMetadata)
		}
	}
	return 0, errors.Join(errors.New("the broker does not speak Metadata"), r.err)
}

// encode writes the request. Version 1 is a list of names; version 10:
//
//	uvarint topics + 1   16 bytes topic id: zeros, go by the name   compact string name   tags
//	bool create it: no   bool authorised operations of the cluster: no   of the topic: no   tags
func (c *metadataCall) encode(version int16) []byte {
	b := appendRequest(nil, protocol.Metadata, version, version == idMetadata)
	if version == plainMetadata {
		return appendString(append(b, 0, 0, 0, 1), c.topic)
	}
	b = append(b, 2)
	b = append(b, make([]byte, len(topicID{}))...)
	b = binary.AppendUvarint(b, uint64(len(c.topic))+1)
	b = append(b, c.topic...)
	return append(b, 0, 0, 0, 0, 0)
}

// decode reads the answer. Version 1:
//
//	brokers: int32 id, string host, int32 port, string rack    int32 controller
//	topics: int16 error, string name, bool internal
//	  partitions: int16 error, int32 partition, int32 leader, int32s replicas, int32s in sync
//
// Version 10 is flexible, begins with tags (of its header) and int32 throttle, has a string cluster id before the
// controller, a topic id behind the name, int32 leader epoch behind the leader, int32s offline behind those in sync, and
// int32 operations behind the partitions.
func (c *metadataCall) decode(answer []byte, version int16) error {
	r := wireReader{b: answer}
	flexible := version == idMetadata
	count, text, tags := r.count, r.string, func() {}
	if flexible {
		count, text, tags = r.compactCount, r.compactString, r.tags
		r.tags()
		r.int32()
	}
	numbers := func() { r.take(4 * count(4)) }
	for range count(10) {
		r.int32()
		text()
		r.int32()
		text()
		tags()
	}
	if flexible {
		text()
	}
	r.int32()
	topics := count(8)
	if r.err == nil && topics != 1 {
		return fmt.Errorf("the broker told of %d topics, and was asked for one", topics)
	}
	c.code = r.int16()
	name := text()
	if flexible {
		copy(c.info.id[:], r.take(len(topicID{})))
	}
	r.int8()
	c.info.partitions = count(14)
	for range c.info.partitions {
		r.int16()
		r.int32()
		r.int32()
		if flexible {
			r.int32()
		}
		numbers()
		numbers()
		if flexible {
			numbers()
		}
		tags()
	}
	if r.err == nil && name != c.topic {
		return fmt.Errorf("the broker told of topic %q, and was asked for %q", name, c.topic)
	}
	return r.err
}

// ErrUnknownTopic says that the broker answers and has no such topic.
var ErrUnknownTopic = errors.New("there is no topic")

// describe asks a broker about the topic. Unlike kafka-go's metadata, what it returns was true a moment ago.
func (b *broker) describe(ctx context.Context) (topicInfo, error) {
	client, err := b.connect(ctx)
	if err != nil {
		return topicInfo{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := client.Transport.RoundTrip(ctx, client.Addr, &metadataCall{topic: b.topic})
	if err != nil {
		return topicInfo{}, fmt.Errorf("kafka: look up topic %q: %w", b.topic, err)
	}
	c := m.(*metadataCall)
	if err := kafka.Error(c.code); errors.Is(err, kafka.UnknownTopicOrPartition) || c.code == 0 && c.info.partitions == 0 {
		return topicInfo{}, fmt.Errorf("kafka: %w %q at %s: create it, or check --topic", ErrUnknownTopic, b.topic, strings.Join(b.brokers, ","))
	}
	if errors.Is(kafka.Error(c.code), kafka.TopicAuthorizationFailed) {
		return topicInfo{}, fmt.Errorf("kafka: the brokers do not let this client see topic %q: allow its user to describe and read it, and to read its group: %w",
			b.topic, kafka.TopicAuthorizationFailed)
	}
	if c.code != 0 {
		return topicInfo{}, fmt.Errorf("kafka: look up topic %q: %w", b.topic, kafka.Error(c.code))
	}
	return c.info, nil
}

// partitions returns the number of partitions of the topic.
func (b *broker) partitions(ctx context.Context) (int, error) {
	info, err := b.describe(ctx)
	return info.partitions, err
}
