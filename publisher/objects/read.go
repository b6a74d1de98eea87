package objects

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Reader reads one object, and checks it against its entry. It holds one chunk, and needs no closing.
type Reader struct {
	bucket *Bucket
	ctx    context.Context
	name   string
	info   jetstream.ObjectInfo
	chunk  []byte // what is left of the present one
	next   uint64 // the message from which on the next chunk is looked for
	read   uint64
	digest hash.Hash
	err    error // the first; it sticks
}

// Open returns a Reader of the object called name: ErrMissing. ctx bounds all of the reading; each request has the bucket's
// timeout besides.
func (b *Bucket) Open(ctx context.Context, name string) (*Reader, error) {
	asked, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	entry, err := b.stream.GetLastMsgForSubject(asked, b.entry(name))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		err = ErrMissing
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	r := &Reader{bucket: b, ctx: ctx, name: name, next: 1, digest: sha256.New()}
	if err := json.Unmarshal(entry.Data, &r.info); err != nil {
		return nil, fmt.Errorf("open %s: %w: its entry: %w", name, ErrDamaged, err)
	}
	if r.info.Deleted {
		return nil, fmt.Errorf("open %s: %w", name, ErrMissing)
	}
	return r, nil
}

// Stored returns what the object's entry says about it. The digest is empty where the entry has none.
func (r *Reader) Stored() Stored {
	s := Stored{Bytes: int64(r.info.Size)}
	if sum, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(r.info.Digest, "SHA-256=")); err == nil {
		s.SHA256 = hex.EncodeToString(sum)
	}
	return s
}

// Read reads on. It returns ErrDamaged in place of io.EOF unless the whole object has the size and the digest of its entry.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.chunk) == 0 && r.err == nil {
		r.advance()
	}
	if len(r.chunk) == 0 {
		return 0, r.err
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

func (r *Reader) advance() {
	if r.read == r.info.Size {
		r.err = io.EOF
		if got := jetstream.GetObjectDigestValue(r.digest); got != r.info.Digest {
			r.err = fmt.Errorf("read %s: %w: its digest is %s, its entry says %s", r.name, ErrDamaged, got, r.info.Digest)
		}
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.bucket.Timeout)
	defer cancel()
	m, err := r.bucket.stream.GetMsg(ctx, r.next, jetstream.WithGetMsgSubject("$O."+r.bucket.name+".C."+r.info.NUID))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		err = fmt.Errorf("%w: it has %d bytes, its entry says %d", ErrDamaged, r.read, r.info.Size)
	}
	if err != nil {
		r.err = fmt.Errorf("read %s: %w", r.name, err)
		return
	}
	if uint64(len(m.Data)) > r.info.Size-r.read {
		r.err = fmt.Errorf("read %s: %w: it has more than the %d bytes of its entry", r.name, ErrDamaged, r.info.Size)
		return
	}
	r.chunk, r.next = m.Data, m.Sequence+1
	r.read += uint64(len(m.Data))
	r.digest.Write(m.Data)
}
