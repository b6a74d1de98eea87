package buffer

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"

	"github.com/cockroachdb/pebble"

	"github.com/freshet-ml/freshet/schema"
)

// The stream of a partition's state, which Export writes and Import reads:
//
//	"freshet partition\n"
//	uvarint format version of the store
//	frames: u8 tag | uvarint length | bytes
//	  'p'   uvarint partition, then its meta     meta.go
//	  'h'   header of the snapshot               header.go; none for a partition that has had nothing
//	  'n'   page of the snapshot                 any number
//	  'j'   journal of a commit                  any number
//	  'z'   sha256 of all bytes before this frame
const transferMagic = "freshet partition\n"

const (
	framePartition = 'p'
	frameHeader    = 'h'
	framePage      = 'n'
	frameJournal   = 'j'
	frameEnd       = 'z'
)

// maxFrame bounds a frame. The largest is a page with one session as large as a session may be.
const maxFrame = 1 << 30

// ErrOlder says that an import would take a partition back to an earlier state.
var ErrOlder = errors.New("older than the state that is there")

// Export writes the durable state of p to to: meta, snapshot, journal and window config, and no log. It returns the meta. It
// may run beside commits, and then has the state between two of them.
func (s *Store) Export(p schema.Partition, to io.Writer) (Meta, error) {
	release, err := s.use()
	if err != nil {
		return Meta{}, err
	}
	defer release()
	m, err := s.export(p, to)
	if err != nil {
		return Meta{}, fmt.Errorf("buffer: export partition %d: %w", p, err)
	}
	return m, nil
}

func (s *Store) export(p schema.Partition, to io.Writer) (m Meta, err error) {
	at := s.db.NewSnapshot()
	defer func() { err = errors.Join(err, at.Close()) }()
	// The snapshot may hold a commit whose sync is under way: nobody may have it before this node is sure of it.
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		return Meta{}, fmt.Errorf("sync: %w", err)
	}
	st, err := exportedState(at, p)
	if err != nil {
		return Meta{}, err
	}
	if st.Mirror {
		return Meta{}, errors.New("it is the mirror of another node's log: export it there")
	}
	w := &frameWriter{to: bufio.NewWriterSize(to, 64<<10), digest: sha256.New()}
	w.write([]byte(transferMagic))
	w.write(binary.AppendUvarint(nil, formatVersion))
	w.frame(framePartition, appendMeta(binary.AppendUvarint(nil, uint64(p)), &st))
	err = scan(at, headerKey(nil, p), after(headerKey(nil, p)), func(_, value []byte) error {
		h, err := decodeHeader(value)
		if err != nil {
			return err
		}
		w.frame(frameHeader, value)
		err = scan(at, pageKey(nil, p, h.generation, 0), pageKey(nil, p, h.generation+1, 0), func(_, page []byte) error {
			return w.frame(framePage, page)
		})
		if err != nil {
			return err
		}
		return scan(at, journalKey(nil, p, h.journal), journalKey(nil, p, st.journal), func(_, piece []byte) error {
			return w.frame(frameJournal, piece)
		})
	})
	if err != nil {
		return Meta{}, err
	}
	w.frame(frameEnd, w.digest.Sum(nil))
	if w.err == nil {
		w.err = w.to.Flush()
	}
	return st.Meta, w.err
}

// exportedState reads the state of p from at.
func exportedState(at pebble.Reader, p schema.Partition) (state, error) {
	st := newState(p)
	err := scan(at, metaKey(nil, p), after(metaKey(nil, p)), func(key, value []byte) (err error) {
		if st, err = decodeMeta(value, p); err != nil {
			return fmt.Errorf("%s: %w", nameOf(key), err)
		}
		return nil
	})
	return st, err
}

// frameWriter writes frames. Its first error sticks.
type frameWriter struct {
	to     *bufio.Writer
	digest hash.Hash
	err    error
}

func (w *frameWriter) write(b []byte) {
	if w.err == nil {
		w.digest.Write(b) // never fails
		_, w.err = w.to.Write(b)
	}
}

func (w *frameWriter) frame(tag byte, b []byte) error {
	if len(b) > maxFrame {
		return fmt.Errorf("a frame of %d bytes", len(b))
	}
	w.write(binary.AppendUvarint([]byte{tag}, uint64(len(b))))
	w.write(b)
	return w.err
}

// frameReader reads what a frameWriter wrote.
type frameReader struct {
	from   *bufio.Reader
	digest hash.Hash
	frame  bytes.Buffer
}

// ReadByte is for binary.ReadUvarint.
func (r *frameReader) ReadByte() (byte, error) {
	b, err := r.from.ReadByte()
	if err == nil {
		r.digest.Write([]byte{b})
	}
	return b, err
}

// begin reads what comes before the frames.
func (r *frameReader) begin() error {
	magic := make([]byte, len(transferMagic))
	if _, err := io.ReadFull(r.from, magic); err != nil || string(magic) != transferMagic {
		return fmt.Errorf("%w: it is no exported partition", ErrCorrupt)
	}
	r.digest.Write(magic)
	version, err := binary.ReadUvarint(r)
	switch {
	case err != nil:
		return cut(err)
	case version > formatVersion:
		return fmt.Errorf("newer format (%d > %d): run a newer freshet", version, formatVersion)
	case version != formatVersion:
		return fmt.Errorf("unknown format %d: this freshet reads format %d", version, formatVersion)
	}
	return nil
}

// next reads a frame, and checks the digest at the last one. The bytes are valid until the next call.
func (r *frameReader) next() (tag byte, b []byte, err error) {
	want := r.digest.Sum(nil)
	if tag, err = r.ReadByte(); err != nil {
		return 0, nil, cut(err)
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, nil, cut(err)
	}
	if n > maxFrame {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes", ErrCorrupt, n)
	}
	r.frame.Reset()
	if _, err := io.CopyN(&r.frame, r.from, int64(n)); err != nil { // takes memory as the bytes come
		return 0, nil, cut(err)
	}
	b = r.frame.Bytes()
	r.digest.Write(b)
	if tag == frameEnd && !bytes.Equal(b, want) {
		return 0, nil, fmt.Errorf("%w: the digest does not fit", ErrCorrupt)
	}
	return tag, b, nil
}

// cut says that a stream ends too early.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrCorrupt)
	}
	return err
}

// decodePartition decodes the first frame.
func decodePartition(b []byte) (state, error) {
	r := newReader(b)
	p := schema.Partition(r.bounded(math.MaxInt32))
	if r.err != nil {
		return state{}, r.err
	}
	return decodeMeta(r.rest(), p)
}
