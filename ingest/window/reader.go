package window

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/freshet-ml/freshet/ingest/packed"
	"github.com/freshet-ml/freshet/schema"
)

// ErrCorrupt marks a journal or a page that no Windower wrote, or not one with this state.
var ErrCorrupt = errors.New("corrupt window state")

// codecVersion is the first byte of each journal and each page. A program reads its own version only; one that changes the
// format also brings the way from the one before.
const codecVersion = 1

// reader reads a journal or a page. The first fault sticks and makes every later read return zero. What it returns is a
// part of the bytes, so that nothing that it reads takes memory.
type reader struct {
	b    []byte // what is left
	size int    // of all of it
	err  error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s at byte %d of %d", ErrCorrupt, what, r.size-len(r.b), r.size)
	}
	r.b = nil
}

func (r *reader) version() {
	if v := r.byte(); r.err == nil && v != codecVersion {
		if v > codecVersion {
			r.fail(fmt.Sprintf("newer format (%d > %d): run a newer freshet", v, codecVersion))
			return
		}
		r.fail(fmt.Sprintf("unknown format %d", v))
	}
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

// number reads a number that is at most most.
func (r *reader) number(most uint64) uint64 {
	n := r.uvarint()
	if n > most {
		r.fail("a number out of range")
		return 0
	}
	return n
}

func (r *reader) epoch() schema.Epoch { return schema.Epoch(r.number(math.MaxUint32)) }

// bytes returns the next n bytes.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail("something beyond the end")
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// string reads a string of at most the length that a user id may have in memory.
func (r *reader) string() []byte { return r.bytes(r.number(math.MaxUint16)) }

func (r *reader) reason() schema.Reason {
	i := r.byte()
	if int(i) >= len(schema.Reasons) {
		r.fail("an unknown reason")
		return ""
	}
	return schema.Reasons[i]
}

// click reads a packed click.
func (r *reader) click() []byte {
	click, rest, err := packed.First(r.b)
	if err != nil {
		r.fail(err.Error())
		return nil
	}
	r.b = rest
	return click
}
