package decode

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/freshet-ml/freshet/schema"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// protoReader reads clicks from messages of one type in Protobuf's binary encoding. It walks the bytes itself: what is not
// wanted is passed over, and what is wanted is not copied.
type protoReader struct {
	plan     *protoPlan
	defaults []protoDefault
}

func (r *protoReader) read(value []byte, c *schema.Click) (seen, error) {
	for _, d := range r.defaults {
		d.set(c)
	}
	w := protoWalk{}
	if err := w.message(value, r.plan, c); err != nil {
		return w.seen, err
	}
	if w.kept != nil {
		var err error
		if c.Context, err = w.json(); err != nil {
			return w.seen, fmt.Errorf("%s: %w", w.keptBy.node.label, err)
		}
	}
	return w.seen, nil
}

// protoWalk is a walk through a message.
type protoWalk struct {
	seen    seen
	ids     []byte     // the digits of ids that are numbers
	seconds int64      // of a google.protobuf.Timestamp
	nanos   int32      //
	kept    []byte     // the context, as it is on the wire
	keptBy  *protoStep // which has read it
}

var errMessage = errors.New("it is no such message: is it of another schema?")

// message reads the fields of a message. Fields of another wire type than the schema's are unknown fields, as for every
// reader of Protobuf; of a field that comes twice the last one holds, and of a message the two are merged.
func (w *protoWalk) message(b []byte, p *protoPlan, c *schema.Click) error {
	for len(b) > 0 {
		num, typ, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return errMessage
		}
		n := protowire.ConsumeFieldValue(num, typ, b[tag:])
		if n < 0 {
			return errMessage
		}
		if s := p.find(num); s != nil && s.wire == typ {
			if s.act == protoJSON {
				w.kept, w.keptBy = append(w.kept, b[:tag+n]...), s
			}
			if err := w.value(b[tag:tag+n], s, c); err != nil {
				return err
			}
		}
		b = b[tag+n:]
	}
	return nil
}

// value reads one occurrence of a field, whose wire type is right.
func (w *protoWalk) value(b []byte, s *protoStep, c *schema.Click) error {
	if s.clears != 0 {
		w.clear(s.clears, c)
	}
	if s.act == protoSkip {
		return nil
	}
	w.seen |= s.node.bit
	switch s.act {
	case protoScalar:
		if err := w.scalar(b, s, c); err != nil {
			return fmt.Errorf("%s: %w", s.node.label, err)
		}
		if s.node.field == fieldContext && len(s.node.children) > 0 && c.Context != nil {
			w.seen &^= s.node.within() // a context that comes twice is the second one
			return readInside(c.Context, s.node, &w.seen, c)
		}
		return nil
	case protoSeconds:
		n, _ := protowire.ConsumeVarint(b)
		w.seconds = int64(n)
		return nil
	case protoNanos:
		n, _ := protowire.ConsumeVarint(b)
		w.nanos = int32(n)
		return nil
	}
	b, _ = protowire.ConsumeBytes(b)
	if s.entries != nil {
		return w.entry(b, s, c)
	}
	if s.inner == nil {
		return nil
	}
	if err := w.message(b, s.inner, c); err != nil {
		if errors.Is(err, errMessage) && s.node.label != "" {
			return fmt.Errorf("%s: %w", s.node.label, errMessage)
		}
		return err // which says where
	}
	if s.act == protoTime {
		if w.seconds < -maxSeconds || w.seconds > maxSeconds {
			return fmt.Errorf("%s: %d seconds since 1970 are no time", s.node.label, w.seconds)
		}
		millis := int64(w.nanos) / 1e6
		if w.nanos%1e6 < 0 {
			millis--
		}
		c.EventTime = schema.EventTime(w.seconds*1000 + millis)
	}
	return nil
}

// maxSeconds is more than a google.protobuf.Timestamp may have, which ends with the year 9999.
const maxSeconds = 1 << 40

// entry reads an entry of a map. One with the same key as an earlier one replaces it.
func (w *protoWalk) entry(b []byte, s *protoStep, c *schema.Click) error {
	var key []byte
	for rest := b; len(rest) > 0; {
		num, typ, tag := protowire.ConsumeTag(rest)
		n := protowire.ConsumeFieldValue(num, typ, rest[max(tag, 0):])
		if tag < 0 || n < 0 {
			return fmt.Errorf("%s: %w", s.node.label, errMessage)
		}
		if num == 1 && typ == protowire.BytesType {
			key, _ = protowire.ConsumeBytes(rest[tag:])
		}
		rest = rest[tag+n:]
	}
	wanted := s.entries[string(key)]
	if wanted == nil {
		return nil
	}
	w.clear(wanted.within, c)
	p := protoPlan{}
	p.low[2] = wanted
	return w.message(b, &p, c)
}

// clear takes back what was read of some fields.
func (w *protoWalk) clear(fields seen, c *schema.Click) {
	fields &= w.seen
	if fields == 0 {
		return
	}
	w.seen &^= fields
	for f := fieldUser; f < fieldCount; f++ {
		switch {
		case fields&f.bit() == 0:
		case f == fieldTime:
			c.EventTime, w.seconds, w.nanos = 0, 0, 0
		case f == fieldPrice:
			c.Item.Price = 0
		case f == fieldContext:
			c.Context, w.kept = nil, nil
		default:
			setText(c, f, "")
		}
	}
}

func (w *protoWalk) scalar(b []byte, s *protoStep, c *schema.Click) error {
	var bits uint64
	switch s.wire {
	case protowire.BytesType:
		b, _ = protowire.ConsumeBytes(b)
		return bytesField(b, s.node.field, c)
	case protowire.VarintType:
		bits, _ = protowire.ConsumeVarint(b)
	case protowire.Fixed32Type:
		bits = uint64(binary.LittleEndian.Uint32(b))
	case protowire.Fixed64Type:
		bits = binary.LittleEndian.Uint64(b)
	}
	n, unsigned := int64(0), false
	switch kind := s.desc.Kind(); kind {
	case protoreflect.DoubleKind:
		c.Item.Price = math.Float64frombits(bits)
		return nil
	case protoreflect.FloatKind:
		c.Item.Price = float64(math.Float32frombits(uint32(bits)))
		return nil
	case protoreflect.EnumKind:
		name, known := s.enum[int32(bits)]
		if !known {
			name = w.digits(bits, false)
		}
		setText(c, s.node.field, name)
		return nil
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		n = protowire.DecodeZigZag(bits)
		if kind == protoreflect.Sint32Kind {
			n = protowire.DecodeZigZag(bits & math.MaxUint32)
		}
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		n = int64(int32(bits))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n = int64(uint32(bits))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, unsigned = int64(bits), true
	default:
		n = int64(bits)
	}
	switch {
	case s.node.field == fieldTime:
		if unsigned && n < 0 {
			return fmt.Errorf("%d milliseconds since 1970 are no time", uint64(n))
		}
		c.EventTime = schema.EventTime(n)
	case s.node.field == fieldPrice && unsigned:
		c.Item.Price = float64(uint64(n))
	case s.node.field == fieldPrice:
		c.Item.Price = float64(n)
	default:
		setText(c, s.node.field, w.digits(uint64(n), unsigned))
	}
	return nil
}

// bytesField sets a field to text.
func bytesField(b []byte, f field, c *schema.Click) (err error) {
	switch f {
	case fieldTime:
		c.EventTime, err = parseTime(b)
		return err
	case fieldContext:
		if c.Context = nil; len(b) == 0 {
			return nil
		}
		c.Context = b[:len(b):len(b)]
		return object(b)
	}
	s, err := text(b)
	setText(c, f, s)
	return err
}

// digits returns n as text. All such ids of a record share one allocation; an older one keeps the bytes that it has when
// they have to move.
func (w *protoWalk) digits(n uint64, unsigned bool) string {
	if w.ids == nil {
		w.ids = make([]byte, 0, 64)
	}
	at := len(w.ids)
	if unsigned {
		w.ids = strconv.AppendUint(w.ids, n, 10)
	} else {
		w.ids = strconv.AppendInt(w.ids, int64(n), 10)
	}
	return alias(w.ids[at:])
}

// json returns the context as JSON, in the mapping that Protobuf defines, under the names of the schema. The library
// changes the space between two builds, so it is taken out.
func (w *protoWalk) json() (out []byte, err error) {
	defer func() { // the library panics where the key of a map's entry has another wire type than its schema says
		if recover() != nil {
			out, err = nil, errMessage
		}
	}()
	m := dynamicpb.NewMessage(w.keptBy.desc.ContainingMessage())
	options := proto.UnmarshalOptions{AllowPartial: true, DiscardUnknown: true, RecursionLimit: maxDepth}
	if err := options.Unmarshal(w.kept, m); err != nil {
		return nil, errMessage
	}
	text, err := protojson.MarshalOptions{AllowPartial: true, UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("it has no JSON: %w", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, fmt.Errorf("it has no JSON: %w", err)
	}
	_, value, _ := bytes.Cut(compact.Bytes(), []byte(":")) // {"context":{...}}
	switch {
	case len(value) == 0:
		return nil, nil
	case value[0] != '{':
		return nil, errors.New("it is no object")
	case len(value) > schema.MaxRecordBytes:
		return nil, errLarge
	}
	return value[:len(value)-1], nil
}
