package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrCorrupt marks a stored value that is not what this program writes.
var ErrCorrupt = errors.New("corrupt value")

func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendFlag(b []byte, is bool) []byte {
	if is {
		return append(b, 1)
	}
	return append(b, 0)
}

// reader decodes one value. The first fault sticks and makes every later read return zero, so that callers check once, at
// done.
type reader struct {
	b    []byte // what is left
	size int    // of all of it
	err  error
}

func newReader(b []byte) *reader { return &reader{b: b, size: len(b)} }

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s at byte %d of %d", ErrCorrupt, what, r.size-len(r.b), r.size)
	}
	r.b = nil
}

// done returns the first fault. Bytes that are left over are one.
func (r *reader) done() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("something unread")
	}
	return r.err
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail("no byte")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) flag() bool {
	switch r.byte() {
	case 0:
		return false
	case 1:
		return true
	}
	r.fail("a flag that is neither 0 nor 1")
	return false
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("no uvarint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail("no varint")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things that take at least size bytes each, so that it bounds an allocation.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail("a number of things beyond the end")
		return 0
	}
	return int(n)
}

func (r *reader) bounded(most uint64) uint64 {
	n := r.uvarint()
	if n > most {
		r.fail("a number out of range")
		return 0
	}
	return n
}

func (r *reader) between(least, most uint64) uint64 {
	n := r.bounded(most)
	if n < least {
		r.fail("a number out of range")
	}
	return n
}

// bytes reads a string without copying it.
func (r *reader) bytes() []byte {
	n := r.count(1)
	if r.err != nil {
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string { return string(r.bytes()) }

// rest returns what is left, without copying it.
func (r *reader) rest() []byte {
	v := r.b
	r.b = nil
	return v
}

func (r *reader) fixed64() uint64 {
	if len(r.b) < 8 {
		r.fail("no eight bytes")
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}
