package objects

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ChunkBytes is the size of chunks: about twice as fast as the default of 128 KiB, and below the default max_payload of 1 MiB.
const ChunkBytes = 512 << 10

// What a caller branches on.
var (
	ErrNoBucket = errors.New("the bucket does not exist")
	ErrMissing  = errors.New("the object does not exist")
	ErrDamaged  = errors.New("the object is damaged")
)

// Bucket is an object store that exists. Its methods may be called from several goroutines.
type Bucket struct {
	// Timeout bounds each request, of which an object has one per chunk. Default 10 s.
	Timeout time.Duration

	name   string
	js     jetstream.JetStream
	stream jetstream.Stream
}

// Open opens a bucket, or returns ErrNoBucket. It needs no right to create it.
func Open(ctx context.Context, js jetstream.JetStream, name string) (*Bucket, error) {
	stream, err := js.Stream(ctx, "OBJ_"+name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = ErrNoBucket
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return &Bucket{Timeout: 10 * time.Second, name: name, js: js, stream: stream}, nil
}

// Create opens the bucket that c describes, and makes it where it is missing.
func Create(ctx context.Context, js jetstream.JetStream, c jetstream.ObjectStoreConfig) (*Bucket, error) {
	b, err := Open(ctx, js, c.Bucket)
	if !errors.Is(err, ErrNoBucket) {
		return b, err
	}
	if _, err := js.CreateObjectStore(ctx, c); err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
		return nil, fmt.Errorf("create bucket %s: %w", c.Bucket, err)
	}
	return Open(ctx, js, c.Bucket)
}

// plain is a name that may itself be the end of a subject.
var plain = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// ID returns the id under which the chunks of name lie: the name itself where it may be a subject, so that List finds it by
// its first tokens, else a hash of it.
func ID(name string) string {
	if plain.MatchString(name) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:12])
}

func (b *Bucket) chunks(name string) string { return "$O." + b.name + ".C." + ID(name) }

func (b *Bucket) entry(name string) string {
	return "$O." + b.name + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

// Remove removes an object, also one whose put was cut off, and one that is not there. It leaves no marker, as the client's
// Delete does: at a delta every few seconds the markers would outgrow the models.
func (b *Bucket) Remove(ctx context.Context, name string) error {
	for _, subject := range []string{b.entry(name), b.chunks(name)} {
		if err := b.purge(ctx, subject); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}

func (b *Bucket) purge(ctx context.Context, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	return b.stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
}

// List returns the names of the objects whose name is a subject that begins with the tokens of prefix, also of those whose
// put was cut off, in no order. An empty object is not found: it has no chunks.
func (b *Bucket) List(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	before := "$O." + b.name + ".C."
	info, err := b.stream.Info(ctx, jetstream.WithSubjectFilter(before+prefix+".>"))
	if err != nil {
		return nil, fmt.Errorf("list %s in bucket %s: %w", prefix, b.name, err)
	}
	names := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		names = append(names, strings.TrimPrefix(subject, before))
	}
	return names, nil
}
