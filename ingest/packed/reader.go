package packed

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/freshet-ml/freshet/schema"
)

// reader reads clicks. The first fault sticks and makes every later read return zero.
type reader struct {
	b     []byte // what is left
	text  string // a copy of all of it, or "" where only the form matters; or all of it itself, where shared
	size  int    // of all of it
	fault string
	at    int

	shared bool // a context may share the memory of text
}

func (r *reader) fail(what string) {
	if r.fault == "" {
		r.fault, r.at = what, r.size-len(r.b)
	}
	r.b = nil
}

// click reads a click into c; its strings and context only if keep.
func (r *reader) click(c *schema.Click, keep bool) {
	if len(r.b) < MinBytes {
		r.fail("the beginning of a click")
		return
	}
	c.EventTime = Time(r.b)
	r.b = r.b[timeBytes:]
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail("a click beyond the end")
		return
	}
	end := len(r.b) - int(n)
	flags := r.byte()
	arrived := r.uvarint()
	c.ArrivedAt = schema.ArrivalTime(int64(c.EventTime) + int64(arrived>>1^-(arrived&1)))
	c.ItemID = r.string(keep)
	switch action := flags >> actionShift; {
	case int(action) < len(actionCodes):
		c.Action = actionCodes[action]
	case action == actionOther:
		c.Action = schema.Action(r.string(keep))
	default:
		r.fail("an unknown action")
	}
	if flags&hasEventID != 0 {
		c.EventID = r.string(keep)
	}
	if flags&hasSessionID != 0 {
		c.SessionID = r.string(keep)
	}
	if flags&hasScene != 0 {
		c.Scene = r.string(keep)
	}
	if flags&hasItem != 0 {
		c.Item.Category, c.Item.Seller, c.Item.Price = r.string(keep), r.string(keep), r.float()
	}
	if flags&hasContext != 0 {
		switch context := r.string(keep); {
		case r.shared:
			c.Context = unsafe.Slice(unsafe.StringData(context), len(context))
		case keep:
			c.Context = []byte(context)
		}
	}
	if r.fault == "" && len(r.b) != end {
		r.fail("a click of another length")
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

// string reads a string; it is "" unless keep.
func (r *reader) string(keep bool) string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail("a string beyond the end")
		return ""
	}
	from := r.size - len(r.b)
	r.b = r.b[n:]
	if !keep {
		return ""
	}
	return r.text[from : from+int(n)]
}

func (r *reader) float() float64 {
	if len(r.b) < 8 {
		r.fail("no eight bytes")
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return math.Float64frombits(v)
}
