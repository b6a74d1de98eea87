package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nats.go/jetstream"
)

// What a reader or a giver of orders branches on.
var (
	ErrNoOrder      = errors.New("no order was given") // replicas follow the head
	ErrOrderChanged = errors.New("another order was given meanwhile")
)

// OrderFormat is the version of the order that this program writes and the newest that it reads.
const OrderFormat = 1

// Order is what an operator wants the replicas of a model to serve. doc.go says how it is kept and signed.
type Order struct {
	Format    int            `json:"format"`
	Model     string         `json:"model"`
	Serial    uint64         `json:"serial"`              // only grows: a replica refuses a lower one than it has seen
	Version   schema.Version `json:"version"`             // what users are answered from; 0 = the head, whatever it is
	Candidate *Candidate     `json:"candidate,omitempty"` // what a share of the users is answered from instead
	By        string         `json:"by,omitempty"`        // who gave it
	At        time.Time      `json:"at"`                  // when, by the giver's clock: for people, nothing depends on it
	Why       string         `json:"why,omitempty"`
	Signer    string         `json:"signer,omitempty"`    // nkey public key
	Signature string         `json:"signature,omitempty"` // base64 of ed25519 over SigningBytes
}

// Candidate is a version on trial.
type Candidate struct {
	Version schema.Version `json:"version"` // 0 = the head
	Share   float64        `json:"share"`   // of the users, above 0 and below 1
}

const ordersDescription = "freshet: what replicas are to serve"

// Limits of an order.
const (
	maxOrderBytes = 16 << 10
	maxByBytes    = 256
	maxWhyBytes   = 4096
)

// SigningBytes returns what the signature covers: the JSON of o without the signature itself. They begin otherwise than those
// of a manifest, so that the signature of one is never that of the other.
func (o Order) SigningBytes() ([]byte, error) {
	o.Signature = ""
	return json.Marshal(o)
}

// Sign sets o's signer and signature from an nkey seed.
func (o *Order) Sign(seed []byte) error {
	return sign(seed, "order", &o.Signer, &o.Signature, func() ([]byte, error) { return o.SigningBytes() })
}

// Verify returns an ErrSignature unless o is signed by one of the trusted nkey public keys; as Verify of manifests.
func (o Order) Verify(trusted []string) error {
	return verify(fmt.Sprintf("order %d", o.Serial), o.Signer, o.Signature, o.SigningBytes, trusted)
}

// FollowsHead says whether anybody is answered from the head.
func (o Order) FollowsHead() bool {
	return o.Version == 0 || o.Candidate != nil && o.Candidate.Version == 0
}

// Validate reports every fault of o at once, or nil.
func (o Order) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(o.Format < 1 || o.Format > OrderFormat, "format %d is not known to this program (it reads up to %d): run a newer freshet", o.Format, OrderFormat)
	if err := CheckName(o.Model); err != nil {
		faults = append(faults, fmt.Errorf("model %w", err))
	}
	fault(o.Serial == 0, "serial is missing")
	if c := o.Candidate; c != nil {
		fault(!(c.Share > 0 && c.Share < 1), "share %v of the candidate must be above 0 and below 1", c.Share)
		fault(c.Version == o.Version, "the candidate is the version that everybody is answered from")
	}
	text := func(name, s string, most int) {
		fault(len(s) > most, "%s has %d bytes, at most %d are allowed", name, len(s), most)
		fault(!utf8.ValidString(s), "%s is not UTF-8", name) // JSON would change it, and the signature not match
	}
	text("by", o.By, maxByBytes)
	text("why", o.Why, maxWhyBytes)
	return errors.Join(faults...)
}

// ParseOrder decodes and validates an order.
func ParseOrder(b []byte) (Order, error) {
	var o Order
	if len(b) > maxOrderBytes {
		return o, fmt.Errorf("order has %d bytes, at most %d are allowed", len(b), maxOrderBytes)
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return Order{}, fmt.Errorf("order: %w", err)
	}
	if err := o.Validate(); err != nil {
		return o, fmt.Errorf("order: %w", err)
	}
	return o, nil
}

// orders opens the bucket of orders, or returns ErrNoOrder where nobody has made it yet.
func (s *Store) orders(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := s.js.KeyValue(ctx, OrdersBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		err = ErrNoOrder
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", OrdersBucket, err)
	}
	return kv, nil
}

// OrderBytes returns the stored bytes of model's order and their revision, or ErrNoOrder.
func (s *Store) OrderBytes(ctx context.Context, model string) (stored []byte, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	kv, err := s.orders(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("order for model %s: %w", model, err)
	}
	entry, err := kv.Get(ctx, model)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		err = ErrNoOrder
	}
	if err != nil {
		return nil, 0, fmt.Errorf("order for model %s: %w", model, err)
	}
	return entry.Value(), entry.Revision(), nil
}

// FollowOrders calls each with the stored bytes of model's order, now and after every change, until ctx is done or the order
// cannot be read. Without the bucket it returns ErrNoOrder. News can be lost: whoever must not miss an order asks
// OrderBytes now and then.
func (s *Store) FollowOrders(ctx context.Context, model string, each func(stored []byte)) error {
	opening, cancel := context.WithTimeout(ctx, s.Timeout)
	kv, err := s.orders(opening)
	cancel()
	if err != nil {
		return err
	}
	return s.followKey(ctx, kv, model, "order for model "+model, each)
}

// GiveOrder stores o in the place of the order with the revision that the giver last saw (0 = none), or returns
// ErrOrderChanged. It makes the bucket where it is missing, on as many servers as that of the heads.
func (s *Store) GiveOrder(ctx context.Context, o Order, revision uint64) error {
	if err := o.Validate(); err != nil {
		return fmt.Errorf("order for model %s: %w", o.Model, err)
	}
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("order for model %s: %w", o.Model, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	kv, err := s.orders(ctx)
	if errors.Is(err, ErrNoOrder) {
		kv, err = s.createOrders(ctx)
	}
	if err != nil {
		return fmt.Errorf("order for model %s: %w", o.Model, err)
	}
	if revision == 0 {
		_, err = kv.Create(ctx, o.Model, b)
	} else {
		_, err = kv.Update(ctx, o.Model, b, revision)
	}
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		err = ErrOrderChanged
	}
	if err != nil {
		return fmt.Errorf("order for model %s: %w", o.Model, err)
	}
	return nil
}

func (s *Store) createOrders(ctx context.Context) (jetstream.KeyValue, error) {
	heads, err := s.js.Stream(ctx, "KV_"+HeadsBucket)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", HeadsBucket, err)
	}
	kv, err := s.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: OrdersBucket, Description: ordersDescription, History: 1,
		Replicas: heads.CachedInfo().Config.Replicas, MaxValueSize: maxOrderBytes, RePublish: newsOf(OrdersBucket)})
	if errors.Is(err, jetstream.ErrBucketExists) { // another giver was faster
		return s.orders(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("create bucket %s: %w", OrdersBucket, err)
	}
	return kv, nil
}
