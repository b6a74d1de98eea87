package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/protocol"
)

// Two requests are written and read here instead of by kafka-go: Fetch, because kafka-go copies each record several times
// and tells neither where a batch ends nor who stamped it, and Metadata, because kafka-go answers from a cache and does not
// know topic ids. kafka-go still finds the broker, holds the connection and ends it (protocol.RawExchanger).

// errShort says that a broker's bytes end before what they announce.
var errShort = errors.New("the broker's answer is shorter than it says")

// wireReader takes a broker's answer apart. After the first error everything it returns is zero. Lengths are checked
// against the bytes there are, so nothing is allocated on the broker's word.
type wireReader struct {
	b   []byte
	err error
}

func (r *wireReader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.fail()
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// fail notes the first error and drops the rest, so that what follows reads nothing.
func (r *wireReader) fail() {
	if r.err == nil {
		r.err = errShort
	}
	r.b = nil
}

func (r *wireReader) int8() int8 {
	if b := r.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (r *wireReader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *wireReader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *wireReader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// count reads the length of an array whose elements take at least size bytes each. A null array has none.
func (r *wireReader) count(size int) int {
	n := int(r.int32())
	if n > len(r.b)/size {
		r.fail()
		return 0
	}
	return max(n, 0)
}

func (r *wireReader) string() string { return string(r.take(max(int(r.int16()), 0))) }

func (r *wireReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// compactCount is count in the flexible versions of the protocol, which store one more than the length, and 0 for null.
func (r *wireReader) compactCount(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size)+1 {
		r.fail()
		return 0
	}
	return max(int(n)-1, 0)
}

func (r *wireReader) compactString() string { return string(r.take(r.compactCount(1))) }

// tags passes over the tagged fields at the end of a flexible structure.
func (r *wireReader) tags() {
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		r.uvarint()
		size := r.uvarint()
		r.take(int(min(size, uint64(len(r.b))+1)))
	}
}

// clientID names freshet in the brokers' logs and quotas.
const clientID = "freshet"

// appendRequest begins a request: its size, to be filled in by finishRequest, and its header.
func appendRequest(b []byte, key protocol.ApiKey, version int16, flexible bool) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 0) // correlation id: there is one request at a time on a connection
	b = appendString(b, clientID)
	if flexible {
		b = append(b, 0) // no tagged fields
	}
	return b
}

func finishRequest(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// exchange sends a request and reads the answer, at most maxBytes of it, into what buffer gives for its size. It returns the
// answer behind its correlation id.
func exchange(rw io.ReadWriter, request []byte, maxBytes int, buffer func(size int) []byte) ([]byte, error) {
	if _, err := rw.Write(finishRequest(request)); err != nil {
		return nil, err
	}
	var head [8]byte // size, correlation id
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return nil, noEOF(err)
	}
	size := int(int32(binary.BigEndian.Uint32(head[:]))) - 4
	if size < 0 || size > maxBytes {
		return nil, fmt.Errorf("the broker announces an answer of %d bytes, at most %d are taken", size, maxBytes)
	}
	return readGrowing(rw, buffer(size), size)
}

// readStep is the most that is allocated before the bytes for it have begun to come: a broken answer that announces a
// gigabyte takes no gigabyte.
const readStep = 1 << 20

func readGrowing(r io.Reader, b []byte, size int) ([]byte, error) {
	b = b[:0]
	for len(b) < size {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(size, max(2*cap(b), readStep)))
			copy(grown, b)
			b = grown
		}
		n, err := io.ReadFull(r, b[len(b):min(size, cap(b))])
		b = b[:len(b)+n]
		if err != nil {
			return nil, noEOF(err)
		}
	}
	return b, nil
}

// noEOF turns an end in the middle of an answer into what it is: io.EOF alone reads as if all were well.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
