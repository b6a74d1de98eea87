package publisher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/freshet-ml/freshet/publisher/objects"
	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nats.go/jetstream"
)

// What a reader of the store branches on.
var (
	ErrNoStore   = errors.New("the model buckets do not exist yet") // no publisher has run on this NATS
	ErrNoHead    = errors.New("the model has no published version")
	ErrMissing   = errors.New("missing in the store")
	ErrTruncated = errors.New("it is cut short") // a manifest or an object
	ErrDigest    = errors.New("object does not match its manifest")
)

// Store is the four buckets of the protocol. Its methods may be called from several goroutines.
type Store struct {
	// Timeout bounds each small call; default 5 s. ObjectTimeout bounds each put or get of an object; default 2 min.
	Timeout, ObjectTimeout time.Duration

	js                         jetstream.JetStream
	bucket                     *objects.Bucket
	heads, manifests, replicas jetstream.KeyValue
}

// OpenStore opens the buckets, or returns ErrNoStore when one of them does not exist. It needs no right to create them.
func OpenStore(ctx context.Context, js jetstream.JetStream) (*Store, error) {
	s := &Store{Timeout: 5 * time.Second, ObjectTimeout: 2 * time.Minute, js: js}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	err := s.open(ctx)
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, objects.ErrNoBucket) {
		return nil, fmt.Errorf("open model store: %w", ErrNoStore)
	}
	if err != nil {
		return nil, unanswered(js, fmt.Errorf("open model store: %w: is NATS running with JetStream?", err))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if s.bucket, err = objects.Open(ctx, s.js, ObjectsBucket); err != nil {
		return err
	}
	for _, kv := range []struct {
		to   *jetstream.KeyValue
		name string
	}{{&s.manifests, ManifestsBucket}, {&s.heads, HeadsBucket}, {&s.replicas, ReplicasBucket}} {
		if *kv.to, err = s.js.KeyValue(ctx, kv.name); err != nil {
			return fmt.Errorf("bucket %s: %w", kv.name, err)
		}
	}
	return nil
}

// CreateStore opens the buckets and creates those that are missing, each kept on copies servers of a NATS cluster (1 where
// there is one server).
func CreateStore(ctx context.Context, js jetstream.JetStream, copies int) (*Store, error) {
	s, err := createStore(ctx, js, copies)
	return s, unanswered(js, err)
}

func createStore(ctx context.Context, js jetstream.JetStream, copies int) (*Store, error) {
	s, err := OpenStore(ctx, js)
	if err == nil {
		err = settle(ctx, js)
	}
	if !errors.Is(err, ErrNoStore) {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
		Bucket: ObjectsBucket, Description: "freshet: tables of model versions", Replicas: copies})
	if err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
		return nil, fmt.Errorf("create bucket %s: %w", ObjectsBucket, err)
	}
	for _, kv := range []jetstream.KeyValueConfig{
		{Bucket: ManifestsBucket, Description: "freshet: manifest of each model version"},
		{Bucket: HeadsBucket, Description: "freshet: newest version of each model"},
		{Bucket: ReplicasBucket, Description: "freshet: what each replica serves", TTL: ReportTTL},
		{Bucket: OrdersBucket, Description: ordersDescription}, // of which OpenStore can do without: older stores have none
	} {
		kv.History, kv.Replicas, kv.MaxValueSize = 1, copies, MaxManifestBytes
		if _, err := js.CreateKeyValue(ctx, kv); err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return nil, fmt.Errorf("create bucket %s: %w", kv.Bucket, err)
		}
	}
	if err := settle(ctx, js); err != nil {
		return nil, err
	}
	return OpenStore(ctx, js)
}

// Head returns the manifest of model's newest version, or ErrNoHead.
func (s *Store) Head(ctx context.Context, model string) (schema.Manifest, error) {
	m, _, _, err := s.head(ctx, model)
	return m, err
}

// HeadBytes returns the stored bytes of model's head, or ErrNoHead.
func (s *Store) HeadBytes(ctx context.Context, model string) ([]byte, error) {
	_, stored, _, err := s.head(ctx, model)
	if stored != nil {
		return stored, nil // whoever asks for bytes finds out what is wrong with them
	}
	return nil, err
}

// head also returns the stored bytes, and the revision that the next head must be written with.
func (s *Store) head(ctx context.Context, model string) (m schema.Manifest, stored []byte, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	entry, err := s.heads.Get(ctx, model)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return m, nil, 0, fmt.Errorf("head of model %s: %w", model, ErrNoHead)
	}
	if err != nil {
		return m, nil, 0, fmt.Errorf("head of model %s: %w", model, err)
	}
	m, err = ParseManifest(entry.Value())
	if err != nil {
		err = fmt.Errorf("head of model %s: %w", model, err)
	}
	return m, entry.Value(), entry.Revision(), err
}

// FollowHead calls each with the stored bytes of model's head, now and after every change, until ctx is done or the head
// cannot be read. News can be lost: whoever must not miss a head asks HeadBytes now and then.
func (s *Store) FollowHead(ctx context.Context, model string, each func(stored []byte)) error {
	return s.followKey(ctx, s.heads, model, "head of model "+model, each)
}

// follow calls each with the value of every key that matches keys, now and after every change, until ctx is done or the watch breaks.
func follow(ctx context.Context, bucket jetstream.KeyValue, keys, what string, each func(value []byte)) error {
	watch, err := bucket.Watch(ctx, keys, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("watch %s: %w", what, err)
	}
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case entry, ok := <-watch.Updates():
			if !ok {
				return fmt.Errorf("watch %s: the watch ended", what)
			}
			if entry != nil { // nil says that the initial values are through
				each(entry.Value())
			}
		}
	}
}

// Manifest returns the manifest of a version, or ErrMissing.
func (s *Store) Manifest(ctx context.Context, model string, v schema.Version) (schema.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	entry, err := s.manifests.Get(ctx, manifestKey(model, v))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		err = ErrMissing
	}
	if err != nil {
		return schema.Manifest{}, fmt.Errorf("manifest of %s version %d: %w", model, v, err)
	}
	m, err := ParseManifest(entry.Value())
	if err != nil {
		return m, fmt.Errorf("manifest of %s version %d: %w", model, v, err)
	}
	return m, nil
}

// Versions returns the numbers of model's stored manifests, rising. Those above the head, and those whose publication
// failed, were never published.
func (s *Store) Versions(ctx context.Context, model string) ([]schema.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	keys, err := s.manifests.ListKeysFiltered(ctx, model+".*")
	if err != nil {
		return nil, fmt.Errorf("versions of model %s: %w", model, err)
	}
	var versions []schema.Version
	for key := range keys.Keys() {
		if v, ok := parseManifestKey(model, key); ok {
			versions = append(versions, v)
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("versions of model %s: %w", model, context.Cause(ctx))
	}
	return sortedUnique(versions), nil
}

// has says whether an object is stored whole. Whoever cannot find out says no.
func (s *Store) has(ctx context.Context, o schema.Object) bool {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	r, err := s.bucket.Open(ctx, o.Name)
	return err == nil && r.Stored().Bytes == o.Bytes
}

// Fetch returns the bytes of an object after it has checked their number and their digest: ErrMissing, ErrTruncated,
// ErrDigest. It never reads more than o.Bytes+1 bytes.
func (s *Store) Fetch(ctx context.Context, o schema.Object) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.ObjectTimeout)
	defer cancel()
	in, err := s.bucket.Open(ctx, o.Name) // chunk by chunk: the client's own Get waits for a lost one until ctx is done
	if errors.Is(err, objects.ErrMissing) {
		err = ErrMissing
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", o.Name, err)
	}
	var b bytes.Buffer
	b.Grow(int(min(max(o.Bytes, 0), 64<<20)) + bytes.MinRead) // a manifest's word is good for 64 MiB in advance
	if _, err := b.ReadFrom(io.LimitReader(in, o.Bytes+1)); err != nil {
		switch {
		case errors.Is(err, objects.ErrDamaged) && int64(b.Len()) < o.Bytes:
			err = fmt.Errorf("%w: %w", ErrTruncated, err)
		case errors.Is(err, objects.ErrDamaged):
			err = fmt.Errorf("%w: %w", ErrDigest, err)
		}
		return nil, fmt.Errorf("fetch %s: %w", o.Name, err)
	}
	if err := CheckObject(o, b.Bytes()); err != nil {
		return nil, fmt.Errorf("fetch %w", err)
	}
	return b.Bytes(), nil
}

// CheckObject returns an ErrTruncated, or an ErrDigest, unless b has o's size and SHA-256.
func CheckObject(o schema.Object, b []byte) error {
	if int64(len(b)) < o.Bytes {
		return fmt.Errorf("%s: %w: it has %d bytes, the manifest says %d", o.Name, ErrTruncated, len(b), o.Bytes)
	}
	if int64(len(b)) > o.Bytes {
		return fmt.Errorf("%s: %w: it has %d bytes, the manifest says %d", o.Name, ErrDigest, len(b), o.Bytes)
	}
	if got := digest(b); got != o.SHA256 {
		return fmt.Errorf("%s: %w: its sha256 is %s, the manifest says %s", o.Name, ErrDigest, got, o.SHA256)
	}
	return nil
}

// ParseManifest decodes and validates a manifest: ErrTruncated where its end is missing.
func ParseManifest(b []byte) (schema.Manifest, error) {
	var m schema.Manifest
	if len(b) > MaxManifestBytes {
		return m, fmt.Errorf("manifest has %d bytes, at most %d are allowed", len(b), MaxManifestBytes)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) && syntax.Offset >= int64(len(b)) {
			err = fmt.Errorf("%w: %w", ErrTruncated, err)
		}
		return schema.Manifest{}, fmt.Errorf("manifest: %w", err)
	}
	if err := m.Validate(); err != nil {
		return m, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
