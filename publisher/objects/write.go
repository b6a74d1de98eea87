package objects

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stored says what was written.
type Stored struct {
	Bytes  int64
	SHA256 string // lower-case hex
}

// Writer writes one object. Nobody sees the object before Commit. It holds one chunk.
type Writer struct {
	bucket *Bucket
	ctx    context.Context
	name   string
	info   jetstream.ObjectInfo
	rest   []byte // less than a chunk
	before uint64 // the message of the last chunk
	digest hash.Hash
	err    error // the first; it sticks
}

// Writer begins the object called name, which no one else may be writing, and removes what an earlier attempt has left of
// its chunks. ctx bounds all of the writing; each request has the bucket's timeout besides.
func (b *Bucket) Writer(ctx context.Context, name string) (*Writer, error) {
	if err := b.purge(ctx, b.chunks(name)); err != nil {
		return nil, fmt.Errorf("make room for %s: %w", name, err)
	}
	info := jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: ChunkBytes}},
		Bucket:     b.name, NUID: ID(name),
	}
	return &Writer{bucket: b, ctx: ctx, name: name, info: info, digest: sha256.New()}, nil
}

// Write takes p; whole chunks go out.
func (w *Writer) Write(p []byte) (int, error) {
	n := len(p)
	if len(w.rest) > 0 {
		fill := min(len(p), ChunkBytes-len(w.rest))
		w.rest, p = append(w.rest, p[:fill]...), p[fill:]
		if len(w.rest) == ChunkBytes {
			w.chunk(w.rest)
			w.rest = w.rest[:0]
		}
	}
	for ; len(p) >= ChunkBytes; p = p[ChunkBytes:] {
		w.chunk(p[:ChunkBytes])
	}
	if len(p) > 0 && w.rest == nil {
		w.rest = make([]byte, 0, ChunkBytes)
	}
	w.rest = append(w.rest, p...)
	if w.err != nil {
		return 0, w.err
	}
	return n, nil
}

// chunk publishes one chunk. It says which message it follows, so that a chunk of an earlier attempt that arrives late is
// refused, or makes this attempt fail.
func (w *Writer) chunk(b []byte) {
	if w.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, w.bucket.Timeout)
	defer cancel()
	ack, err := w.bucket.js.PublishMsg(ctx, &nats.Msg{Subject: w.bucket.chunks(w.name), Data: b}, jetstream.WithExpectLastSequencePerSubject(w.before))
	if err != nil {
		w.err = fmt.Errorf("chunk %d of %s: %w", w.info.Chunks, w.name, err)
		return
	}
	w.before = ack.Sequence
	w.info.Chunks++
	w.info.Size += uint64(len(b))
	w.digest.Write(b)
}

// Commit writes what is left and makes the object visible, in place of one with the same name.
func (w *Writer) Commit() (Stored, error) {
	if len(w.rest) > 0 {
		w.chunk(w.rest)
		w.rest = nil
	}
	if w.err != nil {
		return Stored{}, w.err
	}
	w.info.Digest = jetstream.GetObjectDigestValue(w.digest)
	text, err := json.Marshal(w.info)
	if err != nil {
		return Stored{}, err
	}
	entry := nats.NewMsg(w.bucket.entry(w.name))
	entry.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	entry.Data = text
	ctx, cancel := context.WithTimeout(w.ctx, w.bucket.Timeout)
	defer cancel()
	if _, err := w.bucket.js.PublishMsg(ctx, entry); err != nil {
		return Stored{}, fmt.Errorf("entry of %s: %w", w.name, err)
	}
	w.err = errors.New("the object is complete")
	return Stored{Bytes: int64(w.info.Size), SHA256: hex.EncodeToString(w.digest.Sum(nil))}, nil
}

// Put stores b under name, which no one else may be writing. It may be called again after it failed.
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	w, err := b.Writer(ctx, name)
	if err != nil {
		return err
	}
	if _, err := bytes.NewReader(data).WriteTo(w); err != nil {
		return err
	}
	_, err = w.Commit()
	return err
}
