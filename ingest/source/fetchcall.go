package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// Isolation levels. The second asks the broker for records of finished transactions only, and for the list of the aborted
// ones.
const (
	readUncommitted = 0
	readCommitted   = 1
)

// Versions of Fetch that are spoken here. The first is the oldest with transactions (Kafka 0.11); the last is the newest
// that kafka-go negotiates, and every broker since 2.3 has it.
const (
	minFetchVersion = 4
	maxFetchVersion = 11
)

// maxAnswer bounds the answer to a fetch beyond what was asked for: a broker sends the first batch whole, whatever its size.
const maxAnswer = 256 << 20

// fetchCall is a Fetch request for one partition, and then its answer.
type fetchCall struct {
	topic   string
	request fetchRequest
	version int16
	answer  []byte
}

var (
	_ protocol.BrokerMessage = (*fetchCall)(nil)
	_ protocol.RawExchanger  = (*fetchCall)(nil)
)

// ApiKey is part of protocol.Message.
func (c *fetchCall) ApiKey() protocol.ApiKey { return protocol.Fetch }

// errNotListed says that the brokers do not list the partition, as far as kafka-go knows.
var errNotListed = errors.New("the brokers do not list the partition")

// Broker names the leader of the partition.
func (c *fetchCall) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	topic, ok := cluster.Topics[c.topic]
	if !ok {
		return protocol.Broker{ID: -1}, fmt.Errorf("%w: topic %q is not there", errNotListed, c.topic)
	}
	p, ok := topic.Partitions[int32(c.request.partition)]
	if !ok {
		return protocol.Broker{ID: -1}, fmt.Errorf("%w: topic %q has %d partitions", errNotListed, c.topic, len(topic.Partitions))
	}
	leader, ok := cluster.Brokers[p.Leader]
	if !ok {
		return protocol.Broker{ID: -1}, kafka.LeaderNotAvailable
	}
	return leader, nil
}

// Required is part of protocol.RawExchanger. It tells the version that the connection has negotiated.
func (c *fetchCall) Required(versions map[protocol.ApiKey]int16) bool {
	c.version = min(versions[protocol.Fetch], maxFetchVersion)
	return true
}

// RawExchange sends the request and reads the answer.
func (c *fetchCall) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if c.version < minFetchVersion {
		return nil, fmt.Errorf("the broker speaks Fetch version %d: freshet needs Kafka 0.11 or newer", c.version)
	}
	answer, err := exchange(rw, c.encode(nil), max(2*c.request.maxBytes, maxAnswer), takeBuffer)
	if err != nil {
		return nil, err
	}
	c.answer = answer
	return c, nil
}

// encode writes the request. It leaves the bound on the whole answer open: kfake leaves the list of aborted transactions out
// of an answer that this bound has cut short.
//
//	int32 replica id: -1, a client   int32 max wait, ms      int32 min bytes     int32 max bytes
//	int8  isolation level            int32 session id        int32 session epoch: -1, none      (session since version 7)
//	int32 topics: 1                  string topic            int32 partitions: 1
//	int32 partition                  int32 leader epoch: -1, any (since 9)        int64 offset
//	int64 log start: -1, a client (since 5)                  int32 max bytes of the partition
//	int32 forgotten topics: 0 (since 7)                      string rack: none (since 11)
func (c *fetchCall) encode(b []byte) []byte {
	big := binary.BigEndian
	none := ^uint32(0)
	b = appendRequest(b, protocol.Fetch, c.version, false)
	b = big.AppendUint32(b, none)
	b = big.AppendUint32(b, uint32(c.request.maxWait.Milliseconds()))
	b = big.AppendUint32(b, 1)
	b = big.AppendUint32(b, math.MaxInt32)
	b = append(b, c.request.isolation)
	if c.version >= 7 {
		b = big.AppendUint32(b, 0)
		b = big.AppendUint32(b, none)
	}
	b = big.AppendUint32(b, 1)
	b = appendString(b, c.topic)
	b = big.AppendUint32(b, 1)
	b = big.AppendUint32(b, uint32(c.request.partition))
	if c.version >= 9 {
		b = big.AppendUint32(b, none)
	}
	b = big.AppendUint64(b, uint64(c.request.offset))
	if c.version >= 5 {
		b = big.AppendUint64(b, ^uint64(0))
	}
	b = big.AppendUint32(b, uint32(c.request.maxBytes))
	if c.version >= 7 {
		b = big.AppendUint32(b, 0)
	}
	if c.version >= 11 {
		b = appendString(b, "")
	}
	return b
}

// decode reads the answer:
//
//	int32 throttle, ms   int16 error (since 7)   int32 session id (since 7)
//	int32 topics         string topic            int32 partitions
//	int32 partition      int16 error             int64 high watermark   int64 last stable offset   int64 log start (since 5)
//	int32 aborted transactions, or -1: int64 producer id, int64 first offset
//	int32 preferred replica (since 11)           int32 size of the record set, or -1   the record set
func (c *fetchCall) decode() (*fetched, error) {
	r := wireReader{b: c.answer}
	f := &fetched{partition: c.request.partition, offset: c.request.offset, buffer: c.answer}
	f.throttled = time.Duration(r.int32()) * time.Millisecond
	if c.version >= 7 {
		if code := r.int16(); code != 0 {
			return nil, kafka.Error(code)
		}
		r.int32()
	}
	topics := r.int32()
	topic := r.string()
	partitions := r.int32()
	partition := r.int32()
	code := r.int16()
	if r.err == nil && (topics != 1 || topic != c.topic || partitions != 1 || partition != int32(c.request.partition)) {
		return nil, fmt.Errorf("the broker answered for another partition (topic %q partition %d)", topic, partition)
	}
	if r.err == nil && code != 0 {
		return nil, kafka.Error(code)
	}
	f.highWatermark = schema.Offset(r.int64())
	r.int64()
	if c.version >= 5 {
		r.int64()
	}
	n := r.count(16)
	f.aborted = make([]abortedTransaction, n)
	for i := range f.aborted {
		f.aborted[i] = abortedTransaction{producer: r.int64(), first: r.int64()}
	}
	if c.version >= 11 {
		r.int32()
	}
	f.records = r.take(max(int(r.int32()), 0))
	return f, r.err
}

// Buffers of fetches are used again, since a fetch may have megabytes. One that a batch of unusual size has blown up is left
// to the garbage collector, and an answer without records needs none.
var buffers sync.Pool

const (
	smallestKept = 4 << 10
	largestKept  = 32 << 20
)

func takeBuffer(size int) []byte {
	if size < smallestKept {
		return make([]byte, 0, size)
	}
	if b, ok := buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

func giveBuffer(b []byte) {
	if cap(b) >= smallestKept && cap(b) <= largestKept {
		buffers.Put(&b)
	}
}
